"""`tsqa run --dry-run`: what would run, what is cached, and what it would take.

Guarantees: in 80 columns no number is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from tsqa.console import console
from tsqa.pipeline.auditing import audits_to_make
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.preview.asking import StageEstimate
from tsqa.preview.buy import what_to_buy
from tsqa.preview.estimate import Estimates
from tsqa.preview.measured import Range
from tsqa.preview.models import count_parameters
from tsqa.recipe import Recipe, generation_shares, needed, origins_of
from tsqa.store.stage import resolve_path


def print_plan(pipeline: Pipeline, wanted: float | None = None) -> None:
    """Print the stages, what those that are not finished would take, what could be found."""
    table = new_table(f"{pipeline.recipe.name}: {len(pipeline.nodes)} stages", "stage", "state")
    for column in ("tokens", "steps", "parameters"):
        table.add_column(column, no_wrap=True, justify="right")
    for node in pipeline.nodes:
        train, mixture = node.recipe.train, node.recipe.mixture
        is_train = node.trains
        tokens = mixture.tokens if is_train and mixture else 0
        steps = tokens // train.global_batch_tokens if train else 0
        table.add_row(
            pipeline.label(node),
            "perhaps" if "unless" in (state := pipeline.state(node)) else state,
            f"{tokens:,}" if is_train else "",
            f"{steps:,}" if is_train else "",
            _shown_parameters(node) if is_train else "",
        )
    console.print(table)
    print_provenance(pipeline.recipe)
    print_estimates(pipeline)
    pipeline.say_namesake()
    pipeline.say_removed()
    print_reasons(pipeline)
    print_detectable(pipeline, wanted)


def print_provenance(recipe: Recipe) -> None:
    """Who made each source of the mixture, and the share of every generation in the stream."""
    origins = origins_of(recipe)
    if not origins:
        return
    table = new_table("Mixture", "source", "made by", "family")
    for column in ("generation", "share"):
        table.add_column(column, no_wrap=True, justify="right")
    for each in origins:
        generation = "" if each.generation is None else str(each.generation)
        cells = (each.source, each.shown, each.family, generation, f"{each.share:.2%}")
        table.add_row(*map(Text, cells))
    console.print(table)
    shares = generation_shares(origins).items()
    console.print(f"in the stream: {', '.join(f'{name} {share:.2%}' for name, share in shares)}")


def print_estimates(pipeline: Pipeline) -> None:
    """Per stage that would run, per finished dataset that would be audited, and in sum: requests,
    tokens, money; then time and memory."""
    missing = [node for node in pipeline.nodes if pipeline.find(node) is None]
    audited = audits_to_make(pipeline)
    if not missing and not audited:
        return
    estimates = Estimates(pipeline)
    rows = [(pipeline.label(node), estimates.of(node)) for node in missing]
    audits = [(f"audit of {pipeline.label(node)}", estimates.audit(node)) for node in audited]
    total = estimates.total(missing)
    for _, audit in audits:
        total = total.then(audit)
    rows += audits
    whole = [*rows, ("sum", total)]
    print_paid("What it would take", whole)
    _print_columns("Time, memory and disk, in GiB", whole, _TAKEN)
    bases: dict[str, list[str]] = {}
    for label, estimate in rows:
        if estimate.basis:
            bases.setdefault("; ".join(estimate.basis), []).append(label)
    for basis, labels in bases.items():
        console.print(Text.assemble((", ".join(labels), "bold"), f": {basis}"))


def print_paid(title: str, rows: Sequence[tuple[str, StageEstimate]]) -> None:
    """Requests, tokens, GPU-hours and dollars of each row."""
    _print_columns(title, rows, _PAID)


def shown_seconds(seconds: Range | None) -> str:
    return _range(seconds, shown_time)


def shown_dollars(dollars: Range | None) -> str:
    return _range(dollars, shown_money)


def print_reasons(pipeline: Pipeline) -> None:
    """Print why each stage would run; stages with one reason share a line."""
    reasons: dict[str, list[str]] = {}
    for node in pipeline.nodes:
        if pipeline.find(node) is None:
            state = pipeline.state(node)
            why = state if "unless" in state else pipeline.why(node)
            reasons.setdefault(why, []).append(pipeline.label(node))
    for reason, labels in reasons.items():
        console.print(Text.assemble((", ".join(labels), "bold"), f": {reason}"))


def print_detectable(pipeline: Pipeline, wanted: float | None = None) -> None:
    """What the comparison at the end could find, and what would buy `wanted` points."""
    from eval.compare.stage import read_deltas
    from eval.statistics.planned import planned_table, ways_to_detect

    recipe = pipeline.recipe
    compared = [node for node in pipeline.nodes if node.stage == "compare"]
    if not compared:
        return
    include = needed(recipe.eval, "eval").include
    data = [node for node in pipeline.nodes if node.stage == "data"]
    made = pipeline.find(data[-1]) if data else None
    done = pipeline.find(compared[-1])
    previous = None if done is None else read_deltas(done)
    folder = resolve_path(include, made) if include else None
    if recipe.seeds and recipe.seeds.hold_out:
        for line in _held_out(recipe, recipe.seeds.hold_out):
            console.print(line)
    console.print(planned_table(recipe, include=folder, previous=previous))
    if wanted is not None:
        ways = ways_to_detect(wanted / 100, recipe, folder, previous)
        console.print(Text(what_to_buy(pipeline, wanted, ways)))


def _held_out(recipe: Recipe, families: Sequence[str]) -> Iterator[str]:
    from tsqa.seeds.sources import evaluated_of

    for family, tasks in evaluated_of(families, recipe).items():
        told = f"evaluated by {', '.join(tasks)}" if tasks else "but eval.tasks has none of it"
        yield f"seeds.hold_out: {family}: never a seed, {told}"


def new_table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for column in columns:
        # In a narrow terminal the widest column is folded first; none is cut off.
        table.add_column(column, overflow="fold", min_width=10 if column == "stage" else None)
    return table


def _print_columns(
    title: str,
    rows: Sequence[tuple[str, StageEstimate]],
    columns: dict[str, Callable[[StageEstimate], str]],
) -> None:
    """Leave out the rows and columns that hold nothing."""
    cells = {name: [show(estimate) for _, estimate in rows] for name, show in columns.items()}
    kept = [name for name, values in cells.items() if any(values)]
    table = new_table(title, "stage")
    for name in kept:
        table.add_column(name, no_wrap=True, justify="right")
    for number, (label, _) in enumerate(rows):
        row = [cells[name][number] for name in kept]
        if any(row):
            table.add_row(label, *row)
    if kept:
        console.print(table)


def _range(value: Range | None, show: Callable[[float], str]) -> str:
    """`12-98`, one number where both are the same, nothing for nothing."""
    if value is None:
        return "unknown"
    if not value.high:
        return ""
    low, high = show(value.low), show(value.high)
    return low if low == high else f"{low}-{high}"


def shown_count(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def shown_time(value: float) -> str:
    for size, unit in ((172_800, " d"), (7_200, " h"), (120, " min")):
        if value >= size:
            number = value / {" d": 86_400, " h": 3_600, " min": 60}[unit]
            return f"{number:.0f}{unit}" if number >= 10 else f"{number:.1f}{unit}"
    return f"{value:.0f} s"


def shown_money(value: float) -> str:
    return f"${value:,.0f}" if value >= 100 else f"${value:.2f}"


def _small(value: float) -> str:
    return "0" if value < 0.005 else f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


_PAID: dict[str, Callable[[StageEstimate], str]] = {
    "requests": lambda estimate: _range(estimate.requests, shown_count),
    "tokens in": lambda estimate: _range(estimate.prompt_tokens, shown_count),
    "tokens out": lambda estimate: _range(estimate.output_tokens, shown_count),
    "GPU-hours": lambda estimate: _range(estimate.gpu_hours, _small),
    "$": lambda estimate: _range(estimate.dollars, shown_money),
}
_TAKEN: dict[str, Callable[[StageEstimate], str]] = {
    "time": lambda estimate: _range(estimate.seconds, shown_time),
    "GPU": lambda estimate: _range(estimate.device_gib, _small),
    "host": lambda estimate: _range(estimate.host_gib, _small),
    "disk": lambda estimate: _range(estimate.disk_gib, _small),
}


def _shown_parameters(node: Node) -> str:
    model = needed(node.recipe.model, "model")
    if model.config is not None:
        return f"{count_parameters(node.recipe):,}"
    if model.recipe is not None:
        return f"as {Path(model.recipe).stem}"
    return f"as {model.path}"
