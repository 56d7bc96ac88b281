"""The commands `audit` and `audit-leaks`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsqa.cli.common import CHECKS, DATASET, Force, Overrides, RecipePath, open_pipeline


def audit(
    recipe: RecipePath,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure a finished dataset against its seeds: realism, diversity, privacy, bias, and
    what training on it did where an ablation is finished.

    Writes runs/NAME/audit/quality.html and quality.json. No model is asked.

    Example: tsqa audit recipes/quickstart/recipe.yaml
    """
    from tsqa.ablation.effect import effect_of, print_proxy
    from tsqa.pipeline.auditing import audit_folder, make_audit
    from tsqa.quality.report import JSON, PAGE, print_report

    pipeline = open_pipeline(recipe, overrides)
    node = pipeline.node_of(pipeline.finished("filter"))
    effect = effect_of(pipeline, node)
    report = make_audit(pipeline, node, effect)
    folder = audit_folder(node)
    if as_json:
        typer.echo((folder / JSON).read_text("utf-8"))
        return
    print_report(report)
    if all(measure.value is None for measure in effect):
        print_proxy(pipeline)
    typer.echo(folder / PAGE)


def audit_leaks(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="A file or folder (.jsonl, .gz, .zst, parquet, text) or hub ID."
        ),
    ],
    against: Annotated[
        str, typer.Option(help="A suite, such as published, or the path of a suite or recipe.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the report; it is made.")] = Path("leaks"),
    text_field: Annotated[str, typer.Option(help="Field of a record that holds its text.")] = (
        "text"
    ),
    subset: Annotated[str | None, typer.Option(help="Subset of a hub dataset.")] = None,
    split: Annotated[str, typer.Option(help="Split of a hub dataset.")] = "train",
    revision: Annotated[str | None, typer.Option(help="Commit of a hub dataset.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out records without text, counted.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Without: one per core. The report is the same.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print files, benchmarks and speed; write nothing.")
    ] = False,
    force: Force = False,
) -> None:
    """Find the evaluated documents in any dataset, and write a report with examples.

    The same command continues after a kill.

    Example: tsqa audit-leaks recipes --against recipes/quickstart/recipe.yaml --out leaks
    """
    from tsqa.audit import run
    from tsqa.recipe import SourceSection

    source = SourceSection(
        path=dataset,
        subset=subset,
        split=split,
        revision=revision,
        text_field=text_field,
        on_bad="skip" if skip_bad else "refuse",
    )
    audit = run.Audit(source, against, out, processes)
    if dry_run:
        run.dry_run(audit)
        return
    report = run.audit_leaks(audit, force)
    if report is not None:
        run.print_report(report)
    typer.echo(out / "report.html")


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(rich_help_panel=DATASET)(audit)
    app.command("audit-leaks", rich_help_panel=CHECKS)(audit_leaks)
