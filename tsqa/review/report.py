"""What the decisions say: of the accepted items, of every filter, of the reviewers.

Guarantees: each figure weights an item by what it stands for, has its interval, and is None where
nobody reviewed what it is about; decisions on other texts than the sample's are counted, not used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsqa.records.summaries import ReviewFigure
from tsqa.review.decisions import (
    ReviewDecision,
    ReviewVerdict,
    by_item,
    read_decisions,
    read_last,
    settle,
)
from tsqa.review.estimate import (
    Alpha,
    Drawn,
    Rate,
    estimate_rate,
    interval,
    krippendorff,
    predict_rate,
)
from tsqa.review.items import ACCEPTED, ReviewItem
from tsqa.review.sample import ReviewSample, Stratum, read_sample

COMPARING = frozenset({"guard", "copy", "meaning", "dedup", "decontamination"})
"""Steps that compare an item with others: what they miss, a reader of the item cannot see."""


@dataclass(frozen=True)
class Reviewed:
    """The items of a sample that somebody decided on, side by side."""

    sample: ReviewSample
    items: list[ReviewItem]
    outcomes: list[ReviewVerdict]
    drawn: Drawn

    @property
    def is_unfit(self) -> NDArray[np.bool_]:
        return np.array([not outcome.is_fit for outcome in self.outcomes], bool)

    def has_outcome(self, *names: str) -> NDArray[np.bool_]:
        return np.array([item.outcome in names for item in self.items], bool)

    def rate(self, hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> Rate:
        return estimate_rate(self.drawn, hits, among, self.sample.wanted.finite)


@dataclass(frozen=True)
class StratumRow:
    stratum: Stratum
    error: Rate
    """Share that is unfit."""


@dataclass(frozen=True)
class FilterRow:
    step: str
    rejected: int
    """That can be read."""
    precision: Rate
    """Of what it rejects, the share that is unfit."""
    recall: Rate | None
    """Of the unfit that reach it, the share that it rejects; None of one that compares."""


@dataclass(frozen=True, kw_only=True)
class Report:
    sample: ReviewSample
    items: int
    """Drawn."""
    reviewers: dict[str, int]
    """Name -> decisions."""
    stale: int
    """Decisions on items that the sample does not hold as they were."""
    alpha: Alpha
    error: Rate
    """Of the accepted items."""
    covered: float
    """Share of the accepted items whose stratum has a decision."""
    skipped: int
    """Accepted items that somebody skipped and nobody decided on."""
    remaining: Rate
    """Of the dataset without what was rejected and with what was edited; what was skipped counts as
    unfit, since doubtful items are skipped first."""
    dropped: int
    edited: int
    strata: list[StratumRow]
    filters: list[FilterRow]
    false_rejections: Rate
    """Of all that was rejected, the share that is fit."""
    lost: Rate
    """Of all that is fit, the share that was rejected."""
    reasons: dict[str, int]

    @property
    def reviewed(self) -> int:
        """Accepted items with a decision."""
        return self.error.reviewed

    def figures(self) -> Iterator[ReviewFigure]:
        """What else is known, in words."""
        accepted = [row for row in self.strata if row.stratum.outcome == ACCEPTED]
        named = [(f"unfit, {row.stratum.shown}", row.error) for row in accepted]
        named += [
            ("false rejections: fit, of what was rejected", self.false_rejections),
            ("rejected, of all that is fit", self.lost),
        ]
        for row in self.filters:
            named.append((f"precision of `{row.step}`", row.precision))
            if row.recall:
                named.append((f"recall of `{row.step}`", row.recall))
        for about, rate in named:
            if rate.value is not None and rate.low is not None and rate.high is not None:
                yield ReviewFigure(about, rate.value, rate.low, rate.high)


def read_reviewed(folder: Path) -> tuple[Reviewed, list[ReviewDecision], int]:
    """The reviewed items of a folder, all decisions, and how many items were drawn."""
    sample, items = read_sample(folder)
    decisions = read_decisions(folder)
    return select_reviewed(sample, items, decisions), decisions, len(items)


def select_reviewed(
    sample: ReviewSample, items: Sequence[ReviewItem], decisions: Sequence[ReviewDecision]
) -> Reviewed:
    """The items of a sample that have a decision."""
    found = by_item(decisions)
    decided = [item for item in items if (item.id, item.hash) in found]
    return Reviewed(
        sample,
        decided,
        [settle(found[item.id, item.hash]) for item in decided],
        Drawn(
            np.array([item.stratum for item in decided], np.int64),
            np.array([stratum.size for stratum in sample.strata], float),
        ),
    )


def make_report(folder: Path) -> Report:
    """The report of a folder of reviews."""
    reviewed, decisions, drawn = read_reviewed(folder)
    sample = reviewed.sample
    current = {(item.id, item.hash) for item in reviewed.items}
    counted = [d for d in decisions if (d.item, d.hash) in current]
    accepted = reviewed.has_outcome(ACCEPTED)
    rejected = ~accepted
    unfit = reviewed.is_unfit
    kept = np.array([outcome.is_kept for outcome in reviewed.outcomes], bool)
    skipped = _skipped(folder, reviewed)
    edits = np.array([outcome.edit is not None for outcome in reviewed.outcomes], bool)
    verdicts: dict[tuple[str, str], list[str]] = {}
    for decision in counted:
        fit = "fit" if decision.choice == "accept" else "unfit"
        verdicts.setdefault((decision.item, decision.hash), []).append(fit)
    dropped = int((accepted & ~kept).sum())
    return Report(
        sample=sample,
        items=drawn,
        reviewers=dict(sorted(Counter(d.reviewer for d in counted).items())),
        stale=len(decisions) - len(counted),
        alpha=krippendorff([*verdicts.values()], sample.seed),
        error=reviewed.rate(unfit, accepted),
        covered=_covered(reviewed),
        skipped=skipped,
        remaining=_remaining(reviewed, dropped, skipped),
        dropped=dropped,
        edited=int((accepted & edits).sum()),
        strata=_strata(reviewed),
        filters=_filters(reviewed),
        false_rejections=reviewed.rate(~unfit, rejected),
        lost=_if_both(rejected, reviewed.rate(rejected, ~unfit)),
        reasons=dict(Counter(r for o in reviewed.outcomes for r in o.reasons).most_common()),
    )


def reviews_missing(accepted: int, done: int, rate: float, most: float) -> int:
    """About how many more accepted items must be reviewed until the upper bound of the error rate
    of what remains is at most so much, if the rate stays as it is."""
    low, end = done, accepted
    while end - low > 1:
        middle = (low + end) // 2
        left = (accepted - middle) / (accepted - rate * middle)
        high = interval(rate, middle * (1 - middle / accepted))[1]  # as `predict_rate`
        low, end = (low, middle) if high * left <= most else (middle, end)
    return end - done


def _covered(reviewed: Reviewed) -> float:
    strata = reviewed.sample.strata
    has = reviewed.drawn.reviewed > 0
    found = sum(
        s.size for s, some in zip(strata, has, strict=True) if s.outcome == ACCEPTED and some
    )
    return found / reviewed.sample.accepted


def _skipped(folder: Path, reviewed: Reviewed) -> int:
    items = read_sample(folder)[1]
    skips = {(d.item, d.hash) for d in read_last(folder) if d.choice == "skip"}
    skips -= {(item.id, item.hash) for item in reviewed.items}
    return sum(item.outcome == ACCEPTED and (item.id, item.hash) in skips for item in items)


def _remaining(reviewed: Reviewed, dropped: int, skipped: int) -> Rate:
    """The error rate of what nobody looked at, spread over all that remains: what was decided is
    dropped or right, and what was skipped is taken to be unfit."""
    accepted = reviewed.has_outcome(ACCEPTED)
    count, total = int(accepted.sum()), reviewed.sample.accepted
    if not count or total == dropped:
        return Rate(None, None, None, count)
    if count == total:
        return Rate(0.0, 0.0, 0.0, count)
    found = predict_rate(reviewed.drawn, reviewed.is_unfit, accepted)
    unseen, left = total - count - skipped, total - dropped
    values = (found.value, found.low, found.high)
    value, low, high = (None if v is None else (v * unseen + skipped) / left for v in values)
    return Rate(value, low, high, count)


def _if_both(rejected: NDArray[np.bool_], rate: Rate) -> Rate:
    """A rate over accepted and rejected items, where some of each were reviewed."""
    return rate if rejected.any() and not rejected.all() else Rate(None, None, None, 0)


def _strata(reviewed: Reviewed) -> list[StratumRow]:
    return [
        StratumRow(stratum, reviewed.rate(reviewed.is_unfit, reviewed.drawn.stratum == place))
        for place, stratum in enumerate(reviewed.sample.strata)
    ]


def _filters(reviewed: Reviewed) -> list[FilterRow]:
    sizes: Counter[str] = Counter()
    for stratum in reviewed.sample.strata:
        sizes[stratum.outcome] += stratum.size
    steps = [step for step in reviewed.sample.steps if sizes[step]]
    rows = []
    for place, step in enumerate(steps):
        own = reviewed.has_outcome(step)
        recall = None
        if step not in COMPARING:
            later = [name for name in steps[place:] if name not in COMPARING]
            reached = reviewed.has_outcome(ACCEPTED, *later)
            recall = reviewed.rate(own, reviewed.is_unfit & reached)
            if not own.any() or not reviewed.has_outcome(ACCEPTED).any():
                recall = Rate(None, None, None, 0)
        precision = reviewed.rate(reviewed.is_unfit, own)
        rows.append(FilterRow(step, sizes[step], precision, recall))
    return rows
