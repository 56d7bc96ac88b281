"""`tsqa gc`: artifacts that no recipe uses any more, and what interrupted runs left.

Guarantees: an artifact is kept if a given recipe names it, if any other recipe last used it
(`stages.json`), or if a kept one was made from it; one that a process works on or reads is not
touched; a recipe that cannot be read stops everything, since what it uses is unknown; a kill leaves
no half artifact.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from tsqa.console import make_console
from tsqa.errors import DataError, RecipeError, TsqaError, UsageError
from tsqa.locks import try_lock
from tsqa.pipeline.graph import build_graph
from tsqa.plain_yaml import read_keys
from tsqa.recipe import load_recipe
from tsqa.store.artifact import READ_LOCK, WORK_LOCK
from tsqa.store.identity import files_below
from tsqa.store.manifest import MANIFEST, read_manifest
from tsqa.store.own_files import Stages, read_own

ABANDONED_SECONDS = 24 * 3600
"""A `.partial` folder that nothing was written to for so long is abandoned."""
_PARTIAL = ".partial"
_REMOVED = ".removed"
_WIDE = 400
_LEAVE = "leave it out: a recipe that is not named keeps what its last run used"


@dataclass(frozen=True)
class Garbage:
    """A folder that nothing needs."""

    folder: Path
    bytes: int
    modified: float
    """Seconds since 1970."""

    @property
    def name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"


def find_garbage(runs: Path, recipes: Sequence[Path]) -> list[Garbage]:
    """List what may be removed below a folder of runs, the largest first."""
    store = runs / "artifacts"
    if not store.is_dir():
        raise UsageError(f"{store}: no such folder", "name the folder of the runs: tsqa gc runs")
    folders = {folder.name: folder for folder in sorted(_folders(store))}
    kept = _with_inputs(_used(runs, recipes), folders)
    found = []
    for name, folder in folders.items():
        if name.removesuffix(_PARTIAL) in kept:
            continue
        try:
            states = [file.stat() for file in files_below(folder)]
        except (DataError, FileNotFoundError):  # a process works on it
            continue
        modified = max((state.st_mtime for state in states), default=folder.stat().st_mtime)
        if name.endswith(_PARTIAL) and time.time() - modified < ABANDONED_SECONDS:
            continue
        found.append(Garbage(folder, sum(state.st_size for state in states), modified))
    return sorted(found, key=lambda one: -one.bytes)


def print_garbage(found: Sequence[Garbage]) -> None:
    """Print folders, sizes and dates, and the sum."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("artifact", no_wrap=True)
    table.add_column("size", no_wrap=True, justify="right")
    table.add_column("last written", no_wrap=True)
    for one in found:
        date = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.modified))
        table.add_row(one.name, shown_bytes(one.bytes), date)
    console = make_console(width=_WIDE)
    if found:
        console.print(table)
    total = shown_bytes(sum(one.bytes for one in found))
    console.print(f"{len(found)} artifacts that no recipe uses, {total}")


def remove(found: Iterable[Garbage]) -> list[Garbage]:
    """Remove these folders; return those that a process works on, which stay."""
    locked = []
    for one in found:
        with ExitStack() as held:
            if not all(_lock(held, one.folder, suffix) for suffix in (WORK_LOCK, READ_LOCK)):
                locked.append(one)
                continue
            trash = one.folder.parent.parent / _REMOVED / one.folder.name
            trash.parent.mkdir(exist_ok=True)
            shutil.rmtree(trash, ignore_errors=True)  # of a removal that was killed
            one.folder.rename(trash)
            shutil.rmtree(trash)
    return locked


def _lock(held: ExitStack, folder: Path, suffix: str) -> bool:
    lock = try_lock(folder.parent / f"{folder.stem}{suffix}")
    if lock is not None:
        held.enter_context(lock)
    return lock is not None


def shown_bytes(size: int) -> str:
    """`1.5 GiB`."""
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _folders(store: Path) -> Iterator[Path]:
    for stage in store.iterdir():
        if stage.is_dir() and not stage.name.startswith("."):
            yield from (folder for folder in stage.iterdir() if folder.is_dir())


def _used(runs: Path, recipes: Sequence[Path]) -> set[str]:
    """Fingerprints that the recipes name now, and those that all others last used."""
    used: set[str] = set()
    named = set()
    for path in _recipe_files(recipes):
        recipe = load_recipe(path, [f"runs={runs}"])
        try:
            used |= {node.fingerprint for node in build_graph(recipe, path)}
        except TsqaError as error:
            said = str(error).partition("\n")[0]
            fix = "; or ".join(filter(None, (error.fix, _LEAVE)))
            raise RecipeError(f"{path}: what it uses is not known: {said}", fix) from error
        named.add(recipe.name)
    for file in runs.glob("*/stages.json"):
        if file.parent.name not in named:
            used |= set(read_own(file, Stages).values())
    return used


def _recipe_files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = [file for file in sorted(path.rglob("*.yaml")) if _is_recipe(file)]
        if not found:
            raise RecipeError(f"{path}: no recipe in this folder", "correct the path")
        yield from found


def _is_recipe(file: Path) -> bool:
    """Tasks of lm-eval and suites, which may lie next to recipes, have no name."""
    return not {"name", "extends"}.isdisjoint(read_keys(file))


def _with_inputs(used: Iterable[str], folders: dict[str, Path]) -> set[str]:
    """These fingerprints, and those of all that they were made from."""
    kept: set[str] = set()
    todo = list(used)
    while todo:
        fingerprint = todo.pop()
        if fingerprint in kept:
            continue
        kept.add(fingerprint)
        folder = folders.get(fingerprint)
        if folder is not None and (folder / MANIFEST).is_file():
            manifest = read_manifest(folder)
            todo += [*manifest.inputs.values(), manifest.same_as or fingerprint]
    return kept
