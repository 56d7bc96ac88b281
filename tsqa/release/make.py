"""`tsqa release`: a named version of a recipe's dataset, in `runs/releases/<recipe>/<version>`.

Guarantees: a version appears whole or not at all and is never overwritten; asked for again, it is
the same or is refused with what differs; each file is read back as its manifest says; nothing is
asked of a network.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import yaml
from rich.text import Text

from tsqa import __version__
from tsqa.console import console
from tsqa.curated.card import CARD, with_audit
from tsqa.curated.files import CURATED, DATASET
from tsqa.errors import DataError, RecipeError
from tsqa.hub.licence import licence_of_model
from tsqa.locks import hold_folder
from tsqa.names import version_problem
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import Recipe, needed, origins_of
from tsqa.records.kept_seeds import KEPT, LINEAGE, read_seed_lines
from tsqa.records.quality import read_report
from tsqa.release.check import hash_files, require_good
from tsqa.release.data_sheet import DATA_SHEET, write_data_sheet
from tsqa.release.difference import CHANGES, Side, compare_sides, write_changes
from tsqa.release.licences import LicensedPart, implied, licensed
from tsqa.release.outcomes import Behind, artifacts_behind, candidate_lines, seed_lines
from tsqa.release.records import (
    CANDIDATES,
    RELEASES,
    SEEDS,
    Generation,
    MadeFrom,
    Release,
    read_lines,
    read_release,
    seal_of,
)
from tsqa.secrets import redact, redact_tree
from tsqa.store.atomic import fsync, fsync_all, write_text
from tsqa.store.jsonl import write_json, write_jsonl
from tsqa.store.manifest import MANIFEST
from tsqa.store.tracking import Tracker
from tsqa.teachers.config import teachers_of
from tsqa.trackers import TrackedRun, tags_of

RECIPE, PACKAGES, LICENCES = "recipe.yaml", "packages.txt", "licences.json"
_DATA = (f"{CURATED}/", f"{LINEAGE}/", LICENCES)
"""What a version is: the rest describes how and when it was made."""


@dataclass(frozen=True)
class Released:
    """A version that is there."""

    folder: Path
    release: Release
    is_new: bool


def release_folder(runs: Path, name: str, version: str) -> Path:
    return runs / RELEASES / name / version


def make_release(pipeline: Pipeline, version: str, since: Path | None = None) -> Released:
    """Make a version of the recipe's dataset; DataError where it is there with other content."""
    if problem := version_problem(version):
        raise RecipeError(f"version {version!r}: {problem}", "such as v1")
    folder = release_folder(Path(pipeline.recipe.runs), pipeline.recipe.name, version)
    if since is not None and since.resolve() == folder.resolve():
        raise RecipeError(f"--since {since}: is the version itself", "name an earlier one")
    behind = artifacts_behind(pipeline)
    partial = folder.with_name(f"{version}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    read = [(a.manifest.stage, a.fingerprint) for a in vars(behind).values()]
    holder = f"release {version} of {pipeline.recipe.name}"
    with (
        pipeline.store.reading(read),
        hold_folder(partial, folder.with_name(f"{version}.lock"), holder) as held,
    ):
        for left in partial.iterdir():  # of a killed release
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        release = _write(pipeline, version, behind, partial, since)
        if folder.is_dir():
            shutil.rmtree(partial)
            return Released(folder, _same_or_refused(folder, release), is_new=False)
        for file in (*release.files, MANIFEST):
            (partial / file).chmod(0o444)
        fsync_all(partial)
        held.check()
        partial.rename(folder)
        fsync(folder.parent)
    _track(pipeline, folder, release)
    return Released(folder, release, is_new=True)


def print_release(made: Released) -> None:
    """Say what was made, what its licences ask, and what it does not say."""
    release = made.release
    state = "released" if made.is_new else "already released, with this content"
    console.print(
        Text.assemble(
            (f"{release.name} {release.version}", "bold"),
            f" {state}: {release.items:,} items of {release.seeds:,} seeds, "
            f"{len(release.files)} files in {made.folder}",
        )
    )
    for line in release.implied:
        console.print(Text(f"  licences: {line}"))
    for line in release.gaps:
        console.print(Text(f"  not said: {line}", style="yellow"))


def _write(
    pipeline: Pipeline, version: str, behind: Behind, out: Path, since: Path | None
) -> Release:
    recipe = pipeline.recipe
    shutil.copytree(behind.filter.path / DATASET, out / DATASET)
    if audit := read_report(Path(recipe.runs), behind.filter, behind.seeds):
        card = out / DATASET / CARD
        write_text(card, with_audit(card.read_text(encoding="utf-8"), audit))
    (out / LINEAGE).mkdir()
    if (kept := behind.seeds.path / KEPT).is_file():
        shutil.copyfile(kept, out / LINEAGE / KEPT)
    seeds = write_jsonl(out / SEEDS, map(asdict, seed_lines(behind.seeds)))
    write_jsonl(out / CANDIDATES, map(asdict, candidate_lines(behind.filter)))
    shown = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    text = yaml.safe_dump(redact_tree(shown), sort_keys=False, allow_unicode=True)
    write_text(out / RECIPE, text)
    write_text(out / PACKAGES, "\n".join(_packages()) + "\n")
    parts = _licensed_parts(recipe, out)
    write_json(out / LICENCES, [asdict(part) for part in parts])
    origins = origins_of(recipe)
    release = Release(
        name=recipe.name,
        version=version,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        tsqa=__version__,
        origin=pipeline.origin.name,
        overrides=[redact(each) for each in pipeline.overrides],
        made_from=[
            MadeFrom(a.manifest.stage, a.fingerprint, a.manifest.created)
            for a in vars(behind).values()
        ],
        since=read_release(since).version if since else "",
        seeds=seeds,
        candidates=int(behind.filter.summary["candidates"]),
        items=int(behind.filter.summary["curated"]),
        licences=parts,
        implied=implied(parts),
        generations=[Generation(**vars(origin)) for origin in origins],
        gaps=_gaps(recipe, parts, [o.source for o in origins if not o.made_by]),
        files={},
    )
    if since is not None:
        changes = compare_sides(
            Side.of_release(since), Side.of_folder(out, f"{recipe.name} {version}")
        )
        write_changes(out / CHANGES, changes)
    write_data_sheet(out / DATA_SHEET, release, recipe, behind)
    whole = replace(release, files=hash_files(out))
    sealed = replace(whole, seal=seal_of(whole))
    write_json(out / MANIFEST, asdict(sealed))
    return sealed


def _same_or_refused(folder: Path, made: Release) -> Release:
    """The release that is there, if it holds the same data, and all of it still."""
    found = read_release(require_good(folder))
    names = sorted(n for n in {*found.files, *made.files} if n.startswith(_DATA))
    differ = [name for name in names if found.files.get(name) != made.files.get(name)]
    if differ:
        more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
        raise DataError(
            f"{folder}: there is a version {made.version} with other content: "
            f"{', '.join(differ[:3])}{more} (it has {found.items:,} items of {found.seeds:,} "
            f"seeds; now {made.items:,} of {made.seeds:,})",
            f"release it under another name; `tsqa diff {folder} RECIPE` says what changed",
        )
    return found


def _licensed_parts(recipe: Recipe, out: Path) -> list[LicensedPart]:
    """The sources of the seeds that items were made from, then the teachers that wrote.

    `out`: it holds the lines of seeds and candidates.
    """
    items: dict[str, int] = {}
    for line in read_lines(out / CANDIDATES):
        items[line.seed_id] = items.get(line.seed_id, 0) + (not line.step)
    sources: dict[tuple[str, str], int] = {}
    for seed in read_seed_lines(out / SEEDS):
        key = (seed.task, seed.licence)
        sources[key] = sources.get(key, 0) + items.get(seed.id, 0)
    given = recipe.seeds.licences if recipe.seeds else {}
    own = [*recipe.seeds.datasets, *recipe.seeds.documents] if recipe.seeds else []
    by_recipe = {each.name for each in own if each.licence}
    parts = []
    for (task, stated), count in sources.items():
        said = stated or next((given[name] for name in given if fnmatch(task, name)), "")
        said_by = (
            "the dataset" if stated and task not in by_recipe else "the recipe" if said else ""
        )
        parts.append(licensed("seeds", task, said, said_by, count))
    total = sum(sources.values())
    section = needed(recipe.generate, "generate")
    for model in (each.model for each in teachers_of(section).values()):
        part = licensed("teacher", model.called, *licence_of_model(model), total)
        if part not in parts:  # two folders of one name may hold different licences
            parts.append(part)
    return parts


def _gaps(recipe: Recipe, parts: Iterable[LicensedPart], undeclared: list[str]) -> list[str]:
    """What an auditor would ask and tsqa does not know, in words."""
    unknown = [f"{p.name} ({p.shown})" for p in parts if not p.id]
    gaps = []
    if unknown:
        gaps.append(
            f"the licence of {', '.join(unknown)}: state it in the recipe (seeds.licences, "
            "`licence` of a model or an own source), or look it up"
        )
    if undeclared:
        gaps.append(
            f"who made {', '.join(undeclared)} of the mixture: mixture.sources.NAME.made_by"
        )
    if recipe.eval is None:
        gaps.append("contamination: the recipe evaluates nothing, so nothing was held out")
    gaps.append(
        "the packages that made each artifact: packages.txt lists those installed at the release"
    )
    return gaps


@cache
def _packages() -> list[str]:
    """`name==version` of what is installed, as pip writes it."""
    found = {
        (name.lower(), distribution.version)
        for distribution in importlib.metadata.distributions()
        if (name := distribution.metadata["Name"])
    }
    return [f"{name}=={version}" for name, version in sorted(found)]


def _track(pipeline: Pipeline, folder: Path, release: Release) -> None:
    """Log the release by reference, where tracking is on."""
    recipe = pipeline.recipe
    mark = f"{release.name}-{release.version}"
    run = TrackedRun(
        experiment=recipe.name,
        stage="release",
        subject=release.version,
        fingerprint=mark,
        config={"recipe": recipe.model_dump(mode="json", by_alias=True)},
        tags=tags_of(recipe, shares=False),
    )
    tracker, failed = Tracker(recipe.tracking, run, Path(recipe.runs)), True
    try:
        tracker.summary({"items": release.items, "seeds": release.seeds, "seal": release.seal})
        inputs = {each.stage: each.fingerprint for each in release.made_from}
        tracker.artifact(folder, "release", mark, inputs)
        failed = False
    finally:
        tracker.finish(failed)
