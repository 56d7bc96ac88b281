"""Where a gain lives: parts of the macro average by what was seeded from, and arms minus placebos.

Guarantee: a part that holds the tasks of another row is that row under another name, and is not
tested twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from eval.compare.scores import Evaluated, weigh_macro
from eval.deltas import By, Comparison, Delta, DeltaRow, DeltaTable, NearRow
from eval.lineage.nearest import Key
from eval.statistics import stats
from eval.statistics.paired import Scored
from tsqa.recipe import Control

Split = Mapping[str, Sequence[str]]
"""Part of the macro average -> its tasks."""
WHERE = {
    stats.SEEDED: "in the seeded families",
    stats.SAME_CAPABILITY: "in other families of a seeded capability",
    stats.OTHER_CAPABILITIES: "in other capabilities",
    stats.OTHER_FAMILIES: "in other families",
    stats.UNKNOWN_FAMILY: "in tasks of unknown family",
}
_PLACEBOS = (",format_matched", ",repeat_matched")
"""Controls that teach nothing; the others teach what needs no synthetic items."""
_NOTHING_ELSE = (
    "every evaluated task is of a family that was seeded from, and nothing else was measured: this "
    "table cannot show generalisation (evaluate other tasks, or set seeds.hold_out)"
)


def placebos_of(conditions: Sequence[str], control: str) -> list[tuple[str, str]]:
    """(arm, its placebo), where `ablation.controls` added one to an arm that is not the control."""
    pairs = []
    for placebo in conditions:
        arm, _, kind = placebo.rpartition(",")
        if kind in get_args(Control) and arm in conditions and control not in (arm, placebo):
            pairs.append((arm, placebo))
    return pairs


def tested_parts(split: Split, known: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """The parts that no row has; `known` are the tasks of each row."""
    rows = {frozenset(tasks) for tasks in known}
    return {name: list(tasks) for name, tasks in split.items() if frozenset(tasks) not in rows}


def all_parts(
    tested: Sequence[DeltaRow],
    rows: Sequence[DeltaRow],
    splits: Mapping[str, Split],
    averages: Mapping[str, Sequence[str]],
) -> list[DeltaRow]:
    """Per comparison its difference from a placebo, and every part of its macro average.

    `averages`: the tasks of every macro row, under its name.
    """
    found = []
    for comparison, split in splits.items():
        own = [row for row in tested if row.comparison == comparison]
        found += [row for row in own if not stats.is_part(row.task)]
        every = [*own, *(row for row in rows if row.comparison == comparison)]
        for part, tasks in split.items():
            name = stats.macro_name(part)
            members = {name: tasks, **averages}
            same = next(
                (r for r in every if set(members.get(r.task, [r.task])) == set(tasks)), None
            )
            if same is not None:
                found.append(replace(same, task=name))
    return found


Distance = Literal["far", "near", "very near"]
_NEAR: dict[By, tuple[float, float]] = {"words": (1 / 3, 1 / 2), "meaning": (0.6, 0.8)}
"""Nearness from which an evaluated document is near, and very near."""
DISTANCES = get_args(Distance)
_NUMBERS = ("n", "reference", "score", "delta", "low", "high")
_LEAST = 2


def distances_of(near: Mapping[Key, float], by: By) -> dict[Key, Distance]:
    return {key: DISTANCES[sum(one >= least for least in _NEAR[by])] for key, one in near.items()}


def at_distance(
    model: Evaluated, distances: Mapping[Key, Distance], distance: Distance
) -> Evaluated:
    """What it scored on the documents at this distance, of the tasks that have some."""
    scores, tasks = {}, {}
    for task, one in model.scores.items():
        kept = [
            i for i, (doc_id, _) in enumerate(one.keys) if distances.get((task, doc_id)) == distance
        ]
        if len(kept) >= _LEAST:
            groups = None if one.groups is None else [one.groups[i] for i in kept]
            values = one.values[np.array(kept)]
            scores[task] = Scored([one.keys[i] for i in kept], values, groups)
            tasks[task] = replace(model.tasks[task], n=len(kept), score=float(values.mean()))
    return weigh_macro(replace(model, tasks=tasks, scores=scores))


def near_row(name: Comparison, by: By, distance: Distance, delta: Delta) -> NearRow:
    kept = {key: getattr(delta, key) for key in _NUMBERS}
    return NearRow(**vars(name), task=delta.task, distance=distance, **kept, by=by)


def near_lines(deltas: DeltaTable) -> list[str]:
    """Per comparison the change of the mean over documents, by distance."""
    rows = [row for row in deltas.nearness if row.task == stats.MACRO]
    found = []
    for comparison, by in dict.fromkeys((row.comparison, row.by) for row in rows):
        told = [
            f"{row.distance} {stats.points(row.delta)} {stats.interval(row.low, row.high)} "
            f"(n = {row.n:,})"
            for row in rows
            if (row.comparison, row.by) == (comparison, by)
        ]
        nearest = "nearest training document" + (" in meaning" if by == "meaning" else "")
        found.append(f"By the {nearest}, {comparison}: {'; '.join(told)}.")
    return found


def split_sentences(deltas: DeltaTable) -> Iterator[str]:
    """Where each arm gains, and what it gains beyond its placebos and baselines."""
    only_seeded = []
    for comparison in dict.fromkeys(row.comparison for row in deltas.split):
        rows = [row for row in deltas.split if row.comparison == comparison]
        parts = [row for row in rows if stats.is_part(row.task)]
        for row in rows:
            if not stats.is_part(row.task):
                of = "placebo" if row.against.endswith(_PLACEBOS) else "baseline"
                yield (
                    f"Beyond its {of} {row.against}, {row.arm} changes the macro average by "
                    f"{stats.change(row)}: {row.verdict}."
                )
        if [row.task for row in parts] == [stats.macro_name(stats.SEEDED)]:
            only_seeded += [comparison] if comparison in deltas.comparisons else []
        elif parts and comparison in deltas.comparisons:
            yield f"{comparison}: {'; '.join(map(_told, parts))}."
    if only_seeded:
        yield f"{', '.join(only_seeded)}: {_NOTHING_ELSE}."


def _told(row: DeltaRow) -> str:
    where = WHERE[stats.part_name(row.task)]
    word = "not detectable" if row.verdict == stats.UNCHANGED else row.verdict
    return f"{stats.change(row)}, {word}, {where}"
