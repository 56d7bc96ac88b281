"""The funnel: candidates pass through steps; each rejection is written and counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter
from rich.progress import Progress, TaskID

from tsqa.curated.files import DatasetWriter
from tsqa.filters.statistics import Measures
from tsqa.records.candidate import Candidate, Rejection, Verdict, read_candidate
from tsqa.records.candidate_file import UnreadableLine, as_json, parse_record
from tsqa.records.rows import RejectedRow
from tsqa.records.summaries import FunnelRow
from tsqa.tasks.oracle import Oracle
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


class Funnel:
    """Counts per step; `measures` counts over all of them."""

    def __init__(self, writer: DatasetWriter, bar: Progress, oracle: Oracle | None = None) -> None:
        self.measures = Measures(oracle)
        self._writer = writer
        self._bar = bar
        self._entered: dict[str, int] = {}
        self._rejected: dict[str, int] = {}

    def apply(
        self, step: Step, candidates: Iterable[Candidate], total: int | None = None
    ) -> Iterator[Candidate]:
        """Those that the step lets pass, as a stream."""
        self._entered[step.name] = self._rejected[step.name] = 0
        row = self._bar.add_task(step.name, total=total, note="")
        return self._pass(step, candidates, row)

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

    def _pass(
        self, step: Step, candidates: Iterable[Candidate], row: TaskID
    ) -> Iterator[Candidate]:
        for candidate, rejection in step.decide(candidates):
            self._entered[step.name] += 1
            if self._entered[step.name] % _SHOW_EVERY == 0:
                self._show(step, row)
            if rejection is None:
                yield candidate
            else:
                self._rejected[step.name] += 1
                self.measures.reject(candidate, step.name, rejection)
                self._writer.rejected(_rejected_row(candidate, step.name, rejection))
        self._show(step, row)
        self._bar.update(row, total=self._entered[step.name])

    def _show(self, step: Step, row: TaskID) -> None:
        note = f"{self._rejected[step.name]:,} rejected"
        dollars = step.asker.dollars if step.asker else 0.0
        self._bar.update(row, completed=self._entered[step.name], note=note, dollars=dollars)


class Survivors:
    """Candidates in a file, so that they can be read again, or wait for an engine to end."""

    def __init__(self, path: Path, candidates: Iterable[Candidate]) -> None:
        self.path = path
        self.count = 0
        with path.open("wb") as handle:
            for candidate in candidates:
                handle.write(_CANDIDATE.dump_json(candidate) + b"\n")
                self.count += 1

    def __iter__(self) -> Iterator[Candidate]:
        with self.path.open("rb") as handle:
            for line in handle:
                yield _CANDIDATE.validate_json(line)


def read_candidates(path: Path, shows_trace: bool = False) -> Iterator[Candidate]:
    """The candidates of a file; one for an unreadable line has that as its parse error."""
    with path.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            if line.strip():
                yield _read_line(line, number, shows_trace)


def _read_line(line: bytes, number: int, shows_trace: bool) -> Candidate:
    try:
        return read_candidate(parse_record(line), shows_trace)
    except ValueError as error:
        found = _read_object(line)
        return Candidate(
            id=f"line-{number}",
            task=_text_of(found, "task"),
            family=_text_of(found, "family"),
            capability=_text_of(found, "capability"),
            question="",
            parse_error="unreadable record",
            source=UnreadableLine(line.decode("utf-8", "replace").strip(), str(error)),
        )


def _read_object(line: bytes) -> dict[str, object]:
    """The JSON object of a line that is not a candidate; empty when it has none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text_of(found: dict[str, object], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""


def _rejected_row(candidate: Candidate, step: str, rejection: Rejection) -> RejectedRow:
    if isinstance(candidate.source, UnreadableLine):
        record = json.dumps(vars(candidate.source), ensure_ascii=False)
    else:
        record = json.dumps(as_json(candidate.record), ensure_ascii=False, sort_keys=True)
    return RejectedRow(
        id=candidate.id,
        task=candidate.task,
        family=candidate.family,
        capability=candidate.capability,
        kind=candidate.kind,
        question=candidate.question,
        answer=candidate.answer,
        step=step,
        reason=rejection.reason,
        score=rejection.score,
        match=rejection.match,
        record=record,
    )
