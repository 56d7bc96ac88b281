"""How large a model is, and what that asks of a machine, before it is loaded."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tsqa.errors import DataError, RecipeError, first_line
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.preview.measured import Range
from tsqa.recipe import ModelSection, Recipe, TrainSection, is_hub_id, needed
from tsqa.spending import has_gpu

if TYPE_CHECKING:
    from train.model.memory import MemorySettings, ModelShape

GIB = 2**30
_TFLOPS = 989.0
"""Dense bf16 of an H100 or H200."""
CORE_FLOPS = Range(5e9, 60e9)
"""Of a CPU core in fp32. Measured on an EPYC, training a Llama with one thread (6 operations a
parameter and token, by CPU time): 8 GFLOPS with a hidden size of 32, 26 with 64, 52 with 256, 58
with 576."""
_ON_A_CPU = 2e8
"""Parameters up to which a machine without a GPU is taken for the one that runs it."""
_IN_NAME = re.compile(r"(\d+(?:\.\d+)?)([BM])(?:-A(\d+(?:\.\d+)?)B)?(?![A-Za-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class ModelSize:
    total: float
    active: float
    """Parameters that a token passes through."""


def size_of_model(
    pipeline: Pipeline, node: Node, role: str, model: ModelSection
) -> ModelSize | None:
    """By its config, the recipe that trains it, its files, or its name; None: it cannot be told."""
    origin = _origin(pipeline, node, role, model)
    if origin is None:
        return None
    recipe, model = origin
    if model.config is not None:
        shape = shape_of_config(_settings(recipe))
        return ModelSize(shape.total, shape.active)
    path = str(model.path)
    named = _IN_NAME.findall(path)
    if named:
        number, unit, active = named[-1]
        total = float(number) * (1e9 if unit.upper() == "B" else 1e6)
        return ModelSize(total, float(active) * 1e9 if active else total)
    weights = [file.stat().st_size for file in Path(path).glob("*.safetensors")]
    return ModelSize(sum(weights) / 2, sum(weights) / 2) if weights else None


def shape_of_student(
    pipeline: Pipeline, node: Node, architecture: Path | None = None
) -> ModelShape | None:
    """The shape of the model that a node trains, by its config; None where that is not here.

    `architecture`: a config.json that stands for a model whose files are not here.
    """
    origin = _origin(pipeline, node, "model", needed(node.recipe.model, "model"))
    if origin is None:
        return None
    recipe, model = origin
    if model.config is not None:
        return shape_of_config(_settings(recipe))
    file = _config_file(str(model.path)) or architecture
    if file is None:
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: no config of a model: {first_line(error)}") from error
    if not isinstance(values, dict) or "model_type" not in values:
        raise DataError(f"{file}: no config of a model: it names no model_type")
    try:
        return shape_of_config(json.dumps(values, sort_keys=True))
    except RecipeError as error:
        raise DataError(f"{file}: {first_line(error).removeprefix('model.config: ')}") from error


def count_parameters(recipe: Recipe) -> int:
    """Of a recipe with a model from scratch."""
    return shape_of_config(_settings(recipe)).total


@cache
def shape_of_config(settings: str) -> ModelShape:
    """Of a transformers config as JSON; built on the meta device, so nothing is allocated."""
    import torch

    from train.model.build import new_model
    from train.model.memory import shape_of

    with torch.device("meta"):
        model = new_model(json.loads(settings))
    try:
        return shape_of(model)
    except AttributeError as error:  # a config that names its parts in another way
        raise RecipeError(
            f"model.config: the shape of a {model.config.model_type} cannot be told: {error}"
        ) from error


def _origin(
    pipeline: Pipeline, node: Node, role: str, model: ModelSection
) -> tuple[Recipe, ModelSection] | None:
    """The section that says what a model is, through the recipes that train it, and its recipe."""
    if model.recipe is None:
        return node.recipe, model
    trained = [n for r, n in node.inputs.items() if r == role or n.stage == "train"]
    trained = trained or [
        n for n in pipeline.nodes if n.stage == "train" and n.origin == Path(model.recipe)
    ]
    if not trained or trained[-1] is node:
        return None
    return _origin(pipeline, trained[-1], "model", needed(trained[-1].recipe.model, "model"))


def _settings(recipe: Recipe) -> str:
    """The config of a model from scratch, as JSON."""
    settings = dict(needed(recipe.model, "model").config or {})
    if recipe.tokenizer and recipe.tokenizer.train_on:
        settings.setdefault("vocab_size", recipe.tokenizer.vocab_size)
    return json.dumps(settings, sort_keys=True)


def _config_file(path: str) -> Path | None:
    """Of a model folder, or of a hub model that the hub's client keeps here."""
    from huggingface_hub import try_to_load_from_cache

    file = Path(path) / "config.json"
    if file.is_file():
        return file
    if not is_hub_id(path):
        return None
    found = try_to_load_from_cache(path, "config.json")
    return Path(found) if isinstance(found, str) else None


def compute_seconds(
    size: ModelSize | None,
    per_parameter: Range | float,
    devices: int,
    share: Range,
    tflops: float | None,
) -> tuple[Range | None, bool, str]:
    """(seconds, whether on GPUs, basis) of that many operations for each active parameter.

    `share`: of a GPU's peak that is reached.
    """
    if size is None:
        return None, has_gpu(), "unknown: the size of the model is not known"
    operations = Range(1, 1) * per_parameter * size.active
    on_gpu = runs_on_gpu(size.total)
    if on_gpu:
        peak = tflops or _TFLOPS
        speed = share * (devices * peak * 1e12)
        basis = f"speed assumed: {share.low:.0%} to {share.high:.0%} of {peak:g} TFLOPS a GPU"
    else:
        speed = CORE_FLOPS * len(os.sched_getaffinity(0))
        low, high = CORE_FLOPS.low / 1e9, CORE_FLOPS.high / 1e9
        basis = f"speed assumed: {low:g} (tiny models) to {high:g} GFLOPS a CPU core"
    return Range(operations.low / speed.high, operations.high / speed.low), on_gpu, basis


def memory_settings(train: TrainSection, on_gpu: bool) -> MemorySettings:
    """What of a section `train` decides the memory of a process."""
    from train.model.memory import MemorySettings

    return MemorySettings(
        world=train.processes,
        zero_stage=train.zero_stage,
        micro_batch_size=train.micro_batch_size,
        sequence_length=train.sequence_length,
        element_bytes=4 if train.precision == "fp32" else 2,
        offload=train.offload,
        gradient_checkpointing=train.gradient_checkpointing,
        loss_chunk=train.loss_chunk,
        on_gpu=on_gpu,
    )


def checkpoint_bytes(train: TrainSection) -> int:
    """Of each parameter in a checkpoint: weights, master copy and moments."""
    return 16 if train.precision == "fp32" else 14


def permanent_checkpoints(train: TrainSection, tokens: int) -> int:
    """How many `train.keep_every` leaves of a training on so many tokens."""
    from train.trainer.schedule import batch_schedule

    if train.keep_every is None:
        return 0
    rows = tokens // train.global_batch_tokens * train.global_batch_rows
    return batch_schedule(train, rows).steps // train.keep_every


def runs_on_gpu(total: float) -> bool:
    """Whether a model of that many parameters is taken to run on a GPU."""
    return has_gpu() or total > _ON_A_CPU


def training_gib(recipe: Recipe, size: ModelSize, shape: ModelShape | None) -> tuple[Range, float]:
    """Memory of one process, and what it offloads from a GPU.

    By the shape of the model, else by its size and usual proportions.
    """
    from train.model.memory import model_states, training_memory

    train = needed(recipe.train, "train")
    run = memory_settings(train, runs_on_gpu(size.total))
    if shape is not None:
        memory = training_memory(shape, run)
        return Range(0.85, 1.15) * (memory.total / GIB), memory.host / GIB
    states, gradients, host = model_states(size.total, 0, run)
    if not run.on_gpu:
        states, host = states + host, 0.0
    rows = train.micro_batch_size * train.sequence_length
    width, layers = 1.5 * float(size.active ** (1 / 3)), 48
    kept = Range(2, 6) if train.gradient_checkpointing else Range(16, 60)
    vocabulary = 128_000 if runs_on_gpu(size.total) else 1024
    logits = Range(6, 12) * (min(rows, train.loss_chunk or rows) * vocabulary)
    activations = kept * (rows * width * layers) + logits
    whole = Range(1, 1.1) * (states + gradients) + activations
    return whole * (1 / GIB), host / GIB
