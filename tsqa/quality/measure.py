"""Values with their intervals: the statistics that measures share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tsqa.review.estimate import interval

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
_REPEATS = 1000
_BLOCKS = 20
_NO_WIDTH = 1e-9
LEAST = 20
"""Pairs or items below which nothing is measured."""


@dataclass(frozen=True)
class Spanned:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


def rng_of(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, *name.encode()])


def weighted_auc(
    scores: Floats, positive: NDArray[np.bool_], strata: NDArray[np.int64], weights: Floats
) -> Floats:
    """How often a positive scores above a negative of its stratum, ties by half; one for each row
    of weights. 0.5 where there is no such pair."""
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for stratum in np.unique(strata):
        chosen = np.flatnonzero(strata == stratum)
        order = chosen[np.argsort(scores[chosen], kind="stable")]
        starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan))
        above = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
        below = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
        before = np.cumsum(below, axis=1) - below
        won += (above * (before + below / 2)).sum(1)
        pairs += above.sum(1) * below.sum(1)
    return np.where(pairs > 0, won / np.maximum(pairs, 1e-12), 0.5)


def auc_of(
    scores: Floats,
    positive: NDArray[np.bool_],
    strata: NDArray[np.int64],
    groups: NDArray[np.int64],
    rng: np.random.Generator,
) -> Spanned:
    """The AUC, its interval by resampling groups; where none changes it, as one of 1 may be,
    Clopper and Pearson's with the smaller class as its number."""
    count = int(groups.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=_REPEATS).astype(float)
    value = weighted_auc(scores, positive, strata, np.ones((1, len(scores))))[0]
    low, high = np.quantile(weighted_auc(scores, positive, strata, drawn[:, groups]), _TAILS)
    if high - low < _NO_WIDTH:
        share = float(np.clip(value, 0, 1))
        low, high = interval(share, int(min(positive.sum(), (~positive).sum())))
    return Spanned(float(value), float(low), float(high))


_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


def jackknife(
    measure: Callable[[NDArray[np.int64]], Floats], count: int, rng: np.random.Generator
) -> list[Spanned]:
    """Values of a measure of rows, with intervals by leaving out one of 20 blocks at a time.

    Shao and Wu (1989): holds for statistics that are not means, such as shares of distinct words,
    which resampling with replacement biases, as it repeats rows.
    """
    blocks = min(_BLOCKS, count)
    rows = rng.permutation(count)
    whole = measure(np.arange(count))
    parts = [measure(np.sort(np.delete(rows, np.s_[i::blocks]))) for i in range(blocks)]
    spread = np.array(parts) - np.mean(parts, axis=0)
    error = np.sqrt((blocks - 1) / blocks * (spread**2).sum(0))
    half = float(stats.t.ppf(_TAILS[1], blocks - 1)) * error
    return [Spanned(float(v), float(v - h), float(v + h)) for v, h in zip(whole, half, strict=True)]


def widen_shares(spans: Sequence[Spanned], count: int) -> tuple[Spanned, Spanned, Spanned]:
    """Two shares of so many and their difference, as the jackknife has them, with width.

    Where no block changes a share, such as that of an opening that all texts have, the jackknife
    knows no doubt: then Clopper and Pearson's interval, and of the difference that of the two ends'
    squares (Zou and Donner 2008).
    """
    found = list(spans[:2])
    for place, one in enumerate(found):
        if one.high - one.low < _NO_WIDTH:
            low, high = interval(min(1.0, max(0.0, one.value)), count)
            found[place] = Spanned(one.value, min(low, one.value), max(high, one.value))
    ours, theirs = found
    gap = spans[2]
    if found != list(spans[:2]):
        below = math.hypot(ours.value - ours.low, theirs.high - theirs.value)
        above = math.hypot(ours.high - ours.value, theirs.value - theirs.low)
        gap = Spanned(gap.value, gap.value - below, gap.value + above)
    return ours, theirs, gap


def share_of_groups(
    flags: Sequence[bool], groups: Sequence[str], rng: np.random.Generator
) -> Spanned:
    """A share of items, its interval by resampling the groups they come in; where all groups have
    the same, Clopper and Pearson's with the groups as its number."""
    names, places = np.unique(np.array(groups), return_inverse=True)
    hits = np.bincount(places, np.array(flags, dtype=float), len(names))
    sizes = np.bincount(places, minlength=len(names)).astype(float)
    share = float(hits.sum() / sizes.sum())
    if not np.ptp(hits / sizes):
        low, high = interval(share, len(names))
        return Spanned(share, low, high)
    drawn = rng.integers(0, len(names), (_REPEATS, len(names)))
    low, high = np.quantile(hits[drawn].sum(1) / sizes[drawn].sum(1), _TAILS)
    return Spanned(share, float(low), float(high))


def paired_p(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> float:
    """p of pairs of flags that they are as often set on both sides (McNemar, exact)."""
    more, fewer = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return float(stats.binomtest(more, more + fewer).pvalue) if more + fewer else 1.0


def first_pair_p(ours: Sequence[bool], theirs: Sequence[bool], groups: Sequence[str]) -> float:
    """p of no difference, by the first item of each group: a seed's items are not independent."""
    _, first = np.unique(np.array(groups), return_index=True)
    return paired_p(np.array(ours)[first], np.array(theirs)[first])


def mean_of(values: Floats) -> Spanned:
    """A mean with Student's interval."""
    half = (
        float(stats.t.ppf(_TAILS[1], len(values) - 1)) * values.std(ddof=1) / math.sqrt(len(values))
    )
    middle = float(values.mean())
    return Spanned(middle, middle - float(half), middle + float(half))


def mean_share(values: Floats) -> Spanned:
    """A mean of values from 0 to 1, its interval within; where all are the same, so that they show
    no spread, Clopper and Pearson's."""
    if len(values) < 2 or not np.ptp(values):
        share = float(values.mean())
        return Spanned(share, *interval(share, len(values)))
    span = mean_of(values)
    return Spanned(span.value, max(0.0, span.low), min(1.0, span.high))


def compare_means(ours: Floats, theirs: Floats) -> tuple[float, bool]:
    """p of the paired differences (Student's), and whether it is below 5%."""
    differences = np.round(ours - theirs, 9)  # what rounding leaves of alike numbers is no spread
    if not differences.any():
        return 1.0, False
    if not np.ptp(differences):
        return 0.0, True
    p = float(stats.ttest_1samp(differences, 0.0).pvalue)
    return p, p < 1 - CONFIDENCE
