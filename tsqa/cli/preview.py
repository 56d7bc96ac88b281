"""`tsqa preview`: a few items before paying for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsqa.cli.common import EXPERIMENTS, Force, Overrides, RecipePath, open_pipeline


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


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(rich_help_panel=EXPERIMENTS)(preview)
