"""What every stage gets: paths of the recipe, resolved."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recipe_files import BASE, write
from tsqa.errors import DataError
from tsqa.recipe import load_recipe
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker


def test_data_paths_need_a_data_section(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, BASE))
    context = StageContext(recipe, {}, tmp_path, Tracker.silent())
    assert context.resolve("plain.jsonl") == Path("plain.jsonl")
    with pytest.raises(DataError, match="no `data` section"):
        context.resolve("{data}/docs.jsonl")
