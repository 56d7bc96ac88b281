"""The rows of one comparison: two models on the same documents, task by task.

Guarantees: both models are compared on exactly the same documents or not at all; equal inputs give
equal numbers, whatever the order of tasks or documents.

Several training seeds, or one and a known spread between them: eval/statistics/crossed.py. One
seed alone: a percentile bootstrap over documents, or over document groups where the task has them
(a passage with its questions is one draw); it does not cover the spread between training seeds.
Tasks over the same documents: see blocks.py.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.stats import norm

from eval.deltas import Delta
from eval.statistics import crossed
from eval.statistics.blocks import block_sums, block_units, blocks_of, imaginary_size
from eval.statistics.crossed import Floats
from eval.statistics.joint import Noise
from eval.statistics.stats import (
    MACRO,
    bootstrap_means,
    group_sums,
    group_units,
    macro_name,
    mcnemar,
    p_value,
    sign_flip_means,
    standard_error,
    with_imaginary,
)
from tsqa.errors import DataError

_SIGN_FLIPS = 20_000
_ALONE = re.compile(r"document \d+")
DocumentKey = tuple[int, str]
"""doc_id and doc_hash of a document."""
Average = Mapping[str, float]
"""Task -> its weight in a mean over tasks; the weights sum to 1."""


@dataclass(frozen=True)
class Scored:
    """One model on one task: a score per document, and the document's group where there is one."""

    keys: list[DocumentKey]
    values: Floats
    groups: list[str] | None = None

    @property
    def clusters(self) -> list[str]:
        """What each document shares with others, of this task or another; else the document."""
        hashes = [doc_hash for _, doc_hash in self.keys]
        if self.groups is None:
            return hashes
        # The harness calls a document without a passage by its number, which other tasks use too.
        pairs = zip(self.groups, hashes, strict=True)
        return [doc_hash if _ALONE.fullmatch(group) else group for group, doc_hash in pairs]

    @classmethod
    def of(cls, documents: Iterable[tuple[DocumentKey, float, str | None]], where: str) -> Scored:
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
    is_share: bool
    """Whether all scores are from 0 to 1, so that they differ by 1 at most."""
    clusters: list[str]
    """Of each document."""


@dataclass(frozen=True)
class _Resampled:
    """Means of a sample under resampling and under flipped signs, and its standard error."""

    means: Floats
    flips: Floats
    stderr: float
    squares: float
    """Sum of the squares of what changes sign in `flips`."""


@dataclass(frozen=True)
class Tested:
    """A row, and what it shares with other rows of its table."""

    delta: Delta
    noise: Noise
    average: Average
    """The tasks whose mean it is."""

    @property
    def stderr(self) -> float:
        return self.delta.stderr

    def deviations(self) -> Floats:
        """Standard deviations that the difference may have, each as likely."""
        estimate = self.noise.estimate
        return np.array([self.stderr]) if estimate is None else estimate.deviations()

    def widths(self, chance: float) -> Floats:
        """Half width of its interval at 1 - `chance`."""
        if self.noise.estimate is None:
            return np.array([norm.isf(chance / 2) * self.delta.stderr])
        return self.noise.estimate.widths(chance)

    def moves(self, other: Tested) -> float:
        """By how much another row's difference is moved where each task of this one is by 1."""
        return math.fsum(other.average.get(task, 0.0) for task in self.average)


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
    by_documents: bool = False,
) -> list[Tested]:
    """One row per task, then `macro` over all tasks and one row per entry of `macros`.

    `reference` and `model` hold the tasks' scores per training seed, in the same order of seeds.
    `pooled` is the spread between seeds of every arm of the table together, per row's task; with it
    one seed is enough. `by_documents`: averages weigh tasks so. `label` names the comparison in
    errors. `mde` is NaN: it depends on the other rows (eval/statistics/power.py).
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
    weighed = {
        macro_name(name): weights_of({t: samples[t].n for t in tasks}, by_documents)
        for name, tasks in averages.items()
    }
    pooled = pooled or {}
    if len(model) > 1 or pooled.keys() >= {*samples, *weighed}:
        return _rows_of_seeds(samples, weighed, label, confidence, pooled)
    return _rows_of_one_seed(samples, weighed, label, bootstrap, confidence, seed)


def weights_of(documents: Mapping[str, int], by_documents: bool) -> dict[str, float]:
    """Task -> its weight in a mean over tasks: alike, or by their numbers of documents."""
    total = sum(documents.values())
    return {t: n / total if by_documents else 1 / len(documents) for t, n in documents.items()}


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
            "evaluate both with the same task files and the same eval.groups",
        )
    for scored in (reference, model):
        bad = np.flatnonzero(~np.isfinite(scored.values))
        if bad.size:
            raise DataError(
                f"{where}: score {scored.values[bad[0]]} of doc_id {scored.keys[bad[0]][0]} "
                f"is not a number ({bad.size} such documents)",
                "evaluate again; a diverged model gives NaN",
            )


def _samples(
    reference: Sequence[Mapping[str, Scored]], model: Sequence[Mapping[str, Scored]], label: str
) -> dict[str, _Sample]:
    tasks = set(model[0])
    for side in (*reference, *model):
        if set(side) != tasks:
            odd = sorted(set(side) ^ tasks)
            raise DataError(
                f"{label}: tasks evaluated on one side only: {', '.join(odd)}",
                "evaluate both with the same eval.tasks",
            )
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
            is_share=min(before.min(), after.min()) >= 0 and max(before.max(), after.max()) <= 1,
            clusters=first.clusters,
        )
    shared = _shared_clusters({task: reference[0][task] for task in samples})
    return {task: replace(sample, clusters=shared[task]) for task, sample in samples.items()}


def _shared_clusters(tasks: Mapping[str, Scored]) -> dict[str, list[str]]:
    """Task -> what each document shares with others of any task.

    One document may have a group in one task and none in another: all that it links are one.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    clusters = {task: one.clusters for task, one in tasks.items()}
    for task, one in tasks.items():
        for (_, doc_hash), cluster in zip(one.keys, clusters[task], strict=True):
            parent[root(doc_hash)] = root(cluster)
    return {task: [root(cluster) for cluster in own] for task, own in clusters.items()}


def _blocks(samples: Mapping[str, _Sample], tasks: Sequence[str]) -> list[list[str]]:
    return blocks_of({task: samples[task].clusters for task in tasks})


def _joined(
    samples: Mapping[str, _Sample], block: Sequence[str], weights: Sequence[float]
) -> tuple[Floats, Floats, float]:
    """(units, sums, least size of an imaginary document) of the mean of a block's tasks."""
    if len(block) == 1:
        return samples[block[0]].units, samples[block[0]].sums, 0.0
    differences = [samples[task].differences for task in block]
    clusters = [samples[task].clusters for task in block]
    return (
        block_units(differences, clusters, weights),
        block_sums(differences, clusters, weights),
        imaginary_size(differences, clusters, weights),
    )


def _within(average: Average, block: Sequence[str]) -> tuple[float, tuple[float, ...]]:
    """Weight of a block in an average, and of its tasks in the block."""
    weight = math.fsum(average[task] for task in block)
    return weight, tuple(average[task] / weight for task in block)


def _rows_of_one_seed(
    samples: Mapping[str, _Sample],
    averages: Mapping[str, Average],
    label: str,
    bootstrap: int,
    confidence: float,
    seed: int,
) -> list[Tested]:
    rows: dict[str, Delta] = {}

    @cache
    def resample(block: tuple[str, ...], weights: tuple[float, ...]) -> _Resampled:
        units, sums, at_least = _joined(samples, block, weights)
        drawn, flip = (_rng(seed, label, *block, what) for what in ("bootstrap", "flip"))
        alone = [
            resample((task,), (1.0,)).stderr * weight
            for task, weight in zip(block, weights, strict=True)
            if len(block) > 1
        ]
        return _Resampled(
            bootstrap_means(with_imaginary(units[0], at_least), bootstrap, drawn),
            sign_flip_means(sums[0], _SIGN_FLIPS, flip),
            max(standard_error(units[0]), *alone, 0.0),
            float(np.sum(sums[0] ** 2)) / sums.shape[1] ** 2,
        )

    for task, sample in samples.items():
        grouped = sample.is_grouped
        mcnemar_p = None if grouped else mcnemar(sample.differences[0])
        method = "cluster bootstrap" if grouped else "bootstrap"
        resampled = resample((task,), (1.0,))
        own = {task: 1.0}
        rows[task] = _bootstrapped(task, samples, own, resampled, confidence, method, mcnemar_p)
    for name, average in averages.items():
        parts = []
        for block in _blocks(samples, list(average)):
            weight, within = _within(average, block)
            parts.append((weight, resample(tuple(block), within)))
        resampled = _Resampled(
            np.sum([weight * part.means for weight, part in parts], axis=0),
            np.sum([weight * part.flips for weight, part in parts], axis=0),
            math.sqrt(math.fsum((weight * part.stderr) ** 2 for weight, part in parts)),
            math.fsum(weight**2 * part.squares for weight, part in parts),
        )
        rows[name] = _bootstrapped(name, samples, average, resampled, confidence, "bootstrap")
    own_and = {**{task: {task: 1.0} for task in samples}, **averages}
    return [
        Tested(row, _noise(_named(label, task), samples, own_and[task]), own_and[task])
        for task, row in rows.items()
    ]


def _bootstrapped(
    task: str,
    samples: Mapping[str, _Sample],
    average: Average,
    resampled: _Resampled,
    confidence: float,
    method: str,
    mcnemar_p: float | None = None,
) -> Delta:
    delta = _mean_delta(samples, average)
    low, high = np.quantile(resampled.means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    p = p_value(delta, resampled.flips, resampled.squares)
    if mcnemar_p is not None and p <= 1 / (1 + _SIGN_FLIPS):  # the flips end there
        p = max(mcnemar_p, crossed.SMALLEST_P)
    return _delta(
        task,
        samples,
        average,
        low=min(float(low), delta),
        high=max(float(high), delta),
        p=p,
        stderr=resampled.stderr,
        covers_seeds=False,
        method=method,
        p_mcnemar=mcnemar_p,
    )


def _rows_of_seeds(
    samples: Mapping[str, _Sample],
    averages: Mapping[str, Average],
    label: str,
    confidence: float,
    pooled: Mapping[str, crossed.Spread],
) -> list[Tested]:
    @cache
    def part(block: tuple[str, ...], weights: tuple[float, ...]) -> crossed.DocumentPart:
        units, _, at_least = _joined(samples, block, weights)
        return crossed.of_documents(units, at_least)

    rows = []
    for task, average in {**{t: {t: 1.0} for t in samples}, **averages}.items():
        means = np.sum([w * samples[t].units.mean(axis=1) for t, w in average.items()], axis=0)
        parts = []
        for block in _blocks(samples, list(average)):
            weight, within = _within(average, block)
            parts.append(replace(part(tuple(block), within), weight=weight))
        estimate = crossed.estimate(means, parts, pooled.get(task))
        low, high = estimate.interval(confidence)
        if all(samples[t].is_share for t in average):
            low, high = max(low, -1.0), min(high, 1.0)
        grouped = ", groups" if samples[next(iter(average))].is_grouped else ""
        row = _delta(
            task,
            samples,
            average,
            low=low,
            high=high,
            p=estimate.p_value(),
            stderr=estimate.stderr,
            covers_seeds=True,
            method=estimate.method + grouped,
        )
        noise = _noise(_named(label, task), samples, average, estimate)
        rows.append(Tested(row, noise, average))
    return rows


def _named(label: str, task: str) -> str:
    return f"{label}\0{task}"


def _noise(
    name: str,
    samples: Mapping[str, _Sample],
    average: Average,
    estimate: crossed.Estimate | None = None,
) -> Noise:
    """What each document adds to a row; with an estimate, to its distance from the delta."""
    clusters, shares = [], []
    for task, weight in average.items():
        own = samples[task].differences.mean(axis=0)
        centre = 0.0 if estimate is None else own.mean()
        clusters += samples[task].clusters
        shares.append(weight * (own - centre) / len(own))
    return Noise(name, clusters, np.concatenate(shares), estimate)


def _delta(
    task: str,
    samples: Mapping[str, _Sample],
    average: Average,
    *,
    low: float,
    high: float,
    p: float,
    stderr: float,
    covers_seeds: bool,
    method: str,
    p_mcnemar: float | None = None,
) -> Delta:
    """The row of these tasks: what their samples say of it, and these numbers."""
    own = [samples[t] for t in average]
    weights = list(average.values())
    return Delta(
        task=task,
        n=sum(sample.n for sample in own),
        reference=float(np.dot(weights, [sample.reference for sample in own])),
        score=float(np.dot(weights, [sample.score for sample in own])),
        delta=_mean_delta(samples, average),
        low=low,
        high=high,
        p=p,
        mde=math.nan,
        stderr=stderr,
        seeds=len(own[0].differences),
        covers_seeds=covers_seeds,
        p_mcnemar=p_mcnemar,
        method=method,
    )


def _mean_delta(samples: Mapping[str, _Sample], average: Average) -> float:
    return math.fsum(w * float(samples[t].differences.mean()) for t, w in average.items())


def _rng(seed: int, *names: str) -> np.random.Generator:
    digest = hashlib.sha256("\x00".join(map(str, (seed, *names))).encode()).digest()
    return np.random.default_rng(list(digest))
