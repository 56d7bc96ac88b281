"""Commands for the dataset: look at its items, export and publish it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tsqa.cli.common import DATASET, Force, Overrides, RecipePath, filtered_folder


def inspect(
    recipe: RecipePath,
    overrides: Overrides = None,
    rejected: Annotated[bool, typer.Option("--rejected", help="Show rejected items.")] = False,
    step: Annotated[str | None, typer.Option(help="Only items rejected by this filter.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only items rejected for this reason.")] = None,
    task: Annotated[str | None, typer.Option(help="Only items of this task.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Size of the random sample.")] = 10,
    seed: Annotated[int, typer.Option(help="Random seed of the sample.")] = 0,
) -> None:
    """Page through accepted or rejected items.

    Example: tsqa inspect recipes/quickstart/recipe.yaml --rejected --step agreement
    """
    from tsqa.curated.inspect import inspect as inspect_items

    folder = filtered_folder(recipe, overrides)
    inspect_items(folder, rejected=rejected, step=step, reason=reason, task=task, n=n, seed=seed)


def show(
    item: Annotated[str, typer.Argument(metavar="ID", help="ID of a curated or rejected item.")],
    runs: Annotated[Path, typer.Option(help="Folder of the runs, `runs` in a recipe.")] = Path(
        "runs"
    ),
) -> None:
    """Print one item's whole lineage: seed, prompts, votes, filters.

    Example: tsqa show mini_day-12.q0
    """
    from tsqa.curated.inspect import show as show_item

    show_item(runs, item)


def export(
    recipe: RecipePath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Path of the new JSONL file.")],
    overrides: Overrides = None,
    force: Force = False,
) -> None:
    """Write the verifiable items as question / answer / verifier, for RL with verifiable rewards.

    Example: tsqa export recipes/quickstart/recipe.yaml verifiable.jsonl
    """
    from tsqa.curated.verifiable import export_verifiable
    from tsqa.outputs import check_outputs

    check_outputs([out], force)
    counts = export_verifiable(filtered_folder(recipe, overrides), out)
    shown = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    typer.echo(f"{out}: {shown}", err=True)


def push(
    recipe: RecipePath,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="NAMESPACE/NAME on the hub.")],
    overrides: Overrides = None,
    private: Annotated[
        bool | None,
        typer.Option("--private/--public", help="Who may see it. Without: ask; default private."),
    ] = None,
) -> None:
    """Push the curated dataset and its card to the Hugging Face hub.

    Example: tsqa push recipes/quickstart/recipe.yaml me/my-dataset --private
    """
    from tsqa.curated.push import push as push_dataset
    from tsqa.errors import TsqaError

    if private is None and not sys.stdin.isatty():
        raise TsqaError(f"push to {repo}: who may see it?", "add --private, or --public")
    folder = filtered_folder(recipe, overrides)
    if private is None:
        question = f"Upload {folder} to {repo}, which only you can see? (--public: anybody)"
        typer.confirm(question, abort=True)
    typer.echo(push_dataset(folder, repo, private is not False))


def register(app: typer.Typer) -> None:
    """Add the commands of this group to the app."""
    for command in (inspect, show, export, push):
        app.command(rich_help_panel=DATASET)(command)
