"""What the commands share: their arguments, and how a recipe is opened. Heavy imports are lazy."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tsqa.loopback import LoopbackServer
    from tsqa.pipeline.run import Pipeline

RUN_ERROR = 1

STAGES = "Stages (each first runs the unfinished stages before it)"
EXPERIMENTS = "Experiments"
DATASET = "Dataset"
CHECKS = "Checks"
"""Groups of `tsqa --help`."""

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="Path of a recipe YAML.")]
Force = Annotated[bool, typer.Option("--force", help="Replace existing files.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Overrides, such as train.lr=1e-3."),
]
MaxDollars = Annotated[
    float | None,
    typer.Option(min=0, help="Stop before this command has spent more; a rerun continues."),
]
RunsFolder = Annotated[
    Path, typer.Argument(metavar="[RUNS]", help="Folder of the runs, `runs` in a recipe.")
]


def open_pipeline(recipe: Path, overrides: list[str] | None) -> Pipeline:
    """Load and validate a recipe; RecipeError says what is wrong with it."""
    from tsqa.errors import RecipeError, os_error_cause
    from tsqa.pipeline.run import Pipeline
    from tsqa.recipe import load_recipe

    given = list(overrides or [])
    try:
        return Pipeline(load_recipe(recipe, given), recipe, given)
    except OSError as error:  # of a file that the recipe names
        raise RecipeError(f"{recipe}: {os_error_cause(error)[0]}", "correct the path") from error


def words(path: Path, overrides: list[str] | None = None) -> str:
    """A path, or a recipe and its overrides, as they are typed in a shell; without secrets."""
    from tsqa.secrets import redact

    return shlex.join([str(path), *map(redact, overrides or [])])


def filtered_folder(recipe: Path, overrides: list[str] | None) -> Path:
    """Return the folder of the recipe's filter artifact; TsqaError when it is not built."""
    return open_pipeline(recipe, overrides).finished("filter").path


def released_folder(recipe: Path, overrides: list[str] | None, version: str) -> Path:
    """Return the folder of a release of the recipe; TsqaError where there is none, or damaged."""
    from tsqa.release.check import require_good
    from tsqa.release.sides import find_release

    opened = open_pipeline(recipe, overrides).recipe
    return require_good(find_release(Path(opened.runs), f"{opened.name}/{version}"))


def serve(server: LoopbackServer, note: str) -> None:
    """Serve until Ctrl-C, and say where."""
    with server:
        typer.echo(f"{server.address}  ({note})")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("ended", err=True)
