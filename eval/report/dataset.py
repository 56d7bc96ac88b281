"""What the page says of the synthetic data: coverage, kinds of answers, cost, some items."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from eval.compare.disagreements import shorten
from tsqa.curated.card import CostRow, cost_rows
from tsqa.curated.files import CURATED, draw_rows, read_curated, read_rejected, read_rows
from tsqa.curated.lineage import find_candidates
from tsqa.recipe import Recipe, needed
from tsqa.records.candidate_file import as_json
from tsqa.records.quality import QualityReport, shown_reference, shown_value
from tsqa.records.summaries import read_ledger
from tsqa.store.artifact import Artifact

SAMPLES = 100
"""Accepted items, and as many rejected ones, drawn at random."""
_LONGEST_TEXT = 4000
_HASH = re.compile(r"[0-9a-f]{40,64}")
_ORIGIN = (
    *("seed_id", "seed_question", "dataset", "revision", "split", "licence"),
    *("prompts", "sampling", "teacher", "solvers"),
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
class Branch:
    """One line of an item's lineage, and what stands below it."""

    name: str
    value: str = ""
    branches: Sequence[Branch] = ()


@dataclass(frozen=True)
class ItemSample:
    """One accepted or rejected item; `step` and the fields after it only of a rejected one."""

    id: str
    task: str
    question: str
    answer: str
    text: str
    accepted: bool
    lineage: list[Branch]
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


@dataclass(frozen=True)
class AuditRow:
    """A measure that an audit could make, in words."""

    dimension: str
    name: str
    value: str
    reference: str
    p: float | None
    apart: bool
    limits: str


def audit_rows(report: QualityReport) -> list[AuditRow]:
    """Of what was measured: why something was not may name a folder of this machine."""
    return [
        AuditRow(
            *(each.dimension, each.name, shown_value(each), shown_reference(each)),
            *(each.p, bool(each.apart), each.limits),
        )
        for each in report.measures
        if each.value is not None
    ]


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
                question=row.question or row.answer,  # a rephrasing has none
                answer=row.answer,
                agreement=row.agreement,
                text=shorten(row.text, _LONGEST_TEXT),
                accepted=True,
                lineage=lineage_tree(lineage),
                votes=_votes(candidate),
            )
        )
    for loser in rejected:
        record = _parsed(loser.record)
        items.append(
            ItemSample(
                id=loser.id,
                task=loser.task,
                question=loser.question or loser.answer,
                answer=loser.answer,
                step=loser.step,
                reason=loser.reason,
                score=loser.score,
                match=loser.match,
                text=shorten(loser.question or loser.answer, _LONGEST_TEXT),
                accepted=False,
                lineage=lineage_tree(_origin(record)),
                votes=_votes(record),
            )
        )
    return items


def lineage_tree(lineage: Mapping[str, object]) -> list[Branch]:
    """Where an item comes from: seed and its dataset, question, answers, teacher, all the rest."""
    rest = dict(lineage)

    def take(**names: str) -> list[Branch]:
        return [_branch(name, rest.pop(key)) for key, name in names.items() if key in rest]

    by_role = {key: rest.pop(key) for key in ("prompts", "sampling") if _is_tree(rest.get(key))}
    roles = {role: None for tree in by_role.values() if isinstance(tree, dict) for role in tree}
    asked = {
        role: [
            _branch(key.removesuffix("s"), tree[role])
            for key, tree in by_role.items()
            if isinstance(tree, dict) and role in tree
        ]
        for role in roles
    }
    origin = take(revision="revision", split="split", licence="licence")
    dataset = [replace(found, branches=origin) for found in take(dataset="dataset")]
    seed = take(seed_question="question", seed_hash="hash", seed_ids="seeds shown to the teacher")
    found = [replace(each, branches=[*seed, *dataset]) for each in take(seed_id="seed")]
    missing = [] if found else [*seed, *(dataset or origin)]
    answers = [*asked.pop("answer", []), *take(votes="votes", winning_vote="chosen vote")]
    teacher = take(teacher="teacher", usage="tokens used", form="form")
    tree = [
        *found,
        *missing,
        Branch("question", branches=asked.pop("question", [])),
        Branch("answers", branches=answers),
        *(Branch(str(role), branches=branches) for role, branches in asked.items()),
        *teacher,
        *(_branch(key, value) for key, value in rest.items()),
    ]
    return [branch for branch in tree if branch.value or branch.branches]


def _is_tree(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, dict) for each in value.values())


def _branch(name: str, value: object) -> Branch:
    """Plain JSON as a branch: a flat record or list is one line."""
    name = str(name).replace("_", " ")
    if isinstance(value, dict):
        if any(isinstance(each, (dict, list)) for each in value.values()):
            return Branch(name, branches=[_branch(key, each) for key, each in value.items()])
        pairs = (f"{str(key).replace('_', ' ')} {_short(each)}" for key, each in value.items())
        return Branch(name, ", ".join(pairs))
    if isinstance(value, list):
        if any(isinstance(each, (dict, list)) for each in value):
            branches = [_branch(str(number), each) for number, each in enumerate(value, 1)]
            return Branch(name, branches=branches)
        return Branch(name, ", ".join(map(_short, value)))
    return Branch(name, _short(value))


def _short(value: object) -> str:
    """A hash by its first digits, as it is searched for."""
    text = str(value)
    return text[:16] if _HASH.fullmatch(text) else text


def _origin(candidate: object) -> dict[str, object]:
    """Seed, dataset, prompts and teacher of a candidate, as far as it states them."""
    if not isinstance(candidate, dict):
        return {}
    return {key: candidate[key] for key in _ORIGIN if candidate.get(key)}


def _votes(candidate: object) -> list[str]:
    votes = candidate.get("votes") if isinstance(candidate, dict) else None
    if not isinstance(candidate, dict) or not isinstance(votes, list):
        return []
    found = [vote for vote in votes if isinstance(vote, dict)]
    said = [str(vote.get("answer") or vote.get("error") or "no answer") for vote in found]
    if not candidate.get("solvers"):
        return said
    return [f"{text} ({vote.get('teacher')})" for text, vote in zip(said, found, strict=True)]


def _parsed(record: str) -> object:
    """A rejected record; None if it was never JSON."""
    try:
        found: object = json.loads(record)
        return found
    except ValueError:
        return None
