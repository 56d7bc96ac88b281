"""The table of deltas: what compare writes to deltas.json, and every reader of it gets.

Guarantee: a record holds the keys of the file in their order, so reading and writing is exact.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from pydantic import FiniteFloat, JsonValue

DELTAS = "deltas.json"


@dataclass(frozen=True)
class Delta:
    """A model against its reference on one task, or on a macro average. Scores are shares."""

    task: str
    n: int
    reference: float
    score: float
    delta: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    p: float
    mde: float
    """Smallest true difference that this row would reveal with 80% power in its table, were it the
    only one of its comparison, beside the macro averages that it moves."""
    stderr: float
    seeds: int
    covers_seeds: bool
    """Whether interval and p-value cover the spread between training seeds."""
    p_mcnemar: float | None
    """Exact McNemar test: one seed, scores 0 or 1, no document groups."""
    method: str


@dataclass(frozen=True)
class Comparison:
    """Which two conditions are compared."""

    comparison: str
    """`<arm> - <against>`."""
    arm: str
    against: str


@dataclass(frozen=True)
class DeltaRow(Delta, Comparison):  # the fields of the last base come first
    """One row of the table; `p_holm` and `verdict` are corrected for all rows of the table."""

    p_holm: float
    verdict: str


@dataclass(frozen=True)
class TaskSetup:
    """How a task was scored; the same for both sides of a comparison."""

    metric: str
    version: JsonValue
    num_fewshot: JsonValue
    kind: str
    n: int


@dataclass(frozen=True)
class Gap:
    """A run without a result."""

    condition: str
    reason: str


@dataclass(frozen=True)
class FitPoint:
    """A score at a ratio of the mixture, with its interval or band."""

    ratio: float
    score: float
    low: float
    high: float


@dataclass(frozen=True)
class BestRatio:
    """The ratio at which the fitted curve is highest, with its interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Neighbour:
    """The best measured ratio against the one next to it."""

    best: float
    ratio: float
    delta: float
    distinguishable: bool


@dataclass(frozen=True)
class Fit:
    """Score against mixture ratio; a recommendation, or why there is none."""

    points: list[FitPoint]
    """As measured."""
    curve: list[FitPoint]
    """As fitted; empty with too few ratios."""
    form: str | None
    best: BestRatio | None
    neighbours: list[Neighbour]
    recommendation: str


@dataclass(frozen=True)
class FitAxis:
    """What was fitted: the key of the recipe that varies, and the row's task."""

    axis: str
    task: str


@dataclass(frozen=True)
class AxisFit(Fit, FitAxis):  # the fields of the last base come first
    """The fit of one axis of the ablation."""


@dataclass(frozen=True)
class Contamination:
    """What is known of a task's contamination; see eval/compare/contamination.py."""

    status: Literal["allowed_leak", "trained_on", "touched", "not_checked", "clean"]
    checked: list[str]
    """Sources of compared models and of those that they were made from, such as `base/docs`."""
    unchecked: list[str]
    """The same, of those in which nothing looked for the task's documents."""
    trained_on: dict[str, int]
    """Source -> documents of the task that it held when a model was trained on it."""
    documents: int | None
    """Documents that something held, with their copies."""
    n_clean: int | None
    score_clean: dict[str, float | None]
    """Condition -> score on the clean documents, a mean over training seeds."""
    weakly: list[str] = field(default_factory=list)
    """Of `checked`, those that only weaker rules than the defaults looked through
    (filter.decontaminate)."""

    @property
    def told(self) -> str:
        """The status and what it rests on: `touched (7 documents); not checked: base/docs`."""
        missing = f"not checked: {', '.join(self.unchecked)}" if self.unchecked else ""
        if self.status == "not_checked":
            return missing or "not checked"
        plural = "" if self.documents == 1 else "s"
        held = f" ({self.documents:,} document{plural})" if self.documents else ""
        where = f" in {', '.join(self.trained_on)}" if self.trained_on else ""
        status = self.status.replace("_", " ")
        rules = f"by weaker rules than the defaults: {', '.join(self.weakly)}"
        more = [*([rules] if self.weakly else []), *([missing] if missing else [])]
        return "; ".join([f"{status}{held}{where}", *more])


By = Literal["words", "meaning"]


@dataclass(frozen=True)
class NearRow(Comparison):
    """A comparison on the documents whose nearest training document is `distance`.

    It is outside the correction: an interval alone, and no verdict.
    """

    task: str
    """A task, or `macro`: every document of all tasks counts alike."""
    distance: Literal["far", "near", "very near"]
    n: int
    reference: float
    score: float
    delta: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    by: By = "words"
    """What tells which document is near."""


@dataclass(frozen=True)
class DeltaTable:
    """deltas.json."""

    control: str
    arms: list[str]
    """Conditions compared with the control."""
    has_base: bool
    comparisons: list[str]
    confidence: float
    bootstrap: int
    tasks: dict[str, TaskSetup]
    macros: dict[str, list[str]]
    seeds: dict[str, list[int]]
    """Condition -> training seeds; the base has none."""
    scores: dict[str, dict[str, float]]
    """Condition -> task or macro average -> score, a mean over training seeds."""
    scores_by_seed: dict[str, dict[str, dict[str, float]]]
    """The same per seed, without the base."""
    rows: list[DeltaRow]
    gaps: dict[str, Gap]
    """Run without a result -> why."""
    fit: AxisFit | None
    caveat: str
    """A line for each claim; so has the conclusion."""
    conclusion: str
    contamination: dict[str, Contamination]
    """By task."""
    split: list[DeltaRow] = field(default_factory=list)
    """Parts of the macro average by what was seeded from, then arms minus their placebo."""
    by_documents: bool = False
    """Whether macro averages weigh tasks by their documents."""
    nearness: list[NearRow] = field(default_factory=list)
    """Deltas by how near the nearest training document is to the evaluated one."""
    bits: list[DeltaRow] = field(default_factory=list)
    """Bits per byte of the right answers, in place of scores: fewer is `better`. A table of its
    own, corrected over its own rows."""
    right_choice: list[DeltaRow] = field(default_factory=list)
    """Probability of the right one among the choices, in place of scores: which a model that only
    learnt the form of answers does not change. Likewise a table of its own."""

    @property
    def no_bits(self) -> list[str]:
        """Tasks of which some model has no bits."""
        return [task for task in self.tasks if task not in {row.task for row in self.bits}]

    @property
    def no_choices(self) -> list[str]:
        """Tasks of which some model has no probability of the right choice, if any has one."""
        found = {row.task for row in self.right_choice}
        return [task for task in self.tasks if found and task not in found]

    @property
    def all_rows(self) -> list[DeltaRow]:
        """The table, then what it is split into."""
        return [*self.rows, *self.split]

    def to_json(self) -> dict[str, JsonValue]:
        """The content of the file."""
        return asdict(self)
