"""Records of a JSONL file found by their `id`: 16 bytes of memory for each, whatever its size."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from tsqa.errors import DataError
from tsqa.filters.grams import hash_text


class JsonlIndex:
    """What a file held when it was opened; keeps it open, so close it."""

    def __init__(self, path: Path) -> None:
        keys, offsets = array("Q"), array("q")
        offset = 0
        with path.open("rb") as handle:
            for number, line in enumerate(handle, 1):
                try:
                    keys.append(hash_text(json.loads(line)["id"]))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise DataError(
                        f"{path}:{number}: unreadable record: {error}", "delete the file"
                    ) from error
                offsets.append(offset)
                offset += len(line)
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
