"""The stages as commands, in the order of the pipeline; `tsqa seeds list` is one more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tsqa.cli.common import STAGES, Overrides, RecipePath, open_pipeline


class _RecipeOrCommand(TyperGroup):
    """`tsqa seeds RECIPE` runs the stage; the name of a command, such as `list`, runs that."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_recipe = args and args[0] not in self.commands and not args[0].startswith("-")
        return super().parse_args(ctx, ["run", *args] if is_recipe else args)


seeds_app = typer.Typer(cls=_RecipeOrCommand, no_args_is_help=True, rich_markup_mode="rich")


@seeds_app.command("list")
def list_seeds(
    family: Annotated[str | None, typer.Option(help="Only this task family.")] = None,
    capability: Annotated[str | None, typer.Option(help="Only this capability.")] = None,
    include: Annotated[Path | None, typer.Option(help="Folder of further task YAMLs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """List every task with a training split: sizes, kind, capability, or why it is excluded.

    Works offline, from the tasks' configurations.

    Example: tsqa seeds list --family arc
    """
    from tsqa.seeds.listing import list_tasks, print_tasks

    print_tasks(list_tasks(include, family=family, capability=capability), as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this group to the app."""
    _add(app, "data", "data", "Build the data that the recipe's section `data` describes.")
    _add(app, "benchmarks", "benchmarks", "Render the documents of the evaluated tasks, once.")
    app.add_typer(
        seeds_app,
        name="seeds",
        help="Read training splits into seeds; [bold]tsqa seeds list[/] lists tasks.",
        rich_help_panel=STAGES,
    )
    _add(seeds_app, "run", "seeds", "Read training splits into seeds.")
    _add(app, "guard", "guard", "Keep the seeds apart from what the recipe evaluates.")
    _add(app, "generate", "generate", "Have the teacher write questions and voted answers.")
    _add(app, "filter", "filter", "Verify, deduplicate and decontaminate the candidates.")
    _add(app, "tokenizer", "tokenizer", "Train the tokenizer, or take it from the model.")
    _add(app, "decontaminate", "decontaminate", "Find evaluated documents in the sources.")
    _add(app, "nearest", "nearest", "Choose the documents that are nearest to the seeds.")
    _add(app, "tokenize", "tokenize", "Turn every source of the mixture into token rows.")
    _add(app, "train", "train", "Train every arm under accelerate and DeepSpeed.")
    _add(app, "eval", "evaluate", "Evaluate the base model and every arm with lm-eval.")


def _add(app: typer.Typer, name: str, stage: str, what: str) -> None:
    def command(recipe: RecipePath, overrides: Overrides = None) -> None:
        open_pipeline(recipe, overrides).run(until=stage)

    stage_command = "seeds" if app is seeds_app else name
    example = "ablations/baselines" if stage == "nearest" else "quickstart/recipe"
    command.__doc__ = f"{what}\n\nExample: tsqa {stage_command} recipes/{example}.yaml"
    app.command(name, rich_help_panel=None if app is seeds_app else STAGES)(command)
