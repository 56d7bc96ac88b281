"""The stage `data`: the toy tasks and texts that a recipe builds itself."""

from __future__ import annotations

import platform

from tsqa.recipe import Recipe, needed
from tsqa.store.identity import Json
from tsqa.store.stage import Stage


def _config(recipe: Recipe) -> dict[str, Json]:
    # The human text is the documentation of this Python, which differs between its releases.
    return {**needed(recipe.data, "data").data_config(), "python": platform.python_version()}


DATA = Stage(
    "data",
    2,
    _config,
    "tsqa.tasks.toy",
    sections=("data",),
    wanted=lambda recipe: recipe.data is not None,
)
