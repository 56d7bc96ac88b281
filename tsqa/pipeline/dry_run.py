"""`tsqa run --dry-run`: what would run, what is cached, tokens, steps, parameters, time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from tsqa.console import console
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import needed
from tsqa.store.artifact import Artifact
from tsqa.store.identity import Json


def print_plan(pipeline: Pipeline) -> None:
    """Print one row per stage. Times come from finished runs of the same kind, or are unknown."""
    title = f"{pipeline.recipe.name}: {len(pipeline.nodes)} stages"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for column in ("stage", "state"):
        table.add_column(column, no_wrap=True)
    for column in ("tokens", "steps", "parameters", "time"):
        table.add_column(column, no_wrap=True, justify="right")
    for node in pipeline.nodes:
        done = pipeline.find(node) is not None
        train, mixture = node.recipe.train, node.recipe.mixture
        is_train = node.stage == "train"
        tokens = mixture.tokens if is_train and mixture else 0
        steps = tokens // train.global_batch_tokens if train else 0
        table.add_row(
            pipeline.label(node),
            pipeline.state(node),
            f"{tokens:,}" if is_train else "",
            f"{steps:,}" if is_train else "",
            _shown_parameters(node) if is_train else "",
            "" if done else _shown_seconds(estimate_seconds(pipeline, node)),
        )
    console.print(table)
    pipeline.say_removed()
    print_reasons(pipeline)
    if any(node.stage == "compare" for node in pipeline.nodes):
        print_detectable(pipeline)


def print_reasons(pipeline: Pipeline) -> None:
    """Print why each stage would run; stages with one reason share a line."""
    reasons: dict[str, list[str]] = {}
    for node in pipeline.nodes:
        if pipeline.find(node) is None:
            reasons.setdefault(pipeline.why(node), []).append(pipeline.label(node))
    for reason, labels in reasons.items():
        console.print(Text.assemble((", ".join(labels), "bold"), f": {reason}"))


def print_detectable(pipeline: Pipeline) -> None:
    """What the comparison at the end could find, by the sizes of its tasks."""
    from eval.compare.stage import read_deltas
    from eval.statistics.planned import planned_table

    include = needed(pipeline.recipe.eval, "eval").include
    data = [node for node in pipeline.nodes if node.stage == "data"]
    made = pipeline.find(data[-1]) if data else None
    if include and made:
        include = include.replace("{data}", str(made.path))
    compared = [node for node in pipeline.nodes if node.stage == "compare"][-1]
    done = pipeline.find(compared)
    previous = None
    if done is not None:
        previous = read_deltas(done)
    folder = Path(include) if include else None
    console.print(planned_table(pipeline.recipe, include=folder, previous=previous))


def estimate_seconds(pipeline: Pipeline, node: Node) -> float | None:
    """By the last finished artifact of the stage, and of the same model or teacher.

    Training is scaled by its tokens, generation by its requests; not counted is what comes before
    a stage's own clock, as the start of a training job.
    """
    role = node.definition.paced_by
    wanted = _model_of(role, node.config, node.input_fingerprints)
    finished: list[Artifact] = [
        artifact
        for artifact in pipeline.store.finished(node.stage)
        if _model_of(role, artifact.manifest.config, artifact.manifest.inputs) == wanted
    ]
    if not finished:
        return None
    latest = max(finished, key=lambda artifact: artifact.manifest.created)
    seconds = float(latest.summary["seconds"])
    if node.stage == "train" and latest.summary.get("tokens"):
        tokens = needed(node.recipe.mixture, "mixture").tokens
        seconds *= tokens / float(latest.summary["tokens"])
    if node.stage == "generate" and latest.summary.get("seeds"):
        seeds = pipeline.find(node.inputs["seeds"])
        share = seeds.summary["seeds"] / latest.summary["seeds"] if seeds else 1.0
        made = latest.manifest.config
        seconds *= share * _requests_per_seed(node.config) / _requests_per_seed(made)
    return seconds


def _shown_seconds(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"~{seconds:.0f} s"


def _model_of(
    role: str | None, config: Mapping[str, Json], inputs: Mapping[str, str]
) -> tuple[Json, str | None] | None:
    """What decides the model of a role, and its artifact where a recipe trains it."""
    return (config[role], inputs.get(role)) if role else None


def _requests_per_seed(config: Mapping[str, Any]) -> int:
    """A question and its votes for each of the new items."""
    return int(config["per_seed"]) * (1 + int(config["votes"]))


def _shown_parameters(node: Node) -> str:
    model = needed(node.recipe.model, "model")
    if model.config is not None:
        settings = dict(model.config)
        if node.recipe.tokenizer and node.recipe.tokenizer.train_on:
            settings.setdefault("vocab_size", node.recipe.tokenizer.vocab_size)
        return f"{_count_parameters(json.dumps(settings, sort_keys=True)):,}"
    if model.recipe is not None:
        return f"as {Path(model.recipe).stem}"
    return f"as {model.path}"


@cache
def _count_parameters(settings: str) -> int:
    """Of a transformers config as JSON; counted on the meta device, so nothing is allocated."""
    import torch

    from train.model.build import new_model

    with torch.device("meta"):
        model = new_model(json.loads(settings))
    return sum(parameter.numel() for parameter in model.parameters())
