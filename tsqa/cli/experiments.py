"""Commands for whole experiments: start one, run it, compare and report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tsqa.cli.common import (
    EXPERIMENTS,
    RUN_ERROR,
    Force,
    MaxDollars,
    Overrides,
    RecipePath,
    RunsFolder,
    open_pipeline,
    serve,
    words,
)

if TYPE_CHECKING:
    from tsqa.pipeline.run import Pipeline

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print stages, tokens, dollars, time, memory; do nothing."),
]
Detect = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=100,
        help="With --dry-run: what finds so many points on the macro average, at least cost.",
    ),
]
Compared = Annotated[
    list[str],
    typer.Argument(
        metavar="RECIPE|RUN...",
        help="A recipe YAML and overrides, or runs: artifact folders, runs/RECIPE, offline W&B "
        "folders, wandb:ENTITY/PROJECT/RUN_ID, wandb:ENTITY/PROJECT/groups/NAME. "
        "NAME=RUN renames a run. The default control is the first run.",
    ),
]


def init(
    recipes: Annotated[
        str | None, typer.Argument(metavar="[RECIPES]", help="Which recipes to copy.")
    ] = None,
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="A new or an empty folder.")
    ] = Path("recipes"),
) -> None:
    """Copy shipped recipes into a folder, to start from. Without arguments: list them.

    Example: tsqa init quickstart recipes
    """
    from tsqa.cli.init import SETS, copy_recipes

    if recipes is None:
        for name, purpose in SETS.items():
            typer.echo(f"{name:<12} {purpose}")
        typer.echo("next: tsqa init quickstart", err=True)
        return
    copy = copy_recipes(recipes, folder)
    command = "ablate" if recipes == "ablations" else "run"
    typer.echo(f"next: tsqa {command} {words(copy)} --dry-run", err=True)


def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    detect: Detect = None,
    max_dollars: MaxDollars = None,
) -> None:
    """Run every stage that is not yet done, then report.

    --max-dollars counts by the prices in the recipe (dollars_per_...).

    Example: tsqa run recipes/quickstart/recipe.yaml train.lr=1e-3 --dry-run
    """
    _check_detect(detect, dry_run)
    pipeline = open_pipeline(recipe, overrides)
    if dry_run:
        from tsqa.preview.dry_run import print_plan

        pipeline.check()
        print_plan(pipeline, detect)
        return
    from tsqa.ablation.wandb_summary import report_run

    _limit(pipeline, max_dollars)
    pipeline.run()
    report_run(pipeline)


def ablate(
    recipe: RecipePath,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print arms, what they share, tokens, cost and time.")
    ] = False,
    parallel: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Arms trained at a time; they share the cores. The default is 1, and with a "
            "launch.kind that is not local launch.at_once.",
        ),
    ] = None,
    sweep: Annotated[
        Path | None, typer.Option("--write-sweep", help="Only write this YAML for `wandb sweep`.")
    ] = None,
    detect: Detect = None,
    max_dollars: MaxDollars = None,
    force: Force = False,
) -> None:
    """Run every arm of an ablation, shared stages once, then compare the arms.

    --max-dollars counts all arms; with --parallel each gets an equal part of what is left.

    Example: tsqa ablate recipes/quickstart/recipe.yaml --parallel 2
    """
    from tsqa.ablation.plan import print_ablation
    from tsqa.ablation.run import ablate as run_ablation
    from tsqa.outputs import check_outputs

    check_outputs([sweep], force)
    _check_detect(detect, dry_run)
    pipeline = open_pipeline(recipe, overrides)
    if sweep is not None:
        from tsqa.ablation.sweep import write_sweep

        write_sweep(pipeline.recipe, recipe, sweep)
        typer.echo(f"{sweep}: now `wandb sweep {words(sweep)}`", err=True)
        return
    launch = pipeline.recipe.launch
    at_once = parallel or (1 if launch.kind == "local" else launch.at_once)
    if dry_run:
        from tsqa.preview.dry_run import print_detectable, print_reasons

        pipeline.check()
        print_ablation(pipeline, at_once)
        print_reasons(pipeline)
        print_detectable(pipeline, detect)
        return
    _limit(pipeline, max_dollars)
    if run_ablation(pipeline, at_once).failed:
        raise typer.Exit(RUN_ERROR)


def sweep_run(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Build one arm and log it to the run of a W&B agent; the sweep's command."""
    from tsqa.ablation.sweep import run_sweep_arm

    run_sweep_arm(recipe, list(overrides or []))


def ablate_worker(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Build the arms named on stdin; `tsqa ablate` starts it."""
    from tsqa.ablation.worker import worker_main

    worker_main(open_pipeline(recipe, overrides))


def generations(
    recipe: RecipePath,
    overrides: Overrides = None,
    go_on: Annotated[
        bool, typer.Option("--go-on", help="Do not stop at limits; what is above them is marked.")
    ] = False,
) -> None:
    """Let models learn from models: each generation's teacher is the last one's student.

    Runs what is missing in every arm, draws what is lost, and stops an arm at generations.stop.

    Example: tsqa generations recipes/generations/recipe.yaml
    """
    from tsqa.generations.run import run_generations

    outcome = run_generations(open_pipeline(recipe, overrides).recipe, go_on)
    typer.echo(outcome.page)
    if outcome.stopped:
        raise typer.Exit(RUN_ERROR)


def compare(
    runs: Compared,
    control: Annotated[str | None, typer.Option(help="Name of the control.")] = None,
    allow: Annotated[
        str, typer.Option(help="What may differ, such as tokens,seeds; an error names it.")
    ] = "",
    published: Annotated[
        bool,
        typer.Option("--published", help="Also show the published deltas, with their protocols."),
    ] = False,
    any_protocol: Annotated[
        bool, typer.Option("--any-protocol", help="Subtract these whatever the protocols.")
    ] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the rows as CSV.")] = None,
    md: Annotated[Path | None, typer.Option("--md", help="Write a Markdown table.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write all as JSON.")] = None,
    folder: Annotated[
        Path, typer.Option("--runs", help="Folder of the artifacts of W&B runs.")
    ] = Path("runs"),
    bootstrap: Annotated[
        int | None,
        typer.Option(min=100, max=10_000_000, help="Resamples, for runs; else as their recipe's."),
    ] = None,
    confidence: Annotated[float | None, typer.Option(help="Likewise, of the intervals.")] = None,
    force: Force = False,
) -> None:
    """Compare every arm with the control, document by document and seed by seed.

    A recipe runs what is missing first; it sets control, resamples and confidence itself.

    Example: tsqa compare runs/quickstart --control synthetic=0 --md deltas.md
    """
    from eval.compare.published import published_tables, setup_of
    from eval.compare.runs import compare_runs
    from eval.compare.stage import read_deltas
    from eval.compare.tables import print_table, write_all
    from tsqa.console import console
    from tsqa.outputs import check_outputs

    if confidence is not None and not 0.5 < confidence < 1:
        raise typer.BadParameter(f"--confidence {confidence}: expected more than 0.5, less than 1")
    check_outputs([csv, md, as_json], force)
    setup: dict[str, str] = {}
    if Path(runs[0]).suffix in (".yaml", ".yml"):
        pipeline = _run_comparison(Path(runs[0]), runs[1:], bool(control or allow))
        deltas, setup = read_deltas(pipeline.finished("compare")), setup_of(pipeline.recipe)
    else:
        deltas = compare_runs(
            runs,
            folder,
            control=control,
            allow=frozenset(filter(None, allow.replace(" ", "").split(","))),
            bootstrap=bootstrap,
            confidence=confidence,
            suite="published" if published else None,
        )
    print_table(deltas, console)
    for table in published_tables(deltas, setup, any_protocol) if published else ():
        console.print(table)
    write_all(deltas, csv=csv, markdown_file=md, json_file=as_json)


def report(
    recipe: RecipePath,
    overrides: Overrides = None,
    share: Annotated[
        Path | None, typer.Option(help="Write a page without paths and host names here instead.")
    ] = None,
    rejected: Annotated[
        bool, typer.Option("--rejected/--no-rejected", help="Rejected items on a shared page.")
    ] = True,
    force: Force = False,
) -> None:
    """Print the delta table and write report.html from finished stages.

    Example: tsqa report recipes/quickstart/recipe.yaml --share page.html --no-rejected
    """
    from tsqa.errors import UsageError
    from tsqa.outputs import check_outputs
    from tsqa.pipeline.report import SharedPage, write_report

    if share is None and not rejected:
        raise UsageError("--no-rejected is for a shared page", "add --share FILE")
    check_outputs([share], force)
    shared = SharedPage(share, rejected) if share else None
    write_report(open_pipeline(recipe, overrides), shared=shared)


def view(
    folder: RunsFolder = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8370,
) -> None:
    """Serve the reports of a folder of runs, or of one run, to this machine's browser.

    Example: tsqa view runs
    """
    from eval.report.serve import ReportServer

    serve(ReportServer(folder, port), "Ctrl-C ends it")


def register(app: typer.Typer) -> None:
    """Add the commands of this group to the app."""
    for command in (init, run, ablate, generations, compare, report, view):
        app.command(rich_help_panel=EXPERIMENTS)(command)
    app.command("sweep-run", hidden=True)(sweep_run)
    app.command("ablate-worker", hidden=True)(ablate_worker)


def _check_detect(detect: float | None, dry_run: bool) -> None:
    if detect is not None and not dry_run:
        raise typer.BadParameter("add --dry-run: it only says what to buy", param_hint="--detect")


def _limit(pipeline: Pipeline, dollars: float | None) -> None:
    if dollars is not None:
        from tsqa.preview.estimate import limit_dollars

        limit_dollars(pipeline, dollars)


def _run_comparison(recipe: Path, overrides: list[str], has_options: bool) -> Pipeline:
    """Run a recipe up to its comparison, which takes no options."""
    from tsqa.errors import UsageError

    if has_options:
        raise UsageError(
            "--control and --allow are for runs; a recipe names its own control",
            "set ablation.control in the recipe, or give runs/RECIPE",
        )
    pipeline = open_pipeline(recipe, overrides)
    pipeline.run(until="compare")
    return pipeline
