"""Models along a training: after which steps, and from checkpoints that a finished run kept.

Guarantee: an export from a checkpoint is the one that the run would have made at that step.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from train.data.mixture import plan_of
from train.data.token_files import read_token_sources, token_folders
from train.trainer.schedule import batch_schedule
from tsqa.recipe import Recipe, curve_points, needed
from tsqa.store.artifact import EXPORTED, Artifact
from tsqa.store.jsonl import write_json
from tsqa.store.manifest import MANIFEST
from tsqa.store.roles import Role

_CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class KeptExport:
    """A model along a training that a checkpoint holds."""

    point: int
    """Tokens at which the recipe asks for it."""
    step: int
    tokens: int
    """After that step."""
    checkpoint: Path


def points_passed(recipe: Recipe, rows: range) -> list[int]:
    """The points of `eval.every_tokens` in the step that takes these rows: up to its end."""
    length = needed(recipe.train, "train").sequence_length
    passed = range(rows.start * length + 1, rows.stop * length + 1)
    return [point for point in curve_points(recipe) if point in passed]


def folder_of(point: int) -> str:
    return f"hf-{point}"


def kept_exports(
    recipe: Recipe, inputs: Mapping[Role, Artifact], made: Artifact
) -> list[KeptExport] | None:
    """The exports that a run lacks, where it kept the checkpoint of each; None where not."""
    if not (made.path / _CHECKPOINTS).is_dir():
        return None
    train = needed(recipe.train, "train")
    sources = read_token_sources(token_folders(inputs))["sources"]
    plan = plan_of(recipe, {name: source["rows"] for name, source in sources.items()})
    schedule = batch_schedule(train, plan.total_rows)
    found = []
    for step in range(schedule.steps):
        rows = schedule.batch(step)
        for point in points_passed(recipe, rows):
            if (made.path / folder_of(point)).is_dir():
                continue
            checkpoint = made.path / _CHECKPOINTS / f"step-{step + 1:08d}"
            if not checkpoint.is_dir():
                return None
            tokens = rows.stop * train.sequence_length
            found.append(KeptExport(point, step + 1, tokens, checkpoint))
    return found


def add_exports(recipe: Recipe, made: Artifact, exports: list[KeptExport], out: Path) -> None:
    """Write what the finished run made, its checkpoints excepted, and further exports."""
    from train.checkpoints.export import export_checkpoint

    for left in out.iterdir():  # of a killed run; the folder itself is locked
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    unasked = {path.name for path in made.path.glob("hf-*")}
    unasked -= {folder_of(point) for point in curve_points(recipe)}
    ignored = shutil.ignore_patterns(MANIFEST, _CHECKPOINTS, *unasked)
    shutil.copytree(made.path, out, ignore=ignored, dirs_exist_ok=True)
    trusted = needed(recipe.model, "model").trust_remote_code
    for one in exports:
        folder = out / folder_of(one.point)
        export_checkpoint(one.checkpoint, folder, trusted)
        write_json(folder / EXPORTED, {"step": one.step, "tokens": one.tokens})
