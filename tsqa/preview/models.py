"""How large a model is, and what that asks of a machine, before it is loaded."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.preview.measured import Range
from tsqa.recipe import ModelSection, Recipe, needed
from tsqa.spending import has_gpu

GIB = 2**30
_TFLOPS = 989.0
"""Dense bf16 of an H100 or H200."""
_CORE_FLOPS = Range(5e9, 30e9)
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
    if model.recipe is not None:
        trained = [n for r, n in node.inputs.items() if r == role or n.stage == "train"]
        trained = trained or [
            n for n in pipeline.nodes if n.stage == "train" and n.origin == Path(model.recipe)
        ]
        if not trained or trained[-1] is node:
            return None
        return size_of_model(
            pipeline, trained[-1], "model", needed(trained[-1].recipe.model, "model")
        )
    if model.config is not None:
        count = float(count_parameters(node.recipe))
        return ModelSize(count, count)
    path = str(model.path)
    named = _IN_NAME.findall(path)
    if named:
        number, unit, active = named[-1]
        total = float(number) * (1e9 if unit.upper() == "B" else 1e6)
        return ModelSize(total, float(active) * 1e9 if active else total)
    weights = [file.stat().st_size for file in Path(path).glob("*.safetensors")]
    return ModelSize(sum(weights) / 2, sum(weights) / 2) if weights else None


def count_parameters(recipe: Recipe) -> int:
    """Of a recipe with a model from scratch."""
    settings = dict(needed(recipe.model, "model").config or {})
    if recipe.tokenizer and recipe.tokenizer.train_on:
        settings.setdefault("vocab_size", recipe.tokenizer.vocab_size)
    return _count_parameters(json.dumps(settings, sort_keys=True))


@cache
def _count_parameters(settings: str) -> int:
    """Of a transformers config as JSON; counted on the meta device, so nothing is allocated."""
    import torch

    from train.model.build import new_model

    with torch.device("meta"):
        model = new_model(json.loads(settings))
    return sum(parameter.numel() for parameter in model.parameters())


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
    on_gpu = has_gpu() or size.total > _ON_A_CPU
    if on_gpu:
        peak = tflops or _TFLOPS
        speed = share * (devices * peak * 1e12)
        basis = f"speed assumed: {share.low:.0%} to {share.high:.0%} of {peak:g} TFLOPS a GPU"
    else:
        speed = _CORE_FLOPS * len(os.sched_getaffinity(0))
        basis = "speed assumed: 5 to 30 GFLOPS a CPU core"
    return Range(operations.low / speed.high, operations.high / speed.low), on_gpu, basis


def training_gib(recipe: Recipe, size: ModelSize) -> Range:
    """Memory of one process: weights, gradients, optimizer, activations."""
    train = needed(recipe.train, "train")
    parts = (4, 4, 8) if train.precision == "fp32" else (2, 4, 12)
    ranks = [train.processes if train.zero_stage >= stage else 1 for stage in (3, 2, 1)]
    offloaded = {"none": 3, "optimizer": 2, "parameters": 1}[train.offload]
    each = [part / rank for part, rank in zip(parts, ranks, strict=True)][:offloaded]
    rows = train.micro_batch_size * train.sequence_length
    config = needed(recipe.model, "model").config or {}
    width = float(config.get("hidden_size", 1.5 * size.active ** (1 / 3)))
    layers = float(config.get("num_hidden_layers", 48))
    kept = Range(2, 6) if train.gradient_checkpointing else Range(16, 60)
    vocabulary = float(config.get("vocab_size", 128_000 if size.total > _ON_A_CPU else 1024))
    logits = Range(6, 12) * (min(rows, train.loss_chunk or rows) * vocabulary)
    activations = kept * (rows * width * layers) + logits
    return (Range(1, 1.1) * (size.total * sum(each)) + activations) * (1 / GIB)
