"""The funnel: candidates run through steps, losers go to the rejected, everything is counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress, TaskID

from tsqa.dataset.files import DatasetWriter
from tsqa.filters.statistics import Measures
from tsqa.records.candidate import Candidate, Rejection, Verdict, read_candidate
from tsqa.tasks.oracle import Oracle

_SHOW_EVERY = 64


@dataclass(frozen=True)
class Step:
    name: str
    decide: Callable[[Iterable[Candidate]], Iterator[Verdict]]
    """One verdict per candidate, in order."""


def check_each(name: str, check: Callable[[Candidate], Rejection | None]) -> Step:
    """A step that looks at one candidate at a time."""
    return Step(name, lambda candidates: ((each, check(each)) for each in candidates))


class Funnel:
    """Each step has its own counter; `measures` holds what the summary says of the whole."""

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

    def rows(self) -> list[dict[str, Any]]:
        """What entered, left and was rejected, per step in order."""
        return [
            {
                "step": name,
                "entered": entered,
                "left": entered - self._rejected[name],
                "rejected": self._rejected[name],
            }
            for name, entered in self._entered.items()
        ]

    def _pass(
        self, step: Step, candidates: Iterable[Candidate], row: TaskID
    ) -> Iterator[Candidate]:
        for candidate, rejection in step.decide(candidates):
            self._entered[step.name] += 1
            if self._entered[step.name] % _SHOW_EVERY == 0:
                self._show(step.name, row)
            if rejection is None:
                yield candidate
            else:
                self._rejected[step.name] += 1
                self.measures.reject(candidate, step.name, rejection)
                self._writer.rejected(_rejected_row(candidate, step.name, rejection))
        self._show(step.name, row)
        self._bar.update(row, total=self._entered[step.name])

    def _show(self, name: str, row: TaskID) -> None:
        note = f"{self._rejected[name]:,} rejected"
        self._bar.update(row, completed=self._entered[name], note=note)


class Survivors:
    """Candidates in a file, so that they can be read again, or wait for an engine to end."""

    def __init__(self, path: Path, candidates: Iterable[Candidate]) -> None:
        self.path = path
        self.count = 0
        with path.open("w", encoding="ascii") as handle:
            for candidate in candidates:
                handle.write(json.dumps(vars(candidate)) + "\n")
                self.count += 1

    def __iter__(self) -> Iterator[Candidate]:
        with self.path.open(encoding="ascii") as handle:
            for line in handle:
                yield Candidate(**json.loads(line))


def read_candidates(path: Path) -> Iterator[Candidate]:
    """The candidates of a file; a line that is none comes with that as its parse error."""
    with path.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            if line.strip():
                yield _read_line(line, number)


def _read_line(line: bytes, number: int) -> Candidate:
    record: Any = None
    try:
        record = json.loads(line)
        return read_candidate(record)
    except (ValueError, RecursionError) as error:
        given = record if isinstance(record, dict) else {}
        known = {
            key: given[key]
            for key in ("task", "family", "capability")
            if isinstance(given.get(key), str)
        }
        text = line.decode("utf-8", "replace").strip()
        return Candidate(
            id=f"line-{number}",
            **{"task": "", **known},
            question="",
            parse_error="unreadable record",
            record={"line": text, "error": str(error)},
        )


def _rejected_row(candidate: Candidate, step: str, rejection: Rejection) -> dict[str, Any]:
    return {
        **{
            key: getattr(candidate, key)
            for key in ("id", "task", "family", "capability", "kind", "question", "answer")
        },
        "step": step,
        **asdict(rejection),
        "record": json.dumps(candidate.record, ensure_ascii=False),
    }
