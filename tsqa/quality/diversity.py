"""Diversity: how much of the seed space items reach, and how varied their words are, against the
seeds they were made of, at equal size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans

from tsqa.quality.features import nearest, weigh
from tsqa.quality.measure import (
    LEAST,
    Floats,
    Spanned,
    jackknife,
    rng_of,
    widen_shares,
)
from tsqa.quality.sample import AuditedText, QualityPair, QualitySample
from tsqa.records.quality import GRADIENTS, TAIL, VENDI, QualityMeasure
from tsqa.text.normalise import words

DIMENSION = "diversity"
MOST_VENDI = 1000
TOPICS = "topics of a capability, per topic of seeds"
_MOST_TOPICS = 10
_TOPIC_SIZE = 10
"""Seeds that make a topic, on average at least."""
_NEAR = 5
_TAIL = 0.2
_OPENING = 3
_SIZES = (1, 2, 3)


@dataclass(frozen=True)
class GradientProxy:
    """A small model, and of how many items it compares the gradients."""

    items: int
    name: str
    """Of the model, without the folders of this machine."""
    gradients: Callable[[Sequence[str]], list[NDArray[np.float32] | None]]
    """Of each text; None where it is too short to have one."""
    wanted: str
    """What is told apart from another model or another number of items."""


def measure_diversity(sample: QualitySample, seed: int) -> list[QualityMeasure]:
    pairs = sample.pairs
    used = QualityMeasure(
        dimension=DIMENSION,
        name="seeds with an item",
        value=sample.used_count / sample.seed_count,
        low=sample.used_count / sample.seed_count,
        high=sample.used_count / sample.seed_count,
        reference=1.0,
        reference_is="all seeds",
        n=sample.seed_count,
        limits="counted, not estimated; nor why the others have none (tsqa inspect --rejected)",
    )
    if len(pairs) < LEAST:
        missing = f"{len(pairs)} seeds with items that are like them; {LEAST} are needed"
        rest = QualityMeasure(dimension=DIMENSION, name="the rest", limits="", missing=missing)
        return [used, rest]
    return [
        used,
        *_coverage(sample, seed),
        _topics(sample, seed),
        *_distinct(pairs, seed),
        _vendi(pairs, seed),
        _openings(pairs),
    ]


def _coverage(sample: QualitySample, seed: int) -> list[QualityMeasure]:
    """Half of the seeds are the space; items of the other half hit it, as those seeds do."""
    hitting = sample.pairs[: len(sample.pairs) // 2]
    taken = {pair.seed.id for pair in hitting}
    tasks = {pair.seed.task for pair in hitting}
    space = [each for each in sample.others if each.id not in taken and each.task in tasks]
    names = ("neighbourhoods of seeds hit", TAIL)
    limits = (
        "neighbourhoods by words; by half of the seeds against the other half, so that the seed "
        "of an item is not counted as hit",
        "the fifth of the seeds that is least like others, by words",
    )
    if len(space) < LEAST:
        missing = f"{len(space)} seeds are left to hit; {LEAST} are needed"
        return [
            QualityMeasure(dimension=DIMENSION, name=name, limits=limit, missing=missing)
            for name, limit in zip(names, limits, strict=True)
        ]
    ours, theirs, density = _hits(hitting, space)
    tail = density <= np.quantile(density, _TAIL)

    def shares(rows: NDArray[np.int64]) -> Floats:
        hit = np.zeros((2, len(space)), bool)
        for which, places in enumerate((ours, theirs)):
            hit[which, places[rows]] = True
        every, few = hit.mean(1), hit[:, tail].mean(1)
        return np.array([*every, every[0] - every[1], *few, few[0] - few[1]])

    spans = jackknife(shares, len(hitting), rng_of(seed, "coverage"))
    sizes = len(space), int(tail.sum())
    return [
        _against(
            name,
            spans[3 * i : 3 * i + 3],
            len(hitting),
            limits[i],
            f"{len(hitting):,} seeds",
            size=sizes[i],
        )
        for i, name in enumerate(names)
    ]


def _hits(
    hitting: Sequence[QualityPair], space: Sequence[AuditedText]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Places in the space that items and seeds hit; how near each place is to its neighbours."""
    texts = [each.asked for each in space]
    ours, theirs = np.zeros((2, len(hitting)), np.int64)
    density = np.zeros(len(space))
    for task in sorted({each.task for each in space}):
        there = np.flatnonzero([each.task == task for each in space])
        here = np.flatnonzero([pair.seed.task == task for pair in hitting])
        centres = [texts[i] for i in there]
        items, seeds = (
            [getattr(hitting[i], side).asked for i in here] for side in ("item", "seed")
        )
        matrix = weigh([*centres, *items, *seeds], fitted_on=centres)
        middle, end = len(centres), len(centres) + len(items)
        ours[here] = there[nearest(matrix[middle:end], matrix[:middle])[0]]
        theirs[here] = there[nearest(matrix[end:], matrix[:middle])[0]]
        near = np.sort((matrix[:middle] @ matrix[:middle].T).toarray(), axis=1)
        density[there] = near[:, -1 - _NEAR : -1].mean(1) if middle > 1 else 0.0
    return ours, theirs, density


@dataclass(frozen=True)
class _Topics:
    """Topics of one capability, and which one each pair is about."""

    capability: str
    count: int
    rows: NDArray[np.int64]
    """Places of the pairs."""
    labels: NDArray[np.int64]
    """(2, pairs): of the item, of its seed."""

    def effective(self, kept: NDArray[np.bool_]) -> Floats:
        """exp of the entropy, of items and of seeds: `count` where all are as frequent."""
        found = []
        for labels in self.labels[:, kept[self.rows]]:
            shares = np.bincount(labels, minlength=self.count) / max(1, len(labels))
            positive = shares[shares > 0]
            found.append(np.exp(-(positive * np.log(positive)).sum()))
        return np.array(found)


def _topics(sample: QualitySample, seed: int) -> QualityMeasure:
    """Half of the seeds make the topics of each capability; items of the other half are about some
    of them, as those seeds are."""
    hitting = sample.pairs[: len(sample.pairs) // 2]
    found = _topics_of(hitting, sample.others)
    limits = "topics by words (k-means), without names; one that seeds lack counts as the nearest"
    if not found:
        missing = f"no capability has {LEAST} pairs and {2 * _TOPIC_SIZE} other seeds"
        return QualityMeasure(dimension=DIMENSION, name=TOPICS, limits=limits, missing=missing)
    weights = np.array([len(each.rows) for each in found], float)

    def shares(rows: NDArray[np.int64]) -> Floats:
        kept = np.zeros(len(hitting), bool)
        kept[rows] = True
        parts = np.array([each.effective(kept) / each.count for each in found])
        ours, theirs = weights @ parts / weights.sum()
        return np.array([ours, theirs, ours - theirs])

    whole = np.ones(len(hitting), bool)
    notes = [
        f"{each.capability}: {ours:.1f} of {each.count} topics, its seeds {theirs:.1f}"
        for each in found
        for ours, theirs in [each.effective(whole)]
    ]
    spans = jackknife(shares, len(hitting), rng_of(seed, "topics"))
    return _against(TOPICS, spans, int(weights.sum()), limits, "the same seeds", notes)


def _topics_of(hitting: Sequence[QualityPair], others: Sequence[AuditedText]) -> list[_Topics]:
    taken = {pair.seed.id for pair in hitting}
    space = [each for each in others if each.id not in taken]
    found = []
    for capability in sorted({pair.seed.capability for pair in hitting}):
        centres = [each.asked for each in space if each.capability == capability]
        rows = np.flatnonzero([pair.seed.capability == capability for pair in hitting])
        count = min(_MOST_TOPICS, len(centres) // _TOPIC_SIZE)
        if count < 2 or len(rows) < LEAST:
            continue
        texts = [getattr(hitting[i], side).asked for side in ("item", "seed") for i in rows]
        matrix = weigh([*centres, *texts], fitted_on=centres)
        model = KMeans(count, n_init=3, random_state=0).fit(matrix[: len(centres)])
        labels = model.predict(matrix[len(centres) :]).astype(np.int64).reshape(2, -1)
        found.append(_Topics(capability, count, rows, labels))
    return found


def _distinct(pairs: Sequence[QualityPair], seed: int) -> list[QualityMeasure]:
    names = [f"distinct-{size}" for size in _SIZES]
    ours, theirs = ([words(p.texts[side]) for p in pairs] for side in (0, 1))
    limits = "words, not meanings; falls with the number of words, so compare at equal size only"
    if not any(ours) or not any(theirs):
        who = "seeds" if any(ours) else "items"
        return [
            QualityMeasure(
                dimension=DIMENSION, name=name, limits=limits, missing=f"the {who} hold no word"
            )
            for name in names
        ]

    def shares(rows: NDArray[np.int64]) -> Floats:
        bound = min(sum(len(texts[i]) for i in rows) for texts in (ours, theirs))
        found = [distinct_n((texts[i] for i in rows), bound) for texts in (ours, theirs)]
        return np.concatenate([(a, b, a - b) for a, b in zip(*found, strict=True)])

    spans = jackknife(shares, len(pairs), rng_of(seed, "distinct"))
    return [
        _against(
            name,
            spans[3 * i : 3 * i + 3],
            len(pairs),
            limits,
            "the same seeds, as many words",
        )
        for i, name in enumerate(names)
    ]


def distinct_n(texts: Iterable[Sequence[str]], bound: int) -> list[float]:
    """Distinct n-grams over all of the first so many words (Li et al., arXiv:1510.03055)."""
    seen: list[list[tuple[str, ...]]] = [[] for _ in _SIZES]
    left = bound
    for text in texts:
        kept = text[:left]
        left -= len(kept)
        for size, grams in zip(_SIZES, seen, strict=True):
            grams.extend(zip(*(kept[i:] for i in range(size)), strict=False))
    return [len(set(grams)) / max(1, len(grams)) for grams in seen]


def _vendi(pairs: Sequence[QualityPair], seed: int) -> QualityMeasure:
    chosen = pairs[:MOST_VENDI]
    count = len(chosen)
    matrix = weigh([p.texts[0] for p in chosen] + [p.texts[1] for p in chosen])
    sides = (matrix[:count], matrix[count:])

    def scores(rows: NDArray[np.int64]) -> Floats:
        ours, theirs = (vendi_score(side[rows]) / len(rows) for side in sides)
        return np.array([ours, theirs, ours - theirs])

    spans = jackknife(scores, count, rng_of(seed, "vendi"))
    return _against(
        VENDI,
        spans,
        count,
        "by words, so that the same said otherwise counts as different",
        "the same seeds",
    )


def vendi_score(vectors: csr_matrix) -> float:
    """exp of the entropy of the eigenvalues of K/n, K(x, x) = 1 (Friedman and Dieng,
    arXiv:2210.02410): n where all differ, 1 where all are one.

    The matrix of words by words has the same eigenvalues as K, and may be the smaller one.
    """
    rows, columns = vectors.shape
    product = vectors @ vectors.T if rows <= columns else vectors.T @ vectors
    return _spread(product.toarray(), rows)


def _spread(product: Floats, count: int) -> float:
    values = np.linalg.eigvalsh(product / count)
    positive = values[values > 1e-12]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def measure_gradients(sample: QualitySample, proxy: GradientProxy, seed: int) -> QualityMeasure:
    """The Vendi score of what texts would teach a model: their gradients, as directions (G-Vendi,
    Jung et al., arXiv:2505.20161).

    The loss is that of the whole text, as in pretraining; theirs is that of the answer alone.
    """
    pairs = sample.pairs[: proxy.items]
    limits = (
        f"gradients of {proxy.name}, of all tokens of a text, up to 512; another model may see "
        "another diversity; noise is diverse too"
    )
    found: list[NDArray[np.float32] | None] = []
    if len(pairs) >= LEAST:
        found = proxy.gradients([p.texts[side] for side in (0, 1) for p in pairs])
    both = [*zip(found[: len(pairs)], found[len(pairs) :], strict=True)]
    known = [(item, real) for item, real in both if item is not None and real is not None]
    if len(known) < LEAST:
        count = len(known) if found else len(pairs)
        missing = f"{count} seeds with items that are like them; {LEAST} are needed"
        return QualityMeasure(dimension=DIMENSION, name=GRADIENTS, limits=limits, missing=missing)
    kernels = [_cosines(np.array(side, dtype=float)) for side in zip(*known, strict=True)]

    def scores(rows: NDArray[np.int64]) -> Floats:
        ours, theirs = (_spread(k[np.ix_(rows, rows)], len(rows)) / len(rows) for k in kernels)
        return np.array([ours, theirs, ours - theirs])

    spans = jackknife(scores, len(known), rng_of(seed, "gradients"))
    left = len(pairs) - len(known)
    notes = [f"{left:,} left out, whose text is one token"] if left else []
    return _against(GRADIENTS, spans, len(known), limits, "the same seeds", notes)


def no_gradients(why: str) -> QualityMeasure:
    return QualityMeasure(dimension=DIMENSION, name=GRADIENTS, limits="", missing=why)


def _cosines(vectors: Floats) -> Floats:
    """(rows, rows); no row is zero."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines: Floats = units @ units.T
    return cosines


def _openings(pairs: Sequence[QualityPair]) -> QualityMeasure:
    ours, theirs = (
        [" ".join(words(getattr(p, side).asked)[:_OPENING]) for p in pairs]
        for side in ("item", "seed")
    )

    most = [Counter(texts).most_common(1)[0][1] / len(pairs) for texts in (ours, theirs)]
    # No jackknife: where all begin otherwise, whichever are left out, one of the others is most.
    spans = [Spanned(share, share, share) for share in (*most, most[0] - most[1])]
    notes = [f"{text!r:.60}: {count:,}" for text, count in Counter(ours).most_common(5)]
    limits = "the one opening that is most frequent, by its first 3 words"
    return _against("most frequent opening", spans, len(pairs), limits, "the same seeds", notes)


def _against(
    name: str,
    spans: Sequence[Spanned],
    count: int,
    limits: str,
    reference: str,
    notes: Sequence[str] = (),
    size: int | None = None,
) -> QualityMeasure:
    """`spans`: of the items, of the seeds, of their difference; each value is a share, of `size`
    where that is not `count`."""
    ours, theirs, gap = widen_shares(spans, size or count)
    return QualityMeasure(
        dimension=DIMENSION,
        name=name,
        value=ours.value,
        low=max(0.0, ours.low),
        high=min(1.0, ours.high),
        reference=theirs.value,
        reference_is=reference,
        apart=not gap.low <= 0 <= gap.high,
        gap=(gap.value, gap.low, gap.high),
        n=count,
        limits=limits,
        notes=list(notes),
    )
