"""Rates with intervals from a stratified sample, and how far reviewers agree.

A rate is a ratio of two totals, each item weighted by what it stands for (size of its stratum over
those reviewed in it). Its variance is the linearised one of a stratified sample (Sarndal, Swensson
and Wretman 1992, section 5.6), its interval that of Korn and Graubard (1998, Survey Methodology 24,
193-201): Clopper-Pearson's with the effective sample size R(1-R)/var(R), corrected for few items.
It is never above Kish's (sum w)^2 / sum w^2 (finite: with each stratum's correction), nor so where
nothing varies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
_LARGEST_SAMPLE = 10**7
_REPEATS = 1000


@dataclass(frozen=True)
class Rate:
    """None where nothing was reviewed."""

    value: float | None
    low: float | None
    high: float | None
    reviewed: int
    """Items that it rests on."""


@dataclass(frozen=True)
class Drawn:
    """Reviewed items side by side: place of the stratum, and the size of every stratum."""

    stratum: NDArray[np.int64]
    sizes: NDArray[np.float64]

    @property
    def reviewed(self) -> NDArray[np.float64]:
        """Per stratum."""
        return np.bincount(self.stratum, minlength=len(self.sizes)).astype(float)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Of each item: how many of its stratum it stands for."""
        return self.sizes[self.stratum] / self.reviewed[self.stratum]


def estimate_rate(
    drawn: Drawn, hits: NDArray[np.bool_], among: NDArray[np.bool_], finite: bool = False
) -> Rate:
    """The share of hits among some items of the population, with its interval.

    `finite`: for the population itself, so that a stratum reviewed whole adds no doubt; without,
    for what the same process would make.
    """
    share = drawn.reviewed / drawn.sizes if finite else np.zeros(len(drawn.sizes))
    return _estimate(drawn, hits, among, 1 - share)


def predict_rate(drawn: Drawn, hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> Rate:
    """The same of the items that nobody reviewed, by those of their strata that were: how many of
    just these are hits is in doubt beside the rate itself (Cochran 1977, section 2.12)."""
    left = drawn.sizes - drawn.reviewed
    more = np.divide(drawn.reviewed, left, out=np.zeros(len(left)), where=left > 0)
    unseen, among = Drawn(drawn.stratum, left), among & (left > 0)[drawn.stratum]
    found = _estimate(unseen, hits, among, 1 + more)
    if not found.low:
        return found
    count = float((unseen.weights * among).sum())
    return replace(found, low=math.floor(found.low * count) / count)  # they are whole items


def _estimate(
    drawn: Drawn,
    hits: NDArray[np.bool_],
    among: NDArray[np.bool_],
    factor: NDArray[np.float64],
) -> Rate:
    """`factor`: what the variance of each stratum is multiplied by."""
    count = int(among.sum())
    if not count:
        return Rate(None, None, None, 0)
    weights = drawn.weights
    used = weights[among]
    total = float(used.sum())
    rate = float((weights * (hits & among)).sum() / total)
    if not (equal := float((used**2 * factor[drawn.stratum[among]]).sum())):
        return Rate(rate, rate, rate, count)
    variance = _variance(drawn, (hits & among) - rate * among, total, factor)
    # What the weights alone leave: few large strata with one item each say little of their spread.
    most = total**2 / equal
    if variance > 0:
        effective = min(rate * (1 - rate) / variance * _small(drawn, among), most)
    else:
        effective = min(total**2 / float((used**2).sum()), most)
    low, high = interval(rate, effective)
    return Rate(rate, low, high, count)


def _small(drawn: Drawn, among: NDArray[np.bool_]) -> float:
    """Korn and Graubard's correction where the variance itself rests on few items; strata with one
    are one together."""
    of_each = drawn.reviewed[np.unique(drawn.stratum[among])]
    items, groups = of_each.sum(), (of_each > 1).sum() + bool((of_each == 1).any())
    tail = (1 - CONFIDENCE) / 2
    return float((stats.t.ppf(tail, items - 1) / stats.t.ppf(tail, items - groups)) ** 2)


def _variance(
    drawn: Drawn, residuals: NDArray[np.float64], total: float, factor: NDArray[np.float64]
) -> float:
    """Of a ratio, by its residuals. A stratum with one item is centred at the mean of all, which is
    0 (`survey.lonely.psu="adjust"` of R's package survey)."""
    reviewed, sizes = drawn.reviewed, drawn.sizes
    sums = np.bincount(drawn.stratum, residuals, len(sizes))
    squares = np.bincount(drawn.stratum, residuals**2, len(sizes))
    many = reviewed > 1
    spread = np.where(reviewed == 1, squares, 0.0)
    means = sums[many] / reviewed[many]
    within = squares[many] - reviewed[many] * means**2
    spread[many] = np.maximum(within, 0) / (reviewed[many] - 1)
    used = reviewed > 0
    parts = sizes[used] ** 2 / reviewed[used] * spread[used] * factor[used]
    return float(parts.sum()) / total**2


def interval(rate: float, count: float) -> tuple[float, float]:
    """Clopper and Pearson's (1934) for a rate among so many, which need not be whole."""
    tail, hits = (1 - CONFIDENCE) / 2, rate * count
    low = float(stats.beta.ppf(tail, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def needed_for_width(width: float, rate: float, population: int | None = None) -> int:
    """The fewest items whose interval is no wider, if the rate is as assumed; with a population,
    for that itself (finite population correction, Cochran 1977, 4.5)."""

    def fits(count: int) -> bool:
        low, high = interval(rate, count)
        return high - low <= width

    count = _first(fits, 1)
    if population is not None:
        count = math.ceil(count / (1 + (count - 1) / population))
    return count


def needed_for_bound(rate: float, most: float, start: int) -> int | None:
    """The fewest items whose upper bound is at most so much, if the rate stays; None: none will."""
    if rate >= most:
        return None
    return _first(lambda count: interval(rate, count)[1] <= most, max(start, 1))


def _first(fits: Callable[[int], bool], start: int) -> int:
    """The first number that fits, where all after it do."""
    low, end = start - 1, start
    while not fits(end) and end < _LARGEST_SAMPLE:
        low, end = end, 2 * end
    while end - low > 1:
        middle = (low + end) // 2
        low, end = (low, middle) if fits(middle) else (middle, end)
    return end


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's alpha; None where no item has two reviewers, or nothing ever differs."""

    value: float | None
    low: float | None
    high: float | None
    items: int
    """With two reviewers or more."""


def krippendorff(verdicts: Sequence[Sequence[str]], seed: int = 0) -> Alpha:
    """Nominal alpha (Krippendorff 2011, "Computing Krippendorff's alpha-reliability") of the
    verdicts on each item, with the percentile interval of a bootstrap over items (Zapf et al. 2016,
    BMC Medical Research Methodology 16:93)."""
    units = [unit for unit in verdicts if len(unit) > 1]
    names = sorted({verdict for unit in units for verdict in unit})
    if not units:
        return Alpha(None, None, None, 0)
    counts = np.array([[unit.count(name) for name in names] for unit in units], float)
    sizes = counts.sum(1)
    apart = (sizes**2 - (counts**2).sum(1)) / (sizes - 1)
    value = _alpha(np.ones((1, len(units))), counts, sizes, apart)[0]
    if math.isnan(value):
        return Alpha(None, None, None, len(units))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), _REPEATS)
    values = _alpha(drawn.astype(float), counts, sizes, apart)
    values = values[~np.isnan(values)]  # where all that was drawn is the same
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Alpha(float(value), float(low), float(high), len(units))


def _alpha(
    drawn: NDArray[np.float64],
    counts: NDArray[np.float64],
    sizes: NDArray[np.float64],
    apart: NDArray[np.float64],
) -> NDArray[np.float64]:
    """One alpha per row of `drawn`, which says how often each item counts."""
    of_each, total = drawn @ counts, drawn @ sizes
    observed = drawn @ apart / total
    expected = (total**2 - (of_each**2).sum(1)) / (total * (total - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[np.float64] = 1 - observed / expected
    found[expected == 0] = np.nan
    return found
