"""Realism: can one tell items from the seeds they were made of, and by what?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from eval.statistics.stats import holm
from tsqa.dedup.semantic import SentenceEncoder
from tsqa.quality.features import frechet_distance, nearest, weigh
from tsqa.quality.measure import (
    LEAST,
    Floats,
    Spanned,
    auc_of,
    compare_means,
    jackknife,
    mean_of,
    rng_of,
    weighted_auc,
)
from tsqa.quality.sample import AuditedText, QualityPair, QualitySample, halves
from tsqa.records.quality import QualityMeasure, ShownExample
from tsqa.review.estimate import interval
from tsqa.text.normalise import words

DIMENSION = "realism"
FOLDS = 5
MOST_PAIRS = 1000
_SHOWN = 3
_SENTENCE = re.compile(r"[.!?]+(?:\s|$)")
_VOWELS = re.compile(r"[aeiouy]+")
_LETTERS = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)?")
MOST_LABELS = 10
MOST_EMBEDDED = 300
DISTANCE = "distance of meanings (Frechet)"
LEAST_EXPECTED = 5


@dataclass(frozen=True)
class TwoSample:
    """A classifier two-sample test (Lopez-Paz and Oquab, arXiv:1610.06545)."""

    auc: Spanned
    p: float
    real: Floats
    """How real each item looks to a classifier that saw neither it nor its seed."""


def measure_realism(sample: QualitySample, seed: int, permutations: int) -> list[QualityMeasure]:
    pairs = sample.pairs
    if len(pairs) < LEAST:
        why = f"{len(pairs)} seeds with items that are like them; {LEAST} are needed"
        if sample.without_real:
            why += f"; seeds of {', '.join(sample.without_real)} are passages without questions"
        return [QualityMeasure(dimension=DIMENSION, name="all", limits="", missing=why)]
    return [
        _two_sample(sample, seed, permutations),
        *_lengths(pairs),
        *_positions(pairs),
        *_labels(pairs),
    ]


def two_sample_test(pairs: Sequence[QualityPair], seed: int, permutations: int) -> TwoSample:
    """Pairs stand whole in a fold, and swapping within pairs gives the chance of such an AUC."""
    rng = rng_of(seed, "realism")
    count = len(pairs)
    matrix = weigh([p.texts[0] for p in pairs] + [p.texts[1] for p in pairs], style=True)
    _, tasks = np.unique([p.item.task for p in pairs], return_inverse=True)
    folds = rng.permutation(count) % FOLDS
    strata = np.tile(tasks * FOLDS + folds, 2).astype(np.int64)
    swapped = [np.zeros(count, bool)] + [rng.random(count) < 0.5 for _ in range(permutations)]
    found: list[float] = []
    own = np.zeros(2 * count)
    for swap in swapped:
        is_item = np.concatenate([~swap, swap])
        scores = held_out_scores(matrix, is_item, np.tile(folds, 2))
        if not found:
            own = scores
        found.append(weighted_auc(scores, is_item, strata, np.ones((1, 2 * count)))[0])
    positive = np.arange(2 * count) < count
    auc = auc_of(own, positive, strata, np.tile(np.arange(count), 2), rng)
    p = float(np.mean([each >= found[0] - 1e-12 for each in found]))
    return TwoSample(auc, p, -own[:count])


def held_out_scores(
    matrix: csr_matrix, is_item: NDArray[np.bool_], folds: NDArray[np.int64]
) -> Floats:
    """How much each row looks like an item to a classifier that did not see its fold."""
    scores = np.zeros(len(is_item))
    for fold in range(FOLDS):
        held = folds == fold
        model = LogisticRegression(C=10.0, solver="liblinear", random_state=0)
        scores[held] = model.fit(matrix[~held], is_item[~held]).decision_function(matrix[held])
    return scores


def _two_sample(sample: QualitySample, seed: int, permutations: int) -> QualityMeasure:
    pairs = sample.pairs[:MOST_PAIRS]
    test = two_sample_test(pairs, seed, permutations)
    real = [*halves(pair.seed for pair in sample.pairs)][:MOST_PAIRS]
    has_reference = len(real) >= LEAST
    reference = two_sample_test(real, seed, 0).auc if has_reference else None
    shown = (
        f"two halves of the seeds: {reference.value:.2f} ({reference.low:.2f} to "
        f"{reference.high:.2f}, {len(real):,} pairs)"
        if reference
        else "chance; too few seeds for two halves"
    )
    return QualityMeasure(
        dimension=DIMENSION,
        name="told from seeds (AUC)",
        **vars(test.auc),
        reference=reference.value if reference else 0.5,
        reference_is=shown,
        p=test.p,
        apart=test.p <= 0.05,
        n=len(pairs),
        limits="words, case and punctuation, not facts; a copied seed is as real as can be; the "
        "interval is for this classifier",
        examples=_examples(pairs, sample.others, test.real),
    )


def measure_distance(
    sample: QualitySample, encoder: SentenceEncoder, seed: int, permutations: int
) -> QualityMeasure:
    """Items of half of the seeds against the other half, as those seeds are."""
    pairs = sample.pairs[:MOST_EMBEDDED]
    limits = "what the model sees of a text's beginning; of two sets, not of single items"
    if len(pairs) < 2 * LEAST:
        missing = f"{len(pairs)} seeds with items that are like them; {2 * LEAST} are needed"
        return QualityMeasure(dimension=DIMENSION, name=DISTANCE, limits=limits, missing=missing)
    ours, theirs = (
        encoder.encode([p.texts[side] for p in pairs], normalize_embeddings=True).astype(float)
        for side in (0, 1)
    )
    rng = rng_of(seed, "distance")
    is_first = rng.permutation(len(pairs)) % 2 == 0

    def distances(items: Floats, real: Floats, first: NDArray[np.bool_]) -> Floats:
        """Of the items of one half from the seeds of the other, and of the two halves of seeds."""
        found, known = (frechet_distance(made[first], real[~first]) for made in (items, real))
        return np.array([found, known, found - known])

    spans = jackknife(
        lambda rows: distances(ours[rows], theirs[rows], is_first[rows]), len(pairs), rng
    )
    gaps = [spans[2].value]
    for _ in range(permutations):
        swap = rng.random((len(pairs), 1)) < 0.5
        gaps.append(
            distances(np.where(swap, theirs, ours), np.where(swap, ours, theirs), is_first)[2]
        )
    p = float(np.mean([each >= gaps[0] - 1e-12 for each in gaps]))
    return QualityMeasure(
        dimension=DIMENSION,
        name=DISTANCE,
        **vars(spans[0]),
        reference=spans[1].value,
        reference_is=f"two halves of the seeds, {len(pairs) // 2:,} each; difference "
        f"{spans[2].value:+.4f} [{spans[2].low:+.4f}, {spans[2].high:+.4f}]",
        p=p,
        apart=p <= 0.05,
        gap=(spans[2].value, spans[2].low, spans[2].high),
        n=len(pairs),
        limits=limits,
    )


def not_embedded(why: str) -> QualityMeasure:
    return QualityMeasure(dimension=DIMENSION, name=DISTANCE, limits="", missing=why)


def _examples(
    pairs: Sequence[QualityPair], real: Sequence[AuditedText], scores: Floats
) -> list[ShownExample]:
    order = np.argsort(-scores, kind="stable")
    shown = min(_SHOWN, len(order) // 2)
    chosen = [("most real", i) for i in order[:shown]] + [
        ("least real", i) for i in order[::-1][:shown]
    ]
    texts = [pairs[i].item for _, i in chosen]
    pool = {each.id: each for each in (*real, *(p.seed for p in pairs))}
    examples = []
    for (why, _), item in zip(chosen, texts, strict=True):
        same = [each for each in pool.values() if each.task == item.task]
        matrix = weigh([item.text, *(each.text for each in same)])
        near = same[int(nearest(matrix[:1], matrix[1:])[0][0])]
        examples.append(ShownExample(why, item.id, item.text, near.id, near.text))
    return examples


def _lengths(pairs: Sequence[QualityPair]) -> list[QualityMeasure]:
    ours, theirs = (
        np.array([len(words(getattr(pair, side).asked)) for pair in pairs], dtype=float)
        for side in ("item", "seed")
    )
    found = [_mean("words of the question", ours, theirs, "the mean alone, not its spread")]
    english = [pair for pair in pairs if pair.item.language == pair.seed.language == "en"]
    name, limits = "grade level (Flesch-Kincaid)", "English; syllables are counted by vowel groups"
    grades = [(grade_level(pair.item.asked), grade_level(pair.seed.asked)) for pair in english]
    known = [(a, b) for a, b in grades if a is not None and b is not None]
    if len(known) < LEAST:
        missing = f"{len(known)} English pairs; {LEAST} are needed"
        return [
            *found,
            QualityMeasure(dimension=DIMENSION, name=name, limits=limits, missing=missing),
        ]
    ours, theirs = np.array(known).T
    return [*found, _mean(name, ours, theirs, limits)]


def _mean(name: str, ours: Floats, theirs: Floats, limits: str) -> QualityMeasure:
    span = mean_of(ours)
    p, apart = compare_means(ours, theirs)
    return QualityMeasure(
        dimension=DIMENSION,
        name=name,
        **vars(span),
        reference=float(theirs.mean()),
        reference_is="the same seeds",
        p=p,
        apart=apart,
        n=len(ours),
        limits=limits,
    )


def grade_level(text: str) -> float | None:
    """Kincaid, Fishburne, Rogers and Chissom (1975); None where there is no word."""
    found = _LETTERS.findall(text)
    if not found:
        return None
    sentences = max(1, len(_SENTENCE.findall(text)))
    syllables = sum(map(_syllables, found))
    return 0.39 * len(found) / sentences + 11.8 * syllables / len(found) - 15.59


def _syllables(word: str) -> int:
    lower = word.lower()
    silent = lower.endswith("e") and not lower.endswith(("le", "ee")) and len(lower) > 2
    return max(1, len(_VOWELS.findall(lower)) - silent)


def _positions(pairs: Sequence[QualityPair]) -> list[QualityMeasure]:
    """Where the right option stands, against chance: a sum of independent multinomials."""
    name, limits = (
        "right option's position (largest share)",
        "positions only, not what the options say",
    )
    found = position_balance([pair.item for pair in pairs])
    if found is None:
        missing = f"fewer than {LEAST} items with options"
        return [QualityMeasure(dimension=DIMENSION, name=name, limits=limits, missing=missing)]
    real = position_balance([pair.seed for pair in pairs])
    seeds = f"; in seeds p = {real.p:.3f}" if real else ""
    low, high = interval(found.share, found.n)
    return [
        QualityMeasure(
            dimension=DIMENSION,
            name=name,
            value=found.share,
            low=low,
            high=high,
            reference=found.expected,
            reference_is=f"chance at that position, {found.place}{seeds}",
            p=found.p,
            apart=found.p < 0.05,
            n=found.n,
            limits=limits,
        )
    ]


@dataclass(frozen=True)
class PositionBalance:
    place: str
    share: float
    expected: float
    p: float
    n: int


def position_balance(texts: Sequence[AuditedText]) -> PositionBalance | None:
    """The position that the right option has more often than chance would have it."""
    chosen = [
        (len(each.choices), each.answer_index)
        for each in texts
        if len(each.choices) > 1 and each.answer_index is not None
    ]
    if len(chosen) < LEAST:
        return None
    most = max(size for size, _ in chosen)
    counts = np.bincount([place for _, place in chosen], minlength=most).astype(float)
    expected, covariance = np.zeros(most), np.zeros((most, most))
    for size, times in Counter(size for size, _ in chosen).items():
        even = np.where(np.arange(most) < size, 1 / size, 0.0)
        expected += times * even
        covariance += times * (np.diag(even) - np.outer(even, even))
    off = counts - expected
    square = float(off @ np.linalg.pinv(covariance) @ off)
    place = int(np.argmax(off))
    return PositionBalance(
        chr(ord("A") + place),
        float(counts[place] / len(chosen)),
        float(expected[place] / len(chosen)),
        float(stats.chi2.sf(square, most - 1)),
        len(chosen),
    )


def _labels(pairs: Sequence[QualityPair]) -> list[QualityMeasure]:
    """Tasks with few answers, such as yes and no: as often as in seeds? The task farthest off."""
    rows = []
    for task in sorted({pair.item.task for pair in pairs}):
        ours, theirs = (
            Counter(getattr(p, side).label for p in pairs if p.item.task == task)
            for side in ("item", "seed")
        )
        labels = sorted(ours | theirs)
        total = ours.total()
        if not 2 <= len(labels) <= MOST_LABELS or total < LEAST_EXPECTED * len(labels):
            continue
        table = np.array([[c[label] for label in labels] for c in (ours, theirs)])
        p = float(stats.chi2_contingency(table, correction=False).pvalue)
        gap = table[0] / total - table[1] / total
        place = int(np.argmax(np.abs(gap)))
        rows.append((p, task, labels[place], table[0][place], table[1][place], total))
    name, limits = "balance of labels", "tasks with at most 10 answers; takes pairs as independent"
    if not rows:
        missing = "no task has few enough answers and 5 items of each"
        return [QualityMeasure(dimension=DIMENSION, name=name, limits=limits, missing=missing)]
    adjusted = holm([row[0] for row in rows])
    place = int(np.argmin(adjusted))
    _, task, label, hits, real, total = rows[place]
    low, high = interval(hits / total, total)
    return [
        QualityMeasure(
            dimension=DIMENSION,
            name=name,
            value=float(hits / total),
            low=low,
            high=high,
            reference=float(real / total),
            reference_is=f"share of {label!r:.40} in seeds of {task}, farthest off of {len(rows)}",
            p=adjusted[place],
            apart=adjusted[place] < 0.05,
            n=total,
            limits=limits,
        )
    ]
