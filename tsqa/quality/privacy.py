"""Privacy: what items give away of their seeds, canaries that came back, and personal data."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np

from tsqa.curated.files import read_curated, read_rejected
from tsqa.quality.features import nearest, weigh
from tsqa.quality.measure import (
    LEAST,
    auc_of,
    first_pair_p,
    rng_of,
    share_of_groups,
)
from tsqa.quality.personal import KINDS, MISSED, find_personal
from tsqa.quality.sample import AuditedText, QualitySample
from tsqa.records.canaries import CANARY_STEP, CanaryIndex, read_canaries
from tsqa.records.candidate import read_candidate
from tsqa.records.candidate_file import CandidateRecord, parse_record
from tsqa.records.quality import NAMED, SEED_NAMES, QualityMeasure
from tsqa.records.rows import CuratedRow, read_lineage
from tsqa.review.estimate import interval
from tsqa.text.normalise import words

DIMENSION = "privacy"
SPAN = 13


class _Against(TypedDict, total=False):
    reference: float
    reference_is: str
    p: float
    apart: bool


@dataclass(frozen=True)
class NameFinder:
    """A model that marks names of persons."""

    name: str
    """Without the folders of this machine."""
    names: Callable[[Sequence[str]], list[set[str]]]
    """Those in each text, in lower case."""
    wanted: str
    """What is told apart from another model."""


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
        # On all of both: who is left out has fewer known words, so that its cosines are higher.
        matrix = weigh([*documents, *(item.text for item in items[task])], fitted_on=documents)
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
    other = _other_seeds(sample)
    own, chance, groups, found = [], [], [], []
    for name, item in sample.items:
        shown = sample.seeds[name].context
        text = item.whole.removeprefix(shown) if shown and shown == item.context else item.whole
        held = _runs(text)
        own.append(not held.isdisjoint(runs[name]))
        chance.append(name in other and not held.isdisjoint(runs[other[name]]))
        groups.append(name)
        if own[-1]:
            found.append(item.id)
    share = share_of_groups(own, groups, rng_of(seed, "copies"))
    return QualityMeasure(
        dimension=DIMENSION,
        name=f"items with {SPAN} words of their seed in a row",
        **vars(share),
        **_against_others(own, chance, groups, other),
        n=len(own),
        limits="word for word only; a shorter text cannot hold such a run; not the passage that "
        "an item shows on purpose",
        notes=[f"such as {', '.join(found[:5])}"] if found else [],
    )


def _other_seeds(sample: QualitySample) -> dict[str, str]:
    """Seed -> another one of its task, where there is one."""
    by_task = defaultdict(list)
    for name, each in sample.seeds.items():
        by_task[each.task].append(name)
    return {
        name: names[(place + 1) % len(names)]
        for names in by_task.values()
        for place, name in enumerate(names)
        if len(names) > 1
    }


def _against_others(
    own: Sequence[bool], chance: Sequence[bool], groups: Sequence[str], other: Mapping[str, str]
) -> _Against:
    """What is true of items and their seeds, against the same of items and other seeds."""
    known = [place for place, name in enumerate(groups) if name in other]
    if not known:
        return {"reference_is": "no task has two seeds"}
    ours, theirs = ([each[place] for place in known] for each in (own, chance))
    p = first_pair_p(ours, theirs, [groups[place] for place in known])
    return {
        "reference": sum(theirs) / len(theirs),
        "reference_is": "of another seed of the task",
        "p": p,
        "apart": p < 0.05,
    }


def _runs(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + SPAN]) for i in range(len(found) - SPAN + 1)}


def measure_canaries(filtered: Path) -> QualityMeasure:
    """Share of the canaries that an item repeats, of all candidates of a filter artifact.

    Such items are rejected; any in the dataset, which an edit may bring there, count as well.
    """
    name, limits = (
        "canaries that came back",
        "an invented name and number at the head of a seed, whole: no paraphrase, part of one or "
        "translation; filters after this step may have rejected the item as well",
    )
    canaries = read_canaries(filtered)
    if not canaries:
        return QualityMeasure(
            dimension=DIMENSION,
            name=name,
            limits=limits,
            missing="none were planted: generate.canaries",
        )
    seen = _search(filtered, CanaryIndex(canaries))
    came = seen.stopped | seen.left
    low, high = interval(len(came) / len(canaries), len(canaries))
    shown = f"{seen.repeats:,} of the {seen.shown:,} candidates that were shown one repeat it"
    notes = [f"{shown}; all are rejected" if came and not seen.left else shown]
    if seen.left:
        notes.append(f"in the dataset: {len(seen.left):,} canaries, of {_some(seen.left)}")
    if other := seen.elsewhere - came:
        notes.append(
            f"{len(other):,} more in votes that lost and in what other filters rejected before"
        )
    if came:
        notes.append(f"such as those of {_some(came)}")
    return QualityMeasure(
        dimension=DIMENSION,
        name=name,
        value=len(came) / len(canaries),
        low=low,
        high=high,
        reference=0.0,
        reference_is="chance writes none",
        apart=bool(came),
        n=len(canaries),
        limits=limits,
        notes=notes,
    )


@dataclass
class _SeenCanaries:
    """Seeds whose canaries came back, by how far they came, and how many candidates could."""

    left: set[str] = field(default_factory=set)
    """In the dataset."""
    stopped: set[str] = field(default_factory=set)
    """By the step for canaries alone."""
    elsewhere: set[str] = field(default_factory=set)
    """In anything that a teacher said."""
    shown: int = 0
    repeats: int = 0


def _search(filtered: Path, index: CanaryIndex) -> _SeenCanaries:
    seen = _SeenCanaries()
    for row in read_curated(filtered):
        found = index.find(_leaving(row))
        seen.left.update(found)
        seen.repeats += bool(found)
        seen.shown += bool(read_lineage(row.lineage).canaries)
    for loser in read_rejected(filtered):
        try:
            record = parse_record(loser.record)
        except ValueError:  # no candidate
            continue
        seen.shown += bool(record.canaries)
        found = index.find(_said(record))
        seen.elsewhere.update(found)
        if found and loser.step == CANARY_STEP:
            seen.repeats += 1
            seen.stopped.update(index.find(read_candidate(record, shows_trace=True).parts))
    return seen


def _leaving(row: CuratedRow) -> Iterator[str]:
    yield from (row.context, row.question, *row.choices, row.answer, row.reasoning)
    yield from (row.knowledge, row.item_context, row.distractors, row.tests, row.text)


def _said(record: CandidateRecord) -> Iterator[str]:
    yield from (record.context, record.question, *record.choices, record.tests)
    yield record.rephrasing
    for vote in record.votes:
        yield from (vote.text, vote.trace)


def _some(ids: set[str]) -> str:
    return ", ".join(sorted(ids)[:5])


def _personal(sample: QualitySample, seed: int) -> list[QualityMeasure]:
    kinds, new, flags, groups, found = Counter[str](), Counter[str](), [], [], []
    real = {name: any(find_personal(each.whole)) for name, each in sample.seeds.items()}
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
    p = first_pair_p(flags, [real[name] for name in groups], groups)
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
            reference=sum(real.values()) / len(real),
            reference_is="of their seeds",
            p=p,
            apart=p < 0.05,
            n=len(flags),
            limits=f"by patterns of {', '.join(KINDS)}; {MISSED}",
            notes=notes,
        )
    ]


def measure_names(sample: QualitySample, finder: NameFinder, seed: int) -> list[QualityMeasure]:
    """Names of persons that a model marks: in items against their seeds, and those that an item
    has of its seed against those that it shares with another one."""
    groups = [name for name, _ in sample.items]
    texts = [item.whole for _, item in sample.items]
    found = finder.names([*texts, *(each.whole for each in sample.seeds.values())])
    ours = found[: len(texts)]
    theirs = dict(zip(sample.seeds, found[len(texts) :], strict=True))
    named, in_seeds = [bool(each) for each in ours], [bool(theirs[name]) for name in groups]
    other = _other_seeds(sample)
    kept = [bool(each & theirs[name]) for each, name in zip(ours, groups, strict=True)]
    chance = [
        name in other and bool(each & theirs[other[name]])
        for each, name in zip(ours, groups, strict=True)
    ]
    limits = f"by {finder.name}, whose errors are not measured here; persons of a story count too"
    p = first_pair_p(named, in_seeds, groups)
    shown = [item.id for (_, item), is_kept in zip(sample.items, kept, strict=True) if is_kept]
    return [
        QualityMeasure(
            dimension=DIMENSION,
            name=NAMED,
            **vars(share_of_groups(named, groups, rng_of(seed, "named"))),
            reference=sum(map(bool, theirs.values())) / len(theirs),
            reference_is="of their seeds",
            p=p,
            apart=p < 0.05,
            n=len(named),
            limits=limits,
        ),
        QualityMeasure(
            dimension=DIMENSION,
            name=SEED_NAMES,
            **vars(share_of_groups(kept, groups, rng_of(seed, "seed names"))),
            **_against_others(kept, chance, groups, other),
            n=len(kept),
            limits=f"{limits}; written alike but for case",
            notes=[f"such as {', '.join(shown[:5])}"] if shown else [],
        ),
    ]


def no_names(why: str) -> list[QualityMeasure]:
    return [
        QualityMeasure(dimension=DIMENSION, name=name, limits="", missing=why)
        for name in (NAMED, SEED_NAMES)
    ]
