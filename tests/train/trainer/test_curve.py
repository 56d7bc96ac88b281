"""Exports along a run, which evaluation draws as a curve: they change nothing and survive kills."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.train_runs import HYBRID, metrics, stop_after, train, write_recipe
from train.checkpoints.average import average_exports
from train.checkpoints.verify import verify_export
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.store.artifact import Artifact

pytestmark = pytest.mark.engine
CURVE = ("eval={tasks: [arc_easy], every_tokens: 1000}", "mixture.decontaminate=false")


def test_exports_along_a_run_change_nothing_and_survive_a_kill(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, HYBRID)
    plain = train(recipe, tmp_path / "plain", "train.keep_every=4")
    whole = train(recipe, tmp_path / "whole", *CURVE)
    stop_after(recipe, tmp_path / "killed", 5, *CURVE)
    resumed = train(recipe, tmp_path / "killed", *CURVE)
    assert metrics(whole) == metrics(plain) == metrics(resumed)
    assert whole.fingerprint == resumed.fingerprint != plain.fingerprint
    assert {path.name for path in whole.path.glob("hf*")} == {"hf", "hf-1000", "hf-2000"}
    # Steps of 256 tokens: the fourth is the first to reach 1,000, the eighth to reach 2,000.
    for point, step in ((1000, 4), (2000, 8)):
        told = json.loads((resumed.path / f"hf-{point}" / "exported.json").read_text())
        assert told == {"step": step, "tokens": step * 256}
    weights = [
        (artifact.path / name / "model.safetensors").read_bytes()
        for artifact in (whole, resumed)
        for name in ("hf-1000", "hf-2000", "hf")
    ]
    assert weights[:3] == weights[3:]
    assert len(set(weights)) == 3
    stop_after(recipe, tmp_path / "mean", 9, *CURVE, "train.average_last=3")
    mean = train(recipe, tmp_path / "mean", *CURVE, "train.average_last=3")
    assert metrics(mean) == metrics(whole) and mean.summary["averaged"] == [1000, 2000, 3072]
    last = Path(shutil.copytree(whole.path / "hf", tmp_path / "last"))
    average_exports([whole.path / "hf-1000", whole.path / "hf-2000"], last)
    expected = (last / "model.safetensors").read_bytes()
    assert (mean.path / "hf" / "model.safetensors").read_bytes() == expected
    assert verify_export(mean.path / "hf", with_vllm=False).tensors > 0
    added = add_exports(recipe, tmp_path / "plain")
    assert added.fingerprint == whole.fingerprint and added.identity == plain.fingerprint
    assert metrics(added) == metrics(plain) and not (added.path / "checkpoints").exists()
    assert [
        (added.path / name / "model.safetensors").read_bytes()
        for name in ("hf-1000", "hf-2000", "hf")
    ] == weights[:3]
    for name in ("hf-1000/exported.json", "hf-2000/exported.json", "hf/config.json"):
        assert (added.path / name).read_bytes() == (whole.path / name).read_bytes()


def add_exports(recipe: Path, runs: Path) -> Artifact:
    """Ask for a curve after the training, where a checkpoint is kept for each point."""
    given = [f"runs={runs}", *CURVE]
    pipeline = Pipeline(load_recipe(recipe, given), recipe, given)
    [node] = [node for node in pipeline.nodes if node.stage == "train"]
    assert "(eval.every_tokens) with 1000, 2000: from the checkpoints" in pipeline.why(node)
    made = pipeline.ensure(node)
    assert not (pipeline.folder / "logs").exists()  # no training was launched
    return made
