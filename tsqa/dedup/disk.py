"""What deduplication keeps on disk: the questions, and (key, item) pairs in partitions.

Guarantees: memory holds one batch of items or one partition of pairs, however many there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from tsqa.text.hashing import Hashes, Numbers

_PAIR = np.dtype([("key", "<u8"), ("item", "<u8")])
_BATCH = 8192
_BATCH_CHARACTERS = 1 << 23


class StoredQuestion(NamedTuple):
    id: str
    question: str
    text: str
    """Its words and signs."""


class QuestionFile:
    """Questions on disk, in order and by number."""

    def __init__(self, folder: Path) -> None:
        self._lines: BinaryIO = (folder / "items.jsonl").open("w+b")
        self._offsets: BinaryIO = (folder / "offsets").open("w+b")
        self._count = 0
        self._end = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, items: Sequence[StoredQuestion]) -> None:
        lines = [json.dumps(item).encode() + b"\n" for item in items]
        sizes = np.array([len(line) for line in lines], dtype=np.uint64)
        self._offsets.write((np.cumsum(sizes) - sizes + np.uint64(self._end)).tobytes())
        self._lines.write(b"".join(lines))
        self._count += len(items)
        self._end += int(sizes.sum())

    def __iter__(self) -> Iterator[StoredQuestion]:
        self._lines.seek(0)
        return (StoredQuestion(*json.loads(line)) for line in self._lines)

    def __getitem__(self, number: int) -> StoredQuestion:
        self._offsets.seek(8 * number)
        self._lines.seek(int.from_bytes(self._offsets.read(8), "little"))
        return StoredQuestion(*json.loads(self._lines.readline()))

    def close(self) -> None:
        self._lines.close()
        self._offsets.close()


class PairFiles:
    """(key, item) pairs on disk, one file per partition."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder

    def add(self, partitions: Numbers, keys: Hashes, items: Numbers) -> None:
        order = np.argsort(partitions, kind="stable")
        pairs = np.empty(len(order), dtype=_PAIR)
        pairs["key"], pairs["item"] = keys[order], items[order]
        names, starts = np.unique(partitions[order], return_index=True)
        bounds = pairwise([*starts, len(order)])
        for name, (start, stop) in zip(names, bounds, strict=True):
            with (self._folder / str(name)).open("ab") as handle:
                handle.write(pairs[start:stop].tobytes())

    def partitions(self) -> list[int]:
        return sorted(int(path.name) for path in self._folder.iterdir())

    def load(self, partition: int) -> tuple[Hashes, Numbers]:
        """(keys, items), sorted by both, without repetition; empty where nothing was added."""
        path = self._folder / str(partition)
        pairs = np.fromfile(path, dtype=_PAIR) if path.exists() else np.empty(0, dtype=_PAIR)
        keys, items = pairs["key"].copy(), pairs["item"].astype(np.int64)
        order = np.lexsort((items, keys))
        keys, items = keys[order], items[order]
        new = np.ones(len(keys), dtype=bool)
        new[1:] = (keys[1:] != keys[:-1]) | (items[1:] != items[:-1])
        return keys[new], items[new]


def batches(items: Iterable[StoredQuestion]) -> Iterator[tuple[int, list[StoredQuestion]]]:
    """(number of the first, items), bounded by count and by characters."""
    first, characters = 0, 0
    batch: list[StoredQuestion] = []
    for item in items:
        batch.append(item)
        characters += len(item.question)
        if len(batch) == _BATCH or characters >= _BATCH_CHARACTERS:
            yield first, batch
            first, characters, batch = first + len(batch), 0, []
    if batch:
        yield first, batch
