"""Score against mixture ratio: which ratio is best, and can the data tell?

Guarantees: the uncertainty is that of the deltas (documents, shared by all ratios, and training
seeds); no recommendation without at least four ratios, a curve that differs from a flat one, a best
ratio whose interval lies inside the measured range, and a measured ratio near the best one.

Between neighbours the score is assumed to be smooth, and nothing measured says so: every
recommendation names the neighbours, and one that is far from both (a quarter of a gap, where the
gap is a fifth of the range or more) is withheld, with the ratio that would settle it.

The forms: a constant, a line, a saturating exponential (Ye et al., Data Mixing Laws
(arXiv 2403.16952), in one ratio) with and without a line, a parabola in the ratio or in its square
root (RegMix, arXiv 2407.01492, also regresses scores on ratios), each by generalised least squares
with the measured covariance of the points. Bands are percentiles over draws of the points from
that covariance, each refitted under a form drawn by its Akaike weight (Burnham and Anderson, Model
Selection and Multimodel Inference (2002), section 4.3): one form alone is too sure of where its
maximum is. Points that contradict even the likeliest form (chi-squared, 1%) recommend nothing.

By simulation (six ratios, points with a standard error of 0.5 or 2 points) the 95% interval holds
a planted optimum in 96 to 100% of the cases under a parabola, and in 88 to 99% where a steep rise
turns into a slow decline between two measured ratios; a curve that rises throughout never got a
best ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from eval.deltas import BestRatio, Fit, FitPoint, Neighbour
from eval.statistics.crossed import Floats

MIN_RATIOS = 4
_DRAWS = 2000
_GRID = 101
_DECAYS = np.geomspace(0.02, 0.5, 15)
"""Scales of the saturating exponential, as shares of the measured range; together one form.

Each has its share of the form's weight instead of a parameter in Akaike's criterion."""
_FLAT, _MISFIT = 0.05, 0.01
_FAR, _WIDE = 0.25, 0.2
"""Share of a gap between two measured ratios; share of the range from which on a gap is wide."""


@dataclass(frozen=True)
class Curve:
    """One form of the curve: its columns at the measured ratios, and how many numbers it fits."""

    name: str
    columns: Floats
    """points x coefficients"""
    on_grid: Floats
    parameters: int
    share: float = 1.0
    """Of the form's weight: a scale of the exponential counts one part of all scales."""


def fit_ratios(
    ratios: Sequence[float], scores: Floats, covariance: Floats, *, confidence: float, seed: int
) -> Fit:
    """Points, curve, best ratio with its interval, and a recommendation or why there is none.

    `scores` per ratio (ascending) and their covariance, in shares squared.
    """
    x = np.asarray(ratios, dtype=np.float64)
    if np.any(np.diff(x) <= 0):
        raise ValueError(f"ratios must ascend: {list(ratios)}")
    rng = np.random.default_rng([seed, len(x)])
    # A little noise keeps the covariance of identical arms invertible.
    covariance = covariance + np.eye(len(x)) * max(1e-12, 1e-6 * float(np.trace(covariance)))
    draws = rng.multivariate_normal(scores, covariance, size=_DRAWS, method="cholesky")
    points = _banded(x, scores, draws, confidence)
    if len(x) < MIN_RATIOS:
        reason = f"{len(x)} ratios are too few for a curve; measure at least {MIN_RATIOS}"
        return Fit(points, [], None, None, [], _none(reason))
    grid = np.linspace(x[0], x[-1], _GRID)
    inverse: Floats = np.linalg.inv(covariance).astype(np.float64)
    forms = curves(x, grid)
    misfits = [_misfit(form, scores, inverse) for form in forms]
    criteria = np.array(
        [m + 2 * (f.parameters - np.log(f.share)) for m, f in zip(misfits, forms, strict=True)]
    )
    chosen = int(np.argmin(criteria + [2 * np.log(f.share) for f in forms]))
    form = forms[chosen]
    lines = _refitted(forms, criteria, draws, inverse, rng)
    line = form.on_grid @ _solver(form, inverse) @ scores
    low, high = np.percentile(grid[np.argmax(lines, axis=1)], _tails(confidence))
    best = BestRatio(float(grid[np.argmax(line)]), float(low), float(high))
    neighbours = _neighbours(x, scores, covariance, confidence)
    p_flat = float(chi2.sf(misfits[0], len(x) - 1))
    freedom = len(x) - form.parameters
    p_misfit = float(chi2.sf(misfits[chosen], freedom)) if freedom > 0 else 1.0
    return Fit(
        points,
        _banded(grid, line, lines, confidence),
        form.name,
        best if form.name != "constant" else None,
        neighbours,
        _recommend(form.name, best, neighbours, x, p_flat, p_misfit, confidence),
    )


def curves(x: Floats, grid: Floats) -> list[Curve]:
    """The candidate forms, simplest first."""
    span = x[-1] - x[0]

    def powers(at: Floats, degree: int, root: bool = False) -> Floats:
        scaled = (at - x[0]) / span
        return np.vander(np.sqrt(scaled) if root else scaled, degree + 1, increasing=True)

    def saturating(at: Floats, decay: float, degree: int) -> Floats:
        risen = np.exp(-(at - x[0]) / span / decay)
        return np.column_stack([powers(at, degree), risen])

    one = 1 / len(_DECAYS)
    found = [
        Curve("constant", powers(x, 0), powers(grid, 0), 1),
        Curve("line", powers(x, 1), powers(grid, 1), 2),
    ]
    found += [
        Curve("saturating exponential", saturating(x, decay, 0), saturating(grid, decay, 0), 2, one)
        for decay in _DECAYS
    ]
    found.append(Curve("parabola", powers(x, 2), powers(grid, 2), 3))
    found.append(
        Curve("parabola in the square root", powers(x, 2, root=True), powers(grid, 2, root=True), 3)
    )
    with_line = "saturating exponential and a line"
    found += [
        Curve(with_line, saturating(x, decay, 1), saturating(grid, decay, 1), 3, one)
        for decay in _DECAYS
        if len(x) > MIN_RATIOS
    ]
    return found


def covariance_of(units: Sequence[tuple[float, Sequence[Floats]]], means: Floats) -> Floats:
    """Covariance of the macro scores of several ratios.

    `units`: per block of tasks its weight in the average and, per ratio, the scores of its own
    average, seeds x units (the same documents or groups for every ratio; no two blocks share one);
    `means`: ratios x seeds, the macro score of each run. Documents: the covariance of the units'
    mean over seeds. Seeds: the residual variance of ratios x seeds, the same for every ratio; what
    all ratios share under a seed moves the curve up or down and leaves its shape.
    """
    ratios, seeds = means.shape
    covariance = np.zeros((ratios, ratios))
    for weight, per_ratio in units:
        by_unit = np.array([scores.mean(axis=0) for scores in per_ratio])
        n = by_unit.shape[1]
        if n > 1:
            covariance += np.cov(by_unit) / n * weight**2
    if seeds > 1:
        residuals = means - means.mean(1, keepdims=True) - means.mean(0) + means.mean()
        df = max(1, (ratios - 1) * (seeds - 1))
        covariance += np.eye(ratios) * float(np.sum(residuals**2)) / df / seeds
    return covariance


def _refitted(
    forms: Sequence[Curve],
    criteria: Floats,
    draws: Floats,
    inverse: Floats,
    rng: np.random.Generator,
) -> Floats:
    """Each draw of the points, fitted under a form drawn by its Akaike weight: draws x grid."""
    weights = np.exp(-(criteria - criteria.min()) / 2)
    picked = rng.choice(len(forms), size=_DRAWS, p=weights / weights.sum())
    lines = np.empty((_DRAWS, _GRID))
    for number, form in enumerate(forms):
        of = picked == number
        lines[of] = draws[of] @ (form.on_grid @ _solver(form, inverse)).T
    return lines


def _banded(x: Floats, scores: Floats, draws: Floats, confidence: float) -> list[FitPoint]:
    low, high = np.percentile(draws, _tails(confidence), axis=0)
    return [
        FitPoint(float(r), float(s), float(a), float(b))
        for r, s, a, b in zip(x, scores, low, high, strict=True)
    ]


def _tails(confidence: float) -> list[float]:
    """In percent."""
    tail = 100 * (0.5 - confidence / 2)
    return [tail, 100 - tail]


def _solver(form: Curve, inverse: Floats) -> Floats:
    """Scores -> coefficients by generalised least squares."""
    weighted = form.columns.T @ inverse
    solver: Floats = np.linalg.pinv(weighted @ form.columns) @ weighted
    return solver


def _misfit(form: Curve, scores: Floats, inverse: Floats) -> float:
    residual = scores - form.columns @ (_solver(form, inverse) @ scores)
    return float(residual @ inverse @ residual)


def _neighbours(
    x: Floats, scores: Floats, covariance: Floats, confidence: float
) -> list[Neighbour]:
    """The best measured ratio against the ones next to it."""
    top = int(np.argmax(scores))
    rows = []
    for other in (top - 1, top + 1):
        if 0 <= other < len(x):
            delta = float(scores[top] - scores[other])
            variance = covariance[top, top] + covariance[other, other] - 2 * covariance[top, other]
            z = delta / float(np.sqrt(max(variance, 1e-300)))
            is_clear = bool(chi2.sf(z * z, 1) <= 1 - confidence)
            rows.append(Neighbour(float(x[top]), float(x[other]), delta, is_clear))
    return rows


def _recommend(
    form: str,
    best: BestRatio,
    neighbours: Sequence[Neighbour],
    x: Floats,
    p_flat: float,
    p_misfit: float,
    confidence: float,
) -> str:
    interval = f"{100 * confidence:g}% interval {best.low:.3g} to {best.high:.3g}"
    step = (x[-1] - x[0]) / (_GRID - 1) / 2
    if p_flat > _FLAT or form == "constant":
        return _none("the scores do not differ detectably over the ratios")
    if p_misfit < _MISFIT:
        return _none(f"no smooth curve fits the scores (the nearest: {form})")
    for edge, beyond in ((x[0], "lower"), (x[-1], "higher")):
        if abs(best.ratio - edge) <= step:
            return _none(f"the best ratio is the edge {edge:g} of the range; measure {beyond} ones")
    for edge, value in ((x[0], best.low), (x[-1], best.high)):
        if abs(value - edge) <= step:
            return _none(
                f"the best ratio is near {best.ratio:.2g}, but its {interval} reaches the edge "
                f"{edge:g} of the range"
            )
    if best.ratio not in x:
        right = int(np.searchsorted(x, best.ratio))
        low, high = float(x[right - 1]), float(x[right])
        far = min(best.ratio - low, high - best.ratio) > _FAR * (high - low)
        if far and high - low >= _WIDE * (x[-1] - x[0]):
            return _none(
                f"the curve is highest near {best.ratio:.2g}, between {low:g} and {high:g}, where "
                f"nothing was measured; measure {best.ratio:.2g}"
            )
    alike = [f"{row.ratio:g}" for row in neighbours if not row.distinguishable]
    doubt = (
        f"; the best measured ratio is not distinguishable from {' and '.join(alike)}"
        if alike
        else ""
    )
    smooth = _assumption(best.ratio, x)
    return f"Best ratio {best.ratio:.2g} ({interval}){doubt}{smooth}."


def _assumption(best: float, x: Floats) -> str:
    """Between which ratios the curve is taken on trust."""
    left, right = x[x < best], x[x > best]
    return (
        f"; this takes the score for smooth between {left[-1]:g} and {right[0]:g}"
        if len(left) and len(right)
        else ""
    )


def _none(reason: str) -> str:
    return f"No recommendation: {reason}."
