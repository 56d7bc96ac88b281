"""Metrics of a run: one JSON line per log step in its folder, and the same to W&B.

Guarantees: after a resume the files hold the lines of an undisturbed run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tsqa.store.atomic import write_text
from tsqa.store.own_files import damaged
from tsqa.store.tracking import Tracker

METRICS = "metrics.jsonl"
HELDOUT = "heldout.jsonl"


@dataclass(frozen=True)
class RunLog:
    """The log of one run; only the main process writes."""

    folder: Path
    tracker: Tracker
    is_writer: bool

    def rewind(self, step: int) -> None:
        """Drop what was logged after the step from which this process starts."""
        if self.is_writer:
            for name in (METRICS, HELDOUT):
                drop_lines_after(self.folder / name, step)

    def write(self, name: str, record: Mapping[str, float | list[float]]) -> None:
        """Append a line to the file `name`; W&B gets its scalars."""
        if not self.is_writer:
            return
        with (self.folder / name).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")
        self.tracker.log({k: value for k, value in record.items() if not isinstance(value, list)})


def drop_lines_after(path: Path, step: int) -> None:
    """Keep the lines of a log up to a step; a torn last line goes too."""
    if not path.exists():
        return
    whole = [line for line in path.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"]
    kept = [line for n, line in enumerate(whole, 1) if _step_of(path, n, line) <= step]
    write_text(path, b"".join(kept).decode())


def _step_of(path: Path, number: int, line: bytes) -> int:
    try:
        step = json.loads(line)["step"]
    except (ValueError, TypeError, KeyError, RecursionError):
        step = None
    if type(step) is not int:
        raise damaged(path, f"line {number} is no record of a step")
    return step
