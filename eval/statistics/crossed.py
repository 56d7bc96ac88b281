"""Several training seeds: is a difference larger than the noise of seeds and of documents?

Every seed of an arm is paired with the same seed of its reference, and scored on the same
documents: seeds and documents are crossed random effects (Clark, The language-as-fixed-effect
fallacy (1973)). With D[s, d] the difference of seed s on document d, the variance of its mean is

    seeds:     var(mean over d of D) / S          = (sigma_s^2 + sigma_sd^2 / n) / S
    documents: (MS_d - MS_sd) / (n S)             =  sigma_d^2 / n

(Cornfield and Tukey, Average values of mean squares in factorials (1956)). Each part is known as
far as its degrees of freedom say: the true one is the estimate x df / chi-squared. The p-value is
the chance of a difference as large, averaged over what the parts may be (a generalized p-value:
Weerahandi, Generalized confidence intervals (1993)), and the interval holds the differences whose
p-value is above 1 - confidence, so word and interval agree.

Why not a hierarchical bootstrap (resample seeds, then documents)? A few seeds are too few to
resample. Nor Satterthwaite's single t, which errs where seeds differ little: with 2, 3 and 5 seeds
the lowest coverage of 95% intervals over the designs of tests/benchmarks/coverage.py is 0.65, 0.75
and 0.88 for the former, 0.83, 0.90 and 0.93 for the latter.

Two or three seeds make wide intervals. Where a table has several arms with the same seeds, their
spread is pooled (analysis of variance of arms x seeds); the
degrees of freedom shrink as the arms' spreads differ (Box, Some theorems on quadratic forms
(1954)). See spreads.py for arms and tasks that differ.

An arm that lost seeds, down to one, takes the pooled spread of the arms that kept two or more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaincinv, ndtr

Floats = NDArray[np.float64]
SMALLEST_P = 1e-12
MANY = 1e6
"""Degrees of freedom of what is known."""
_ROUNDING = 1e-24
"""Of a sum of squares of scores; what is left of arms that score alike."""
_EVENLY = (np.arange(100) + 0.5) / 100
_EDGES = np.concatenate([[0.0], np.geomspace(1e-15, 1e-3, 73), np.linspace(1e-3, 1, 1000)[1:]])
_MASSES: Floats = np.diff(_EDGES)
_CHANCES: Floats = (_EDGES[1:] + _EDGES[:-1]) / 2
_ORDERS = (1.0, math.sqrt(5) / 2 - 0.5, math.sqrt(2) - 1)


@dataclass(frozen=True)
class Spread:
    """Variance between seeds of a difference's mean over documents, and its degrees of freedom."""

    variance: float
    df: float
    apart: float = 0.0
    """Variance of what a task adds to what the tasks of a run share; known far better."""
    apart_df: float = MANY
    name: str = ""
    """Rows under the same name share the error of `variance`."""


@dataclass(frozen=True)
class Estimate:
    """A mean difference, the parts of its variance, and their degrees of freedom."""

    delta: float
    seeds: float
    seeds_df: float
    documents: float
    documents_df: float
    method: str
    apart: float = 0.0
    apart_df: float = MANY
    name: str = ""

    @property
    def stderr(self) -> float:
        return math.sqrt(self.seeds + self.apart + self.documents)

    def half_width(self, confidence: float) -> float:
        return _half_width(self, confidence)

    def interval(self, confidence: float) -> tuple[float, float]:
        width = self.half_width(confidence)
        return self.delta - width, self.delta + width

    def p_value(self) -> float:
        """1 - the confidence at which the interval just reaches 0; never below 1e-12."""
        return max(SMALLEST_P, _chance(abs(self.delta), self.possible()))

    def deviations(self) -> Floats:
        """Standard deviations that the difference may have, each as likely."""
        return _evenly(self)

    def widths(self, chance: float) -> Floats:
        """Half width of its interval at 1 - `chance`."""
        return np.array([self.half_width(1 - chance)])

    def possible(self) -> Floats:
        """Standard deviations that the difference may have, as likely as `_MASSES` says."""
        shared, apart, documents = (
            part / one
            for part, one in (
                (self.seeds, _scales(0, self.seeds_df)),
                (self.apart, _scales(1, self.apart_df)),
                (self.documents, _scales(2, self.documents_df)),
            )
        )
        found: Floats = np.sqrt(shared + apart + documents)
        return np.maximum(found, 1e-300)


@lru_cache(maxsize=1024)
def _half_width(one: Estimate, confidence: float) -> float:
    """Kept, as every task asks for it of its macro averages."""
    if not one.stderr:
        return 0.0
    deviations = one.possible()
    log_p = math.log(max(SMALLEST_P, 1 - confidence))

    def excess(log_width: float) -> float:
        return math.log(_chance(math.exp(log_width), deviations) or 1e-300) - log_p

    low, high = math.log(one.stderr) - 40, math.log(float(deviations.max())) + 4
    return math.exp(float(brentq(excess, low, high, rtol=1e-10)))


@lru_cache(maxsize=1024)
def _evenly(one: Estimate) -> Floats:
    """Kept likewise."""
    found = one.possible()
    order = np.argsort(found)
    likely: Floats = np.interp(_EVENLY, np.cumsum(_MASSES[order]), found[order])
    likely.flags.writeable = False
    return likely


@dataclass(frozen=True)
class DocumentPart:
    """What documents add to the variance of a task's mean difference; may be below 0."""

    variance: float
    df: float
    weight: float = 1.0
    """Of its task in a mean; of several tasks together, it is the variance of their own mean."""


def of_documents(units: Floats, at_least: float = 0.0) -> DocumentPart:
    """(MS_d - MS_sd) / (n S) of a task's differences, seeds x units (documents or groups).

    To it comes the variance of one document more for and one against, each of the usual size of
    those that changed, so that no sample is certain (as `stats.with_imaginary`).
    """
    seeds, n = units.shape
    by_document = units.mean(axis=0)
    changed = by_document[by_document != 0]
    usual = max(float(np.mean(changed**2)) if changed.size else 1.0, at_least**2)
    imaginary = 2 * usual / (n + 2) ** 2
    if n < 2:
        return DocumentPart(usual, 1.0)
    by_seed = units.mean(axis=1, keepdims=True)
    ms_documents = seeds * float(np.var(by_document, ddof=1))
    residuals = units - by_seed - by_document + units.mean()
    # With one seed the two cannot be told apart: all of it counts for documents.
    ms_residual = float(np.sum(residuals**2)) / max(1, (seeds - 1) * (n - 1))
    return DocumentPart((ms_documents - ms_residual) / (n * seeds) + imaginary, n - 1)


def estimate(
    means: Floats, documents: Sequence[DocumentPart], pooled: Spread | None = None
) -> Estimate:
    """The mean difference over tasks: `means` per seed (already averaged over these tasks).

    One seed alone needs a `pooled` spread.
    """
    seeds = len(means)
    spread = Spread(float(np.var(means, ddof=1)) if seeds > 1 else 0.0, float(seeds - 1))
    method = "crossed t"
    if pooled is not None:
        spread, method = pooled, "crossed t, pooled"
    weight = math.fsum(part.weight for part in documents)
    by_documents = max(0.0, sum(part.weight**2 * part.variance for part in documents)) / weight**2
    return Estimate(
        delta=float(means.mean()),
        seeds=spread.variance / seeds,
        seeds_df=spread.df,
        documents=by_documents,
        documents_df=float(sum(part.df for part in documents)),
        method=method,
        apart=spread.apart / seeds,
        apart_df=spread.apart_df,
        name=spread.name,
    )


def pool(means: Floats) -> Spread | None:
    """The spread between seeds of a difference of two arms, from all arms: `means` arms x seeds.

    The residual variance of arms x seeds, twice; its df x Box's epsilon, the evenness of the arms'
    own variances. NaN where an arm lost a seed. None where nothing can be pooled.
    """
    found = residuals_of(means)
    if found is None:
        return None
    residuals, df = found
    by_arm = np.sum(residuals**2, axis=1)
    total = float(by_arm.sum())
    if total <= _ROUNDING:
        return None
    arms, columns = _crossed(means)
    seeds = np.isfinite(means[:, columns]).sum(axis=1)
    evenness = total**2 / (int(arms.sum()) * float(np.sum(by_arm**2)))
    return Spread(2 * total / df, max(float(seeds[arms].min() - 1), df * evenness))


def residuals_of(means: Floats) -> tuple[Floats, int] | None:
    """What arm and seed do not explain, 0 where an arm has fewer than two seeds; and its df."""
    rows, columns = _crossed(means)
    kept = means[np.ix_(rows, columns)]
    there = np.isfinite(kept)
    arms, seeds = kept.shape
    if arms < 2 or seeds < 2:
        return None
    if there.all():
        residuals = kept - kept.mean(1, keepdims=True) - kept.mean(axis=0, keepdims=True)
        residuals += kept.mean()
        df = (arms - 1) * (seeds - 1)
    else:
        residuals, df = _additive_residuals(kept, there)
    if df < 1:
        return None
    whole: Floats = np.zeros(means.shape)
    whole[np.ix_(rows, columns)] = residuals
    return whole, df


def _crossed(means: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The arms with two or more seeds that other such arms have too, and these seeds."""
    there = np.isfinite(means)
    rows = there.sum(axis=1) > 1
    while True:
        columns = there[rows].sum(axis=0) > 1
        kept = rows & (there[:, columns].sum(axis=1) > 1)
        if np.array_equal(kept, rows):
            return rows, columns
        rows = kept


def pool_alone(means: Floats) -> Spread | None:
    """The spread between seeds of one arm's score, what all arms share under a seed included."""
    kept = means[np.isfinite(means).sum(axis=1) > 1]
    if not len(kept):
        return None
    variance = float(np.mean(np.nanvar(kept, axis=1, ddof=1)))
    df = float(np.isfinite(kept).sum(axis=1).max() - 1)
    return Spread(variance, df) if variance > 0 else None


def _additive_residuals(means: Floats, there: NDArray[np.bool_]) -> tuple[Floats, int]:
    """What arm and seed do not explain, 0 where there is no run; and its degrees of freedom."""
    arm, seed = np.nonzero(there)
    columns = np.hstack([np.eye(means.shape[0])[arm], np.eye(means.shape[1])[seed]])
    values = means[there]
    solution, _, rank, _ = np.linalg.lstsq(columns, values, rcond=None)
    residuals: Floats = np.zeros(means.shape)
    residuals[there] = values - columns @ solution
    return residuals, len(values) - int(rank)


@cache
def _scales(part: int, df: float) -> Floats:
    """Chi-squared / df at chances as likely as `_MASSES`; each part in an order of its own."""
    chances = _CHANCES if part == 0 else np.arange(1, len(_CHANCES) + 1) * _ORDERS[part] % 1
    found: Floats = 2 * gammaincinv(df / 2, chances) / df
    return np.maximum(found, 1e-300)


def _chance(delta: float, deviations: Floats) -> float:
    """Of a difference as large either way."""
    return float(2 * (_MASSES @ ndtr(-delta / deviations)))
