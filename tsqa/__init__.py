"""The spine of the harness (recipe, artifact, tracking, cli) and the synthetic data rooms.

For scripts and notebooks: `from tsqa import Recipe, run, deltas, dataset`. They are loaded at
their first use, so that `import tsqa` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsqa.ablation.frames import dataset, deltas, run
    from tsqa.recipe import Recipe

__version__ = "0.1.0"
__all__ = ["Recipe", "__version__", "dataset", "deltas", "run"]
_HOMES = {
    "Recipe": "tsqa.recipe",
    **dict.fromkeys(("dataset", "deltas", "run"), "tsqa.ablation.frames"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tsqa' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
