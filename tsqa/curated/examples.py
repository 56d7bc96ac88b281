"""Accepted and rejected examples of a dataset for whoever follows its run from afar."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from tsqa.curated.files import draw_rows, read_curated, read_rejected
from tsqa.records.rows import CuratedRow, RejectedRow
from tsqa.store.tracking import Tracker

EXAMPLES = 100
_LONGEST = 2000
_ACCEPTED = ("id", "task", "question", "answer", "agreement", "text")
_REJECTED = ("id", "task", "step", "reason", "score", "question", "answer", "match")
_Row = TypeVar("_Row", CuratedRow, RejectedRow)


def log_examples(folder: Path, tracker: Tracker) -> None:
    """Log a random choice of the accepted and of the rejected rows, as two tables."""
    if not tracker.is_on:
        return
    _log(tracker, "accepted", _ACCEPTED, read_curated, folder)
    _log(tracker, "rejected", _REJECTED, read_rejected, folder)


def _log(
    tracker: Tracker,
    name: str,
    columns: tuple[str, ...],
    read: Callable[[Path], Iterable[_Row]],
    folder: Path,
) -> None:
    rows = draw_rows(read(folder), EXAMPLES, name)
    values = [[_short(getattr(row, column)) for column in columns] for row in rows]
    tracker.table(f"filter/{name}", columns, values)


def _short(value: object) -> object:
    return value[:_LONGEST] if isinstance(value, str) else value
