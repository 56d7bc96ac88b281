"""`tsqa diff`: which items came in, went out or changed between two versions, by cause.

An item is the n-th question that was asked for after a seed. It is known by its id and the content
of its seed; where ids moved, as the lines of a file do, by task, content of the seed and n alone;
where its task has another name, by the latter two.
Content is the seed's passage, question and answer: a seed of which only the options changed counts
as the same.

Guarantees: each accepted item of either version is counted once; the same two versions give the
same report. Memory grows with the candidates (about 1 KB each), not with their texts.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Self

from rich.markup import escape

from tsqa.console import console
from tsqa.curated.files import CURATED, read_rows
from tsqa.records.kept_seeds import SeedLine, read_seed_lines
from tsqa.release.outcomes import Behind, candidate_lines, seed_lines
from tsqa.release.records import CANDIDATES, SEEDS, CandidateLine, read_lines, read_release
from tsqa.release.ways import MadeWith, compare_ways
from tsqa.store.atomic import write_text

CHANGES = "CHANGES.md"
_MOST_EXAMPLES = 3
_LONGEST = 100
Kind = Literal["in", "out", "changed"]
_Seed = tuple[str, str]
"""Task, hash of its content."""
_Place = tuple[str, str, int]
"""Task, hash of the seed, number of the question after it."""


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    title: str
    folder: Path
    """It holds `dataset/`."""
    seeds: Callable[[], Iterator[SeedLine]]
    candidates: Callable[[], Iterator[CandidateLine]]

    @classmethod
    def of_release(cls, folder: Path) -> Self:
        release = read_release(folder)
        return cls.of_folder(folder, f"{release.name} {release.version}")

    @classmethod
    def of_folder(cls, folder: Path, title: str) -> Self:
        """A release, or one that is being made."""
        return cls(
            title,
            folder,
            lambda: read_seed_lines(folder / SEEDS),
            lambda: read_lines(folder / CANDIDATES),
        )

    @classmethod
    def of_artifacts(cls, behind: Behind, title: str) -> Self:
        """A dataset that is not released."""
        return cls(
            title,
            behind.filter.path,
            lambda: seed_lines(behind.seeds),
            lambda: candidate_lines(behind.filter),
        )


@dataclass(frozen=True)
class Example:
    id: str
    text: str
    """The question, or the rephrasing, in its first words."""


@dataclass
class Cause:
    """Items that came in, went out or changed for one cause."""

    kind: Kind
    cause: str
    items: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass
class SeedChanges:
    """Seeds of a task."""

    task: str
    kept: int = 0
    new: int = 0
    gone: int = 0
    examples: list[str] = field(default_factory=list)
    """Ids of new ones."""


@dataclass(frozen=True)
class RenamedSeeds:
    """Seeds that are gone from a task and new in another, with the same content."""

    old: str
    new: str
    seeds: int


@dataclass(frozen=True)
class VersionDifference:
    old: str
    new: str
    seeds: list[SeedChanges]
    renamed: list[RenamedSeeds]
    same: int | None
    """Items that are in both, word for word; None where seeds alone were compared."""
    moved: int
    """Candidates whose id is another, since their seed has moved, or its task another name."""
    causes: list[Cause]
    ways: list[MadeWith] = field(default_factory=list)
    """What the items of one side alone were made with."""

    def count(self, kind: Kind) -> int:
        return sum(cause.items for cause in self.causes if cause.kind == kind)


def compare_sides(old: Side, new: Side, seeds_only: bool = False) -> VersionDifference:
    """What changed from one to the other."""
    seeds, renamed, old_seeds, new_seeds = _compare_seeds(old.seeds(), new.seeds())
    if seeds_only:
        return VersionDifference(old.title, new.title, seeds, renamed, None, 0, [])
    pairs, gone, came, moved = _match(old.candidates(), new.candidates())
    found: dict[tuple[Kind, str], list[CandidateLine]] = defaultdict(list)
    same = 0
    for before, after in pairs:
        judged = _judge(before, after)
        same += judged is None and not after.step
        if judged is not None:
            found[judged].append(before if judged[0] == "out" else after)
    for line in came:
        cause = "asked again of an old seed" if _seed_of(line) in old_seeds else "new seed"
        if not line.step:
            found["in", cause].append(line)
    for line in gone:
        cause = "no longer asked of its seed" if _seed_of(line) in new_seeds else "seed gone"
        if not line.step:
            found["out", cause].append(line)
    causes, ways = _causes(found, old, new), compare_ways(old.folder, new.folder)
    return VersionDifference(old.title, new.title, seeds, renamed, same, moved, causes, ways)


def print_difference(found: VersionDifference, as_json: bool) -> None:
    """The report as text, or as one JSON object."""
    if as_json:
        print(json.dumps(asdict(found), ensure_ascii=False))
        return
    for line in _lines(found):
        console.print(escape(line), highlight=False)


def write_changes(path: Path, found: VersionDifference) -> None:
    """The report as Markdown."""
    lines = [f"# {found.new}: what changed since {found.old}", ""]
    lines += [f"    {line}" for line in _lines(found)]
    write_text(path, "\n".join(lines) + "\n")


def _lines(found: VersionDifference) -> Iterator[str]:
    totals = Counter[str]()
    for task in found.seeds:
        for key in ("new", "gone", "kept"):
            totals[key] += getattr(task, key)
    yield f"{found.old} -> {found.new}"
    yield f"seeds: {totals['new']:,} new, {totals['gone']:,} gone, {totals['kept']:,} kept"
    for task in found.seeds:
        if task.new or task.gone:
            such = f", such as {', '.join(task.examples)}" if task.examples else ""
            yield f"  {task.task}: {task.new:,} new, {task.gone:,} gone{such}"
    for each in found.renamed:
        yield f"  {each.seeds:,} of those gone from {each.old} are new in {each.new}"
    if found.same is None:
        return
    counts = ", ".join(f"{found.count(kind):,} {kind}" for kind in ("in", "out", "changed"))
    yield f"items: {counts}, {found.same:,} the same"
    for cause in found.causes:
        yield f"  {cause.kind}: {cause.cause}: {cause.items:,}"
        yield from (f"    {example.id}: {example.text}" for example in cause.examples)
    for way in found.ways:
        yield f"made with {way.way}: {way.old:,} -> {way.new:,} items"
    if found.moved:
        yield f"{found.moved:,} candidates have another id: their seeds moved, or have another task"


def _compare_seeds(
    old: Iterator[SeedLine], new: Iterator[SeedLine]
) -> tuple[list[SeedChanges], list[RenamedSeeds], Counter[_Seed], Counter[_Seed]]:
    before = Counter((seed.task, seed.content_hash) for seed in old)
    left, after = Counter(before), Counter[_Seed]()
    tasks: dict[str, SeedChanges] = {}
    unknown: list[_Seed] = []
    for seed in new:
        key = (seed.task, seed.content_hash)
        after[key] += 1
        task = tasks.setdefault(seed.task, SeedChanges(seed.task))
        if left[key] > 0:
            left[key] -= 1
            task.kept += 1
        else:
            task.new += 1
            unknown.append(key)
            if len(task.examples) < _MOST_EXAMPLES:
                task.examples.append(seed.id)
    for (name, _), count in left.items():
        tasks.setdefault(name, SeedChanges(name)).gone += count
    renamed = _renamed(left, unknown, before, after)
    return [tasks[name] for name in sorted(tasks)], renamed, before, after


def _renamed(
    gone: Counter[_Seed], came: list[_Seed], before: Counter[_Seed], after: Counter[_Seed]
) -> list[RenamedSeeds]:
    """Also lets each side know such a seed by the task that it has on the other."""
    places: dict[str, list[str]] = defaultdict(list)
    for (task, content), count in gone.items():
        places[content] += [task] * count
    found = Counter[tuple[str, str]]()
    for task, content in came:
        if places.get(content):
            old = places[content].pop(0)
            found[old, task] += 1
            before[task, content] += 1
            after[old, content] += 1
    return [RenamedSeeds(old, new, count) for (old, new), count in sorted(found.items())]


def _match(
    old: Iterator[CandidateLine], new: Iterator[CandidateLine]
) -> tuple[
    list[tuple[CandidateLine, CandidateLine]], list[CandidateLine], list[CandidateLine], int
]:
    """(pairs, only in the old, only in the new, pairs whose ids differ)."""
    left = {(line.id, line.seed_hash): line for line in old}
    pairs, unknown = [], []
    for line in new:
        before = left.pop((line.id, line.seed_hash), None)
        if before is None:
            unknown.append(line)
        else:
            pairs.append((before, line))
    known = len(pairs)
    for key in (_with_task, _without_task):
        by_seed: dict[_Place, list[CandidateLine]] = defaultdict(list)
        for line in left.values():
            if line.seed_hash:
                by_seed[key(line)].append(line)
        came: list[CandidateLine] = []
        for line in unknown:
            if alike := by_seed.get(key(line)):
                before = alike.pop(0)
                del left[before.id, before.seed_hash]
                pairs.append((before, line))
            else:
                came.append(line)
        unknown = came
    return pairs, [*left.values()], unknown, len(pairs) - known


def _with_task(line: CandidateLine) -> _Place:
    return line.task, line.seed_hash, line.number


def _without_task(line: CandidateLine) -> _Place:
    return "", line.seed_hash, line.number


def _judge(before: CandidateLine, after: CandidateLine) -> tuple[Kind, str] | None:
    """What became of an item that both know; None where it is as it was."""
    another = ""
    if before.asked != after.asked:
        another = "another question"
    elif before.answer != after.answer:
        another = "another answer"
    with_it = f", with {another}" if another else ""
    if before.step and after.step:
        return None
    if after.step:
        return "out", f"rejected by {after.step}{with_it}"
    if before.step:
        return "in", f"no longer rejected by {before.step}{with_it}"
    if not another and before.text != after.text:
        another = "another text"
    return ("changed", another) if another else None


def _causes(
    found: dict[tuple[Kind, str], list[CandidateLine]], old: Side, new: Side
) -> list[Cause]:
    order: list[Kind] = ["in", "out", "changed"]
    wanted: dict[bool, set[str]] = {True: set(), False: set()}
    for (kind, _), lines in found.items():
        wanted[kind == "out"] |= {line.id for line in lines[:_MOST_EXAMPLES]}
    texts = {True: _texts_of(old, wanted[True]), False: _texts_of(new, wanted[False])}
    causes = []
    for (kind, cause), lines in found.items():
        known = texts[kind == "out"]
        shown = [Example(line.id, known.get(line.id, "")) for line in lines[:_MOST_EXAMPLES]]
        causes.append(Cause(kind, cause, len(lines), shown))
    return sorted(causes, key=lambda c: (order.index(c.kind), -c.items, c.cause))


@dataclass(frozen=True)
class _Row:
    id: str
    question: str
    answer: str


def _texts_of(side: Side, ids: set[str]) -> dict[str, str]:
    if not ids:
        return {}
    rows = (row for row in read_rows(side.folder / CURATED, _Row) if row.id in ids)
    return {row.id: " ".join((row.question or row.answer).split())[:_LONGEST] for row in rows}


def _seed_of(line: CandidateLine) -> _Seed:
    return line.task, line.seed_hash
