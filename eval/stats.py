"""Paired statistics: is the difference between two models on the same documents real?

Promises: both models are compared on exactly the same documents or not at all; a verdict other
than "no detectable change" needs an interval that excludes 0 and a Holm-corrected p-value below
1 - confidence; equal inputs give equal numbers, whatever the order of tasks or documents.
The intervals speak of the sampling of documents; they do not cover the spread between training
seeds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from tsqa.errors import DataError

MACRO = "macro"
BETTER, WORSE, UNCHANGED = "better", "worse", "no detectable change"
POWER = 0.8
_SIGN_FLIPS = 20_000
_CELLS_PER_CHUNK = 4_000_000

Floats = NDArray[np.float64]
Scores = Mapping[tuple[int, str], float]
"""Score of each document of one task, by (doc_id, doc_hash)."""


@dataclass(frozen=True)
class Delta:
    """One row of the table: a model against its reference on one task, or on the macro average."""

    task: str
    n: int
    reference: float
    score: float
    delta: float
    low: float
    high: float
    p: float
    mde: float
    """Smallest true difference that this many documents would reveal with 80% power."""


def compare_models(
    reference: Mapping[str, Scores],
    model: Mapping[str, Scores],
    *,
    label: str,
    bootstrap: int,
    confidence: float,
    seed: int,
) -> list[Delta]:
    """One row per task plus the macro average; `label` names the comparison in errors."""
    if set(reference) != set(model):
        odd = sorted(set(reference) ^ set(model))
        raise DataError(f"{label}: tasks evaluated on one side only: {', '.join(odd)}")
    rows, resampled, flipped, spreads = [], [], [], []
    for task in sorted(reference):
        before, after = pair(reference[task], model[task], f"{label}: {task}")
        differences = after - before
        draws = bootstrap_means(differences, bootstrap, _rng(seed, label, task, "bootstrap"))
        flips = sign_flip_means(differences, _SIGN_FLIPS, _rng(seed, label, task, "flip"))
        spread = standard_error(differences)
        rows.append(_row(task, before, after, draws, flips, spread, confidence))
        resampled.append(draws)
        flipped.append(flips)
        spreads.append(spread)
    rows.append(_macro_row(rows, resampled, flipped, spreads, confidence))
    return rows


def pair(reference: Scores, model: Scores, where: str) -> tuple[Floats, Floats]:
    """Line up two score sets document by document; any difference in documents is an error."""
    if reference.keys() != model.keys():
        odd = sorted(reference.keys() ^ model.keys())
        raise DataError(
            f"{where}: the two models were not scored on the same documents "
            f"({len(reference)} and {len(model)} documents, {len(odd)} unpaired, "
            f"for example doc_id {odd[0][0]} hash {odd[0][1][:12]})",
            "evaluate both with the same task files and the same eval.limit",
        )
    if not reference:
        raise DataError(f"{where}: no documents")
    keys = sorted(reference)
    before = np.array([reference[key] for key in keys], dtype=np.float64)
    after = np.array([model[key] for key in keys], dtype=np.float64)
    for scores in (before, after):
        bad = np.flatnonzero(~np.isfinite(scores))
        if bad.size:
            raise DataError(
                f"{where}: score {scores[bad[0]]} of doc_id {keys[bad[0]][0]} is not a number "
                f"({bad.size} such documents)",
                "evaluate again; a diverged model gives NaN",
            )
    return before, after


def bootstrap_means(differences: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Means of `count` resamples of the documents with replacement.

    Drawing n documents is drawing from the multinomial over the distinct values, which for 0/1
    scores has three cells however many documents there are. Percentile interval: Efron and
    Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    values, counts = np.unique(differences, return_counts=True)
    n = len(differences)
    means = [
        rng.multinomial(n, counts / n, size=size) @ values / n
        for size in _chunks(count, len(values))
    ]
    return np.concatenate(means)


def sign_flip_means(differences: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Means after flipping each document's sign at random: the null distribution of the delta.

    If the two models are alike, a document's difference is as likely as its negative (Fisher,
    The Design of Experiments (1935), section 21). For 0/1 scores this is McNemar's exact test.
    """
    magnitudes, counts = np.unique(np.abs(differences), return_counts=True)
    n = len(differences)
    means = [
        (2 * rng.binomial(counts, 0.5, size=(size, len(counts))) - counts) @ magnitudes / n
        for size in _chunks(count, len(counts))
    ]
    return np.concatenate(means)


def p_value(delta: float, null: Floats) -> float:
    """Two-sided Monte Carlo p-value (1 + b) / (1 + m), which is never too small.

    Phipson and Smyth, Permutation p-values should never be zero (2010).
    """
    as_extreme = np.count_nonzero(np.abs(null) >= abs(delta) - 1e-12)
    return float((1 + as_extreme) / (1 + len(null)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Step-down adjusted p-values, in the order given.

    Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def standard_error(differences: Floats) -> float:
    """Standard error of the mean paired difference.

    Where no difference varies the sample says 0, which is false certainty: a share of up to 3/n
    of the documents may still differ (Hanley and Lippman-Hand, If nothing goes wrong, is
    everything all right? (1983)), so the variance of scores in [0, 1] is taken as 3/n.
    """
    n = len(differences)
    variance = float(np.var(differences, ddof=1)) if n > 1 else 0.0
    return math.sqrt((variance if variance > 0 else min(1.0, 3 / n)) / n)


def minimum_detectable_effect(spread: float, confidence: float, power: float = POWER) -> float:
    """(z_{1 - alpha/2} + z_power) x standard error: Bloom, Minimum detectable effects (1995)."""
    return float((norm.ppf(0.5 + confidence / 2) + norm.ppf(power)) * spread)


def verdict(low: float, high: float, p_holm: float, confidence: float) -> str:
    """The word for a row: both the interval and the corrected p-value must agree on a change."""
    if p_holm > 1 - confidence or low <= 0 <= high:
        return UNCHANGED
    return BETTER if low > 0 else WORSE


def points(value: float) -> str:
    """A difference of shares in points with one decimal, and never `-0.0`."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def _row(
    task: str,
    before: Floats,
    after: Floats,
    draws: Floats,
    flips: Floats,
    spread: float,
    confidence: float,
) -> Delta:
    reference, score = float(before.mean()), float(after.mean())
    delta = float((after - before).mean())
    low, high = _interval(draws, confidence)
    mde = minimum_detectable_effect(spread, confidence)
    return Delta(task, len(before), reference, score, delta, low, high, p_value(delta, flips), mde)


def _macro_row(
    rows: Sequence[Delta],
    resampled: Sequence[Floats],
    flipped: Sequence[Floats],
    spreads: Sequence[float],
    confidence: float,
) -> Delta:
    """The mean over tasks, each weighing the same; documents are resampled within their task."""
    delta = float(np.mean([row.delta for row in rows]))
    low, high = _interval(np.mean(resampled, axis=0), confidence)
    spread = math.sqrt(sum(s * s for s in spreads)) / len(rows)
    return Delta(
        task=MACRO,
        n=sum(row.n for row in rows),
        reference=float(np.mean([row.reference for row in rows])),
        score=float(np.mean([row.score for row in rows])),
        delta=delta,
        low=low,
        high=high,
        p=p_value(delta, np.mean(flipped, axis=0)),
        mde=minimum_detectable_effect(spread, confidence),
    )


def _interval(draws: Floats, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def _rng(seed: int, *names: Any) -> np.random.Generator:
    digest = hashlib.sha256("\x00".join(map(str, (seed, *names))).encode()).digest()
    return np.random.default_rng(list(digest))


def _chunks(count: int, width: int) -> list[int]:
    size = max(1, _CELLS_PER_CHUNK // max(1, width))
    return [min(size, count - start) for start in range(0, count, size)]
