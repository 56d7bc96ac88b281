"""What the page says of the synthetic data: coverage, kinds of answers, cost, some items."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from eval.compare.disagreements import shorten
from tsqa.dataset.card import CostRow, cost_rows
from tsqa.dataset.files import CURATED, draw_rows, read_curated, read_rejected, read_rows
from tsqa.dataset.lineage import find_candidates
from tsqa.recipe import Recipe, needed
from tsqa.records.candidate_file import as_json
from tsqa.records.summaries import read_ledger
from tsqa.store.artifact import Artifact

SAMPLES = 100
"""Accepted items, and as many rejected ones, drawn at random."""
_LONGEST_TEXT = 4000
_ORIGIN = (
    *("seed_id", "seed_question", "dataset", "revision", "split", "licence"),
    *("prompts", "sampling", "teacher"),
)


@dataclass(frozen=True)
class CoverageRow:
    """Documents and seeds of a task, or of a capability, and what came of them."""

    task: str
    capability: str
    available: int
    planned: int
    chosen: int
    candidates: int
    curated: int


@dataclass(frozen=True)
class Kinds:
    """Curated items by capability and kind of answer; `most` is the largest count."""

    kinds: list[str]
    most: int
    rows: dict[str, dict[str, int]]


@dataclass(frozen=True)
class ItemSample:
    """One accepted or rejected item; `step` and the fields after it only of a rejected one."""

    id: str
    task: str
    question: str
    answer: str
    text: str
    accepted: bool
    lineage: dict[str, object]
    votes: list[str]
    agreement: float | None = None
    step: str = ""
    reason: str = ""
    score: float | None = None
    match: str = ""


def coverage_rows(seeds: Artifact | None, filtered: Artifact | None) -> Iterator[CoverageRow]:
    """Per task: what the budget planned, and what came of it."""
    by_task = filtered.summary["by_task"] if filtered else {}
    for planned in seeds.summary.get("coverage", []) if seeds else []:
        row = {"candidates": 0, "curated": 0, **planned, **by_task.get(planned["task"], {})}
        yield CoverageRow(**{field.name: row[field.name] for field in fields(CoverageRow)})


def sum_by_capability(rows: Sequence[CoverageRow]) -> Iterator[CoverageRow]:
    """One row per capability, without a task."""
    for name in sorted({row.capability for row in rows}):
        own = [row for row in rows if row.capability == name]
        yield CoverageRow(
            task="",
            capability=name,
            available=sum(row.available for row in own),
            planned=sum(row.planned for row in own),
            chosen=sum(row.chosen for row in own),
            candidates=sum(row.candidates for row in own),
            curated=sum(row.curated for row in own),
        )


def teacher_costs(
    recipe: Recipe,
    generate: Artifact | None,
    filtered: Artifact | None,
    tokenized: Mapping[str, Artifact],
) -> list[CostRow]:
    """What each teacher cost; accepted tokens are the student's."""
    if generate is None:
        return []
    summary = filtered.summary if filtered else {}
    tokens: int | None = None
    for artifact in tokenized.values():
        if filtered and artifact.manifest.inputs.get("filter") == filtered.identity:
            for name, source in needed(recipe.mixture, "mixture").sources.items():
                made = artifact.summary["sources"].get(name)
                if source.stage == "filter" and made and tokens is None:
                    tokens = int(made["tokens"])
    ledger = [*read_ledger(generate.summary), *read_ledger(summary)]
    return cost_rows(ledger, int(summary.get("curated", 0)), tokens)


@dataclass(frozen=True)
class _Kind:
    capability: str
    kind: str


def count_kinds(filtered: Artifact | None) -> Kinds:
    """Count the curated items by capability and kind of answer."""
    counts: Counter[tuple[str, str]] = Counter()
    if filtered is not None:
        rows = read_rows(filtered.path / CURATED, _Kind)
        counts.update((row.capability or "not stated", row.kind) for row in rows)
    kinds = sorted({kind for _, kind in counts})
    names = sorted({name for name, _ in counts})
    return Kinds(
        kinds=kinds,
        most=max(counts.values(), default=0),
        rows={name: {kind: counts[name, kind] for kind in kinds} for name in names},
    )


def draw_items(filtered: Artifact | None, generate: Artifact | None, seed: int) -> list[ItemSample]:
    """Some accepted and some rejected items, with their votes if they can be found."""
    if filtered is None:
        return []
    accepted = draw_rows(read_curated(filtered.path), SAMPLES, f"{seed}:accepted")
    rejected = draw_rows(read_rejected(filtered.path), SAMPLES, f"{seed}:rejected")
    found = find_candidates(generate, [row.id for row in accepted])
    candidates = {name: as_json(candidate) for name, candidate in found.items()}
    items = []
    for row in accepted:
        candidate = candidates.get(row.id)
        lineage = {
            **_origin(candidate or vars(row)),
            "scores": json.loads(row.scores),
            **json.loads(row.lineage),
        }
        items.append(
            ItemSample(
                id=row.id,
                task=row.task,
                question=row.question,
                answer=row.answer,
                agreement=row.agreement,
                text=shorten(row.text, _LONGEST_TEXT),
                accepted=True,
                lineage=lineage,
                votes=_votes(candidate),
            )
        )
    for loser in rejected:
        record = _parsed(loser.record)
        items.append(
            ItemSample(
                id=loser.id,
                task=loser.task,
                question=loser.question,
                answer=loser.answer,
                step=loser.step,
                reason=loser.reason,
                score=loser.score,
                match=loser.match,
                text=shorten(loser.question, _LONGEST_TEXT),
                accepted=False,
                lineage=_origin(record),
                votes=_votes(record),
            )
        )
    return items


def _origin(candidate: object) -> dict[str, object]:
    """Seed, dataset, prompts and teacher of a candidate, as far as it states them."""
    if not isinstance(candidate, dict):
        return {}
    return {key: candidate[key] for key in _ORIGIN if candidate.get(key)}


def _votes(candidate: object) -> list[str]:
    votes = candidate.get("votes") if isinstance(candidate, dict) else None
    if not isinstance(votes, list):
        return []
    found = [vote for vote in votes if isinstance(vote, dict)]
    return [str(vote.get("answer") or vote.get("error") or "no answer") for vote in found]


def _parsed(record: str) -> object:
    """A rejected record; None if it was never JSON."""
    try:
        found: object = json.loads(record)
        return found
    except ValueError:
        return None
