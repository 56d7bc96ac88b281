"""The seeds on disk, found by id: 16 bytes of memory for each, whatever its size."""

from __future__ import annotations

import json
from array import array
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from tsqa.errors import DataError
from tsqa.filters.grams import hash_text
from tsqa.seeds.seed import Seed


class SeedIndex:
    """Reads single seeds of a seeds.jsonl; a context manager, since it keeps the file open."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DataError(f"{path}: no such file", "build it again: tsqa seeds RECIPE")
        keys, offsets = array("Q"), array("q")
        offset = 0
        with path.open("rb") as handle:
            for line in handle:
                keys.append(hash_text(json.loads(line)["id"]))
                offsets.append(offset)
                offset += len(line)
        order = np.argsort(np.array(keys, np.uint64), kind="stable")
        self._keys = np.array(keys, np.uint64)[order]
        self._offsets = np.array(offsets, np.int64)[order]
        self._handle = path.open("rb")
        self.find = lru_cache(maxsize=1024)(self._find)
        """The seed of an id, or None. Candidates of one seed stand together, so few are read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._handle.close()

    def _find(self, seed_id: str) -> Seed | None:
        key = np.uint64(hash_text(seed_id))
        first, end = np.searchsorted(self._keys, key), np.searchsorted(self._keys, key, "right")
        for place in range(int(first), int(end)):
            self._handle.seek(int(self._offsets[place]))
            seed = Seed(**json.loads(self._handle.readline()))
            if seed.id == seed_id:
                return seed
        return None
