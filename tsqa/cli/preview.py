"""`tsqa preview` and `tsqa plan`: a few items, and the machines, before paying for all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsqa.cli.common import (
    EXPERIMENTS,
    RUN_ERROR,
    Force,
    Overrides,
    RecipePath,
    open_pipeline,
)


def preview(
    recipe: RecipePath,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option("-n", min=1, max=1000, help="Number of items.")] = 5,
    task: Annotated[str | None, typer.Option(help="Only seeds of this task.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Then redo one item whenever a prompt file changes.")
    ] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page.")] = None,
    force: Force = False,
) -> None:
    """Show a few items: prompt, raw reply, what was parsed, votes, filters. Makes no artifact.

    The next `tsqa run --dry-run` estimates with the lengths that this measures.

    Example: tsqa preview recipes/quickstart/recipe.yaml -n 3 --html preview.html
    """
    from tsqa.console import make_console
    from tsqa.outputs import check_outputs
    from tsqa.preview.measured import record_path, write_record
    from tsqa.preview.run import Preview
    from tsqa.preview.show import print_items, write_page
    from tsqa.preview.watch import watch_prompts

    check_outputs([html], force)
    pipeline = open_pipeline(recipe, [*(overrides or []), "tracking.mode=disabled"])
    with Preview(pipeline) as opened:
        seeds = opened.seeds(count, task)
        items = opened.run(seeds)
        print_items(items, make_console())
        write_record(pipeline, opened.record(items))
        if html is not None:
            write_page(items, pipeline.recipe.name, html)
        typer.echo(f"lengths measured: {record_path(pipeline)}", err=True)
        if watch:
            watch_prompts(opened, seeds[0], html)


def plan(
    recipe: RecipePath,
    overrides: Overrides = None,
    hardware: Annotated[
        str | None,
        typer.Option(help="Devices and their number, such as h100x8 or cpux2; else the recipe's."),
    ] = None,
    mfu: Annotated[
        float | None,
        typer.Option(min=0.001, max=1, help="Share of the peak; else measured here, else 0.3."),
    ] = None,
    dollars: Annotated[
        float | None,
        typer.Option(min=0, help="Of a GPU-hour; else dollars_per_gpu_hour, else 2.5."),
    ] = None,
    architecture: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="config.json of a model that is not here."),
    ] = None,
) -> None:
    """Say on which machines training fits, how fast it would be, and what all would cost.

    Ends with an error where it does not fit on the hardware. Loads no weights.

    Example: tsqa plan recipes/quickstart/recipe.yaml --hardware h100x8
    """
    from tsqa.preview.show_plan import PlanOptions, print_hardware_plan

    pipeline = open_pipeline(recipe, overrides)
    if not print_hardware_plan(pipeline, PlanOptions(hardware, mfu, dollars, architecture)):
        raise typer.Exit(RUN_ERROR)


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    for command in (preview, plan):
        app.command(rich_help_panel=EXPERIMENTS)(command)
