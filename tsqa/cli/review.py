"""The command `review`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsqa.cli.common import DATASET, Force, Overrides, RecipePath, open_pipeline, serve, words


def review(
    recipe: RecipePath,
    overrides: Overrides = None,
    width: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=1, help="Of the 95% interval of the accepted items' error rate; 0.1."
        ),
    ] = None,
    assume: Annotated[
        float | None, typer.Option(min=0, max=1, help="Error rate for which it holds; 0.1.")
    ] = None,
    per_filter: Annotated[
        int | None, typer.Option(min=0, help="Rejected items of each filter; 20.")
    ] = None,
    finite: Annotated[
        bool | None,
        typer.Option("--finite/--process", help="Intervals for this dataset, or for the recipe."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page.")] = 8371,
    report: Annotated[
        bool, typer.Option("--report", help="Write the report, and print it.")
    ] = False,
    max_error: Annotated[
        float, typer.Option(min=0.001, max=1, help="The error rate that is wanted, for --report.")
    ] = 0.05,
    export: Annotated[
        Path | None, typer.Option(help="Write the drawn items into this file.")
    ] = None,
    import_: Annotated[
        Path | None, typer.Option("--import", help="Take the decisions of such a file.")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="Of the file: csv, argilla or label-studio.")
    ] = "csv",
    force: Force = False,
) -> None:
    """Review a sample of accepted and rejected items on a page; see how good the dataset is.

    Decisions are saved at once in runs/NAME/review; `filter.review` in the recipe uses them.

    Example: tsqa review recipes/quickstart/recipe.yaml --width 0.05
    """
    from tsqa.outputs import check_outputs
    from tsqa.review.exchange import read, write

    check_outputs([export], force)
    if report or import_ is not None:
        folder = _find(recipe, overrides)
    else:
        folder = _draw(recipe, overrides, (width, assume, per_filter, finite))
    if export is not None:
        typer.echo(f"{export}: {write(folder, export, format_):,} items", err=True)
    if import_ is not None:
        typer.echo(f"{import_}: {read(folder, import_, format_)}", err=True)
    if report:
        _report(folder, max_error)
        _say_other_data(recipe, overrides, folder)
    if not (report or export or import_):
        _serve(folder, port)


def _report(folder: Path, wanted: float) -> None:
    from tsqa.review.show import print_report, write_report

    path, found = write_report(folder, wanted)
    print_report(found)
    typer.echo(path)


def _say_other_data(recipe: Path, overrides: list[str] | None, folder: Path) -> None:
    """Say it where the figures are of another dataset than the recipe has now."""
    from tsqa.console import console
    from tsqa.errors import TsqaError
    from tsqa.review.sample import read_sample

    drawn = read_sample(folder)[0].fingerprint
    try:
        pipeline = open_pipeline(recipe, [*(overrides or []), "filter.review=null"])
        now = pipeline.finished("filter").fingerprint
    except TsqaError:
        now = "not built, without the review"
    if now != drawn:
        console.print(
            f"  these figures are of filter {drawn}; the recipe's dataset now is {now}: "
            f"tsqa review {words(recipe, overrides)} draws again, and keeps decisions on unchanged "
            "items",
            style="yellow",
            markup=False,
        )


def _find(recipe: Path, overrides: list[str] | None) -> Path:
    """The folder of the review, which has a sample."""
    from tsqa.errors import DataError
    from tsqa.recipe import load_recipe
    from tsqa.review.apply import review_folder
    from tsqa.review.sample import SAMPLE

    folder = review_folder(load_recipe(recipe, list(overrides or [])))
    if not (folder / SAMPLE).is_file():
        raise DataError(
            f"{folder}: no sample yet", f"draw one: tsqa review {words(recipe, overrides)}"
        )
    return folder


def _draw(
    recipe: Path,
    overrides: list[str] | None,
    given: tuple[float | None, float | None, int | None, bool | None],
) -> Path:
    """The folder of the review, with the sample that is there or, of another dataset or size, a new
    one."""
    from tsqa.console import console
    from tsqa.recipe import load_recipe, needed
    from tsqa.review.apply import review_folder
    from tsqa.review.items import ACCEPTED
    from tsqa.review.sample import SAMPLE, Wanted, draw, read_sample, write_sample

    folder = review_folder(load_recipe(recipe, list(overrides or [])))
    found = read_sample(folder)[0] if (folder / SAMPLE).is_file() else None
    before = found.wanted if found else Wanted()
    width, assume, per_filter, finite = given
    wanted = Wanted(
        width=before.width if width is None else width,
        assumed=before.assumed if assume is None else assume,
        per_filter=before.per_filter if per_filter is None else per_filter,
        finite=before.finite if finite is None else finite,
    )
    pipeline = open_pipeline(recipe, [*(overrides or []), "filter.review=null"])
    artifact = pipeline.finished("filter")
    if found and (found.fingerprint, found.wanted) == (artifact.fingerprint, wanted):
        return folder
    generate = pipeline.store.find("generate", artifact.manifest.inputs["generate"])
    seed = needed(pipeline.recipe.generate, "generate").seed
    sample, items = draw(artifact, generate, pipeline.recipe.name, seed, wanted)
    write_sample(folder, sample, items)
    chosen = sum(stratum.drawn for stratum in sample.strata if stratum.outcome == ACCEPTED)
    console.print(
        f"  drew {chosen:,} of {sample.accepted:,} accepted and {len(items) - chosen:,} rejected "
        "items" + ("; decisions on unchanged items are kept" if found else "")
    )
    return folder


def _serve(folder: Path, port: int) -> None:
    from tsqa.review.serve import ReviewServer

    serve(ReviewServer(folder, port), "Ctrl-C ends it; decisions are saved at once")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(rich_help_panel=DATASET)(review)
