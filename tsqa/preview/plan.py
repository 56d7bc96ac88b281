"""`tsqa plan`: which machines a training run fits on, and what it takes there.

Guarantees: nothing is loaded; each number follows from the recipe, the model's config and the
assumptions that are printed with it; what does not fit says why.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tsqa.errors import RecipeError
from tsqa.preview.models import CORE_FLOPS, GIB, checkpoint_bytes, memory_settings
from tsqa.recipe import TrainSection

if TYPE_CHECKING:
    from train.model.memory import Memory, ModelShape

_MOST_GPUS = 4096
_OFFLOADED = {"none": "", "optimizer": "+CPU", "parameters": "+all"}


@dataclass(frozen=True)
class Hardware:
    """One device, and the node that it sits in."""

    name: str
    gib: float
    tflops: float
    """Dense peak in bf16."""
    per_node: int
    host_gib: float
    """Memory of a node."""
    link: float
    """Bytes a second of a device, one way, while parameters are gathered."""


# Memory as CUDA reports it ("80 GB" are 79 GiB); dense bf16 peaks from NVIDIA's datasheets; the
# memory of the host and about 0.8 of NVLink's rate are assumed.
HARDWARE = {
    each.name: each
    for each in (
        Hardware("a100", 79.1, 312, 8, 1024, 240e9),
        Hardware("h100", 79.1, 989, 8, 2048, 372e9),
        Hardware("h200", 139.7, 989, 8, 2048, 372e9),
        Hardware("b200", 178.3, 2250, 8, 2048, 720e9),
        Hardware("gb200", 184.3, 2500, 4, 960, 720e9),
    )
}


@dataclass(frozen=True)
class Assumptions:
    """What no file says."""

    mfu: float = 0.3
    """As a run logs it: the work that checkpointing repeats is not counted as use of the peak."""
    dollars: float = 2.5
    """Of a GPU-hour."""
    reserve_gib: float = 2.0
    """Of a GPU, for its context and NCCL."""


@dataclass(frozen=True)
class Job:
    """A training run: a model, how it is trained, on how many tokens."""

    shape: ModelShape
    train: TrainSection
    tokens: int
    hardware: Hardware

    @property
    def on_gpu(self) -> bool:
        return self.hardware.name != "cpu"


@dataclass(frozen=True)
class Placement:
    """A way to run a job, its memory, and why it cannot be so: empty where it can."""

    world: int
    zero_stage: int
    offload: str
    memory: Memory
    problem: str

    @property
    def label(self) -> str:
        return f"Z{self.zero_stage}{_OFFLOADED[self.offload]}"


@dataclass(frozen=True)
class Speed:
    """What a job takes on a number of devices."""

    tokens_per_second: float
    seconds: float
    gpu_hours: float
    dollars: float
    is_bound_by_link: bool


def usual_mfu(train: TrainSection) -> float:
    """The assumed MFU: with checkpointing a quarter of the work is a repeated forward pass."""
    return Assumptions.mfu * (0.75 if train.gradient_checkpointing else 1.0)


def read_hardware(text: str) -> tuple[Hardware, int]:
    """`h100x8` -> the device and how many; `cpux2`: processes that share this machine."""
    found = re.fullmatch(r"([a-z0-9]+?)(?:x(\d+))?", text.lower())
    name, count = (found[1], int(found[2] or 1)) if found else ("", 0)
    if name not in (*HARDWARE, "cpu") or not 0 < count <= _MOST_GPUS:
        raise RecipeError(
            f"--hardware {text}: expected a device and how many, such as h100x8",
            f"devices: {', '.join(HARDWARE)}, cpu; 1 to {_MOST_GPUS}",
        )
    if name != "cpu":
        return HARDWARE[name], count
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    peak = CORE_FLOPS.high / 1e12 * len(os.sched_getaffinity(0)) / count
    return Hardware("cpu", memory / count, peak, count, memory, float("inf")), count


def ways(job: Job, world: int, assumed: Assumptions) -> list[Placement]:
    """The recipe's own way first, then each ZeRO stage and offload of the optimizer."""
    train = job.train
    others = [(1, "none"), (2, "none"), (3, "none")]
    if job.on_gpu:  # else the host's memory is the device's
        others.append((3, "optimizer"))
    own = (int(train.zero_stage), str(train.offload))
    return [fit(job, world, *way, assumed) for way in dict.fromkeys([own, *others])]


def fit(job: Job, world: int, zero_stage: int, offload: str, assumed: Assumptions) -> Placement:
    """Whether a job fits on `world` devices in that way."""
    from train.model.memory import training_memory

    run = replace(
        memory_settings(job.train, job.on_gpu), world=world, zero_stage=zero_stage, offload=offload
    )
    memory = training_memory(job.shape, run)
    return Placement(world, zero_stage, offload, memory, _problem(job, run.world, memory, assumed))


def _problem(job: Job, world: int, memory: Memory, assumed: Assumptions) -> str:
    rows, micro = job.train.global_batch_rows, job.train.micro_batch_size
    if rows % (micro * world):
        return f"{rows:,} rows of a batch cannot be divided by {world} x {micro}"
    device = job.hardware
    room = device.gib - (assumed.reserve_gib if job.on_gpu else 0)
    if memory.total > room * GIB:
        return f"{memory.total / GIB:,.1f} of {room:.1f} GiB"
    host = memory.host * min(world, device.per_node) / GIB
    if host > device.host_gib:
        return f"{host:,.0f} of {device.host_gib:,.0f} GiB of the host"
    return ""


def choose(fits: list[Placement]) -> Placement | None:
    """The first that fits: the recipe's own way, else the least sharded."""
    return next((each for each in fits if not each.problem), None)


def smallest_world(job: Job, assumed: Assumptions) -> int | None:
    """The fewest GPUs, doubling from one, on which some way fits; None: on none."""
    worlds = [2**power for power in range(_MOST_GPUS.bit_length())]
    return next((world for world in worlds if choose(ways(job, world, assumed))), None)


def speed(job: Job, way: Placement, assumed: Assumptions) -> Speed:
    """Tokens a second at the assumed MFU, time and money.

    Work: tokens x FLOPs per token. ZeRO-3 gathers its parameters in the forward and the backward
    pass and scatters the gradients, in fp32 (1910.02054, section 7.2): of each parameter 2 x 2 + 4
    bytes a micro-batch, whatever is active; the link bounds the speed where that takes longer.
    """
    train, shape = job.train, job.shape
    flops = shape.flops_per_token(train.sequence_length)
    each = job.hardware.tflops * 1e12 * assumed.mfu / flops
    most = float("inf")
    if way.zero_stage == 3 and way.world > 1:
        element = 4 if train.precision == "fp32" else 2
        moved = (2 * element + 4) * shape.total * (way.world - 1) / way.world
        most = train.micro_batch_size * train.sequence_length * job.hardware.link / moved
    total = min(each, most) * way.world
    seconds = job.tokens / total
    hours = way.world * seconds / 3600 if job.on_gpu else 0.0
    return Speed(total, seconds, hours, hours * assumed.dollars, most < each)


def mfu_of(job: Job, tokens_per_second: float, processes: int) -> float:
    """The MFU of a finished run, as `speed` counts it."""
    flops = job.shape.flops_per_token(job.train.sequence_length)
    return tokens_per_second / processes * flops / (job.hardware.tflops * 1e12)


def checkpoint_gib(job: Job) -> float:
    """Of one checkpoint."""
    return job.shape.total * checkpoint_bytes(job.train) / GIB
