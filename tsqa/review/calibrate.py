"""What a stricter or looser threshold would keep, and how wrong it would be, by the decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tsqa.review.estimate import Rate
from tsqa.review.items import ACCEPTED, ReviewItem
from tsqa.review.report import Reviewed

Measure = Literal["agreement", "judge"]
KEYS: dict[Measure, str] = {"agreement": "filter.agreement", "judge": "filter.judge.min_score"}
_BY_THRESHOLD = {"agreement": "no majority", "judge": "not "}
"""How the reasons begin that another threshold would undo."""


@dataclass(frozen=True)
class Point:
    threshold: float
    kept: float
    """As a share of what is accepted now; above 1 where rejects would come in."""
    error: Rate
    is_looser: bool
    """Whether it lets in what is rejected now, as if the later filters let all of it pass."""


@dataclass(frozen=True)
class ThresholdCurve:
    measure: Measure
    points: list[Point]
    line: str
    """Of the recipe, for the loosest threshold whose upper bound is at most what is wanted; empty
    where there is none."""


def calibrate(reviewed: Reviewed, wanted: float) -> list[ThresholdCurve]:
    """A curve for each of agreement and the judge, where items have one."""
    curves = []
    for measure in KEYS:
        points = _points(reviewed, measure)
        if points:
            curves.append(ThresholdCurve(measure, points, _line(measure, points, wanted)))
    return curves


def _points(reviewed: Reviewed, measure: Measure) -> list[Point]:
    values = np.array([_value(item, measure) for item in reviewed.items], float)
    accepted = reviewed.has_outcome(ACCEPTED)
    undone = np.array([_is_undone(item, measure) for item in reviewed.items], bool)
    able = (accepted | undone) & ~np.isnan(values)
    weights = reviewed.drawn.weights
    now = float((weights * (accepted & able)).sum())
    if not now:
        return []
    lowest = values[accepted & able].min()
    points = []
    for threshold in np.unique(values[able]):
        kept = able & (values >= threshold - 1e-9)
        looser = bool(threshold < lowest - 1e-9)
        if not looser:
            kept &= accepted  # rejects with such a value met another filter too
        share = float((weights * kept).sum()) / now
        points.append(
            Point(float(threshold), share, reviewed.rate(reviewed.is_unfit, kept), looser)
        )
    return points


def _value(item: ReviewItem, measure: Measure) -> float:
    found = item.agreement if measure == "agreement" else item.grade
    return float("nan") if found is None else found


def _is_undone(item: ReviewItem, measure: Measure) -> bool:
    return item.outcome == measure and item.reason.startswith(_BY_THRESHOLD[measure])


def _line(measure: Measure, points: list[Point], wanted: float) -> str:
    for point in points:
        if point.error.high is not None and point.error.high <= wanted:
            # Rounded down, since the share of a vote in seven is no short number.
            shown = int(point.threshold * 1000 + 1e-6) / 1000
            return f"{KEYS[measure]}: {shown:g}"
    return ""
