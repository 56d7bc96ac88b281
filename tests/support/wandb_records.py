"""Read back what an offline W&B run holds: its `.wandb` file is a log of framed records."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_BLOCK = 32768
_FRAME = struct.Struct("<IHB")
_HEADER = 7
_FULL, _FIRST, _LAST = 1, 2, 4


@dataclass
class OfflineRun:
    """What `wandb sync` would upload of one run."""

    folder: Path
    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    exit_code: int | None = None

    def table(self, name: str) -> dict[str, Any]:
        """The rows of a logged table."""
        path = self.folder / "files" / self.summary[f"{name}/path"]
        content: dict[str, Any] = json.loads(path.read_text())
        return content


def read_run(folder: Path, wait_seconds: float = 30.0) -> OfflineRun:
    """Waits for the end of the run: W&B's own process writes the file, a moment later."""
    deadline = time.monotonic() + wait_seconds
    while (found := _read(folder)).exit_code is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _read(folder: Path) -> OfflineRun:
    [log] = folder.glob("*.wandb")
    found = OfflineRun(folder)
    for raw in _records(log.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(raw)
        if record.HasField("run"):
            found.run = record.run
            found.config |= _items(record.run.config.update)
        elif record.HasField("config"):
            found.config |= _items(record.config.update)
        elif record.HasField("summary"):
            found.summary |= _items(record.summary.update)
        elif record.HasField("history"):
            found.history.append(_items(record.history.item))
        elif record.HasField("files"):
            found.files |= {file.path for file in record.files.files}
        elif record.HasField("exit"):
            found.exit_code = record.exit.exit_code
    return found


def read_runs(runs: Path) -> dict[str, OfflineRun]:
    """Run id -> run, of all below a folder of runs."""
    found = [read_run(folder) for folder in sorted((runs / "wandb").glob("offline-run-*"))]
    return {run.run.run_id: run for run in found}


def _items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(data: bytes) -> Iterator[bytes]:
    place, held = _HEADER, b""
    while place + _FRAME.size <= len(data):
        room = _BLOCK - place % _BLOCK
        if room < _FRAME.size:
            place += room
            continue
        _, length, kind = _FRAME.unpack_from(data, place)
        place += _FRAME.size
        held = (b"" if kind in (_FULL, _FIRST) else held) + data[place : place + length]
        place += length
        if kind in (_FULL, _LAST):
            yield held
