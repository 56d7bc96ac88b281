"""Statistics of paired differences: intervals, p-values, the verdict, and what could be found.

Guarantees: a verdict other than "no detectable change" needs an interval that excludes 0 and a
Holm-corrected p-value below 1 - confidence; "better" and "worse" need an interval that covers the
spread between training seeds too; no Monte Carlo p-value and no standard error is 0, however
little varied in the sample.

Two imaginary documents, one for and one against, join the resampling (after Agresti and Min,
Simple improved confidence intervals for comparing matched proportions (2005)): the plain bootstrap
of 50 documents of which three changed covers a true effect in 85% of the cases, this one in 94% or
more (tests/benchmarks/coverage.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from eval.deltas import Delta
from eval.statistics import crossed
from eval.statistics.crossed import Floats
from tsqa import names

MACRO = "macro"
PARTS = SEEDED, SAME_CAPABILITY, OTHER_CAPABILITIES, OTHER_FAMILIES, UNKNOWN_FAMILY = names.PARTS
"""Of a macro average, by what was seeded from; no task or macro can have such a name."""
VERDICTS = BETTER, WORSE, DIFFERS, UNCHANGED = (
    "better",
    "worse",
    "differs in this run",
    "no detectable change",
)
MACRO_SHARE = 0.8
"""Of the chance of a false finding in a table, what its macro rows have (eval/README.md)."""
_CELLS_PER_CHUNK = 4_000_000


def group_sums(differences: Floats, groups: Sequence[str]) -> Floats:
    """Sum the last axis (documents) over document groups; groups in sorted order."""
    _, index = np.unique(np.array(groups), return_inverse=True)
    sums = np.zeros((*differences.shape[:-1], int(index.max()) + 1))
    for column, group in enumerate(index):
        sums[..., group] += differences[..., column]
    return sums


def group_units(differences: Floats, groups: Sequence[str]) -> Floats:
    """One value per group whose plain mean is the mean over documents: its linearised share.

    Linearisation of the ratio sum / count: Cochran, Sampling Techniques (1977), section 9A.2.
    Groups of one size give the group means.
    """
    mean = differences.mean(axis=-1, keepdims=True)
    residuals = group_sums(differences - mean, groups)
    units: Floats = mean + residuals * residuals.shape[-1] / differences.shape[-1]
    return units


def bootstrap_means(values: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Means of `count` resamples with replacement: as scipy.stats.bootstrap of the mean draws.

    Drawing n values is drawing from the multinomial over the distinct ones, which for 0/1
    scores has three cells however many documents there are. Percentile interval: Efron and
    Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    distinct, counts = np.unique(values, return_counts=True)
    n = len(values)
    means = [
        rng.multinomial(n, counts / n, size=size) @ distinct / n
        for size in _chunks(count, len(distinct))
    ]
    return np.concatenate(means)


def with_imaginary(values: Floats, at_least: float = 0.0) -> Floats:
    """The values and one imaginary document each way: no sample is certain that nothing varies.

    It is as large as the largest value, and `at_least` so large.
    """
    largest = max(float(np.abs(values).max()) or 1.0, at_least)
    return np.append(values, [largest, -largest])


def sign_flip_means(differences: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Means after flipping each value's sign at random: the null distribution of the delta.

    If the two models are alike, a document's difference is as likely as its negative (Fisher,
    The Design of Experiments (1935), section 21). For 0/1 scores this is McNemar's exact test.
    """
    magnitudes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    n = len(differences)
    means = [
        (2 * rng.binomial(counts, 0.5, size=(size, len(counts))) - counts) @ magnitudes / n
        for size in _chunks(count, len(counts))
    ]
    return np.concatenate(means)


def p_value(delta: float, null: Floats, squares: float = 0.0) -> float:
    """Two-sided Monte Carlo p-value (1 + b) / (1 + m), which is never too small.

    Phipson and Smyth, Permutation p-values should never be zero (2010). Where no flip is as
    extreme, a bound may say more than m flips can: `squares` is the sum of the squared magnitudes
    (Hoeffding, Probability inequalities for sums of bounded random variables (1963)).
    """
    as_extreme = np.count_nonzero(np.abs(null) >= abs(delta) - 1e-12)
    counted = float((1 + as_extreme) / (1 + len(null)))
    if as_extreme or squares <= 0:
        return counted
    return min(counted, max(crossed.SMALLEST_P, 2 * math.exp(-(delta**2) / 2 / squares)))


def mcnemar(differences: Floats) -> float | None:
    """Exact two-sided McNemar test over the documents that changed; None unless all are -1, 0, 1.

    McNemar, Note on the sampling error of the difference between correlated proportions (1947).
    """
    gained, lost = int(np.sum(differences == 1)), int(np.sum(differences == -1))
    if gained + lost + int(np.sum(differences == 0)) != differences.size:
        return None
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def standard_error(units: Floats) -> float:
    """Standard error of the mean difference of independent units.

    Where no difference varies the sample says 0, which is false certainty: a share of up to 3/n
    of the documents may still differ (Hanley and Lippman-Hand, If nothing goes wrong, is
    everything all right? (1983)), so the variance of scores in [0, 1] is taken as 3/n.
    """
    n = len(units)
    variance = float(np.var(units, ddof=1)) if n > 1 else 0.0
    return math.sqrt((variance if variance > 0 else min(1.0, 3 / n)) / n)


@dataclass(frozen=True)
class Shares:
    """How the chance of a false finding is shared out over the rows of a table."""

    own: Floats
    """Of each row; a larger one asks for less evidence."""
    passed: Mapping[int, Floats]
    """Row -> what it adds to each row's share once it is found."""

    @classmethod
    def fixed(cls, weights: Sequence[float]) -> Shares:
        """No row passes on its share."""
        return cls(np.array(weights, dtype=np.float64), {})

    def at(self, rows: Sequence[int]) -> Shares:
        """Those of the same rows in another order."""
        places = {row: place for place, row in enumerate(rows)}
        order = list(rows)
        passed = {places[row]: added[order] for row, added in self.passed.items()}
        return Shares(self.own[order], passed)

    def after(self, found: NDArray[np.bool_]) -> Floats:
        """The shares where these rows are found."""
        added = (one for row, one in self.passed.items() if found[row])
        return sum(added, start=self.own)


def holm(p_values: Sequence[float], shares: Shares | None = None) -> list[float]:
    """Step-down adjusted p-values, in their order.

    Holm, A simple sequentially rejective multiple test procedure (1979), also for weights, and for
    those that are passed on (Bretz et al., A graphical approach to sequentially rejective multiple
    test procedures (2009)). Whatever the dependence of the rows, the chance of any false finding
    stays below alpha: a row's share of what is left only grows as others are found.
    """
    p, left = np.asarray(p_values, dtype=np.float64), np.ones(len(p_values), dtype=bool)
    shares = shares or Shares.fixed([1.0] * len(p))
    adjusted, last = np.empty(len(p)), 0.0
    for _ in range(len(p)):
        now = shares.after(~left)
        ratios = np.where(left, p / now, np.inf)
        row = int(np.argmin(ratios))
        last = max(last, min(1.0, float(ratios[row] * now[left].sum())))
        # A row that asks for 1 x its p-value may lose it to rounding.
        adjusted[row] = max(last, p[row])
        left[row] = False
    found: list[float] = adjusted.tolist()
    return found


def table_weights(is_macro: Sequence[bool], parts: int = 0) -> list[float]:
    """Weights over one table: its macro rows share `MACRO_SHARE`, its task rows at least the rest.

    The last `parts` rows, parts of a macro average and differences from a placebo, take half of the
    task rows' rest: what the macro rows have does not depend on how they are split.

    The macro rows are few and are the question; were all rows weighed alike, 30 tasks would drown
    them. One family keeps the table at alpha: with a family each, 7.5% of simulated
    tables of one comparison held a false finding, with this one 3.0%.
    """
    flags = is_macro[: len(is_macro) - parts]
    macro, tasks = sum(flags), len(flags) - sum(flags)
    rest = (1 - MACRO_SHARE) / (2 if parts else 1)
    weights = [MACRO_SHARE / macro if flag else rest / tasks for flag in flags]
    return weights + [(1 - MACRO_SHARE - rest) / max(1, parts)] * parts


def table_shares(comparisons: Sequence[str], is_macro: Sequence[bool], parts: int = 0) -> Shares:
    """`table_weights`; a macro row that is found leaves its own to its comparison's other rows.

    An arm that is known to differ is asked where, by what it was asked with whether it does.
    """
    own = np.array(table_weights(is_macro, parts))
    names = np.array(comparisons)
    whole = np.array(is_macro) & (np.arange(len(names)) < len(names) - parts)
    passed = {}
    for row in np.flatnonzero(whole).tolist():
        heirs = (names == names[row]) & ~whole
        passed[row] = own[row] * heirs / max(1, int(heirs.sum()))
    return Shares(own, passed)


def verdict(
    low: float, high: float, p_holm: float, confidence: float, *, covers_seeds: bool
) -> str:
    """The word for a row: both the interval and the corrected p-value must agree on a change.

    Where nothing is known of the spread between training seeds, two checkpoints may differ and
    their methods not: at run noises of 0.4 to 2.8 points "better" or "worse" would be false in 3 to
    62% of tables.
    """
    if p_holm > 1 - confidence or low <= 0 <= high:
        return UNCHANGED
    if not covers_seeds:
        return DIFFERS
    return BETTER if low > 0 else WORSE


def is_verdict(word: str) -> bool:
    """Whether a row's word says something of the method, not only of two checkpoints."""
    return word in (BETTER, WORSE)


def points(value: float) -> str:
    """A difference of shares in points with one decimal, and never `-0.0`."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def detectable_points(effect: float) -> str:
    """A detectable effect in points; beyond 100 no difference of two scores is as large."""
    return "over 100" if effect > 1 else f"{100 * effect:.1f}"


def interval(low: float, high: float) -> str:
    """`[-0.3, +2.1]`, in points."""
    return f"[{points(low)}, {points(high)}]"


def change(row: Delta) -> str:
    """`+1.0 [-0.3, +2.1]`: the delta with its interval, in points."""
    return f"{points(row.delta)} {interval(row.low, row.high)}"


def bits_change(row: Delta) -> str:
    """`-0.21 [-0.25, -0.18]`: the same of a row in bits per byte."""
    low, delta, high = (f"{round(one, 2) + 0.0:+.2f}" for one in (row.low, row.delta, row.high))
    return f"{delta} [{low}, {high}]"


def macro_name(name: str) -> str:
    """The task name of a macro row: `macro` for all tasks, `macro:NAME` for one of a suite."""
    return name if name == MACRO else f"{MACRO}:{name}"


def is_macro(task: str) -> bool:
    """Whether a row is a mean over tasks: `macro`, or `macro:NAME` of a suite."""
    return task == MACRO or task.startswith(f"{MACRO}:")


def part_name(task: str) -> str:
    """The name in `PARTS` of a row that is a part of the macro average."""
    return task.removeprefix(f"{MACRO}:")


def is_part(task: str) -> bool:
    """Whether a row is a part of the macro average, by what was seeded from."""
    return is_macro(task) and part_name(task) in PARTS


def _chunks(count: int, width: int) -> list[int]:
    size = max(1, _CELLS_PER_CHUNK // max(1, width))
    return [min(size, count - start) for start in range(0, count, size)]
