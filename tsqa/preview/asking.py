"""What it takes to ask a model: tokens, time, dollars, memory.

Guarantees: lengths are measured here where they were, else they come from `max_tokens`; what cannot
be bounded is None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.preview.measured import Lengths, Range, lengths_of
from tsqa.preview.models import GIB, ModelSize, compute_seconds, size_of_model
from tsqa.recipe import TeacherSection
from tsqa.teachers.config import count_engines, hourly

NOTHING = Range(0, 0)
LITTLE = Range(0.5, 2)
"""GiB of a process without a model."""
START = Range(10, 90)
"""Seconds until an engine or a training job begins."""


@dataclass(frozen=True)
class StageEstimate:
    """None: it cannot be said."""

    requests: Range = NOTHING
    prompt_tokens: Range = NOTHING
    output_tokens: Range = NOTHING
    seconds: Range | None = NOTHING
    gpu_hours: Range | None = NOTHING
    dollars: Range | None = NOTHING
    device_gib: Range | None = NOTHING
    """The most of one GPU."""
    host_gib: Range | None = LITTLE
    disk_gib: Range | None = NOTHING
    basis: tuple[str, ...] = ()

    def then(self, other: StageEstimate) -> StageEstimate:
        """Both, one after the other; a sum with an unknown part is unknown."""
        return StageEstimate(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.output_tokens + other.output_tokens,
            plus(self.seconds, other.seconds),
            plus(self.gpu_hours, other.gpu_hours),
            plus(self.dollars, other.dollars),
            _most(self.device_gib, other.device_gib),
            _most(self.host_gib, other.host_gib),
            plus(self.disk_gib, other.disk_gib),
            tuple(dict.fromkeys((*self.basis, *other.basis))),
        )


def ask(
    pipeline: Pipeline,
    node: Node,
    role: str,
    teacher: TeacherSection,
    items: Range,
    each: Range,
    longest: float,
    shots: int,
) -> StageEstimate:
    """What requests to a model take. `each`: requests for an item; `longest`: tokens of a
    reply, on average over the requests."""
    engines = count_engines(teacher)
    at_once = teacher.max_num_seqs * engines
    lengths = lengths_of(pipeline, node, role, at_once)
    if lengths is None:
        lengths = _assumed_lengths(teacher, longest, shots)
    if node.stage == "filter" and lengths.per_item is not None:
        each = Range(
            *(min(each.high, asked) for asked in (lengths.per_item.low, lengths.per_item.high))
        )
    requests = items * each
    prompt, output = requests * lengths.prompt, requests * lengths.output
    size = size_of_model(pipeline, node, role, teacher.model)
    seconds, on_gpu, basis = _answering(teacher, size, requests, prompt, output, lengths)
    gpus = teacher.replicas * teacher.gpus if on_gpu else 0
    priced = hourly(teacher, node.recipe.dollars_per_gpu_hour)
    hours = times(seconds, 1 / 3600)
    dollars: Range | None = prompt * (priced.dollars_per_million_prompt_tokens / 1e6)
    dollars = plus(dollars, output * (priced.dollars_per_million_output_tokens / 1e6))
    if priced.dollars_per_hour:
        dollars = plus(dollars, times(hours, priced.dollars_per_hour * engines))
    device, host = _memory(teacher, size, on_gpu)
    told = tuple(f"{role}: {text}" for text in (lengths.basis, basis) if text)
    return StageEstimate(
        *(requests, prompt, output, seconds, times(hours, gpus), dollars),
        *(device, host, NOTHING, told),
    )


def _assumed_lengths(teacher: TeacherSection, longest: float, shots: int) -> Lengths:
    prompt = Range(50, 300) + Range(30, 400) * shots
    if teacher.loads_model:
        prompt = Range(*(min(each, teacher.max_model_len) for each in (prompt.low, prompt.high)))
    basis = "replies from max_tokens (a tenth to all), prompts assumed"
    return Lengths(prompt, Range(0.1, 1) * longest, None, basis)


def _answering(
    teacher: TeacherSection,
    size: ModelSize | None,
    requests: Range,
    prompt: Range,
    output: Range,
    lengths: Lengths,
) -> tuple[Range | None, bool, str]:
    """Seconds of an engine, whether it is on GPUs here, and the basis."""
    tokens = prompt + output
    if teacher.loads_model:
        flops = tokens * 2.0
        seconds, on_gpu, basis = compute_seconds(
            size, flops, teacher.replicas * teacher.gpus, Range(0.02, 0.2), None
        )
        if lengths.seconds_per_token is not None:
            return tokens * lengths.seconds_per_token + START, on_gpu, ""
        return plus(seconds, START), on_gpu, basis
    if lengths.seconds_per_token is not None:
        return tokens * lengths.seconds_per_token, False, ""
    streams = count_engines(teacher) * teacher.max_num_seqs
    seconds = Range(output.low / (100 * streams), output.high / (20 * streams))
    basis = "assumed 20 to 100 tokens/s of each request in flight"
    if teacher.requests_per_minute:
        least = requests * (60 / teacher.requests_per_minute)
        seconds = Range(max(seconds.low, least.low), max(seconds.high, least.high))
        basis += ", and requests_per_minute"
    return seconds, False, basis


def _memory(
    teacher: TeacherSection, size: ModelSize | None, on_gpu: bool
) -> tuple[Range | None, Range | None]:
    """GiB of one GPU, and of the host."""
    if not teacher.loads_model:
        return NOTHING, LITTLE
    bytes_each = 4 if teacher.dtype == "float32" else 2
    weights = None if size is None else Range(1, 1.2) * (size.total * bytes_each / GIB)
    if on_gpu:
        device = times(weights, 1 / teacher.gpus)
        return plus(device, Range(1, 20)), Range(4, 16) * teacher.replicas
    return NOTHING, plus(weights, Range(1, 3) + Range(0, teacher.kv_cache_gib))


def plus(left: Range | None, right: Range | None) -> Range | None:
    return None if left is None or right is None else left + right


def _most(left: Range | None, right: Range | None) -> Range | None:
    if left is None or right is None:
        return None
    return Range(max(left.low, right.low), max(left.high, right.high))


def times(value: Range | None, factor: float) -> Range | None:
    return None if value is None else value * factor
