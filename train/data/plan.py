"""Which row of which source comes k-th: a pure function of the plan.

Guarantees: at every prefix of a phase each source is within one row of its ratio; a source gives
each of its rows once per epoch, shuffled anew in each, and carries on across phases; `row(k)`
needs neither state nor the number of processes, so any run can start anywhere.

Neither `period_table` nor `permute` may change: a checkpoint does not record how they work, so a
run resumed across a change would silently read other rows.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from tsqa.errors import CheckpointError
from tsqa.store.artifact import differing_keys

_FEISTEL_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the stream: which source, which pass over it, which of its rows."""

    source: int
    epoch: int
    index: int


@dataclass(frozen=True)
class Phase:
    """A stretch of rows with one repeating table of sources."""

    start: int
    rows: int
    weights: tuple[int, ...]
    """Integer weight of each source; their sum is the period of the table."""

    @cached_property
    def table(self) -> tuple[int, ...]:
        return period_table(self.weights)

    @cached_property
    def _before(self) -> tuple[int, ...]:
        """How often the table names the same source before each of its positions."""
        seen = [0] * len(self.weights)
        before = []
        for source in self.table:
            before.append(seen[source])
            seen[source] += 1
        return tuple(before)

    def draw(self, offset: int) -> tuple[int, int]:
        """Return the source at an offset of the phase, and how many of its rows came before."""
        # Whole turns of the table draw exactly the weights; the rest is read off the table.
        turn, position = divmod(offset, len(self.table))
        source = self.table[position]
        return source, turn * self.weights[source] + self._before[position]

    def counts(self) -> list[int]:
        """Rows that the phase draws from each source."""
        turns, rest = divmod(self.rows, len(self.table))
        counts = [turns * weight for weight in self.weights]
        for source in self.table[:rest]:
            counts[source] += 1
        return counts


@dataclass(frozen=True, slots=True)
class SourceDraw:
    """What the stream draws from one source."""

    source: str
    rows: int
    """Rows that the source holds for training."""
    drawn_rows: int
    tokens: int
    """Tokens drawn."""
    epochs: float
    share: float
    """Of the stream's rows, 0 to 1."""


@dataclass(frozen=True)
class MixturePlan:
    """The whole stream: `steps` global batches of `batch_rows` rows each."""

    sources: tuple[str, ...]
    rows: tuple[int, ...]
    phases: tuple[Phase, ...]
    seed: int
    sequence_length: int
    batch_rows: int
    steps: int
    requested_rows: int
    subsets: tuple[tuple[str, str, int], ...] = ()
    """Sources cut from another: name, the source whose rows it takes, and how many that one has.
    `rows` holds how many it takes."""

    @cached_property
    def _consumed(self) -> tuple[tuple[int, ...], ...]:
        """Rows of each source drawn before each phase, and (last) in total."""
        totals = [(0,) * len(self.sources)]
        for phase in self.phases:
            added = zip(totals[-1], phase.counts(), strict=True)
            totals.append(tuple(before + drawn for before, drawn in added))
        return tuple(totals)

    @property
    def total_rows(self) -> int:
        return self.steps * self.batch_rows

    @property
    def drawn(self) -> dict[str, int]:
        return dict(zip(self.sources, self._consumed[-1], strict=True))

    @property
    def identity(self) -> dict[str, object]:
        """Everything that decides the stream, as JSON."""
        names = self.sources
        return {
            "rows": dict(zip(names, self.rows, strict=True)),
            "phases": {
                str(number): {
                    "rows": phase.rows,
                    "weights": dict(zip(names, phase.weights, strict=True)),
                }
                for number, phase in enumerate(self.phases)
            },
            "seed": self.seed,
            "sequence_length": self.sequence_length,
            "batch_rows": self.batch_rows,
            **({"subsets": [list(subset) for subset in self.subsets]} if self.subsets else {}),
        }

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.identity).encode()).hexdigest()[:16]

    def require_same(self, recorded: Mapping[str, object], where: str) -> None:
        """Raise CheckpointError with the differing keys unless `recorded` is this identity."""
        lines = differing_keys(recorded, self.identity)
        if lines:
            raise CheckpointError(
                f"{where} belongs to another mixture plan:\n    " + "\n    ".join(lines),
                "undo the change, or delete the checkpoints to train from the start",
            )

    def row(self, k: int) -> Row:
        """Return the k-th row of the stream."""
        if not 0 <= k < self.total_rows:
            raise IndexError(k)
        number = bisect_right(self.phases, k, key=lambda phase: phase.start) - 1
        phase = self.phases[number]
        source, drawn = phase.draw(k - phase.start)
        # All earlier draws of the source, over all phases, are one sequence: its quotient by the
        # source's rows is the epoch, its remainder the position in that epoch's shuffled order.
        epoch, position = divmod(self._consumed[number][source] + drawn, self.rows[source])
        return Row(source, epoch, permute(position, self.rows[source], self._key(source, epoch)))

    def locate(self, source: int, index: int) -> tuple[str, int]:
        """Return where a row lies on disk: the source, and the number of the row in it."""
        name = self.sources[source]
        for subset, parent, size in self.subsets:
            if subset == name:
                return parent, permute(index, size, f"{self.seed}/{name}/subset")
        return name, index

    def _key(self, source: int, epoch: int) -> str:
        return f"{self.seed}/{self.sources[source]}/{epoch}"

    def describe(self) -> list[SourceDraw]:
        """Return what the stream draws from each source."""
        return [
            SourceDraw(
                source=name,
                rows=have,
                drawn_rows=drawn,
                tokens=drawn * self.sequence_length,
                epochs=round(drawn / have, 3) if have else 0.0,
                share=round(drawn / self.total_rows, 4),
            )
            for (name, drawn), have in zip(self.drawn.items(), self.rows, strict=True)
        ]

    def note(self) -> str:
        """Return one line: steps, tokens, and what rounding to whole batches and rows left out."""
        tokens = self.total_rows * self.sequence_length
        left = (self.requested_rows - self.total_rows) * self.sequence_length
        tail = f"; {left:,} tokens short of the phases' sum (whole batches only)" if left else ""
        none = ", ".join(name for name, rows in self.drawn.items() if not rows)
        tail += f"; NONE of {none}, whose ratio asks for less than a row" if none else ""
        return f"{self.steps:,} steps, {tokens:,} tokens{tail}"


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
