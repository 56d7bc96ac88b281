"""Privacy: what items give away of their seeds, and personal data in them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tsqa.quality.features import nearest, weigh
from tsqa.quality.measure import (
    LEAST,
    auc_of,
    rng_of,
    share_of_groups,
)
from tsqa.quality.personal import KINDS, MISSED, find_personal
from tsqa.quality.sample import AuditedText, QualitySample
from tsqa.records.quality import QualityMeasure
from tsqa.text.normalise import words

DIMENSION = "privacy"
SPAN = 13


@dataclass(frozen=True)
class UnusedDocuments:
    """Documents of the same splits that are no seeds."""

    texts: Sequence[AuditedText]
    missing: str = ""
    """Why there are none."""


def measure_privacy(
    sample: QualitySample, held_out: UnusedDocuments, seed: int
) -> list[QualityMeasure]:
    return [
        _membership(sample, held_out, seed),
        _copied(sample, seed),
        *_personal(sample, seed),
    ]


def _membership(sample: QualitySample, held_out: UnusedDocuments, seed: int) -> QualityMeasure:
    """Who has the items guesses which documents were seeds by the item that is nearest to each."""
    name, limits = (
        "seeds told by nearest item (AUC)",
        "one attack, by words: no bound on others; by the items of the drawn seeds alone",
    )
    used = defaultdict(list)
    for each in sample.seeds.values():
        used[each.task].append(each)
    unused = defaultdict(list)
    known = {each.text for each in (*sample.seeds.values(), *sample.others)}
    for each in held_out.texts:
        if each.text not in known:
            unused[each.task].append(each)
    items = defaultdict(list)
    for seed_id, item in sample.items:
        items[sample.seeds[seed_id].task].append(item)
    scores: list[float] = []
    positive: list[bool] = []
    strata: list[int] = []
    for place, task in enumerate(sorted(used.keys() & unused.keys())):
        ours, theirs = used[task], unused[task]
        documents = [each.text for each in (*ours, *theirs)]
        balanced = [each.text for pair in zip(ours, theirs, strict=False) for each in pair]
        matrix = weigh([*documents, *(item.text for item in items[task])], fitted_on=balanced)
        scores += nearest(matrix[: len(documents)], matrix[len(documents) :])[1].tolist()
        positive += [True] * len(ours) + [False] * len(theirs)
        strata += [place] * len(documents)
    count = min(sum(positive), len(positive) - sum(positive))
    if count < LEAST:
        why = held_out.missing or f"{count} documents that are no seeds; {LEAST} are needed"
        return QualityMeasure(dimension=DIMENSION, name=name, limits=limits, missing=why)
    groups = np.arange(len(scores))
    auc = auc_of(
        np.array(scores), np.array(positive), np.array(strata), groups, rng_of(seed, "members")
    )
    unused_count = len(positive) - sum(positive)
    return QualityMeasure(
        dimension=DIMENSION,
        name=name,
        **vars(auc),
        reference=0.5,
        reference_is=f"chance; {unused_count:,} documents of the same splits that are no seeds",
        apart=auc.low > 0.5,
        n=sum(positive),
        limits=limits,
    )


def _copied(sample: QualitySample, seed: int) -> QualityMeasure:
    """Items that hold a run of 13 words of their seed, against that of another seed of the task.

    A passage that items show on purpose is not counted.
    """
    runs = {name: _runs(each.whole) for name, each in sample.seeds.items()}
    by_task = defaultdict(list)
    for name, each in sample.seeds.items():
        by_task[each.task].append(name)
    other = {
        name: names[(place + 1) % len(names)]
        for names in by_task.values()
        for place, name in enumerate(names)
    }
    own, chance, groups, found = [], [], [], []
    for name, item in sample.items:
        shown = sample.seeds[name].context
        text = item.whole.removeprefix(shown) if shown and shown == item.context else item.whole
        held = _runs(text)
        own.append(not held.isdisjoint(runs[name]))
        chance.append(other[name] != name and not held.isdisjoint(runs[other[name]]))
        groups.append(name)
        if own[-1]:
            found.append(item.id)
    share = share_of_groups(own, groups, rng_of(seed, "copies"))
    base = sum(chance) / len(chance)
    return QualityMeasure(
        dimension=DIMENSION,
        name=f"items with {SPAN} words of their seed in a row",
        **vars(share),
        reference=base,
        reference_is="of another seed of the task",
        apart=share.low > base,
        n=len(own),
        limits="word for word only; a shorter text cannot hold such a run; not the passage that "
        "an item shows on purpose",
        notes=[f"such as {', '.join(found[:5])}"] if found else [],
    )


def _runs(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + SPAN]) for i in range(len(found) - SPAN + 1)}


def _personal(sample: QualitySample, seed: int) -> list[QualityMeasure]:
    kinds, new, flags, groups, found = Counter[str](), Counter[str](), [], [], []
    for name, item in sample.items:
        there = set(find_personal(item.whole))
        in_seed = sample.seeds[name].whole
        kinds.update({kind for kind, _ in there})
        new.update({kind for kind, text in there if text not in in_seed})
        flags.append(bool(there))
        groups.append(name)
        if there:
            found.append(item.id)
    share = share_of_groups(flags, groups, rng_of(seed, "personal"))
    base = _share_with_personal(sample.seeds.values())
    notes = [
        f"{kind}: {kinds[kind]:,}, of which {new[kind]:,} not in the seed"
        for kind in KINDS
        if kinds[kind]
    ]
    if found:
        notes.append(f"such as {', '.join(found[:5])}")
    return [
        QualityMeasure(
            dimension=DIMENSION,
            name="items with personal data",
            **vars(share),
            reference=base,
            reference_is="of their seeds",
            apart=share.low > base,
            n=len(flags),
            limits=f"by patterns; misses {MISSED}",
            notes=notes,
        )
    ]


def _share_with_personal(texts: Iterable[AuditedText]) -> float:
    flags = [any(find_personal(each.whole)) for each in texts]
    return sum(flags) / len(flags)
