"""What the manifests of the stages generate and filter state in their `summary`, and all stages of
what `seeds.allow_leaks` let in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict


class AllowedLeak(TypedDict):
    """A source of seeds that shares documents with evaluated splits, and was allowed to."""

    task: str
    reason: str
    evaluated: NotRequired[list[str]]
    """The tasks whose documents it holds, as far as they were compared."""


def merge_leaks(summaries: Iterable[Mapping[str, Any]]) -> list[AllowedLeak]:
    """What these stages say was allowed, each once; a source may have several reasons."""
    found: dict[tuple[str, str], AllowedLeak] = {}
    for summary in summaries:
        for leak in summary.get("allowed_leaks", []):
            task, reason = leak["task"], leak["reason"]
            known = found.setdefault((task, reason), {"task": task, "reason": reason})
            tasks = {*known.get("evaluated", []), *leak.get("evaluated", [])}
            if tasks:
                known["evaluated"] = sorted(tasks)
    return [found[key] for key in sorted(found)]


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """What a teacher was asked, and what it cost."""

    teacher: str
    """Its role: teacher, cascade, judge or weak."""
    model: str
    requests: int
    prompt_tokens: int
    output_tokens: int
    engine_seconds: float
    dollars: float
    """Without those of reused requests."""
    reused: int = 0
    """Requests that another artifact had asked and paid for."""
    unanswered: dict[str, int] = field(default_factory=dict)
    """Reason -> requests that ended without an answer."""
    served: dict[str, int] = field(default_factory=dict)
    """Another model that the endpoint said it is -> its answers."""


def read_ledger(summary: Mapping[str, Any]) -> list[LedgerRow]:
    """The ledger of a stage's summary; empty where the stage asked no model."""
    return [LedgerRow(**row) for row in summary.get("ledger", [])]


@dataclass(frozen=True, kw_only=True)
class GenerateSummary:
    seeds: int
    candidates: int
    unparsable_questions: int
    dropped_explanations: int
    same_votes: int
    """Questions whose votes are long, and word for word the same."""
    prompt_tokens: int
    output_tokens: int
    engine_seconds: float
    dollars: float
    unanswered: int
    ledger: list[LedgerRow]
    cut_thoughts: int | None = None
    """Replies that were cut off while the model thought; None: none."""


@dataclass(frozen=True, kw_only=True)
class FunnelRow:
    """What entered a filter step, and what became of it."""

    step: str
    entered: int
    left: int
    rejected: int


@dataclass(frozen=True)
class AttributeRow:
    """What became of the questions for which a value of an attribute was drawn."""

    name: str
    value: str
    candidates: int
    curated: int


@dataclass(frozen=True, kw_only=True)
class SemanticTask:
    """How the meaning of candidates is compared with that of a task's documents."""

    task: str
    documents: int
    set_on: str
    """What the thresholds were measured on: training documents, evaluated documents, or nothing."""
    compared: int
    """How many of these."""
    question: float | None
    """Cosine similarity above which a question is an evaluated one; None: the rule cannot tell."""
    item: float | None
    """The same of question, options and passage together."""


LeakVerdict = Literal["same", "other", "unread"]
"""Whether an item asks what an evaluated document does, as a judge says; or its reply does not."""


@dataclass(frozen=True, kw_only=True)
class FilterCounts:
    """Counts and distributions of a filter run. Histograms: the curated, ten bins from 0 to 1."""

    candidates: int
    curated: int
    rejected: int
    by_task: dict[str, dict[str, int]]
    by_capability: dict[str, dict[str, int]]
    rejected_by_reason: dict[str, int]
    """`step: reason` -> candidates, the most frequent first."""
    decontamination_by_task: dict[str, dict[str, int]]
    truth_by_task: dict[str, dict[str, int]]
    """Toy tasks only, whose right answers are known."""
    agreement_histogram: list[int]
    distance_to_seed: list[int]
    distinct_n: dict[str, float]
    near_duplicate_rate: float
    """Share of the candidates in the step dedup that repeat another in other words."""
    by_attribute: list[AttributeRow] | None = None
    """With `generate.attributes` only."""
    by_difficulty: dict[str, int] | None = None
    """Label -> curated items; with `filter.difficulty` only."""


@dataclass(frozen=True)
class ReviewFigure:
    """A rate that a review found, with its 95% interval."""

    about: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ReviewSummary:
    """What people found in a sample, and what became of it. Rates are None where nobody looked."""

    reviewers: int
    reviewed: int
    """Accepted items of the sample with a decision."""
    accepted: int
    """Items without the review."""
    dropped: int
    edited: int
    stale: int
    """Reviewed items that are here with another text; those decisions are not used."""
    is_of_this: bool
    """Whether the sample was drawn from this very dataset; if not, the rates are of another."""
    covered: float
    """Share of the accepted items whose stratum has a decision."""
    error: float | None
    """Share of the accepted items that is unfit as it was."""
    error_low: float | None
    error_high: float | None
    remaining: float | None
    """The same without what was dropped and edited."""
    remaining_high: float | None
    alpha: float | None
    """Krippendorff's, between reviewers."""
    skipped: int = 0
    """Accepted items that were only skipped: they count as unfit in what remains."""
    alpha_low: float | None = None
    alpha_high: float | None = None
    figures: list[ReviewFigure] = field(default_factory=list)
    """Of the strata of accepted items, of what was rejected, and of each filter."""


@dataclass(frozen=True, kw_only=True)
class FilterSummary(FilterCounts):
    funnel: list[FunnelRow]
    ledger: list[LedgerRow]
    unanswered: int
    planted_leak_recall: Mapping[str, float]
    """Kind of planted leak -> share that decontamination found."""
    semantic_leaks: list[SemanticTask] | None = None
    """Where a recipe names an embedding model only."""
    judged_leaks: dict[LeakVerdict, int] | None = None
    """Verdict -> pairs of an item and an evaluated document; with a judge of leaks only."""
    embedding_spread: float | None = None
    """Mean distance between two curated questions; with `filter.dedup.semantic` only."""
    traces: int | None = None
    """Curated items with thoughts; where a rendering shows them only."""
    review: ReviewSummary | None = None
    """With decisions of reviewers only."""
