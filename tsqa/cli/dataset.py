"""Commands for the dataset: look at its items, export and publish it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tsqa.cli.common import (
    DATASET,
    Force,
    Overrides,
    RecipePath,
    filtered_folder,
    open_pipeline,
    released_folder,
)

Stages = Annotated[
    list[str] | None,
    typer.Option("--stage", help="Only artifacts of this stage; may be given again."),
]


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
    repo: Annotated[
        str,
        typer.Argument(metavar="REPO", help="NAMESPACE/NAME on the hub, or s3://BUCKET/PREFIX."),
    ],
    overrides: Overrides = None,
    stage: Stages = None,
    private: Annotated[
        bool | None,
        typer.Option("--private/--public", help="Who may see it. Without: ask; default private."),
    ] = None,
    version: Annotated[
        str | None, typer.Option("--release", help="Push this release, not what is built now.")
    ] = None,
) -> None:
    """Push the dataset and its card to the Hugging Face hub, or artifacts to a bucket.

    To a bucket (s3://, gs://): what the recipe has finished, or with --release that release. The
    same command continues after a kill; `tsqa pull` fetches.

    Example: tsqa push recipes/quickstart/recipe.yaml me/my-dataset --private
    """
    from tsqa.curated.push import push as push_dataset
    from tsqa.errors import UsageError

    if "://" in repo:
        _push_to_store(recipe, repo, overrides, stage, private, version)
        return
    if stage:
        raise UsageError(
            "--stage: the hub takes the dataset alone", "name a bucket, or leave it out"
        )
    if private is None and not sys.stdin.isatty():
        raise UsageError(f"push to {repo}: who may see it?", "add --private, or --public")
    audit = None
    if version is None:
        from tsqa.pipeline.auditing import find_audit

        pipeline = open_pipeline(recipe, overrides)
        node = pipeline.node_of(pipeline.finished("filter"))
        folder, audit = pipeline.finished("filter").path, find_audit(pipeline, node)
    else:
        folder = released_folder(recipe, overrides, version)
    if private is None:
        question = f"Upload {folder} to {repo}, which only you can see? (--public: anybody)"
        typer.confirm(question, abort=True)
    typer.echo(push_dataset(folder, repo, private is not False, audit))


def _push_to_store(
    recipe: Path,
    url: str,
    overrides: list[str] | None,
    stages: list[str] | None,
    private: bool | None,
    version: str | None,
) -> None:
    from tsqa.errors import UsageError
    from tsqa.release.store_copy import push_artifacts, push_release

    if private is not None:
        raise UsageError(
            "--private and --public are of the hub", "leave it out: the bucket says who may read"
        )
    if version is None:
        push_artifacts(open_pipeline(recipe, overrides), url, stages or [])
    else:
        push_release(released_folder(recipe, overrides, version), url)


def pull(
    recipe: RecipePath,
    url: Annotated[str, typer.Argument(metavar="URL", help="s3://BUCKET/PREFIX or gs://...")],
    overrides: Overrides = None,
    stage: Stages = None,
    version: Annotated[
        str | None, typer.Option("--release", help="Fetch this release, not the artifacts.")
    ] = None,
) -> None:
    """Fetch from a bucket what `tsqa push` put there and the recipe has not, each file verified.

    The same command continues after a kill.

    Example: tsqa pull recipes/quickstart/recipe.yaml s3://my-bucket/tsqa
    """
    from tsqa.release.store_copy import pull_artifacts, pull_release

    pipeline = open_pipeline(recipe, overrides)
    if version is None:
        pull_artifacts(pipeline, url, stage or [])
    else:
        runs = Path(pipeline.recipe.runs)
        typer.echo(pull_release(runs, pipeline.recipe.name, version, url))


def release(
    recipe: RecipePath,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its name, such as v1.")],
    overrides: Overrides = None,
    since: Annotated[
        str | None, typer.Option(help="Say in CHANGES.md what changed since this release.")
    ] = None,
) -> None:
    """Keep the dataset as a named version that never changes, in RUNS/releases/NAME/VERSION.

    With it: hashes of all files, the recipe, licences of seeds and teachers, a data sheet.

    Example: tsqa release recipes/quickstart/recipe.yaml v1
    """
    from tsqa.release.check import require_good
    from tsqa.release.make import make_release, print_release
    from tsqa.release.sides import find_release

    pipeline = open_pipeline(recipe, overrides)
    earlier = None
    if since is not None:
        own = since if "/" in since else f"{pipeline.recipe.name}/{since}"
        earlier = require_good(find_release(Path(pipeline.recipe.runs), own))
    print_release(make_release(pipeline, version, earlier))


def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A release: folder, or NAME/VERSION.")],
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="Another; or a recipe: what it has built now.")
    ],
    overrides: Overrides = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs, `runs` in a recipe.")] = Path(
        "runs"
    ),
    seeds: Annotated[bool, typer.Option("--seeds", help="Compare the seeds alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which items came in, went out or changed between two versions, by cause.

    Example: tsqa diff quickstart/v1 quickstart/v2
    """
    from tsqa.release.difference import compare_sides, print_difference
    from tsqa.release.sides import open_side

    before, after = (open_side(named, runs, seeds, overrides or ()) for named in (old, new))
    print_difference(compare_sides(before, after, seeds_only=seeds), as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this group to the app."""
    for command in (inspect, show, export, push, pull, release, diff):
        app.command(rich_help_panel=DATASET)(command)
