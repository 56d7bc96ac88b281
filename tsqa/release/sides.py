"""What a word of `tsqa diff` names: a release, or the dataset that a recipe has built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tsqa.errors import UsageError
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.release.check import releases_below, require_good
from tsqa.release.difference import Side
from tsqa.release.outcomes import artifacts_behind, seed_lines
from tsqa.release.records import RELEASES
from tsqa.store.manifest import MANIFEST


def open_side(
    named: str, runs: Path, seeds_only: bool = False, overrides: Sequence[str] = ()
) -> Side:
    """TsqaError where there is no such release or recipe, or where it has built no dataset.

    `overrides`: of a recipe.
    """
    path = Path(named)
    if path.suffix not in (".yaml", ".yml"):
        return Side.of_release(require_good(find_release(runs, named)))
    pipeline = Pipeline(load_recipe(path, overrides), path, [*overrides])
    title = f"{pipeline.recipe.name}, as it is now"
    if not seeds_only:
        return Side.of_artifacts(artifacts_behind(pipeline), title)
    seeds = pipeline.finished("seeds")
    return Side(title, seeds.path, lambda: seed_lines(seeds), lambda: iter(()))


def find_release(runs: Path, named: str) -> Path:
    """A folder of a release by its path, `NAME/VERSION`, or the version alone where it is of one
    recipe; UsageError where there is none, or several."""
    if (Path(named) / MANIFEST).is_file():
        return Path(named)
    below = runs / RELEASES
    found = [below / named] if "/" in named else sorted(below.glob(f"*/{named}"))
    found = [folder for folder in found if (folder / MANIFEST).is_file()]
    if len(found) == 1:
        return found[0]
    there = [str(folder.relative_to(below)) for folder in releases_below(runs)]
    several = f"{len(found)} recipes have one" if found else f"no such release below {below}"
    raise UsageError(f"{named}: {several}", f"there are: {', '.join(there) or 'none'}")
