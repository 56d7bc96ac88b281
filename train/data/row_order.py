"""The order of rows: which source comes k-th, and in which order a source's rows come.

Guarantees: both are pure functions of their arguments, the same on every machine. Neither may
change: a checkpoint does not record them, so a run resumed across a change would silently read
other rows.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

_FEISTEL_ROUNDS = 4


@lru_cache(maxsize=64)
def period_table(weights: tuple[int, ...]) -> tuple[int, ...]:
    """Order one period of sources so that every prefix is within one row of the weights.

    Tijdeman's rule: of the sources that have fallen behind, take the one with the nearest
    deadline. (The simpler "largest deficit first" strays by up to 1.2 rows.)
    """
    # `counts` and `k` count rows from 1: row k of the period is being decided, and a source's next
    # row is its counts[s] + 1 st. Multiplying out by `period` keeps the first comparison exact.
    period = sum(weights)
    slack = max(2 * sum(w > 0 for w in weights) - 2, 1)
    counts = [0] * len(weights)
    table = []
    for k in range(1, period + 1):
        behind = [
            source
            for source, weight in enumerate(weights)
            if slack * (weight * k - counts[source] * period) >= period
        ]
        choice = min(
            behind or [weights.index(max(weights))],
            key=lambda s: ((slack * (counts[s] + 1) - 1) / weights[s], s),
        )
        counts[choice] += 1
        table.append(choice)
    return tuple(table)


def permute(position: int, size: int, key: str) -> int:
    """Return where a random bijection of range(size) sends `position`.

    Feistel rounds permute a power of four that is at least `size`; a result outside of the range is
    permuted again until it falls inside (cycle walking), which keeps the map one-to-one.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    keys = _round_keys(key)
    while True:
        left, right = position >> half, position & mask
        for round_key in keys:
            mixed = (right ^ round_key) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
            mixed = (mixed ^ (mixed >> 29)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
            left, right = right, left ^ (mixed >> 32 & mask)
        position = left << half | right
        if position < size:
            return position


@lru_cache(maxsize=256)
def _round_keys(key: str) -> tuple[int, ...]:
    digest = hashlib.sha256(key.encode()).digest()
    return tuple(
        int.from_bytes(digest[8 * n : 8 * n + 8], "little") for n in range(_FEISTEL_ROUNDS)
    )
