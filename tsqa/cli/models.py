"""Commands for models: import one, and hand its training over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tsqa.cli.common import CHECKS, EXPERIMENTS, Overrides, RecipePath, open_pipeline

model_app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")


@model_app.callback()
def _group() -> None:
    """Bring a pretrained model into a folder that recipes can name."""


@model_app.command("import")
def import_(
    origin: Annotated[
        str, typer.Argument(metavar="ORIGIN", help="A GGUF file, a model folder or a hub ID.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new folder.")],
    dtype: Annotated[
        str,
        typer.Option(help="float32, bfloat16 or float16. auto: as saved; float32 of a GGUF."),
    ] = "auto",
    tokenizer: Annotated[
        str | None, typer.Option(help="Take the tokenizer from this folder or hub ID.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub ID.")] = None,
) -> None:
    """Convert a model to a folder of safetensors, and check that it is the same model.

    Example: tsqa model import models/SmolLM2-135M-Instruct.Q4_1.gguf models/smollm2-135m
    """
    from dataclasses import asdict
    from typing import cast, get_args

    from tsqa.errors import RecipeError
    from tsqa.hub.import_model import Dtype, import_model
    from tsqa.printable import printable

    if dtype not in get_args(Dtype):
        known = ", ".join(get_args(Dtype))
        raise RecipeError(f"--dtype {dtype}: unknown", f"choose one of {known}")
    report = asdict(import_model(origin, folder, cast(Dtype, dtype), tokenizer, revision))
    notes = report.pop("notes")
    for name, value in report.items():
        shown = f"{value:,}" if type(value) is int else value
        if isinstance(value, dict):
            shown = ", ".join(f"{count} {kind}" for kind, count in value.items())
        typer.echo(f"{name.replace('_', ' ')}: {printable(str(shown))}")
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{printable(str(folder))}: imported; name it as `model: {{path: ...}}`", err=True)


def export_tokens(
    recipe: RecipePath,
    overrides: Overrides = None,
    to: Annotated[Literal["megatron"], typer.Option(help="Who trains.")] = "megatron",
    arm: Annotated[str, typer.Option(help="An arm of the ablation.")] = "main",
    bridge_recipe: Annotated[
        str | None,
        typer.Option(help="Recipe of Megatron-Bridge; default: of Nemotron 3 Nano."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where to write; the default is runs/RECIPE/megatron/ARM.")
    ] = None,
) -> None:
    """Write what Megatron-Bridge needs to train an arm: its blend of tokens and the command.

    The tokens stay where they are: Megatron reads them as they are. Several GPUs and machines are
    its business. The result comes back as an arm with `train.elsewhere: DIR`.

    Example: tsqa export-tokens recipes/nemotron3_nano/recipe.yaml --arm control --to megatron
    """
    from train.data.handover import BRIDGE_RECIPE, SCRIPT, hand_over
    from tsqa.console import console
    from tsqa.names import file_name
    from tsqa.pipeline.node import trained_node
    from tsqa.recipe import check_floors

    pipeline = open_pipeline(recipe, overrides)
    node = trained_node(pipeline.nodes, arm)
    check_floors(node.recipe, arm)
    pipeline.refuse_unfit(node)
    out = folder or pipeline.folder / to / file_name(arm)
    made = hand_over(node.recipe, pipeline.inputs_of(node), out, bridge_recipe or BRIDGE_RECIPE)
    rows = float(made.strays)
    console.print(
        f"Megatron's sampler is at most {rows:.3f} rows off the planned share of a source, at any "
        "row of the stream" + (": more than the one row that holds here" if rows > 1 else ""),
        style="yellow" if rows > 1 else None,
    )
    for note in made.notes:
        console.print(f"note: {note}")
    typer.echo(made.command)
    typer.echo(f"{out / SCRIPT}: run it in a checkout of Megatron-Bridge", err=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this group to the app."""
    text = "Import a pretrained model.\n\nExample: tsqa model import MODEL.gguf models/NAME"
    app.add_typer(model_app, name="model", help=text, rich_help_panel=CHECKS)
    app.command("export-tokens", rich_help_panel=EXPERIMENTS)(export_tokens)
