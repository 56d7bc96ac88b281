"""Paired statistics: is the difference between two models on the same documents real?

Promises: both models are compared on exactly the same documents or not at all; a verdict other
than "no detectable change" needs an interval that excludes 0 and a Holm-corrected p-value below
1 - confidence; equal inputs give equal numbers, whatever the order of tasks or documents.

Several training seeds: eval/crossed.py. One seed: a percentile bootstrap over documents, or over
document groups where the task has them (a passage with its questions is one draw); it does not
cover the spread between training seeds. Two imaginary documents, one for and one against, join
the resampling (after Agresti and Min, Simple improved confidence intervals for comparing matched
proportions (2005)): the plain bootstrap of 50 documents of which three changed covers a true
effect in 85% of the cases, this one in 94% or more (tests/benchmarks/coverage.py).
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from eval import crossed
from tsqa.errors import DataError

MACRO = "macro"
BETTER, WORSE, UNCHANGED = "better", "worse", "no detectable change"
POWER = 0.8
DISCORDANCE, REPEATED, SEED_SD = 0.2, 0.5, 0.01
"""What `planned_mde` assumes of a run that nothing is known about."""
_SIGN_FLIPS = 20_000
_CELLS_PER_CHUNK = 4_000_000

Floats = NDArray[np.float64]
Key = tuple[int, str]
"""doc_id and doc_hash of a document."""


@dataclass(frozen=True)
class Scored:
    """One model on one task: a score per document, and the document's group where there is one."""

    keys: list[Key]
    values: Floats
    groups: list[str] | None = None

    @classmethod
    def of(cls, documents: Iterable[tuple[Key, float, str | None]], where: str) -> Scored:
        """Sort the documents; one that appears twice, or lacks a group others have, is refused."""
        rows = sorted(documents, key=lambda row: row[0])
        for one, two in itertools.pairwise(rows):
            if one[0] == two[0]:
                raise DataError(f"{where}: doc_id {one[0][0]} appears twice")
        groups = [group for *_, group in rows if group is not None]
        if groups and len(groups) < len(rows):
            raise DataError(
                f"{where}: {len(rows) - len(groups)} of {len(rows)} documents have no group",
                "give every document of the task a group, or none",
            )
        values = np.array([score for _, score, _ in rows], dtype=np.float64)
        return cls([key for key, *_ in rows], values, groups or None)


@dataclass(frozen=True)
class Delta:
    """One row of the table: a model against its reference on one task, or on a macro average."""

    task: str
    n: int
    reference: float
    score: float
    delta: float
    low: float
    high: float
    p: float
    mde: float
    """Smallest true difference that this sample would reveal with 80% power, tested alone."""
    stderr: float
    seeds: int
    p_mcnemar: float | None
    """Exact McNemar test: one seed, scores 0 or 1, no document groups."""
    method: str


@dataclass(frozen=True)
class _Sample:
    """The differences of one comparison on one task, by seed and unit (document or group)."""

    n: int
    reference: float
    score: float
    differences: Floats
    """seeds x documents"""
    units: Floats
    """seeds x units; the mean over the units is the mean over the documents."""
    sums: Floats
    """seeds x units, before linearisation: what changes sign under the null hypothesis."""
    is_grouped: bool


def compare_models(
    reference: Sequence[Mapping[str, Scored]],
    model: Sequence[Mapping[str, Scored]],
    *,
    label: str,
    bootstrap: int,
    confidence: float,
    seed: int,
    macros: Mapping[str, Sequence[str]] | None = None,
    pooled: Mapping[str, crossed.Spread] | None = None,
) -> list[Delta]:
    """One row per task, then `macro` over all tasks and one row per entry of `macros`.

    `reference` and `model` hold the tasks' scores per training seed, in the same order of seeds.
    `pooled` is the spread between seeds of every arm of the table together, per row's task.
    `label` names the comparison in errors.
    """
    samples = _samples(reference, model, label)
    averages = {MACRO: list(samples), **(macros or {})}
    for name, tasks in averages.items():
        absent = sorted(set(tasks) - samples.keys())
        if absent or not tasks:
            raise DataError(
                f"{label}: eval.macros.{name} averages {', '.join(absent) or 'no task'}, "
                "which was not evaluated",
                f"use tasks of eval.tasks: {', '.join(samples)}",
            )
    if len(model) > 1:
        return _rows_of_seeds(samples, averages, confidence, pooled or {})
    return _rows_of_one_seed(samples, averages, label, bootstrap, confidence, seed)


def pair(reference: Scored, model: Scored, where: str) -> None:
    """Both score sets must hold the same documents and only finite scores."""
    if reference.keys != model.keys:
        odd = sorted(set(reference.keys) ^ set(model.keys))
        raise DataError(
            f"{where}: the two models were not scored on the same documents "
            f"({len(reference.keys)} and {len(model.keys)} documents, {len(odd)} unpaired, "
            f"for example doc_id {odd[0][0]} hash {odd[0][1][:12]})",
            "evaluate both with the same task files and the same eval.limit",
        )
    if not reference.keys:
        raise DataError(f"{where}: no documents")
    if reference.groups != model.groups:
        raise DataError(
            f"{where}: the two models' documents are grouped differently",
            "evaluate both with the same eval.groups",
        )
    for scored in (reference, model):
        bad = np.flatnonzero(~np.isfinite(scored.values))
        if bad.size:
            raise DataError(
                f"{where}: score {scored.values[bad[0]]} of doc_id {scored.keys[bad[0]][0]} "
                f"is not a number ({bad.size} such documents)",
                "evaluate again; a diverged model gives NaN",
            )


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


def with_imaginary(values: Floats) -> Floats:
    """The values and one imaginary document each way: no sample is certain that nothing varies."""
    largest = float(np.abs(values).max()) or 1.0
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


def p_value(delta: float, null: Floats) -> float:
    """Two-sided Monte Carlo p-value (1 + b) / (1 + m), which is never too small.

    Phipson and Smyth, Permutation p-values should never be zero (2010).
    """
    as_extreme = np.count_nonzero(np.abs(null) >= abs(delta) - 1e-12)
    return float((1 + as_extreme) / (1 + len(null)))


def mcnemar(differences: Floats) -> float | None:
    """Exact two-sided McNemar test over the documents that changed; None unless all are -1, 0, 1.

    McNemar, Note on the sampling error of the difference between correlated proportions (1947).
    """
    gained, lost = int(np.sum(differences == 1)), int(np.sum(differences == -1))
    if gained + lost + int(np.sum(differences == 0)) != differences.size:
        return None
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Step-down adjusted p-values, in the order given; a larger weight asks for less evidence.

    Holm, A simple sequentially rejective multiple test procedure (1979), also for weights.
    Whatever the dependence of the rows, the chance of any false finding stays below alpha.
    """
    given = np.ones(len(p_values)) if weights is None else np.asarray(weights, dtype=np.float64)
    ratios = np.asarray(p_values, dtype=np.float64) / given
    order = np.argsort(ratios, kind="stable")
    left = np.cumsum(given[order][::-1])[::-1]
    stepped = np.maximum.accumulate(np.minimum(1.0, ratios[order] * left))
    # A row that asks for 1 x its p-value may lose it to rounding.
    adjusted = np.empty(len(p_values))
    adjusted[order] = stepped
    return [float(max(a, p)) for a, p in zip(adjusted, p_values, strict=True)]


def table_weights(is_macro: Sequence[bool]) -> list[float]:
    """Weights for `holm` over one table: its macro rows share one half, its task rows the other.

    The macro rows are few and are the question; were all rows weighed alike, 30 tasks would drown
    them. One family keeps the table at alpha: with two families of their own, 7.5% of simulated
    tables of one comparison held a false finding, with this one 3.0%.
    """
    macro, tasks = sum(is_macro), len(is_macro) - sum(is_macro)
    return [0.5 / macro if flag else 0.5 / tasks for flag in is_macro]


def standard_error(units: Floats) -> float:
    """Standard error of the mean difference of independent units.

    Where no difference varies the sample says 0, which is false certainty: a share of up to 3/n
    of the documents may still differ (Hanley and Lippman-Hand, If nothing goes wrong, is
    everything all right? (1983)), so the variance of scores in [0, 1] is taken as 3/n.
    """
    n = len(units)
    variance = float(np.var(units, ddof=1)) if n > 1 else 0.0
    return math.sqrt((variance if variance > 0 else min(1.0, 3 / n)) / n)


def minimum_detectable_effect(spread: float, confidence: float, power: float = POWER) -> float:
    """(z_{1 - alpha/2} + z_power) x standard error: Bloom, Minimum detectable effects (1995)."""
    return float((norm.ppf(0.5 + confidence / 2) + norm.ppf(power)) * spread)


def planned_mde(
    n: Sequence[int],
    seeds: int,
    *,
    discordance: Sequence[float],
    confidence: float,
    power: float = POWER,
    arms: int = 2,
    repeated: float = REPEATED,
    seed_sd: float = SEED_SD,
) -> float:
    """The difference that a comparison would find, before it has run; a share.

    `n` documents of each task (several: their macro average). A document's difference has the
    variance `discordance`: with binary scores and a small effect the share of documents that
    change. A share `repeated` of it is the same in every seed; `seed_sd` is the standard deviation
    of a difference between seeds. One seed: the spread between seeds is left out, as in the rows.
    `arms`, the control among them, lend each other degrees of freedom; by simulation the power
    at 0.8 is then 0.70 to 0.83, for one seed or one comparison 0.76 to 0.82.
    """
    tasks = len(n)
    documents = [share / count / tasks**2 for share, count in zip(discordance, n, strict=True)]
    if seeds == 1:
        return minimum_detectable_effect(math.sqrt(sum(documents)), confidence, power)
    planned = crossed.Estimate(
        delta=0.0,
        seeds=(seed_sd**2 + (1 - repeated) * sum(documents)) / seeds,
        seeds_df=crossed.planned_df(arms, seeds),
        documents=repeated * sum(documents),
        documents_df=sum(n) - tasks,
        method="planned",
    )
    return planned.detectable(confidence, power)


def verdict(low: float, high: float, p_holm: float, confidence: float) -> str:
    """The word for a row: both the interval and the corrected p-value must agree on a change."""
    if p_holm > 1 - confidence or low <= 0 <= high:
        return UNCHANGED
    return BETTER if low > 0 else WORSE


def points(value: float) -> str:
    """A difference of shares in points with one decimal, and never `-0.0`."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def _samples(
    reference: Sequence[Mapping[str, Scored]], model: Sequence[Mapping[str, Scored]], label: str
) -> dict[str, _Sample]:
    tasks = set(model[0])
    for side in (*reference, *model):
        if set(side) != tasks:
            odd = sorted(set(side) ^ tasks)
            raise DataError(f"{label}: tasks evaluated on one side only: {', '.join(odd)}")
    samples = {}
    for task in sorted(tasks):
        first = reference[0][task]
        for other in (*reference, *model):
            pair(first, other[task], f"{label}: {task}")
        before = np.array([side[task].values for side in reference])
        after = np.array([side[task].values for side in model])
        differences = after - before
        units = sums = differences
        if first.groups is not None:
            units = group_units(differences, first.groups)
            sums = group_sums(differences, first.groups) * units.shape[-1] / differences.shape[-1]
        samples[task] = _Sample(
            n=differences.shape[1],
            reference=float(before.mean()),
            score=float(after.mean()),
            differences=differences,
            units=units,
            sums=sums,
            is_grouped=first.groups is not None,
        )
    return samples


def _rows_of_one_seed(
    samples: Mapping[str, _Sample],
    averages: Mapping[str, Sequence[str]],
    label: str,
    bootstrap: int,
    confidence: float,
    seed: int,
) -> list[Delta]:
    rows: dict[str, Delta] = {}
    resampled, flipped = {}, {}
    for task, sample in samples.items():
        units = sample.units[0]
        draws = bootstrap_means(
            with_imaginary(units), bootstrap, _rng(seed, label, task, "bootstrap")
        )
        flips = sign_flip_means(sample.sums[0], _SIGN_FLIPS, _rng(seed, label, task, "flip"))
        grouped = sample.is_grouped
        mcnemar_p = None if grouped else mcnemar(sample.differences[0])
        method = "cluster bootstrap" if grouped else "bootstrap"
        rows[task] = _bootstrapped(
            task, {task: sample}, draws, flips, standard_error(units), confidence, method, mcnemar_p
        )
        resampled[task], flipped[task] = draws, flips
    for name, tasks in averages.items():
        rows[macro_name(name)] = _bootstrapped(
            macro_name(name),
            {task: samples[task] for task in tasks},
            np.mean([resampled[task] for task in tasks], axis=0),
            np.mean([flipped[task] for task in tasks], axis=0),
            math.sqrt(sum(rows[task].stderr ** 2 for task in tasks)) / len(tasks),
            confidence,
            "bootstrap",
        )
    return list(rows.values())


def _bootstrapped(
    task: str,
    samples: Mapping[str, _Sample],
    draws: Floats,
    flips: Floats,
    spread: float,
    confidence: float,
    method: str,
    mcnemar_p: float | None = None,
) -> Delta:
    delta = _mean_delta(samples)
    low, high = np.quantile(draws, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Delta(
        **_described(task, samples),
        low=min(float(low), delta),
        high=max(float(high), delta),
        p=p_value(delta, flips),
        mde=minimum_detectable_effect(spread, confidence),
        stderr=spread,
        p_mcnemar=mcnemar_p,
        method=method,
    )


def _rows_of_seeds(
    samples: Mapping[str, _Sample],
    averages: Mapping[str, Sequence[str]],
    confidence: float,
    pooled: Mapping[str, crossed.Spread],
) -> list[Delta]:
    parts = {task: crossed.of_documents(sample.units) for task, sample in samples.items()}
    covered = {**{task: [task] for task in samples}, **averages}
    rows = []
    for name, tasks in covered.items():
        task = name if name in samples else macro_name(name)
        means = np.mean([samples[t].units.mean(axis=1) for t in tasks], axis=0)
        parts_of = [parts[t] for t in tasks]
        estimate = crossed.estimate(means, parts_of, pooled.get(task))
        low, high = estimate.interval(confidence)
        rows.append(
            Delta(
                **_described(task, {t: samples[t] for t in tasks}),
                low=low,
                high=high,
                p=estimate.p_value(),
                mde=estimate.detectable(confidence, POWER),
                stderr=estimate.stderr,
                p_mcnemar=None,
                method=estimate.method + (", groups" if samples[tasks[0]].is_grouped else ""),
            )
        )
    return rows


def macro_name(name: str) -> str:
    """The task name of a macro row: `macro` for all tasks, `macro:NAME` for one of a suite."""
    return name if name == MACRO else f"{MACRO}:{name}"


def is_macro(task: str) -> bool:
    return task == MACRO or task.startswith(f"{MACRO}:")


def _described(task: str, samples: Mapping[str, _Sample]) -> dict[str, Any]:
    own = list(samples.values())
    return {
        "task": task,
        "n": sum(sample.n for sample in own),
        "reference": float(np.mean([sample.reference for sample in own])),
        "score": float(np.mean([sample.score for sample in own])),
        "delta": _mean_delta(samples),
        "seeds": len(own[0].differences),
    }


def _mean_delta(samples: Mapping[str, _Sample]) -> float:
    return float(np.mean([sample.differences.mean() for sample in samples.values()]))


def _rng(seed: int, *names: Any) -> np.random.Generator:
    digest = hashlib.sha256("\x00".join(map(str, (seed, *names))).encode()).digest()
    return np.random.default_rng(list(digest))


def _chunks(count: int, width: int) -> list[int]:
    size = max(1, _CELLS_PER_CHUNK // max(1, width))
    return [min(size, count - start) for start in range(0, count, size)]
