"""`tsqa`: one command per stage, and `run` for all of them. Heavy imports are lazy."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from tsqa.pipeline.run import Pipeline

USER_ERROR = 2
RUN_ERROR = 1
INTERRUPTED = 130
_AGAIN = "run the same command again to continue"

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
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Overrides, such as train.lr=1e-3."),
]


@app.command()
def validate(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Check a recipe whole and print it resolved. Example: tsqa validate recipes/smoke.yaml"""
    import yaml

    from tsqa.printable import printable
    from tsqa.secrets import redact_tree

    pipeline = _open(recipe, overrides)
    pipeline.check()
    shown = pipeline.recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    values = redact_tree(shown)
    typer.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), nl=False)
    typer.echo(f"{printable(str(recipe))}: valid, {len(pipeline.nodes)} stages", err=True)


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
        from tsqa.pipeline.dry_run import print_plan

        pipeline.check()
        print_plan(pipeline)
        return
    pipeline.run()
    _report(pipeline)


@app.command()
def ablate(
    recipe: RecipePath,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print arms, what they share, tokens, cost and time.")
    ] = False,
    parallel: Annotated[
        int, typer.Option(min=1, help="Arms at a time; they divide the cores.")
    ] = 1,
    sweep: Annotated[
        Path | None,
        typer.Option("--write-sweep", help="Only write this YAML for `wandb sweep`."),
    ] = None,
    force: Force = False,
) -> None:
    """Run every arm of an ablation, what they share once, then compare them.

    Example: tsqa ablate recipes/quickstart/recipe.yaml --parallel 2
    """
    from tsqa.ablation.plan import print_ablation
    from tsqa.ablation.run import ablate as run_ablation
    from tsqa.outputs import check_outputs

    check_outputs([sweep], force)
    pipeline = _open(recipe, overrides)
    if sweep is not None:
        from tsqa.ablation.sweep import write_sweep

        write_sweep(pipeline.recipe, recipe, sweep)
        typer.echo(f"{sweep}: now `wandb sweep {sweep}`", err=True)
        return
    if dry_run:
        from tsqa.pipeline.dry_run import print_detectable

        pipeline.check()
        print_ablation(pipeline, parallel)
        print_detectable(pipeline)
        return
    if run_ablation(pipeline, parallel).failed:
        raise typer.Exit(RUN_ERROR)


@app.command("sweep-run", hidden=True)
def sweep_run(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Build one arm and log it to the run of a W&B agent; the sweep's command."""
    from tsqa.ablation.sweep import run_sweep_arm

    run_sweep_arm(recipe, list(overrides or []))


@app.command("ablate-worker", hidden=True)
def ablate_worker(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Build the arms named on stdin; `tsqa ablate` starts it."""
    from tsqa.ablation.worker import worker_main

    worker_main(_open(recipe, overrides))


@app.command()
def report(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Print the delta table and write report.html from finished stages.

    Example: tsqa report recipes/quickstart/recipe.yaml
    """
    _report(_open(recipe, overrides))


@app.command()
def view(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="The folder of the runs, or one run.")
    ] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8370,
) -> None:
    """Serve the pages of a folder of runs to this machine's browser, until Ctrl-C.

    Example: tsqa view runs
    """
    from eval.report.serve import HOST, serve

    with serve(folder, port) as server:
        typer.echo(f"http://{HOST}:{server.server_address[1]}/  (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("ended", err=True)


@app.command()
def doctor() -> None:
    """Check engines, devices, compilers, disk and W&B, and say what to do. Example: tsqa doctor"""
    from tsqa.cli.doctor import print_report, run_checks

    checks = run_checks()
    print_report(checks)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(RUN_ERROR)


@app.command()
def show(
    item: Annotated[str, typer.Argument(metavar="ID", help="Id of a curated or rejected item.")],
    runs: Annotated[Path, typer.Option(help="The folder that holds the artifacts.")] = Path("runs"),
) -> None:
    """Print one item's whole lineage: seed, prompts, votes, filters.

    Example: tsqa show mini_day-12.q0
    """
    from tsqa.dataset.inspect import show as show_item

    show_item(runs, item)


@app.command()
def inspect(
    recipe: RecipePath,
    overrides: Overrides = None,
    rejected: Annotated[bool, typer.Option("--rejected", help="The rejected items.")] = False,
    step: Annotated[str | None, typer.Option(help="Rejected by this filter.")] = None,
    reason: Annotated[str | None, typer.Option(help="Rejected for this reason.")] = None,
    task: Annotated[str | None, typer.Option(help="Of this task.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many, drawn at random.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
) -> None:
    """Page through accepted or rejected items.

    Example: tsqa inspect recipes/quickstart/recipe.yaml --rejected --step agreement
    """
    from tsqa.dataset.inspect import inspect as inspect_items

    folder = _filtered(recipe, overrides)
    inspect_items(folder, rejected=rejected, step=step, reason=reason, task=task, n=n, seed=seed)


@app.command()
def export(
    recipe: RecipePath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new JSONL file.")],
    overrides: Overrides = None,
    force: Force = False,
) -> None:
    """Write the verifiable items as question / answer / verifier, for RL with verifiable rewards.

    Example: tsqa export recipes/quickstart/recipe.yaml verifiable.jsonl
    """
    from tsqa.dataset.verifiable import export_verifiable
    from tsqa.outputs import check_outputs

    check_outputs([out], force)
    counts = export_verifiable(_filtered(recipe, overrides), out)
    shown = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    typer.echo(f"{out}: {shown}", err=True)


@app.command()
def push(
    recipe: RecipePath,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="NAMESPACE/NAME on the hub.")],
    overrides: Overrides = None,
    private: Annotated[
        bool | None,
        typer.Option("--private/--public", help="Who may see it. Neither: asks, then private."),
    ] = None,
) -> None:
    """Push the curated dataset and its card to the Hugging Face hub.

    Example: tsqa push recipes/dataset/recipe.yaml me/my-dataset --private
    """
    from tsqa.dataset.push import push as push_dataset
    from tsqa.errors import TsqaError

    if private is None and not sys.stdin.isatty():
        raise TsqaError(f"push to {repo}: who may see it?", "add --private, or --public")
    folder = _filtered(recipe, overrides)
    if private is None:
        question = f"Upload {folder} to {repo}, which only you can see? (--public: anybody)"
        typer.confirm(question, abort=True)
    typer.echo(push_dataset(folder, repo, private is not False))


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE|RUN...",
            help="A recipe YAML (and overrides), or runs: artifact folders, runs/RECIPE, offline "
            "W&B folders, wandb:ENTITY/PROJECT/RUN_ID, wandb:ENTITY/PROJECT/groups/NAME. "
            "NAME=RUN renames one. Without --control: the recipe's, or the first run.",
        ),
    ],
    control: Annotated[str | None, typer.Option(help="The control, by name.")] = None,
    allow: Annotated[
        str, typer.Option(help="What may differ: tokens,version,num_fewshot,seeds.")
    ] = "",
    published: Annotated[
        bool, typer.Option("--published", help="Set the published deltas beside.")
    ] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the rows as CSV.")] = None,
    md: Annotated[Path | None, typer.Option("--md", help="Write a Markdown table.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write everything.")] = None,
    folder: Annotated[Path, typer.Option("--runs", help="Where W&B runs' artifacts lie.")] = Path(
        "runs"
    ),
    bootstrap: Annotated[
        int, typer.Option(min=100, max=10_000_000, help="Resamples; of a recipe: its own.")
    ] = 10_000,
    confidence: Annotated[float, typer.Option(help="Of a recipe: its own.")] = 0.95,
    force: Force = False,
) -> None:
    """Compare every arm with the control, document by document and seed by seed.

    Example: tsqa compare runs/quickstart --control synthetic=0 --md deltas.md
    """
    from eval.compare.runs import compare_runs
    from eval.compare.stage import read_deltas
    from eval.compare.tables import print_table, published_tables, setup_of, write_all
    from tsqa.console import console
    from tsqa.errors import TsqaError
    from tsqa.outputs import check_outputs

    if not 0.5 < confidence < 1:
        raise typer.BadParameter(f"--confidence {confidence}: expected more than 0.5, less than 1")
    check_outputs([csv, md, as_json], force)
    here: dict[str, str] = {}
    if Path(runs[0]).suffix in (".yaml", ".yml"):
        if control or allow:
            raise TsqaError(
                "--control and --allow are for runs; a recipe names its own control",
                "set ablation.control in the recipe, or give runs/RECIPE",
            )
        pipeline = _open(Path(runs[0]), runs[1:])
        pipeline.run(until="compare")
        deltas = read_deltas(pipeline.finished("compare"))
        here = setup_of(pipeline.recipe)
    else:
        allowed = frozenset(filter(None, allow.replace(" ", "").split(",")))
        deltas = compare_runs(
            runs,
            folder,
            control=control,
            allow=allowed,
            bootstrap=bootstrap,
            confidence=confidence,
            suite="published" if published else None,
        )
    print_table(deltas, console)
    for table in published_tables(deltas, here) if published else ():
        console.print(table)
    write_all(deltas, csv=csv, markdown_file=md, json_file=as_json)


@app.command("verify-export")
def verify_export(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A model folder, train artifact or checkpoint.")
    ],
    vllm: Annotated[bool, typer.Option(help="Also compare with vLLM.")] = True,
) -> None:
    """Check that an exported model is the trained one in transformers and in vLLM.

    Example: tsqa verify-export runs/artifacts/train/77a8159ffc01b106
    """
    from dataclasses import asdict

    from train.checkpoints.verify import verify_export as verify

    for name, value in asdict(verify(path, with_vllm=vllm)).items():
        typer.echo(f"{name.replace('_', ' ')}: {value}")


@app.command()
def verify(
    runs: Annotated[
        Path, typer.Argument(metavar="[RUNS]", help="The folder that holds the artifacts.")
    ] = Path("runs"),
) -> None:
    """Read every artifact and say what is not as it was written.

    Example: tsqa verify runs
    """
    from tsqa.store.verify import print_verdicts, verify_runs

    if not print_verdicts(verify_runs(runs)):
        raise typer.Exit(RUN_ERROR)


class _RecipeOrCommand(TyperGroup):
    """`tsqa seeds RECIPE` runs the stage; a name of a command, such as `list`, is that command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = args and (args[0] in self.commands or args[0].startswith("-"))
        return super().resolve_command(ctx, args if known else ["run", *args])


seeds_app = typer.Typer(cls=_RecipeOrCommand, no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(
    seeds_app,
    name="seeds",
    help="Read training splits into seeds: [bold]tsqa seeds RECIPE[/]. Or list what could be: "
    "[bold]tsqa seeds list[/].",
)


@seeds_app.command("list")
def list_seeds(
    family: Annotated[str | None, typer.Option(help="Only this task family.")] = None,
    capability: Annotated[str | None, typer.Option(help="Only this capability.")] = None,
    include: Annotated[Path | None, typer.Option(help="A folder of task YAMLs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List every task with a training split: sizes, kind, capability, or why it is excluded.

    Works offline, from the tasks' configurations. Example: tsqa seeds list --family arc
    """
    from tsqa.seeds.listing import list_tasks, print_tasks

    print_tasks(list_tasks(include, family=family, capability=capability), as_json=as_json)


def _stage_command(name: str, stage: str, what: str, group: typer.Typer = app) -> None:
    def command(recipe: RecipePath, overrides: Overrides = None) -> None:
        _open(recipe, overrides).run(until=stage)

    shown = name if group is app else stage
    command.__doc__ = f"{what}\n\nExample: tsqa {shown} recipes/quickstart/recipe.yaml"
    group.command(name)(command)


_stage_command("data", "data", "Build the recipe's own data, and stop there.")
_stage_command("benchmarks", "benchmarks", "Render the documents of the evaluated tasks once.")
_stage_command("run", "seeds", "Read training splits into seeds: `tsqa seeds RECIPE`.", seeds_app)
_stage_command("generate", "generate", "Have the teacher write questions and voted answers.")
_stage_command("filter", "filter", "Verify, deduplicate and decontaminate the candidates.")
_stage_command("tokenize", "tokenize", "Turn every source of the mixture into token rows.")
_stage_command("train", "train", "Train every arm under accelerate + DeepSpeed.")
_stage_command("eval", "evaluate", "Evaluate the base and every arm with lm-eval.")


def _open(recipe: Path, overrides: list[str] | None) -> Pipeline:
    from tsqa.errors import RecipeError, os_error_cause
    from tsqa.pipeline.run import Pipeline
    from tsqa.recipe import load_recipe

    given = list(overrides or [])
    try:
        return Pipeline(load_recipe(recipe, given), recipe, given)
    except OSError as error:  # of a file that the recipe names
        raise RecipeError(f"{recipe}: {os_error_cause(error)[0]}", "correct the path") from error


def _filtered(recipe: Path, overrides: list[str] | None) -> Path:
    """The folder of the recipe's filter artifact; TsqaError when it is not built."""
    return _open(recipe, overrides).finished("filter").path


def _report(pipeline: Pipeline) -> None:
    from tsqa.pipeline.report import write_report

    write_report(pipeline)


def main() -> None:
    """Run the app; what goes wrong is a message and an exit code, not a traceback."""
    from tsqa.errors import RecipeError, TsqaError, os_error_cause

    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    signal.signal(signal.SIGTERM, _end)
    try:
        app(arguments)
    except SystemExit as end:  # of typer, which ends so on Ctrl-C
        if end.code == INTERRUPTED:
            _say(f"interrupted; {_AGAIN}")
        raise
    except KeyboardInterrupt:
        _say(f"interrupted; {_AGAIN}")
        sys.exit(INTERRUPTED)
    except TsqaError as error:
        is_users = isinstance(error, RecipeError)
        _fail(f"{'recipe error' if is_users else 'error'}: {error}", debug, is_users)
    except OSError as error:
        cause, fix = os_error_cause(error)
        _fail(f"error: {cause}\n  fix: {fix + '; then ' if fix else ''}{_AGAIN}", debug)
    except Exception as error:  # noqa: BLE001 - the last resort
        told = f"error: {type(error).__name__}: {error}"
        _fail(f"{told}\n  fix: this is a bug in tsqa; --debug shows the traceback", debug)


def _fail(message: str, debug: bool, is_users: bool = False) -> NoReturn:
    """Show what went wrong, and end with the exit code of its kind."""
    _say(traceback.format_exc() if debug else message, fg="red")
    sys.exit(USER_ERROR if is_users else RUN_ERROR)


def _say(text: str, fg: str | None = None) -> None:
    from tsqa.printable import printable
    from tsqa.secrets import redact

    typer.secho(printable(redact(text)), fg=fg, err=True)


def _end(number: int, frame: object) -> None:
    """On SIGTERM: say so, then end as if nobody had looked."""
    os.write(2, f"ended by signal {number}; {_AGAIN}\n".encode())
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
