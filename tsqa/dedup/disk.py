"""What deduplication keeps on disk: the questions, and (key, item) pairs in partitions.

Guarantees: memory holds one batch of items or one partition of pairs, however many there are.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from tsqa.text.hashing import Hashes, Numbers, hash_text
from tsqa.text.signs import tokens

_PAIR = np.dtype([("key", "<u8"), ("item", "<u8")])
_BATCH = 8192
_BATCH_CHARACTERS = 1 << 23
_RANGE = 2048
_RANGE_BYTES = 1 << 22


class StoredQuestion(NamedTuple):
    id: str
    question: str
    text: str
    """Its words and signs."""


@dataclass(frozen=True)
class PackedQuestions:
    """Questions as the file holds them, packed by any process."""

    lines: bytes
    sizes: Numbers
    """Bytes of each line."""
    keys: Hashes
    """Equal for questions of the same words and signs."""


def pack_questions(items: Iterable[tuple[str, str]]) -> PackedQuestions:
    """`items`: (id, question)"""
    read = [StoredQuestion(name, asked, " ".join(tokens(asked))) for name, asked in items]
    lines = [json.dumps(item).encode() + b"\n" for item in read]
    return PackedQuestions(
        b"".join(lines),
        np.array([len(line) for line in lines], dtype=np.int64),
        np.array([hash_text(item.text) for item in read], dtype=np.uint64),
    )


@dataclass(frozen=True)
class QuestionRange:
    """Some of the questions of a file that no longer grows, for any process."""

    path: Path
    start: int
    size: int
    first: int
    """The number of the first."""

    def read(self) -> list[StoredQuestion]:
        with self.path.open("rb") as handle:
            handle.seek(self.start)
            lines = io.BytesIO(handle.read(self.size))
        return [StoredQuestion(*json.loads(line)) for line in lines]


class QuestionFile:
    """Questions on disk, in order and by number."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "items.jsonl"
        self._lines: BinaryIO = self._path.open("w+b")
        self._offsets: BinaryIO = (folder / "offsets").open("w+b")
        self._count = 0
        self._end = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, packed: PackedQuestions) -> None:
        starts = np.cumsum(packed.sizes) - packed.sizes + self._end
        self._offsets.write(starts.astype("<u8").tobytes())
        self._lines.write(packed.lines)
        self._count += len(packed.sizes)
        self._end += len(packed.lines)

    def ranges(self) -> Iterator[QuestionRange]:
        """All questions, bounded by count and by bytes."""
        if not self._count:
            return
        self._lines.flush()
        self._offsets.flush()
        starts = np.memmap(self._offsets, dtype="<u8", mode="r", shape=(self._count,))
        first = 0
        while first < self._count:
            start = int(starts[first])
            full = int(np.searchsorted(starts, start + _RANGE_BYTES))
            last = min(self._count, first + _RANGE, max(first + 1, full))
            end = self._end if last == self._count else int(starts[last])
            yield QuestionRange(self._path, start, end - start, first)
            first = last

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
