"""Recipes that are wrong are refused before any work, with the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.recipes import tries
from tests.faults.table import Try, check, params


@pytest.mark.timeout(180)
@pytest.mark.parametrize("attempt", params(tries()))
def test_recipe(attempt: Try, tmp_path: Path) -> None:
    check(attempt, tmp_path)
