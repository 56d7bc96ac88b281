"""What the page says of the synthetic data: coverage, kinds of answers, cost, some items."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from eval.compare.disagreements import shorten
from tsqa.dataset.card import cost_rows
from tsqa.dataset.files import draw_rows, read_curated, read_rejected
from tsqa.dataset.lineage import find_lines
from tsqa.recipe import Recipe, needed
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
) -> Sequence[Mapping[str, object]]:
    """What each teacher took; accepted tokens are the student's if the filter counted none."""
    if generate is None:
        return []
    accepted = {"curated": 0, **(filtered.summary if filtered else {})}
    for artifact in tokenized.values():
        if filtered and artifact.manifest.inputs.get("filter") == filtered.fingerprint:
            for name, source in needed(recipe.mixture, "mixture").sources.items():
                if source.stage == "filter":
                    found = artifact.summary["sources"][name]["tokens"]
                    accepted.setdefault("curated_tokens", found)
    return cost_rows(generate.summary, accepted)


def count_kinds(filtered: Artifact | None) -> Kinds:
    """Count the curated items by capability and kind of answer."""
    counts: Counter[tuple[str, str]] = Counter()
    if filtered is not None:
        rows = read_curated(filtered.path, ["capability", "kind"])
        counts.update((row["capability"] or "not stated", row["kind"]) for row in rows)
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
    candidates = find_lines(generate, "candidates.jsonl", [row["id"] for row in accepted])
    items = []
    for row in accepted:
        candidate = candidates.get(row["id"])
        lineage = {
            **_origin(candidate or row),
            "scores": json.loads(row["scores"]),
            **json.loads(row["lineage"]),
        }
        items.append(
            ItemSample(
                **{key: row[key] for key in ("id", "task", "question", "answer", "agreement")},
                text=shorten(row["text"], _LONGEST_TEXT),
                accepted=True,
                lineage=lineage,
                votes=_votes(candidate),
            )
        )
    for row in rejected:
        record = _parsed(row["record"])
        shown = ("id", "task", "question", "answer", "step", "reason", "score", "match")
        items.append(
            ItemSample(
                **{key: row[key] for key in shown},
                text=shorten(row["question"], _LONGEST_TEXT),
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
