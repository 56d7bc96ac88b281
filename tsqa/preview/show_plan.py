"""`tsqa plan`: the tables. Each job of a recipe once, then generation, and the sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.text import Text

from tsqa.console import console
from tsqa.errors import RecipeError
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.preview.asking import StageEstimate
from tsqa.preview.dry_run import (
    new_table,
    print_paid,
    shown_count,
    shown_money,
    shown_time,
)
from tsqa.preview.estimate import Estimates
from tsqa.preview.measured import Range
from tsqa.preview.models import GIB, permanent_checkpoints, runs_on_gpu, shape_of_student
from tsqa.preview.plan import (
    Assumptions,
    Hardware,
    Job,
    Placement,
    Speed,
    checkpoint_gib,
    choose,
    fit,
    mfu_of,
    read_hardware,
    smallest_world,
    speed,
    usual_mfu,
    ways,
)
from tsqa.recipe import needed

_WORLDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_EXPERTS_ON_DEEPSPEED = 5e9
"""Parameters from which a model with experts is slow on DeepSpeed."""


@dataclass(frozen=True)
class PlanOptions:
    """What the command line says; None: as the recipe has it, else as assumed."""

    hardware: str | None = None
    mfu: float | None = None
    dollars: float | None = None
    architecture: Path | None = None


def print_hardware_plan(pipeline: Pipeline, asked: PlanOptions) -> bool:
    """Print the plan; False where a training run fits on no machine that was asked for."""
    estimates = Estimates(pipeline)
    jobs: dict[str, tuple[Node, list[str]]] = {}
    for node in pipeline.nodes:
        if node.trains:
            train, mixture = node.recipe.train, needed(node.recipe.mixture, "mixture")
            key = f"{node.recipe.model!r} {node.recipe.tokenizer!r} {train!r} {mixture.tokens}"
            jobs.setdefault(key, (node, []))[1].append(pipeline.label(node))
    totals = []
    fits_all = True
    left = {pipeline.label(node) for node in pipeline.nodes if _is_left(pipeline, node)}
    for node, labels in jobs.values():
        taken = _print_job(pipeline, estimates, node, labels, asked)
        fits_all = fits_all and taken is not None
        totals.append(([label for label in labels if label in left], taken))
    dollars = _dollars(pipeline, asked)
    made = _print_asking(pipeline, estimates, dollars)
    _print_sum(totals, made)
    return fits_all


def _is_left(pipeline: Pipeline, node: Node) -> bool:
    """Whether a node is still to be paid for."""
    return pipeline.find(node) is None and not pipeline.kept_exports(node)


def _print_job(
    pipeline: Pipeline, estimates: Estimates, node: Node, labels: list[str], asked: PlanOptions
) -> Speed | None:
    """Print one training run; None where it does not fit."""
    here = shape_of_student(pipeline, node)
    shape = here or shape_of_student(pipeline, node, asked.architecture)
    train = needed(node.recipe.train, "train")
    if shape is None:
        model = needed(node.recipe.model, "model")
        raise RecipeError(
            f"{pipeline.label(node)}: the config of {model.path} is not on this machine",
            "give --architecture CONFIG.JSON, or fetch the model's config.json first",
        )
    default = "h100" if runs_on_gpu(shape.total) else "cpu"
    hardware, world = read_hardware(asked.hardware or f"{default}x{train.processes}")
    tokens = needed(node.recipe.mixture, "mixture").tokens
    job = Job(shape, train, tokens, hardware)
    mfu, basis = asked.mfu, "--mfu"
    if mfu is None:
        usual = usual_mfu(train)
        mfu, basis = _measured_mfu(estimates, node, job) or (usual, "assumed; --mfu")
    assumed = Assumptions(mfu=mfu, dollars=_dollars(pipeline, asked))
    console.print(Text(", ".join(labels), "bold"))
    if asked.architecture is not None:
        how = "not read, as the model's own config is here" if here else "taken for the model's"
        console.print(f"{asked.architecture}: {how}")
    _print_model(job)
    prices = ""
    if job.on_gpu:
        known = "given" if _is_priced(pipeline, asked) else "assumed"
        prices = (
            f"; ${assumed.dollars:g} a GPU-hour ({known}; --dollars); {assumed.reserve_gib:g} GiB "
            f"of a GPU kept free (assumed); {hardware.link / 1e9:g} GB/s between GPUs (assumed)"
        )
    console.print(
        f"MFU {mfu:.3g} ({basis}); peak {hardware.tflops:g} TFLOPS of a {hardware.name}{prices}"
    )
    _print_worlds(job, world, assumed)
    chosen = choose(ways(job, world, assumed))
    if chosen is None:
        _print_refusal(job, world, assumed)
        return None
    _print_micro_batches(job, chosen, assumed)
    _print_notes(job, chosen, assumed)
    return speed(job, chosen, assumed)


def _print_model(job: Job) -> None:
    shape, length = job.shape, job.train.sequence_length
    kinds = ", ".join(f"{name} {shown_count(count)}" for name, count in shape.kinds.items())
    console.print(
        f"parameters {shape.total:,}: {kinds}; active {shape.active / 1e6:,.1f}M, "
        f"{(shape.active - shape.embedded) / 1e6:,.1f}M without the input embedding"
    )
    console.print(
        f"{shape.flops_per_token(length) / 1e9:.4g} GFLOP a token at {length:,} tokens, forward "
        f"and backward, attention without a discount for causality; {job.tokens:,} tokens, "
        f"{job.tokens // job.train.global_batch_tokens:,} steps"
    )


def _print_worlds(job: Job, asked: int, assumed: Assumptions) -> None:
    """Each number of devices: GiB of one in each way, and what the way taken would need."""
    worlds = sorted({*_WORLDS, asked}) if job.on_gpu else [asked]
    shown = ways(job, asked, assumed)
    table = new_table(
        f"GiB of one {job.hardware.name}, of {job.hardware.gib:.1f} "
        "(x: does not fit, or cannot divide the batch)",
        "GPUs" if job.on_gpu else "devices",
    )
    paid = ("GPU-h", "$") if job.on_gpu else ()
    for name in (*(each.label for each in shown), "tokens/s", "time", *paid):
        table.add_column(name, no_wrap=name != "$", overflow="fold", justify="right")
    for world in worlds:
        fits = ways(job, world, assumed)
        chosen = choose(fits)
        cells = [f"{e.memory.total / GIB:,.1f}{'x' if e.problem else ''}" for e in fits]
        taken = [""] * (2 + len(paid))
        if chosen is not None:
            found = speed(job, chosen, assumed)
            mark = "*" if found.is_bound_by_link else ""
            taken = [f"{shown_count(found.tokens_per_second)}{mark}", shown_time(found.seconds)]
            if paid:
                taken += [f"{found.gpu_hours:,.0f}", f"${shown_count(found.dollars)}"]
            place = fits.index(chosen)
            cells[place] = f"[{cells[place]}]"
        table.add_row(f"{world}{' <' if world == asked else ''}", *map(Text, cells), *taken)
    console.print(table)
    console.print(
        "Z1 to Z3: ZeRO's stages, +CPU: the optimizer offloaded; in brackets: the way taken, first "
        "the recipe's own; <: asked for"
    )


def _print_refusal(job: Job, world: int, assumed: Assumptions) -> None:
    why = "; ".join(f"{each.label}: {each.problem}" for each in ways(job, world, assumed))
    console.print(f"does not fit on {job.hardware.name}x{world}: {why}")
    least = smallest_world(job, assumed) if job.on_gpu else None
    if least is not None:
        console.print(f"the smallest that does: {job.hardware.name}x{least}")
    else:
        none = "no number of them does: " if job.on_gpu else ""
        console.print(
            f"{none}lower train.micro_batch_size, or set train.gradient_checkpointing and "
            "train.loss_chunk"
        )


def _print_micro_batches(job: Job, chosen: Placement, assumed: Assumptions) -> None:
    """The memory of the way taken, part by part, for other micro-batches and checkpointing."""
    title = f"{chosen.label} on {chosen.world}, GiB of one"
    table = new_table(title, "rows", "recompute")
    for name in ("states", "grads", "activ.", "logits", "buffers", "sum"):
        table.add_column(name, no_wrap=True, justify="right")
    own = (job.train.micro_batch_size, job.train.gradient_checkpointing)
    sizes = sorted({1, 2, 4, 8, own[0]})
    for rows, recompute in [(r, c) for c in (False, True) for r in sizes]:
        train = job.train.model_copy(
            update={"micro_batch_size": rows, "gradient_checkpointing": recompute}
        )
        found = fit(
            replace(job, train=train), chosen.world, chosen.zero_stage, chosen.offload, assumed
        )
        m = found.memory
        parts = (m.states, m.gradients, m.activations, m.logits, m.buffers, m.total)
        table.add_row(
            f"{rows}{' <' if (rows, recompute) == own else ''}", "yes" if recompute else "no",
            *(f"{part / GIB:,.2f}" for part in parts[:-1]),
            f"{m.total / GIB:,.1f}{'x' if found.problem else ''}",
        )  # fmt: skip
    console.print(table)


def _print_notes(job: Job, chosen: Placement, assumed: Assumptions) -> None:
    train = job.train
    own = (train.zero_stage, train.offload)
    if (chosen.zero_stage, chosen.offload) != own:
        console.print(
            f"train.zero_stage={chosen.zero_stage} train.offload={chosen.offload}: the recipe's "
            f"ZeRO-{own[0]} does not fit"
        )
    if chosen.zero_stage == 3 and train.fp32_parameters and train.precision == "bf16":
        console.print("train.fp32_parameters must be empty then: ZeRO-3 refuses it")
    if chosen.world != train.processes:
        console.print(f"the recipe has train.processes={train.processes}; set {chosen.world}")
    if speed(job, chosen, assumed).is_bound_by_link:
        moved = "2 x 4 + 4" if train.precision == "fp32" else "2 x 2 + 4"
        console.print(f"* bound by the link, over which ZeRO-3 moves {moved} bytes a parameter")
    if "experts" in job.shape.kinds and job.shape.total > _EXPERTS_ON_DEEPSPEED:
        console.print(
            "experts: DeepSpeed has no expert parallelism for this model, and users report a tenth "
            "of Megatron's speed (not measured here): hand a long run over, or plan with --mfu 0.03"
        )
    each = checkpoint_gib(job)
    kept = train.keep_checkpoints + 1 + permanent_checkpoints(train, job.tokens)
    weights = job.shape.total * (4 if train.precision == "fp32" else 2) / GIB
    tokens = job.tokens * (2 if job.shape.vocabulary <= 2**16 else 4) / GIB
    console.print(
        f"disk, in GiB: a checkpoint {each:,.2f}, {kept} at once {kept * each:,.2f}; the exported "
        f"model {weights:,.2f}; the tokens of the mixture {tokens:,.2f}"
    )


def _print_asking(
    pipeline: Pipeline, estimates: Estimates, dollars: float
) -> list[tuple[str, StageEstimate]]:
    """Print what generation and filters ask, as the dry run has it; `dollars`: of a GPU-hour
    that has no price."""
    rows = []
    for node in pipeline.nodes:
        if node.stage in ("generate", "filter") and pipeline.find(node) is None:
            made = estimates.of(node)
            if made.gpu_hours is not None and made.dollars == Range(0, 0):
                made = replace(made, dollars=made.gpu_hours * dollars)
            rows.append((pipeline.label(node), made))
    print_paid("What generation would take", rows)
    for label, made in rows:
        if made.requests.high:
            console.print(Text.assemble((label, "bold"), f": {'; '.join(made.basis)}"))
    return rows


def _print_sum(
    totals: Sequence[tuple[list[str], Speed | None]], made: Sequence[tuple[str, StageEstimate]]
) -> None:
    hours = dollars = Range(0, 0)
    unknown = []
    for labels, taken in totals:
        if taken is None:
            unknown.extend(labels)
        else:
            hours += Range(1, 1) * (len(labels) * taken.gpu_hours)
            dollars += Range(1, 1) * (len(labels) * taken.dollars)
    for label, estimate in made:
        if estimate.gpu_hours is None or estimate.dollars is None:
            unknown.append(label)
        else:
            hours += estimate.gpu_hours
            dollars += estimate.dollars
    left = f"; without {', '.join(unknown)}, which cannot be told" if unknown else ""
    count = sum(len(labels) for labels, taken in totals if taken)
    console.print(
        f"in sum, {count} training runs and generation, as far as they are not finished, without "
        "evaluation: "
        f"{_both(hours, shown_count)} GPU-hours, {_both(dollars, shown_money)}{left}"
    )


def _both(value: Range, show: Callable[[float], str]) -> str:
    low, high = show(value.low), show(value.high)
    return low if low == high else f"{low} to {high}"


def _measured_mfu(estimates: Estimates, node: Node, job: Job) -> tuple[float, str] | None:
    """Of the last finished run of the same model on such a device."""
    made = estimates.latest(node, "model")
    if made is None or not made.summary.get("tokens"):
        return None
    execution = made.summary.get("execution", {})
    if not is_same_device(job.hardware, str(execution.get("device", ""))):
        return None
    processes, tokens = int(execution.get("processes", 1)), int(made.summary["tokens"])
    if not job.on_gpu:  # what a process has of this machine, as it was measured
        job = replace(job, hardware=read_hardware(f"cpux{processes}")[0])
    found = mfu_of(job, tokens / float(made.summary["seconds"]), processes)
    return found, f"measured here on {tokens:,} tokens"


def is_same_device(hardware: Hardware, device: str) -> bool:
    """`device`: as CUDA names it, such as `NVIDIA A100-SXM4-80GB`; `cpu`."""
    return hardware.name in device.lower().replace("-", " ").split()


def _is_priced(pipeline: Pipeline, asked: PlanOptions) -> bool:
    return asked.dollars is not None or bool(pipeline.recipe.dollars_per_gpu_hour)


def _dollars(pipeline: Pipeline, asked: PlanOptions) -> float:
    if asked.dollars is not None:
        return asked.dollars
    return pipeline.recipe.dollars_per_gpu_hour or Assumptions().dollars
