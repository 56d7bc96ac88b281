"""64-bit hashes of word runs over many texts at once, for deduplication and decontamination.

Guarantee: equal runs have equal hashes, in every process; unequal ones collide with odds of 2**-64,
so whoever acts on a hash compares the words.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]

_BASE = np.uint64(0x9E3779B97F4A7C15)


def hash_text(text: str) -> int:
    """Hash a text to unsigned 64 bits, the same in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def hash_runs(words: Hashes, largest: int) -> Iterator[Hashes]:
    """Yield, for sizes 1, 2, ... `largest`, the hash of the run of that size from each word on.

    The polynomial sum of words[i] * base**(size - 1 - i) modulo 2**64. An array of n words has
    n - size + 1 runs; sizes above n are left out.
    """
    runs = words
    for size in range(1, min(largest, len(words)) + 1):
        if size > 1:
            runs = runs[:-1] * _BASE + words[size - 1 :]
        yield runs


def expand_ranges(starts: Numbers, counts: Numbers) -> Numbers:
    """Join [start, start + 1, ... start + count - 1] of every range, end to end."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=np.int64) + np.repeat(starts - ends + counts, counts)


def changes(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a value differs from the one before it; the first does."""
    return np.concatenate(([True], values[1:] != values[:-1]))[: len(values)]


class RunTable:
    """Hashes of runs -> entries, with a small presence table in front of a sorted search."""

    def __init__(self, hashes: Hashes, entries: Numbers) -> None:
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._entries = hashes[order], entries[order]
        bits = max(10, 3 + len(hashes).bit_length())
        self._shift = np.uint64(64 - bits)
        self._present = np.zeros(1 << bits, dtype=bool)
        self._present[hashes >> self._shift] = True

    def find(self, runs: Hashes) -> tuple[Numbers, Numbers]:
        """Find (position, entry) of every run that has entries, in order of position."""
        positions = np.flatnonzero(self._present[runs >> self._shift])
        starts = np.searchsorted(self._hashes, runs[positions], side="left")
        counts = np.searchsorted(self._hashes, runs[positions], side="right") - starts
        return np.repeat(positions, counts), self._entries[expand_ranges(starts, counts)]
