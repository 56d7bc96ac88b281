"""The seeds that a run took over from a release, so that what was asked of them stays as it was.

A question shows seeds of the same task, drawn from all of them. Seeds that came later would change
each draw, and so all requests; a seed of a release therefore draws from those that were there with
it. Guarantee: seeds that nobody took over draw from all, as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tsqa.errors import RecipeError
from tsqa.store.identity import sha256_of
from tsqa.store.jsonl import write_json
from tsqa.store.manifest import MANIFEST
from tsqa.store.own_files import read_own, read_own_lines

LINEAGE = "lineage"
"""Folder of a release."""
KEPT = "kept.json"
"""Beside `seeds.jsonl`: task -> how many of its first seeds were in each release, oldest first."""
Levels = dict[str, list[int]]


@dataclass(frozen=True, kw_only=True)
class SeedLine:
    """A seed in `lineage/seeds.jsonl` of a release, without its text."""

    id: str
    task: str
    content_hash: str
    dataset: str
    revision: str
    split: str
    licence: str


@dataclass(frozen=True)
class KeptSeeds:
    """The seeds of one task in a release."""

    places: dict[tuple[str, str], int]
    """(id, hash of its content) -> its place among them."""
    levels: list[int]

    def now(self, kept: list[int]) -> list[int]:
        """The levels of a run that took these places over, in order."""
        counts = [sum(place < level for place in kept) for level in self.levels] + [len(kept)]
        return sorted(set(counts) - {0})


def lineage_of(release: str) -> Path:
    """The folder with the seeds of a release; RecipeError where there is none."""
    folder = Path(release) / LINEAGE
    if not (folder / "seeds.jsonl").is_file():
        raise RecipeError(
            f"seeds.refresh = {release}: no release: {LINEAGE}/seeds.jsonl is missing",
            "give the folder of one, such as runs/releases/NAME/v1",
        )
    return folder


@dataclass(frozen=True)
class _File:
    sha256: str


@dataclass(frozen=True)
class _Manifest:
    """What of a release's manifest tells whether its seeds are as they were written."""

    files: dict[str, _File]


def read_kept(release: str) -> dict[str, KeptSeeds]:
    """Task -> the seeds that a release had; RecipeError where they are not as it wrote them."""
    folder = lineage_of(release)
    _check_lineage(folder, release)
    levels = read_levels(folder / "seeds.jsonl")
    found: dict[str, KeptSeeds] = {}
    for seed in read_seed_lines(folder / "seeds.jsonl"):
        task = found.setdefault(seed.task, KeptSeeds({}, levels.get(seed.task, [])))
        task.places[seed.id, seed.content_hash] = len(task.places)
    return found


def _check_lineage(folder: Path, release: str) -> None:
    """A seed whose line is lost would count as new, and be asked about again."""
    manifest = folder.parent / MANIFEST
    files = read_own(manifest, _Manifest).files if manifest.is_file() else {}
    for path in (folder / "seeds.jsonl", folder / KEPT):
        name = path.relative_to(folder.parent).as_posix()
        found = sha256_of(path) if path.is_file() else None
        written = files[name].sha256 if name in files else None
        if found != written:
            raise RecipeError(
                f"seeds.refresh = {release}: {name} is not as the release wrote it",
                f"take the release from a copy; `tsqa verify {release}` says what else is damaged",
            )


def read_seed_lines(path: Path) -> Iterator[SeedLine]:
    """The lines of a release's seeds; DataError where one is damaged."""
    return read_own_lines(path, SeedLine, "take the release again from a copy of it")


def read_levels(seeds: Path) -> Levels:
    """Those beside a `seeds.jsonl`; none where it took nothing over."""
    file = seeds.with_name(KEPT)
    return read_own(file, Levels) if file.is_file() else {}


def write_levels(folder: Path, levels: Levels) -> None:
    write_json(folder / KEPT, levels)
