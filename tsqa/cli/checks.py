"""Commands that check a recipe, a machine, artifacts or a model, and explain the keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsqa.cli.common import CHECKS, RUN_ERROR, Overrides, RecipePath, RunsFolder, open_pipeline


def validate(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Check a whole recipe and print it with every default filled in.

    Example: tsqa validate recipes/quickstart/recipe.yaml
    """
    import yaml

    from tsqa.printable import printable
    from tsqa.secrets import redact_tree

    pipeline = open_pipeline(recipe, overrides)
    pipeline.check()
    shown = pipeline.recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    values = redact_tree(shown)
    typer.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), nl=False)
    typer.echo(f"{printable(str(recipe))}: valid, {len(pipeline.nodes)} stages", err=True)


def explain(
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="A key or a section of the recipe.")
    ] = None,
) -> None:
    """Explain a key of the recipe, or list a section's keys. Without arguments: list the sections.

    Example: tsqa explain train.loss_chunk
    """
    from tsqa.recipe.reference import explain_key

    typer.echo(explain_key(key or ""))


def schema(
    reference: Annotated[
        bool, typer.Option("--reference", help="Print the reference of all keys as Markdown.")
    ] = False,
) -> None:
    """Print the JSON schema of a recipe, for editors that check YAML.

    Example: tsqa schema > recipe.schema.json
    """
    from tsqa.recipe.reference import editor_schema, reference_markdown

    typer.echo(reference_markdown() if reference else editor_schema(), nl=False)


def doctor() -> None:
    """Check engines, devices, compilers, disk and W&B; print a fix for each problem.

    Example: tsqa doctor
    """
    from tsqa.cli.doctor import print_report, run_checks

    checks = run_checks()
    print_report(checks)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(RUN_ERROR)


def verify(runs: RunsFolder = Path("runs")) -> None:
    """Read every artifact and release, or one release, and list what is damaged or changed.

    Example: tsqa verify runs
    """
    from tsqa.records.kept_seeds import LINEAGE
    from tsqa.release.check import check_release, print_checked, releases_below
    from tsqa.store.verify import print_verdicts, verify_runs

    is_release = (runs / LINEAGE).is_dir()
    folders = [runs] if is_release else releases_below(runs)
    only_releases = is_release or (folders and not (runs / "artifacts").is_dir())
    good = only_releases or print_verdicts(verify_runs(runs))
    if folders:
        good = print_checked([check_release(folder) for folder in folders]) and good
    if not good:
        raise typer.Exit(RUN_ERROR)


def gc(
    runs: RunsFolder = Path("runs"),
    recipes: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RECIPE|FOLDER]...", help="Recipes that are still in use."),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove them, after asking.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """List artifacts that no recipe uses any more, with sizes; remove them on request.

    A recipe that you name uses what it names now; every other uses what its last run used.

    Example: tsqa gc runs recipes/quickstart --delete
    """
    from tsqa.pipeline.garbage import find_garbage, print_garbage, remove

    found = find_garbage(runs, recipes or [])
    print_garbage(found)
    if not delete or not found:
        return
    if not yes:
        typer.confirm(f"remove these {len(found)} folders", abort=True)
        asked = {one.folder for one in found}  # a run may have taken one up meanwhile
        found = [one for one in find_garbage(runs, recipes or []) if one.folder in asked]
    locked = remove(found)
    for one in locked:
        typer.echo(f"{one.name}: kept, a process works on it", err=True)
    typer.echo(f"{len(found) - len(locked)} folders removed", err=True)


def verify_export(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A model folder, train artifact or checkpoint.")
    ],
    vllm: Annotated[bool, typer.Option(help="Also compare with vLLM.")] = True,
) -> None:
    """Check that an exported model equals the trained one in transformers and in vLLM.

    Example: tsqa verify-export runs/artifacts/train/77a8159ffc01b106
    """
    from dataclasses import asdict

    from train.checkpoints.verify import verify_export as verify_model

    for name, value in asdict(verify_model(path, with_vllm=vllm)).items():
        typer.echo(f"{name.replace('_', ' ')}: {value}")


def register(app: typer.Typer) -> None:
    """Add the commands of this group to the app."""
    for command in (validate, explain, schema, doctor, verify, gc):
        app.command(rich_help_panel=CHECKS)(command)
    app.command("verify-export", rich_help_panel=CHECKS)(verify_export)
