"""`tsqa`: one command per stage, and `run` for all of them. Heavy imports are lazy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tsqa.pipeline import Pipeline

USER_ERROR = 2
RUN_ERROR = 1

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Task-seeded synthetic Q&A, continued pretraining, and deltas that can be believed.\n\n"
    "Example: [bold]tsqa run recipes/quickstart/recipe.yaml[/]\n\n"
    "[dim]--debug anywhere shows the traceback of an error.[/]",
)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="Path of a recipe YAML.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Overrides, such as train.lr=1e-3."),
]


@app.command()
def validate(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Check a recipe whole and print it resolved. Example: tsqa validate recipes/smoke.yaml"""
    import yaml

    pipeline = _open(recipe, overrides)
    values = pipeline.recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    typer.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), nl=False)
    typer.echo(f"{recipe}: valid, {len(pipeline.nodes)} stages", err=True)


@app.command()
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print stages, tokens, steps and time; do nothing.")
    ] = False,
) -> None:
    """Run every stage that is not yet done, then report.

    Example: tsqa run recipes/quickstart/recipe.yaml train.lr=1e-3 --dry-run
    """
    pipeline = _open(recipe, overrides)
    if dry_run:
        from tsqa.dryrun import print_plan

        print_plan(pipeline)
        return
    pipeline.run()
    _report(pipeline)


@app.command()
def report(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Print the delta table and write report.html from finished stages.

    Example: tsqa report recipes/quickstart/recipe.yaml
    """
    _report(_open(recipe, overrides))


@app.command()
def doctor() -> None:
    """Check engines, devices, compilers, disk and W&B, and say what to do. Example: tsqa doctor"""
    from tsqa.doctor import print_report, run_checks

    checks = run_checks()
    print_report(checks)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(RUN_ERROR)


def _stage_command(name: str, stage: str, what: str) -> None:
    def command(recipe: RecipePath, overrides: Overrides = None) -> None:
        _open(recipe, overrides).run(until=stage)

    command.__doc__ = f"{what}\n\nExample: tsqa {name} recipes/quickstart/recipe.yaml"
    app.command(name)(command)


_stage_command("data", "data", "Build the recipe's own data, and stop there.")
_stage_command("seeds", "seeds", "Read training splits into seeds, after what they need.")
_stage_command("generate", "generate", "Have the teacher write questions and voted answers.")
_stage_command("filter", "filter", "Verify, deduplicate and decontaminate the candidates.")
_stage_command("tokenize", "tokenize", "Turn every source of the mixture into token rows.")
_stage_command("train", "train", "Train every arm under accelerate + DeepSpeed.")
_stage_command("eval", "evaluate", "Evaluate the base and every arm with lm-eval.")
_stage_command("compare", "compare", "Compare every arm with the control, document by document.")


def _open(recipe: Path, overrides: list[str] | None) -> Pipeline:
    from tsqa.pipeline import Pipeline
    from tsqa.recipe import load_recipe

    given = list(overrides or [])
    return Pipeline(load_recipe(recipe, given), recipe, given)


def _report(pipeline: Pipeline) -> None:
    from tsqa.summary import write_report

    write_report(pipeline)


def main() -> None:
    """Run the app; a user's error is a message and an exit code, not a traceback."""
    from tsqa.errors import RecipeError, TsqaError

    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(arguments)
    except TsqaError as error:
        if debug:
            raise
        kind = "recipe error" if isinstance(error, RecipeError) else "error"
        typer.secho(f"{kind}: {error}", fg="red", err=True)
        sys.exit(USER_ERROR if isinstance(error, RecipeError) else RUN_ERROR)
    except OSError as error:
        if debug:
            raise
        fix = "free the disk or correct the path; then run the same command again to continue"
        typer.secho(f"error: {error}\n  fix: {fix}", fg="red", err=True)
        sys.exit(RUN_ERROR)
    except KeyboardInterrupt:
        typer.secho("interrupted; run the same command again to continue", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
