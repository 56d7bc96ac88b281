"""JSON and JSONL files: read and write them, continue one after a kill, find a record by its id."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from tsqa.errors import DataError
from tsqa.plain_json import parse_json
from tsqa.store.atomic import atomic_writer
from tsqa.store.own_files import damaged
from tsqa.text.hashing import hash_text

_BLOCK = 1 << 20


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically."""
    with atomic_writer(path) as handle:
        json.dump(value, handle, indent=1, ensure_ascii=False)


def write_jsonl(path: Path, records: Iterable[Mapping[str, object]]) -> int:
    """Write records to a new JSONL file atomically; return how many."""
    count = 0
    with atomic_writer(path) as handle:
        for record in records:
            handle.write(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n")
            count += 1
    return count


def read_jsonl(path: Path, tolerate_torn_tail: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSONL(.gz) file; a broken line raises DataError with its number.

    With `tolerate_torn_tail` an unfinished last line (a kill during append) is passed over.
    """
    return (record for _, record in read_numbered_jsonl(path, tolerate_torn_tail))


def read_numbered_jsonl(
    path: Path, tolerate_torn_tail: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Like `read_jsonl`, each record with its line number; blank lines count but give nothing."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    with cast(IO[bytes], opener(path, "rb")) as handle:
        try:
            for number, raw in enumerate(handle, 1):
                if not raw.strip():
                    continue
                try:
                    record = parse_json(raw)
                except (ValueError, RecursionError) as error:
                    if tolerate_torn_tail and not raw.endswith(b"\n"):
                        return
                    raise DataError(f"{path}:{number}: not JSON: {error}") from error
                if not isinstance(record, dict):
                    raise DataError(f"{path}:{number}: expected an object, found {record!r:.60}")
                yield number, record
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path}:{number + 1}: unreadable: {error}") from error


def drop_torn_tail(path: Path) -> None:
    """Cut an unfinished last line (a kill during append) off a JSONL file."""
    with path.open("rb+") as handle:
        end = size = handle.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - _BLOCK)
            handle.seek(begin)
            newline = handle.read(end - begin).rfind(b"\n")
            if newline >= 0:
                end = begin + newline + 1
                break
            end = begin
        if end < size:
            handle.truncate(end)


class JsonlIndex:
    """The records of a file at the time it was opened, 16 bytes of memory each; close it.

    A line that is not a record with an id is an error. With `is_whole`, such a line, and one that
    `is_whole` rejects, is skipped and counted in `damaged`.
    """

    def __init__(
        self, path: Path, is_whole: Callable[[dict[str, Any]], bool] | None = None
    ) -> None:
        keys, offsets = array("Q"), array("q")
        offset = self.damaged = 0
        with path.open("rb") as handle:
            for number, line in enumerate(handle, 1):
                start, offset = offset, offset + len(line)
                try:
                    record = json.loads(line)
                    key = hash_text(record["id"])
                    whole = is_whole is None or is_whole(record)
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    if is_whole is None:
                        raise damaged(path, f"line {number}: no record: {error}") from error
                    whole = False
                if whole:
                    keys.append(key)
                    offsets.append(start)
                else:
                    self.damaged += 1
        found = np.array(keys, np.uint64)
        order = np.argsort(found, kind="stable")
        self._keys, self._offsets = found[order], np.array(offsets, np.int64)[order]
        self._handle = path.open("rb")

    def find(self, record_id: str) -> dict[str, Any] | None:
        """The first record of an id, or None."""
        key = np.uint64(hash_text(record_id))
        first, end = np.searchsorted(self._keys, key), np.searchsorted(self._keys, key, "right")
        for index in range(int(first), int(end)):
            self._handle.seek(int(self._offsets[index]))
            record: dict[str, Any] = json.loads(self._handle.readline())
            if record["id"] == record_id:
                return record
        return None

    def close(self) -> None:
        self._handle.close()
