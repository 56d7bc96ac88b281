"""The filters, in a fixed visible order: each a small pure function with a named reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsqa.store.stage import StageContext


def run(context: StageContext) -> dict[str, object]:
    """The stage function; its parts are imported here, as they read this package themselves."""
    from tsqa.filters.stage import run as run_stage

    return run_stage(context)
