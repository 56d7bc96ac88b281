"""The commands `audit` and `audit-leaks`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tsqa.cli.common import (
    CHECKS,
    DATASET,
    Force,
    MaxDollars,
    Overrides,
    RecipePath,
    open_pipeline,
)

if TYPE_CHECKING:
    from tsqa.pipeline.node import Node
    from tsqa.pipeline.run import Pipeline
    from tsqa.recipe import SemanticLeakSection

Dataset = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="A file or folder (.jsonl, .gz, .zst, parquet, text), its address, or a hub ID.",
    ),
]
SemanticModel = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Compare the meaning too: a sentence-transformers model, a folder or a hub ID.",
    ),
]
FalsePositives = Annotated[
    float | None,
    typer.Option(
        min=0.0001,
        max=0.4999,
        help="With --semantic: share of evaluated documents above others' thresholds (0.01).",
    ),
]


def audit(
    recipe: RecipePath,
    overrides: Overrides = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="What changed since this: a recipe, a release, a folder of a curated dataset."
        ),
    ] = None,
    seeds: Annotated[
        bool, typer.Option("--seeds", help="With --against: compare the seeds, not the items.")
    ] = False,
    max_dollars: MaxDollars = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure a finished dataset against its seeds: realism, diversity, privacy, bias, and
    what training on it did where an ablation is finished.

    Writes runs/NAME/audit/quality.html and quality.json; with --against, drift.html and drift.json
    instead. No model is asked, but for audit.swaps, whose price --max-dollars limits.

    Example: tsqa audit recipes/quickstart/recipe.yaml --against quickstart/v1
    """
    if against is not None:
        if max_dollars is not None:
            raise typer.BadParameter("--against asks no model", param_hint="--max-dollars")
        _drift(recipe, overrides, against, seeds, as_json)
        return
    if seeds:
        raise typer.BadParameter("add --against: seeds of what?", param_hint="--seeds")
    from tsqa.ablation.effect import effect_of, print_proxy
    from tsqa.pipeline.auditing import audit_folder, make_audit
    from tsqa.quality.report import JSON, print_report
    from tsqa.records.quality import PAGE

    pipeline = open_pipeline(recipe, overrides)
    node = pipeline.node_of(pipeline.finished("filter"))
    if max_dollars is not None:
        _limit(pipeline, node, max_dollars)
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


def _limit(pipeline: Pipeline, node: Node, dollars: float) -> None:
    """Bound what an audit spends; BadParameter where it asks no model, so that nothing costs."""
    from tsqa.preview.estimate import limit_dollars

    section = node.recipe.audit
    local = section and (section.gradients or section.names)
    on_gpu = local and node.recipe.dollars_per_gpu_hour
    if not ((section and section.swaps) or on_gpu):
        raise typer.BadParameter(
            "this audit costs nothing: no audit.swaps, and no model of its own at a price per hour",
            param_hint="--max-dollars",
        )
    limit_dollars(pipeline, dollars, [node])


def _drift(
    recipe: Path, overrides: list[str] | None, against: str, seeds: bool, as_json: bool
) -> None:
    """Compare with an older dataset, or its seeds."""
    from tsqa.pipeline.auditing import AUDIT
    from tsqa.quality.drift.run import JSON, compare, print_drift, write_drift
    from tsqa.quality.drift.sides import side_of_items, side_of_seeds
    from tsqa.recipe import needed

    pipeline = open_pipeline(recipe, overrides)
    made = pipeline.finished("seeds" if seeds else "filter")
    seed = needed(pipeline.recipe.generate, "generate").seed if pipeline.recipe.generate else 0
    side_of = side_of_seeds if seeds else side_of_items
    title, folder = _older(against, pipeline, seeds)
    new = side_of(f"{pipeline.recipe.name}, as it is now", made.path, seed)
    old = side_of(title, folder, seed)
    report = compare(new, old, "seeds" if seeds else "items", seed)
    page = write_drift(pipeline.folder / AUDIT, report)
    if as_json:
        typer.echo((page.parent / JSON).read_text("utf-8"))
        return
    print_drift(report)
    typer.echo(page)


def _older(named: str, pipeline: Pipeline, seeds: bool) -> tuple[str, Path]:
    """The title and the folder of what a dataset is compared with; TsqaError where it is not."""
    from tsqa.records.kept_seeds import LINEAGE
    from tsqa.release.records import RELEASES
    from tsqa.release.sides import find_release, open_side
    from tsqa.store.manifest import MANIFEST, check_files, read_manifest

    path, runs = Path(named), Path(pipeline.recipe.runs)
    if path.suffix in (".yaml", ".yml"):
        older = open_pipeline(path, None)
        made = older.finished("seeds" if seeds else "filter")
        return f"{older.recipe.name} ({path.name})", made.path
    if path.is_dir() and not (path / LINEAGE).is_dir():
        if (path / MANIFEST).is_file() or path.suffix == ".partial":  # a part is no dataset
            check_files(path, read_manifest(path), "whole")
        return str(path), path
    own = f"{pipeline.recipe.name}/{named}"
    found = own if "/" not in named and (runs / RELEASES / own).is_dir() else named
    return open_side(found, runs).title, find_release(runs, found)


def _meaning(
    model: str | None, false_positives: float | None, processes: int | None
) -> SemanticLeakSection | None:
    """The model that compares, with its setting; BadParameter where the options do not fit."""
    from tsqa.recipe import SemanticLeakSection

    if model is None and false_positives is not None:
        raise typer.BadParameter("add --semantic MODEL", param_hint="--false-positives")
    if model is None:
        return None
    if processes not in (None, 1):
        raise typer.BadParameter("one process asks the model", param_hint="--processes")
    given = {} if false_positives is None else {"false_positives": false_positives}
    return SemanticLeakSection(model=model, **given)


def audit_leaks(
    dataset: Dataset,
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
    semantic: SemanticModel = None,
    false_positives: FalsePositives = None,
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

    meaning = _meaning(semantic, false_positives, processes)
    source = SourceSection(
        path=dataset,
        subset=subset,
        split=split,
        revision=revision,
        text_field=text_field,
        on_bad="skip" if skip_bad else "refuse",
    )
    audit = run.Audit(source, against, out, processes, meaning)
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
