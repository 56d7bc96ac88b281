"""Several training seeds: is a difference larger than the noise of seeds and of documents?

Every seed of an arm is paired with the same seed of its reference, and scored on the same
documents: seeds and documents are crossed random effects (Clark, The language-as-fixed-effect
fallacy (1973)). With D[s, d] the difference of seed s on document d, the variance of its mean is

    seeds:     var(mean over d of D) / S          = (sigma_s^2 + sigma_sd^2 / n) / S
    documents: (MS_d - MS_sd) / (n S)             =  sigma_d^2 / n

(Cornfield and Tukey, Average values of mean squares in factorials (1956)). The half-width is
sqrt(t_seeds^2 x seeds + t_documents^2 x documents): each part with the t quantile of its
degrees of freedom (Howe, Approximate confidence limits on the mean of X + Y (1974)). The p-value
is 1 - the confidence at which this very interval reaches 0, so word and interval agree.

Why not a hierarchical bootstrap (resample seeds, then documents)? A few seeds are too few to
resample. Nor Satterthwaite's single t, which errs where seeds differ little. Lowest coverage of 95%
intervals over the designs of tests/benchmarks/coverage.py (no true effect, binary scores, 100 and
400 documents, no to large differences between seeds; standard error of an entry 0.01):

    seeds   hierarchical bootstrap   crossed, Satterthwaite   this one
    2       0.65                     0.83                     0.95
    3       0.75                     0.90                     0.95
    5       0.88                     0.93                     0.96

Two or three seeds make wide intervals. Where a table has several arms with the same seeds, their
spread is pooled (analysis of variance of arms x seeds; the larger of pooled and own counts); the
degrees of freedom shrink as the arms' spreads differ (Box, Some theorems on quadratic forms
(1954)). An arm whose seeds differ three times as much as the others' is then covered in about
90%, not 95%, of the cases; false findings per table stay within 5%.

An arm that lost seeds, down to one, takes the pooled spread of the arms that kept two or more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtri, ndtr, stdtrit

Floats = NDArray[np.float64]
SMALLEST_P = 1e-12
_CHANCES = (np.arange(500) + 0.5) / 500


@dataclass(frozen=True)
class Spread:
    """Variance between seeds of a difference's mean over documents, and its degrees of freedom."""

    variance: float
    df: float


@dataclass(frozen=True)
class Estimate:
    """A mean difference, the two parts of its variance, and their degrees of freedom."""

    delta: float
    seeds: float
    seeds_df: float
    documents: float
    documents_df: float
    method: str

    @property
    def stderr(self) -> float:
        return math.sqrt(self.seeds + self.documents)

    def half_width(self, confidence: float) -> float:
        by_seeds, by_documents = (_quantile(df, 0.5 + confidence / 2) for df in self._dfs)
        return math.sqrt(by_seeds**2 * self.seeds + by_documents**2 * self.documents)

    def interval(self, confidence: float) -> tuple[float, float]:
        width = self.half_width(confidence)
        return self.delta - width, self.delta + width

    def p_value(self) -> float:
        """1 - the confidence at which the interval just reaches 0; never below 1e-12."""
        if self.half_width(1 - SMALLEST_P) <= abs(self.delta):
            return SMALLEST_P
        if self.delta == 0:
            return 1.0

        def excess(log_p: float) -> float:
            return self.half_width(-math.expm1(log_p)) - abs(self.delta)

        return math.exp(float(brentq(excess, math.log(SMALLEST_P), 0.0)))

    def detectable(self, confidence: float, power: float) -> float:
        """The true difference whose interval excludes 0 with this probability.

        The chance is averaged over what the estimate of the seeds' part may turn out to be,
        variance x chi-squared / df; Bloom's sum of quantiles is short with few seeds.
        """
        by_seeds, by_documents = (_quantile(df, 0.5 + confidence / 2) for df in self._dfs)
        scale = chdtri(self.seeds_df, _CHANCES) / self.seeds_df
        widths = np.sqrt(by_seeds**2 * self.seeds * scale + by_documents**2 * self.documents)
        spread = max(self.stderr, 1e-12)

        def excess(delta: float) -> float:
            return float(np.mean(ndtr((delta - widths) / spread))) - power

        return float(brentq(excess, 0.0, float(widths.max()) + 10 * spread))

    @property
    def _dfs(self) -> tuple[float, float]:
        return self.seeds_df, self.documents_df


@dataclass(frozen=True)
class DocumentPart:
    """What documents add to the variance of a task's mean difference; may be below 0."""

    variance: float
    df: float
    weight: float = 1.0
    """Of its task in a mean; of several tasks together, it is the variance of their own mean."""


def of_documents(units: Floats, at_least: float = 0.0) -> DocumentPart:
    """(MS_d - MS_sd) / (n S) of a task's differences, seeds x units (documents or groups).

    To it comes the variance of one document more for and one against, so that no sample is certain
    (as `stats.with_imaginary`).
    """
    seeds, n = units.shape
    by_document = units.mean(axis=0)
    largest = max(float(np.abs(by_document).max()) or 1.0, at_least)
    imaginary = 2 * largest**2 / (n + 2) ** 2
    if n < 2:
        return DocumentPart(largest**2, 1.0)
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
    own = float(np.var(means, ddof=1)) if seeds > 1 else 0.0
    by_seeds, df, method = own, float(seeds - 1), "crossed t"
    if pooled is not None and pooled.df > df:
        by_seeds, df, method = max(own, pooled.variance), pooled.df, "crossed t, pooled"
    weight = math.fsum(part.weight for part in documents)
    by_documents = max(0.0, sum(part.weight**2 * part.variance for part in documents)) / weight**2
    return Estimate(
        delta=float(means.mean()),
        seeds=by_seeds / seeds,
        seeds_df=df,
        documents=by_documents,
        documents_df=float(sum(part.df for part in documents)),
        method=method,
    )


def pool(means: Floats) -> Spread | None:
    """The spread between seeds of a difference of two arms, from all arms: `means` arms x seeds.

    The residual variance of arms x seeds, twice; its df x Box's epsilon, the evenness of the arms'
    own variances. NaN where an arm lost a seed. None where nothing can be pooled.
    """
    kept = means[np.isfinite(means).sum(axis=1) > 1]
    kept = kept[:, np.isfinite(kept).sum(axis=0) > 1]
    there = np.isfinite(kept)
    arms, seeds = kept.shape
    if arms < 2 or seeds < 2 or there.sum(axis=1).min() < 2:
        return None
    if there.all():
        residuals = kept - kept.mean(1, keepdims=True) - kept.mean(axis=0, keepdims=True)
        residuals += kept.mean()
        df = (arms - 1) * (seeds - 1)
    else:
        residuals, df = _additive_residuals(kept, there)
    by_arm = np.sum(residuals**2, axis=1)
    total = float(by_arm.sum())
    if total <= 0 or df < 1:
        return None
    evenness = total**2 / (arms * float(np.sum(by_arm**2)))
    return Spread(2 * total / df, max(float(there.sum(axis=1).min() - 1), df * evenness))


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
def planned_df(arms: int, seeds: int) -> float:
    """Degrees of freedom that `pool` gives three in four tables of arms whose seeds differ alike.

    By simulation of 400 tables; the mean would promise more power than most tables have.
    """
    rng = np.random.default_rng([arms, seeds])
    pooled = [pool(rng.normal(0, 1, (arms, seeds))) for _ in range(400)]
    return float(np.quantile([spread.df if spread else seeds - 1 for spread in pooled], 0.25))


def _quantile(df: float, probability: float) -> float:
    """Of Student's t."""
    return float(stdtrit(df, probability))
