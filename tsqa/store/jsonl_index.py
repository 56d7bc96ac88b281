"""Records of a JSONL file found by their `id`: 16 bytes of memory for each, whatever its size."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tsqa.store.readers import damaged
from tsqa.text.hashing import hash_text


class JsonlIndex:
    """What a file held when it was opened; keeps it open, so close it.

    A line that is no record with an id is an error. With `is_whole`, one that is not, or that this
    does not accept, is passed over, and counted in `damaged`.
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
        for place in range(int(first), int(end)):
            self._handle.seek(int(self._offsets[place]))
            record: dict[str, Any] = json.loads(self._handle.readline())
            if record["id"] == record_id:
                return record
        return None

    def close(self) -> None:
        self._handle.close()
