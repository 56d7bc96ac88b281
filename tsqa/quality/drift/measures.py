"""How one dataset differs from an earlier one: each line a change with its interval.

Seeds are what was drawn, so all that is of one seed, on both sides, counts as one draw.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from eval.statistics.stats import holm
from tsqa.quality.bias import group_lists
from tsqa.quality.drift.sides import DriftSide
from tsqa.quality.features import nearest, weigh
from tsqa.quality.measure import (
    CONFIDENCE,
    LEAST,
    Floats,
    Spanned,
    auc_of,
    jackknife,
    rng_of,
    weighted_auc,
    widen_shares,
)
from tsqa.quality.realism import (
    FOLDS,
    LEAST_EXPECTED,
    MOST_LABELS,
    MOST_PAIRS,
    held_out_scores,
)
from tsqa.quality.sample import AuditedText
from tsqa.records.quality import QualityMeasure
from tsqa.text.normalise import words

DIMENSION = "drift"
Value = Callable[[AuditedText], float | None]
"""None: the text does not count."""
Flags = NDArray[np.bool_]
_FEW = f"fewer than {LEAST} seeds on a side"
_LEAST_MENTIONS = 10


def measure_drift(
    new: DriftSide, old: DriftSide, seed: int, permutations: int
) -> list[QualityMeasure]:
    return [
        told_apart(new, old, seed, permutations),
        *_lengths(new, old),
        *_coverage(new, old, seed),
        *_positions(new, old),
        *_labels(new, old),
        *_mentions(new, old),
        *_tasks(new, old),
    ]


def told_apart(new: DriftSide, old: DriftSide, seed: int, permutations: int) -> QualityMeasure:
    """A classifier two-sample test with one text of each seed, within tasks that both have.

    A seed of both sides stands whole in a fold; the chance of such an AUC comes from swapping the
    two texts of such seeds, and from shuffling the others of each task.
    """
    name, limits = "told apart (AUC)", "words, case and punctuation, within tasks; not facts"
    rng = rng_of(seed, "drift")
    ours, theirs = _common(new, old)
    if min(len(ours), len(theirs)) < LEAST:
        return _missing(name, limits, f"{len(ours)} and {len(theirs)} seeds of common tasks")
    ours, theirs = _first(ours, MOST_PAIRS), _first(theirs, MOST_PAIRS)
    texts = [*ours.values(), *theirs.values()]
    matrix = weigh([text.text for text in texts], style=True)
    groups = np.unique([*ours, *theirs], return_inverse=True)[1].astype(np.int64)
    folds = (rng.permutation(int(groups.max()) + 1) % FOLDS)[groups]
    tasks = np.unique([text.task for text in texts], return_inverse=True)[1]
    strata = (tasks * FOLDS + folds).astype(np.int64)
    is_new = np.arange(len(texts)) < len(ours)
    found: list[float] = []
    own = np.zeros(len(texts))
    for flags in (is_new, *(_shuffled(is_new, groups, tasks, rng) for _ in range(permutations))):
        scores = held_out_scores(matrix, flags, folds)
        if not found:
            own = scores
        found.append(weighted_auc(scores, flags, strata, np.ones((1, len(texts))))[0])
    auc = auc_of(own, is_new, strata, groups, rng)
    p = float(np.mean([each >= found[0] - 1e-12 for each in found]))
    return QualityMeasure(
        dimension=DIMENSION,
        name=name,
        **vars(auc),
        reference=0.5,
        reference_is="chance",
        p=p,
        apart=p <= 1 - CONFIDENCE,
        n=len(texts),
        limits=limits,
    )


def _shuffled(
    is_new: Flags, groups: NDArray[np.int64], tasks: NDArray[np.int64], rng: np.random.Generator
) -> Flags:
    """The sides as chance might have named them."""
    shuffled = is_new.copy()
    both = (np.bincount(groups) == 2)[groups]
    swap = rng.random(int(groups.max()) + 1) < 0.5
    shuffled[both] ^= swap[groups[both]]
    for task in np.unique(tasks):
        alone = np.flatnonzero(~both & (tasks == task))
        shuffled[alone] = rng.permutation(shuffled[alone])
    return shuffled


@dataclass(frozen=True)
class MeanChange:
    """A mean or share of the new less that of the old, over all texts that count."""

    change: Spanned
    p: float
    new: float
    old: float
    total: float
    """Of the values of both sides."""
    n: int


def change_of_mean(new: DriftSide, old: DriftSide, value: Value) -> MeanChange | None:
    """None where either side has fewer than 20 seeds with a text that counts.

    The variance is the linearised one of a difference of two ratios over the seeds of both sides
    (Cochran 1977, section 6.3, and Student's t for its distribution).
    """
    names = sorted({*new.groups, *old.groups})
    sums = np.zeros((2, 2, len(names)))
    for which, side in enumerate((new, old)):
        for place, name in enumerate(names):
            counted = [each for t in side.groups.get(name, ()) if (each := value(t)) is not None]
            sums[which, :, place] = sum(counted), len(counted)
    if min((sums[:, 1] > 0).sum(1)) < LEAST:
        return None
    totals = sums.sum(2)
    means = totals[:, 0] / totals[:, 1]
    parts = (sums[:, 0] - means[:, None] * sums[:, 1]) / totals[:, 1, None]
    used = (sums[:, 1] > 0).any(0)
    count = int(used.sum())
    error = float(np.sqrt(count / (count - 1) * ((parts[0] - parts[1])[used] ** 2).sum()))
    change = float(means[0] - means[1])
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    p = float(2 * stats.t.sf(abs(change) / error, count - 1)) if error else float(not change)
    span = Spanned(change, change - half, change + half)
    total, count = totals.sum(0)
    return MeanChange(span, p, float(means[0]), float(means[1]), float(total), int(count))


def _lengths(new: DriftSide, old: DriftSide) -> list[QualityMeasure]:
    limits = "the mean alone, not its spread"
    lines = {
        "words of the question": lambda text: float(len(words(text.asked))),
        "words of the answer and what explains it": lambda text: float(
            len(words(text.answer)) + len(words(text.explanations))
        ),
    }
    found = []
    for name, value in lines.items():
        change = change_of_mean(new, old, value)
        found.append(
            _line(name, change, change.p, limits) if change else _missing(name, limits, _FEW)
        )
    return found


def _positions(new: DriftSide, old: DriftSide) -> list[QualityMeasure]:
    most = max((len(t.choices) for side in (new, old) for t in _texts(side)), default=0)

    def at(place: int) -> Value:
        return lambda text: float(text.answer_index == place) if text.is_choice else None

    named = {chr(ord("A") + place): at(place) for place in range(most)}
    changes = _changes(new, old, named)
    why = f"fewer than {LEAST} seeds with options on a side"
    return [_farthest("right option's position", changes, "positions only", why)]


def _labels(new: DriftSide, old: DriftSide) -> list[QualityMeasure]:
    """Tasks of both sides with few answers, such as yes and no."""
    counts: dict[str, list[Counter[str]]] = {}
    for which, side in enumerate((new, old)):
        for text in _texts(side):
            task = counts.setdefault(text.task, [Counter(), Counter()])
            task[which][text.label] += 1

    def of(task: str, label: str) -> Value:
        return lambda text: float(text.label == label) if text.task == task else None

    named = {
        f"{label!r:.40} in {task}": of(task, label)
        for task, (ours, theirs) in sorted(counts.items())
        if 2 <= len(ours | theirs) <= MOST_LABELS
        and min(ours.total(), theirs.total()) >= LEAST_EXPECTED * len(ours | theirs)
        for label in sorted(ours | theirs)
    }
    limits = f"tasks with at most {MOST_LABELS} answers"
    why = f"no task has few enough answers and {LEAST} seeds on both sides"
    return [_farthest("balance of labels", _changes(new, old, named), limits, why)]


def _mentions(new: DriftSide, old: DriftSide) -> list[QualityMeasure]:
    """The share of texts that mention a group; groups that few texts mention are left out."""

    def of(pattern: re.Pattern[str]) -> Value:
        return lambda text: (
            float(bool(pattern.search(text.text))) if text.language == "en" else None
        )

    named = {
        f"{kind}: {group}": of(pattern)
        for kind, listed in group_lists().items()
        for group, pattern in listed.patterns().items()
    }
    changes = {
        name: change
        for name, change in _changes(new, old, named).items()
        if change.total >= _LEAST_MENTIONS
    }
    limits = (
        f"English words of the lists in groups.yaml, where at least {_LEAST_MENTIONS} texts hold "
        "one; not what is said of them"
    )
    if not changes:
        return [_missing("who appears", limits, "too few texts mention a group")]
    adjusted = holm([change.p for change in changes.values()])
    return [
        _line(f"{name} (share)", change, p, limits)
        for (name, change), p in zip(changes.items(), adjusted, strict=True)
    ]


def _tasks(new: DriftSide, old: DriftSide) -> list[QualityMeasure]:
    def of(task: str) -> Value:
        return lambda text: float(text.task == task)

    tasks = sorted({text.task for side in (new, old) for text in _texts(side)})
    changes = _changes(new, old, {task: of(task) for task in tasks})
    return [_farthest("share of a task", changes, "of what there is, whatever was planned", _FEW)]


def _coverage(new: DriftSide, old: DriftSide, seed: int) -> list[QualityMeasure]:
    return [
        _hits("the old's neighbourhoods, hit by the new", new, old, seed),
        _hits("the new's neighbourhoods, hit by the old", old, new, seed),
    ]


def _hits(name: str, other: DriftSide, side: DriftSide, seed: int) -> QualityMeasure:
    """Half of a side is the space; as many texts of the other hit it as of its other half."""
    limits = "neighbourhoods by words, within tasks that both have; one text of each seed"
    theirs, ours = _common(side, other)
    space = dict([*theirs.items()][::2])
    own = [theirs[name] for name in theirs if name not in space]
    others = [text for name, text in ours.items() if name not in space]
    first, second, sizes = [], [], []
    texts = [*space.values()]
    for task in sorted({text.task for text in texts}):
        centres = [i for i, text in enumerate(texts) if text.task == task]
        hitting = [[t.asked for t in hit if t.task == task] for hit in (others, own)]
        count = min(map(len, hitting))
        if not count:
            continue
        words_of = [texts[i].asked for i in centres]
        matrix = weigh([*words_of, *hitting[0][:count], *hitting[1][:count]], fitted_on=words_of)
        near = nearest(matrix[len(centres) :], matrix[: len(centres)])[0]
        places = np.array(centres)[near]
        first.append(places[:count])
        second.append(places[count:])
        sizes.append(len(centres))
    if sum(map(len, first)) < LEAST:
        return _missing(name, limits, _FEW)
    hits = np.array([np.concatenate(first), np.concatenate(second)])

    def shares(rows: NDArray[np.int64]) -> Floats:
        found = [len(np.unique(places[rows])) / sum(sizes) for places in hits]
        return np.array([*found, found[0] - found[1]])

    spans = jackknife(shares, hits.shape[1], rng_of(seed, name))
    reached, itself, gap = widen_shares(spans, sum(sizes))
    return QualityMeasure(
        dimension=DIMENSION,
        name=name,
        **vars(gap),
        reference=0.0,
        reference_is=f"{reached.value:.3f}, by as many of its own {itself.value:.3f}",
        apart=not gap.low <= 0 <= gap.high,
        n=hits.shape[1],
        limits=limits,
    )


def _changes(new: DriftSide, old: DriftSide, named: Mapping[str, Value]) -> dict[str, MeanChange]:
    found = ((name, _change_of_share(new, old, value)) for name, value in named.items())
    return {name: change for name, change in found if change is not None}


def _change_of_share(new: DriftSide, old: DriftSide, value: Value) -> MeanChange | None:
    """With an interval also where a share is 0 or 1 on both sides, so that nothing varies; where
    both are of the same seeds, none of which changed, there is no doubt."""
    found = change_of_mean(new, old, value)
    is_same = new.groups.keys() == old.groups.keys()
    if found is None or is_same or found.change.low < found.change.high:
        return found
    fewest = min(
        sum(any(value(text) is not None for text in texts) for texts in side.groups.values())
        for side in (new, old)
    )
    sides = [Spanned(share, share, share) for share in (found.new, found.old)]
    return replace(found, change=widen_shares([*sides, found.change], fewest)[2])


def _farthest(
    name: str, changes: Mapping[str, MeanChange], limits: str, why: str
) -> QualityMeasure:
    """One line for shares of one thing, corrected for all of them; notes name those that differ.

    `why`: there is none.
    """
    if not changes:
        return _missing(name, limits, why)
    adjusted = holm([change.p for change in changes.values()])
    rows = [*zip(changes, adjusted, strict=True)]
    shown, p = min(rows, key=lambda row: (row[1], -abs(changes[row[0]].change.value)))
    notes = [
        f"{each}: {changes[each].new:.3f}, was {changes[each].old:.3f}, p = {q:.3f}"
        for each, q in rows
        if q < 1 - CONFIDENCE
    ]
    line = _line(name, changes[shown], p, f"{limits}; the farthest of {len(rows)}", notes)
    return replace(line, reference_is=f"{shown}: {line.reference_is}")


def _line(
    name: str, found: MeanChange, p: float, limits: str, notes: Sequence[str] = ()
) -> QualityMeasure:
    return QualityMeasure(
        dimension=DIMENSION,
        name=name,
        **vars(found.change),
        reference=0.0,
        reference_is=f"{found.new:.3f}, was {found.old:.3f}",
        p=p,
        apart=p < 1 - CONFIDENCE,
        n=found.n,
        limits=limits,
        notes=list(notes),
    )


def _missing(name: str, limits: str, why: str) -> QualityMeasure:
    return QualityMeasure(dimension=DIMENSION, name=name, limits=limits, missing=why)


def _common(
    ours: DriftSide, theirs: DriftSide
) -> tuple[dict[str, AuditedText], dict[str, AuditedText]]:
    """Seed -> its first text, of tasks that both sides have."""
    firsts = [{n: found[0] for n, found in side.groups.items()} for side in (ours, theirs)]
    tasks = [{text.task for text in each.values()} for each in firsts]
    both = tasks[0] & tasks[1]
    one, two = ({n: text for n, text in each.items() if text.task in both} for each in firsts)
    return one, two


def _first(texts: dict[str, AuditedText], most: int) -> dict[str, AuditedText]:
    return dict([*texts.items()][:most])


def _texts(side: DriftSide) -> Iterator[AuditedText]:
    return (text for found in side.groups.values() for text in found)
