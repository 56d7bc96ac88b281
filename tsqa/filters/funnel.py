"""The funnel: candidates pass through steps; each rejection is written and counted.

The funnel of a chunk of candidates, filled in any process, is added to that of all: in the order
of the chunks both count and write the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import TypeAdapter
from rich.progress import Progress, TaskID

from tsqa.curated.candidate_rows import rejected_row
from tsqa.curated.files import DatasetWriter, PackedRows, pack_rows
from tsqa.filters.statistics import Measures
from tsqa.records.candidate import Candidate, Rejection, Verdict
from tsqa.records.rows import CuratedRow, RejectedRow
from tsqa.records.summaries import FunnelRow
from tsqa.tasks.oracle import Oracle

if TYPE_CHECKING:
    from tsqa.teachers.client import Asker

_SHOW_EVERY = 64
_CANDIDATE: TypeAdapter[Candidate] = TypeAdapter(Candidate)


@dataclass(frozen=True)
class Step:
    name: str
    decide: Callable[[Iterable[Candidate]], Iterator[Verdict]]
    """One verdict per candidate, in order."""
    asker: Asker | None = None
    """The model that it asks."""


def check_each(name: str, check: Callable[[Candidate], Rejection | None]) -> Step:
    """A step that looks at one candidate at a time."""
    return Step(name, lambda candidates: ((each, check(each)) for each in candidates))


@dataclass(frozen=True)
class ChunkOutcome:
    """What became of a chunk of candidates."""

    counts: list[FunnelRow]
    measures: Measures
    rejected: PackedRows
    curated: PackedRows
    survivors: list[bytes]
    """A line of `Survivors` each; none where they are curated."""


class Funnel:
    """Counts per step; `measures` counts over all of them."""

    def __init__(self, reject: Callable[[RejectedRow], None], oracle: Oracle | None = None) -> None:
        self.measures = Measures(oracle)
        self._reject = reject
        self._entered: dict[str, int] = {}
        self._rejected: dict[str, int] = {}

    def apply(self, step: Step, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        """Those that the step lets pass, as a stream."""
        self._entered[step.name] = self._rejected[step.name] = 0
        return self._pass(step, candidates)

    def entered(self, name: str) -> int:
        return self._entered[name]

    def rows(self) -> list[FunnelRow]:
        """The steps in order."""
        return [
            FunnelRow(
                step=name,
                entered=entered,
                left=entered - self._rejected[name],
                rejected=self._rejected[name],
            )
            for name, entered in self._entered.items()
        ]

    def _pass(self, step: Step, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        for candidate, rejection in step.decide(candidates):
            self._entered[step.name] += 1
            if rejection is None:
                yield candidate
            else:
                self._rejected[step.name] += 1
                self.measures.reject(candidate, step.name, rejection)
                self._reject(rejected_row(candidate, step.name, rejection))


class ChunkFunnel(Funnel):
    """That of a chunk, which keeps its rows."""

    def __init__(self, oracle: Oracle | None = None) -> None:
        self._rows: list[RejectedRow] = []
        super().__init__(self._rows.append, oracle)

    def outcome(
        self, survivors: Iterable[Candidate], curated: Iterable[CuratedRow] = ()
    ) -> ChunkOutcome:
        """What became of the chunk, once all of it has passed."""
        lines, kept = [*map(as_line, survivors)], [*curated]
        return ChunkOutcome(
            self.rows(),
            self.measures,
            pack_rows(self._rows, RejectedRow),
            pack_rows(kept, CuratedRow),
            lines,
        )


class ShownFunnel(Funnel):
    """That of all candidates, which are written as they pass, with a bar for each step."""

    def __init__(self, writer: DatasetWriter, bar: Progress) -> None:
        super().__init__(writer.rejected)
        self._writer = writer
        self._bar = bar
        self._bars: dict[str, TaskID] = {}

    def apply(
        self, step: Step, candidates: Iterable[Candidate], total: int | None = None
    ) -> Iterator[Candidate]:
        self._begin(step.name, total)
        return self._show_each(step, super().apply(step, candidates))

    def add(self, part: ChunkOutcome, total: int | None = None) -> None:
        """Count and write what became of the next chunk; `total`: candidates of all chunks."""
        self.measures.add(part.measures)
        for row in part.counts:
            if row.step not in self._bars:
                self._begin(row.step, total)
                self._entered[row.step] = self._rejected[row.step] = 0
            total = None
            self._entered[row.step] += row.entered
            self._rejected[row.step] += row.rejected
            self._show(row.step)
        self._writer.add_packed(part.curated, part.rejected)

    def end(self, *names: str) -> None:
        """Fill the bars of steps that all candidates have passed; without a name all bars."""
        for name in names or self._bars:
            self._bar.update(self._bars[name], total=self._entered[name])

    def _begin(self, name: str, total: int | None) -> None:
        self._bars[name] = self._bar.add_task(name, total=total, note="")

    def _show_each(self, step: Step, passing: Iterable[Candidate]) -> Iterator[Candidate]:
        for number, candidate in enumerate(passing, 1):
            if number % _SHOW_EVERY == 0:
                self._show(step.name, step.asker)
            yield candidate
        self._show(step.name, step.asker)
        self.end(step.name)

    def _show(self, name: str, asker: Asker | None = None) -> None:
        note = f"{self._rejected[name]:,} rejected"
        dollars = asker.dollars if asker else 0.0
        self._bar.update(
            self._bars[name], completed=self._entered[name], note=note, dollars=dollars
        )


class Survivors:
    """Candidates in a file, so that they can be read again, or wait for an engine to end."""

    def __init__(self, path: Path, lines: Iterable[bytes]) -> None:
        self.path = path
        self.count = 0
        with path.open("wb") as handle:
            for line in lines:
                handle.write(line)
                self.count += 1

    @classmethod
    def of(cls, path: Path, candidates: Iterable[Candidate]) -> Self:
        return cls(path, map(as_line, candidates))

    def __iter__(self) -> Iterator[Candidate]:
        return map(read_line, self.lines())

    def lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as handle:
            yield from handle


def as_line(candidate: Candidate) -> bytes:
    return _CANDIDATE.dump_json(candidate) + b"\n"


def read_line(line: bytes) -> Candidate:
    """The candidate that `as_line` wrote."""
    return _CANDIDATE.validate_json(line)
