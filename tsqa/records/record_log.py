"""What models returned to a stage, on disk by the hash of what was asked: a rerun asks the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.text import Text

from tsqa.console import console
from tsqa.store.digests import hash_bytes
from tsqa.store.jsonl import JsonlIndex, drop_torn_tail

_SYNC_EVERY = 100
_PARTIAL = ".partial"
"""Suffix of the folder in which a stage works."""


class RecordLog:
    """Append-only JSONL of what models returned; records of earlier attempts are found by id.

    Earlier attempts are those of this artifact, and of others of its stage that asked the same.
    Each line carries a hash of the rest: one that is damaged does not count, so that the model is
    asked again.
    """

    def __init__(self, path: Path) -> None:
        self._writer = path.open("a", encoding="utf-8")
        drop_torn_tail(path)
        self._earlier = JsonlIndex(path, _is_whole)
        self._others = [*_open_others(path)]
        self._unsynced = 0
        if self._earlier.damaged:
            told = f"  {path}: {self._earlier.damaged} damaged lines:"
            console.print(Text.assemble((told, "yellow"), " their requests are asked again"))

    def find(self, record_id: str) -> dict[str, Any] | None:
        """What an earlier attempt got; with `reused` where another artifact of the stage paid."""
        record = self._earlier.find(record_id)
        if record is not None:
            return record
        for other in self._others:
            record = other.find(record_id)
            if record is not None:
                record.pop("check")
                record["reused"] = True
                self.append(record)
                return record
        return None

    def append(self, record: Mapping[str, object]) -> None:
        """Keep a record, which has an `id`."""
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


def _open_others(path: Path) -> Iterator[JsonlIndex]:
    """Logs of the same name in the other artifacts of the same stage, finished or not."""
    folder = path.parent
    if folder.suffix != _PARTIAL:
        return
    for log in sorted(folder.parent.glob(f"*/{path.name}")):
        # Another run may finish its artifact, which renames it, or delete it meanwhile.
        for place in (log, log.parent.with_suffix("") / log.name) if log != path else ():
            with suppress(FileNotFoundError):
                yield JsonlIndex(place, _is_whole)
                break
