"""The completions of a stage on disk, by the hash of their request: what a rerun need not ask."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.text import Text

from tsqa.console import console
from tsqa.store.digests import hash_bytes
from tsqa.store.jsonl import JsonlIndex, drop_torn_tail
from tsqa.teachers import Completion

_SYNC_EVERY = 100
_PARTIAL = ".partial"
"""Suffix of the folder in which a stage works."""


class CompletionLog:
    """Append-only JSONL of completions; those of earlier attempts are found by request id.

    Each line carries a hash of the rest: one that is damaged does not count, so that its request
    is asked again.
    """

    def __init__(self, path: Path) -> None:
        self._writer = path.open("a", encoding="utf-8")
        drop_torn_tail(path)
        self._earlier = JsonlIndex(path, _is_whole)
        self._others = [JsonlIndex(other, _is_whole) for other in _logs_beside(path)]
        self._unsynced = 0
        if self._earlier.damaged:
            told = f"  {path}: {self._earlier.damaged} damaged lines:"
            console.print(Text.assemble((told, "yellow"), " their requests are asked again"))

    def find(self, request_id: str) -> tuple[Completion, float] | None:
        """What an earlier attempt got, and its seconds.

        Earlier attempts are those of this artifact, and of others of its stage that asked the same.
        """
        record = self._earlier.find(request_id)
        if record is not None:
            return _read_record(record)
        for other in self._others:
            record = other.find(request_id)
            if record is not None:
                found = _read_record(record)
                self.append(*found)
                return found
        return None

    def append(self, completion: Completion, seconds: float) -> None:
        record = {**asdict(completion), "seconds": round(seconds, 5)}
        if not completion.thoughts:
            del record["thoughts"]  # so are the lines from before there were any
        checked = {**record, "check": _check_of(record)}
        self._writer.write(json.dumps(checked, ensure_ascii=False) + "\n")
        self._writer.flush()
        self._unsynced += 1
        if self._unsynced >= _SYNC_EVERY:
            self._sync()

    def close(self) -> None:
        self._sync()
        self._writer.close()
        for index in (self._earlier, *self._others):
            index.close()

    def _sync(self) -> None:
        os.fsync(self._writer.fileno())
        self._unsynced = 0


def _is_whole(record: dict[str, object]) -> bool:
    return bool(record.pop("check", None) == _check_of(record))


def _check_of(record: Mapping[str, object]) -> str:
    return hash_bytes(json.dumps(record, sort_keys=True).encode())[:16]


def _read_record(record: Mapping[str, Any]) -> tuple[Completion, float]:
    """A whole line of the log."""
    names = [field.name for field in fields(Completion)]
    values = {name: record[name] for name in names if name in record}
    return Completion(**values), float(record["seconds"])


def _logs_beside(path: Path) -> list[Path]:
    """Logs of the same name in the other artifacts of the same stage, finished or not."""
    folder = path.parent
    if folder.suffix != _PARTIAL:
        return []
    return [log for log in sorted(folder.parent.glob(f"*/{path.name}")) if log != path]
