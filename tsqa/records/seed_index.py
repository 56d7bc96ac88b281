"""The seeds on disk, found by id."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

from tsqa.errors import DataError
from tsqa.records.seed import Seed
from tsqa.store.jsonl import JsonlIndex
from tsqa.store.own_files import damaged


class SeedIndex:
    """Reads single seeds of a seeds.jsonl; a context manager, since it keeps the file open."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DataError(f"{path}: no such file", "build it again: tsqa seeds RECIPE")
        self._path = path
        self._seeds = JsonlIndex(path)
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
        self._seeds.close()

    def _find(self, seed_id: str) -> Seed | None:
        record = self._seeds.find(seed_id)
        try:
            return Seed(**record) if record else None
        except TypeError as error:
            raise damaged(self._path, f"{seed_id}: no seed: {error}") from error
