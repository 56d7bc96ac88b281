"""Which evaluated tasks are of a family that an arm's seeds are of.

A task is of a family (its folder in lm-eval, its first tag elsewhere) and of a capability
(tsqa/seeds/taxonomy.yaml). `seeds.families` says it where no YAML does.

Guarantees: a family that nothing states is unknown, never taken for another one; so is the family
of every task that may be seeded from where a seed's family is unknown, or seeds are not at hand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from eval.lineage.sources import OwnData, data_reader, evaluated_benchmarks
from eval.statistics import stats
from tsqa.records.seed import Seed, read_seeds
from tsqa.seeds.taxonomy import UNKNOWN as OTHER
from tsqa.seeds.taxonomy import stated_family
from tsqa.store.artifact import Artifact
from tsqa.tasks.toy_families import FAMILIES, PREFIX


@dataclass(frozen=True)
class Kin:
    """What a task, or a source of seeds, is of."""

    task: str
    family: str
    capability: str
    is_known: bool
    """Whether something states the family; else it is the task's own name."""


@dataclass(frozen=True)
class Seeded:
    """The sources of an arm's seeds."""

    kin: frozenset[Kin] = frozenset()
    held_out: frozenset[str] = frozenset()
    """Families of which no seed is."""
    is_whole: bool = True
    """Whether every source is at hand."""

    @property
    def is_known(self) -> bool:
        """Whether the family of every seed is known."""
        return self.is_whole and all(one.is_known for one in self.kin)


@dataclass(frozen=True)
class Kinship:
    """Evaluated tasks, and the seeds of every condition."""

    tasks: Mapping[str, Kin]
    seeds: Mapping[str, Seeded]

    def split(self, arm: str, against: str) -> dict[str, list[str]]:
        """Part of the macro average -> its tasks; nothing where neither side has seeds.

        A family counts as seeded where either side saw it: a gain there may be teaching to the test
        in one of the two.
        """
        both = _together([self.seeds.get(name, Seeded()) for name in (arm, against)])
        if both.is_whole and not both.kin:
            return {}
        parts: dict[str, list[str]] = {name: [] for name in stats.PARTS}
        for task, kin in sorted(self.tasks.items()):
            parts[part_of(kin, both)].append(task)
        return {name: tasks for name, tasks in parts.items() if tasks}


def part_of(task: Kin, seeds: Seeded) -> str:
    """The part of the macro average to which a task belongs."""
    if any(one.task == task.task or one.family == task.family for one in seeds.kin):
        return stats.SEEDED
    if not (task.is_known and seeds.is_known) and task.family not in seeds.held_out:
        return stats.UNKNOWN_FAMILY
    capabilities = {one.capability for one in seeds.kin}
    if task.capability != OTHER and task.capability in capabilities:
        return stats.SAME_CAPABILITY
    if OTHER in {task.capability, *capabilities}:
        return stats.OTHER_FAMILIES
    return stats.OTHER_CAPABILITIES


def kinship(
    conditions: Mapping[str, Sequence[Artifact]],
    tasks: Collection[str],
    families: Mapping[str, str],
) -> Kinship:
    """From the evaluations of each condition; `families` as `seeds.families` states them."""
    evaluations = [one for several in conditions.values() for one in several]
    data = data_reader(conditions)
    found = {kin.task: kin for kin in _evaluated(evaluations, families)}
    unknown = {task: Kin(task, task, OTHER, False) for task in tasks}
    known = {task: kin for task, kin in found.items() if task in unknown}
    return Kinship(
        {**unknown, **known},
        {name: _seeded([*map(data, several)], families) for name, several in conditions.items()},
    )


def _seeded(found: Sequence[OwnData], families: Mapping[str, str]) -> Seeded:
    made = {seeds.fingerprint: seeds for data in found for seeds in data.seeds}
    parts = [
        Seeded(
            frozenset(_sources(seeds, families)),
            frozenset(seeds.manifest.config.get("hold_out", ())),
        )
        for seeds in made.values()
    ]
    return _together([*parts, Seeded(is_whole=all(data.is_whole for data in found))])


def _together(parts: Sequence[Seeded]) -> Seeded:
    """Of all; a family is held out where every part that leaves a doubt holds it out."""
    doubtful = [part.held_out for part in parts if not part.is_known]
    held_out = frozenset().union(*(part.held_out for part in parts))
    return Seeded(
        frozenset().union(*(part.kin for part in parts)),
        held_out.intersection(*doubtful),
        all(part.is_whole for part in parts),
    )


def _evaluated(evaluations: Sequence[Artifact], families: Mapping[str, str]) -> Iterator[Kin]:
    for benchmarks in evaluated_benchmarks(evaluations):
        is_own = benchmarks.manifest.config.get("include") is not None
        for document in _first_of_each(benchmarks, "documents.jsonl"):
            yield _kin(document, is_own, families)


def _sources(seeds: Artifact, families: Mapping[str, str]) -> Iterator[Kin]:
    config = seeds.manifest.config
    own = {one["name"] for key in ("datasets", "documents") for one in config.get(key, ())}
    is_own = config.get("include") is not None
    for seed in _first_of_each(seeds, "seeds.jsonl"):
        yield _kin(seed, is_own or seed.task in own, families)


def _kin(one: Seed, is_own: bool, families: Mapping[str, str]) -> Kin:
    stated = stated_family(one.task, families)
    is_toy = one.task.removeprefix(PREFIX) in FAMILIES and one.task.startswith(PREFIX)
    is_known = stated is not None or is_toy or not is_own or one.family != one.task
    return Kin(one.task, stated or one.family, one.capability, is_known)


def _first_of_each(artifact: Artifact, name: str) -> Iterator[Seed]:
    """The first document of each task."""
    left = {task for task, count in artifact.summary["by_task"].items() if count}
    seeds = read_seeds(artifact.path / name)
    while left:
        seed = next(seeds, None)
        if seed is None:
            return
        if seed.task in left:
            left.remove(seed.task)
            yield seed
