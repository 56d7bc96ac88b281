"""Which row of which source comes k-th: a pure function of the plan.

Promises: at every prefix of a phase each source is within one row of its ratio; a source gives
each of its rows once per epoch, in an order of its own, and carries on across phases; `row(k)`
needs neither state nor the number of processes, so any run can start anywhere.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import gcd
from typing import Any

from rich import box
from rich.table import Table

from tsqa.errors import CheckpointError, DataError, RecipeError
from tsqa.recipe import BASIS_POINTS, MixtureSection, Recipe, TrainSection, needed
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
        """How often the table named the same source before each of its positions."""
        seen = [0] * len(self.weights)
        before = []
        for source in self.table:
            before.append(seen[source])
            seen[source] += 1
        return tuple(before)

    def draw(self, offset: int) -> tuple[int, int]:
        """The source at an offset of the phase, and how many rows of it came before."""
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
    """Of a source without rows of its own: its name, the source whose rows it takes, and how many
    that one has. `rows` is how many it takes."""

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
    def identity(self) -> dict[str, Any]:
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

    def require_same(self, recorded: Mapping[str, Any], where: str) -> None:
        """Raise CheckpointError with the differing keys unless `recorded` is this identity."""
        lines = differing_keys(recorded, self.identity)
        if lines:
            raise CheckpointError(
                f"{where} belongs to another mixture plan:\n    " + "\n    ".join(lines),
                "undo the change, or delete the checkpoints to train from the start",
            )

    def row(self, k: int) -> Row:
        """The k-th row of the stream."""
        if not 0 <= k < self.total_rows:
            raise IndexError(k)
        number = bisect_right(self.phases, k, key=lambda phase: phase.start) - 1
        phase = self.phases[number]
        source, drawn = phase.draw(k - phase.start)
        epoch, position = divmod(self._consumed[number][source] + drawn, self.rows[source])
        return Row(source, epoch, permute(position, self.rows[source], self._key(source, epoch)))

    def place(self, source: int, index: int) -> tuple[str, int]:
        """Where a row is kept: the source on disk, and the row in it."""
        name = self.sources[source]
        for subset, parent, size in self.subsets:
            if subset == name:
                return parent, permute(index, size, f"{self.seed}/{name}/subset")
        return name, index

    def times_drawn(self, source: int, index: int) -> int:
        """How often the stream holds one row of a source."""
        epochs, rest = divmod(self._consumed[-1][source], self.rows[source])
        key = self._key(source, epochs)
        partial = (permute(n, self.rows[source], key) for n in range(rest))
        return epochs + (index in partial)

    def _key(self, source: int, epoch: int) -> str:
        return f"{self.seed}/{self.sources[source]}/{epoch}"

    def describe(self) -> list[dict[str, float | int | str]]:
        """Per source: rows at hand, rows and tokens drawn, epochs, share of the stream."""
        return [
            {
                "source": name,
                "rows": have,
                "drawn_rows": drawn,
                "tokens": drawn * self.sequence_length,
                "epochs": round(drawn / have, 3) if have else 0.0,
                "share": round(drawn / self.total_rows, 4),
            }
            for (name, drawn), have in zip(self.drawn.items(), self.rows, strict=True)
        ]

    def note(self) -> str:
        """One line: steps, tokens, and what rounding to whole batches left out."""
        tokens = self.total_rows * self.sequence_length
        left = (self.requested_rows - self.total_rows) * self.sequence_length
        tail = f"; {left:,} tokens short of the phases' sum (whole batches only)" if left else ""
        return f"{self.steps:,} steps, {tokens:,} tokens{tail}"


def plan(
    mixture: MixtureSection, train: TrainSection, rows: Mapping[str, int], seed: int
) -> MixturePlan:
    """Lay out the stream; refuse a source that would be repeated beyond `max_repetition`."""
    names = tuple(sorted(mixture.sources))  # the order in the YAML decides nothing
    length, batch = train.sequence_length, train.global_batch_rows
    requested = sum(phase.tokens for phase in mixture.phases) // length
    steps = requested // batch
    if not steps:
        raise RecipeError(
            f"mixture.phases hold {requested * length:,} tokens, less than one global batch",
            f"raise tokens to {batch * length:,} or lower train.global_batch_tokens",
        )
    phases: list[Phase] = []
    start, tokens = 0, 0
    for section in mixture.phases:
        tokens += section.tokens
        end = min(tokens // length, steps * batch)
        if end > start:
            phases.append(Phase(start, end - start, _weights(section.ratios, names)))
            start = end
    rows, subsets = _with_subsets(mixture, rows)
    made = MixturePlan(
        names,
        tuple(rows[n] for n in names),
        tuple(phases),
        seed,
        length,
        batch,
        steps,
        requested,
        subsets,
    )
    _check_supply(made, mixture)
    return made


def _with_subsets(
    mixture: MixtureSection, rows: Mapping[str, int]
) -> tuple[dict[str, int], tuple[tuple[str, str, int], ...]]:
    """Rows of every source, those that are cut from another among them, and how these are cut."""
    counts, subsets = dict(rows), []
    for name, source in sorted(mixture.sources.items()):
        if source.subset_of is None or source.size_of is None:
            continue
        have, wanted = rows[source.subset_of], rows[source.size_of]
        if wanted > have:
            raise RecipeError(
                f"mixture.sources.{name}: {source.size_of} has {wanted:,} rows, {source.subset_of} "
                f"only {have:,}: no choice of its rows repeats as rarely",
                f"give {source.subset_of} more text, or leave this source out",
            )
        counts[name] = wanted
        subsets.append((name, source.subset_of, have))
    return counts, tuple(subsets)


def plan_of(recipe: Recipe, rows: Mapping[str, int]) -> MixturePlan:
    """The plan of a recipe, given the rows that each of its sources holds."""
    mixture, train = needed(recipe.mixture, "mixture"), needed(recipe.train, "train")
    return plan(mixture, train, training_rows(rows, train.heldout_rows), recipe.seed)


def training_rows(rows: Mapping[str, int], heldout: int) -> dict[str, int]:
    """Rows of each source that are left to train on, the last `heldout` being held out."""
    for name, count in rows.items():
        if heldout > count:
            raise DataError(
                f"mixture.sources.{name} holds {count} rows, of which train.heldout_rows takes "
                f"{heldout}",
                f"lower train.heldout_rows to {count // 10}, or give the source more text",
            )
    return {name: count - heldout for name, count in rows.items()}


def plan_table(made: MixturePlan, padding: Mapping[str, int]) -> Table:
    """The plan as a table to print before training; `padding` is tokens held per source."""
    shown = "; ".join(
        f"phase {number}: {phase.rows:,} rows of {_ratios(made.sources, phase.weights)}"
        for number, phase in enumerate(made.phases, 1)
    )
    table = Table(
        title=made.note(),
        caption=shown,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("source", overflow="fold")
    for column in ("rows", "drawn", "tokens drawn", "share", "epochs", "padding"):
        table.add_column(column, justify="right", no_wrap=True)
    for entry in made.describe():
        name, rows = str(entry["source"]), int(entry["rows"])
        padded = padding.get(name, 0) / (rows * made.sequence_length) if rows else 0.0
        table.add_row(
            name,
            f"{rows:,}",
            f"{entry['drawn_rows']:,}",
            f"{entry['tokens']:,}",
            f"{entry['share']:.2%}",
            f"{entry['epochs']:.3f}",
            f"{padded:.2%}",
        )
    return table


def _ratios(names: Sequence[str], weights: Sequence[int]) -> str:
    period = sum(weights)
    pairs = zip(names, weights, strict=True)
    return ", ".join(f"{name} {weight / period:g}" for name, weight in pairs if weight)


def _check_supply(made: MixturePlan, mixture: MixtureSection) -> None:
    problems = []
    for (name, drawn), have in zip(made.drawn.items(), made.rows, strict=True):
        if drawn and not have:
            raise DataError(
                f"mixture.sources.{name} is empty, but a phase draws from it",
                "give it documents, or set its ratio to 0",
            )
        own = mixture.sources[name].max_repetition
        key = "mixture.max_repetition" if own is None else f"mixture.sources.{name}.max_repetition"
        cap = mixture.max_repetition if own is None else own
        # A cap is a decimal: 100 rows x 0.29 are 29, which floats would miss.
        allowed = int(have * Fraction(str(cap)))
        if drawn <= allowed:
            continue
        length = made.sequence_length
        ratios = [phase.ratios.get(name, 0.0) for phase in mixture.phases]
        lower = " / ".join(f"{ratio:g}" for ratio in _affordable(made, ratios, drawn, allowed))
        problems.append(
            f"mixture.sources.{name}: {drawn * length:,} tokens are drawn, it holds "
            f"{have * length:,} ({drawn / have:.2f} epochs, {key} {cap:g}): short by "
            f"{(drawn - allowed) * length:,} tokens\n"
            f"  fix: raise {key} to {-(-100 * drawn // have) / 100:g}, or lower "
            f"its ratio to {lower}"
        )
    if problems:
        raise RecipeError("\n".join(problems))


def _affordable(
    made: MixturePlan, ratios: Sequence[float], drawn: int, allowed: int
) -> list[float]:
    """The ratios of a source, scaled until its rows suffice however the others are scaled."""
    points = [int(round(ratio * BASIS_POINTS) * allowed / drawn) for ratio in ratios]
    # A phase draws at most the next whole row; one that was cut off draws none.
    while sum(
        -(-point * phase.rows // BASIS_POINTS)
        for point, phase in zip(points, made.phases, strict=False)
    ) > allowed:  # fmt: skip
        points[points.index(max(points))] -= 1
    return [point / BASIS_POINTS for point in points]


def _weights(ratios: Mapping[str, float], names: Sequence[str]) -> tuple[int, ...]:
    points = [round(ratios.get(name, 0.0) * BASIS_POINTS) for name in names]
    divisor = gcd(*points)
    return tuple(point // divisor for point in points)


@lru_cache(maxsize=64)
def period_table(weights: tuple[int, ...]) -> tuple[int, ...]:
    """Order one period of sources so that every prefix is within one row of the weights.

    Tijdeman's rule: of the sources that have fallen behind, take the one with the nearest
    deadline. (The simpler "largest deficit first" strays by up to 1.2 rows.)
    """
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
    """A bijection of range(size), computed on demand: Feistel rounds with cycle walking."""
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
