"""Training under accelerate + DeepSpeed: equal losses, exact resume, faithful export."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from tests.support.train_runs import (
    ENVIRONMENT,
    HYBRID,
    STEPS,
    metrics,
    stop_after,
    train,
    write_recipe,
)
from train.checkpoints.export import export_checkpoint
from train.data.mixture import plan
from train.data.stream import IGNORED, TokenStore, read_batch
from train.data.token_files import token_folders
from train.model.build import build_model
from train.model.isolation import forward_arguments, isolate
from train.model.optimizer import build_optimizer
from train.trainer.schedule import learning_rate
from tsqa.errors import TsqaError
from tsqa.pipeline.run import Pipeline
from tsqa.pipeline.training_job import TrainingJob
from tsqa.recipe import Recipe, load_recipe
from tsqa.spending import Spending, SpentError
from tsqa.store.artifact import Artifact
from tsqa.store.manifest import read_manifest
from tsqa.store.roles import Role, SourceRole
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hybrid student over two sources, tokenized."""
    return write_recipe(tmp_path_factory.mktemp("train"), HYBRID)


def silent_context(recipe: Recipe) -> StageContext:
    folders = [f.parent for f in Path(recipe.runs).glob("artifacts/token*/*/manifest.json")]
    found = [Artifact(folder, read_manifest(folder)) for folder in folders]
    inputs: dict[Role, Artifact] = {
        SourceRole(a.manifest.config["source"])
        if a.manifest.stage == "tokenize"
        else "tokenizer": a
        for a in found
    }
    return StageContext(recipe, inputs, found[0].path, Tracker.silent())


def plain_torch(recipe: Recipe) -> tuple[Any, list[float], list[float]]:
    """The same training without DeepSpeed: whole batches, one process."""
    from transformers import AutoTokenizer

    context = silent_context(recipe)
    words = context.inputs["tokenizer"].path / "tokenizer"
    model = build_model(context, AutoTokenizer.from_pretrained(words))
    isolate(model, torch.device("cpu"))
    section = recipe.train
    optimizer = build_optimizer(model, section)
    store = TokenStore(*token_folders(context.inputs))
    made = plan(recipe.mixture, section, store.rows, recipe.seed)
    losses, norms = [], []
    for step in range(made.steps):
        rows = range(step * made.batch_rows, (step + 1) * made.batch_rows)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(section, rows, made.total_rows)
        batch = read_batch(store, made, rows.start, len(rows))
        logits = model(**forward_arguments(model.config, batch)).logits
        loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), section.clip)))
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    return model, losses, norms


@pytest.fixture(scope="module")
def reference(recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """One process, two micro-batches per step, ZeRO-1."""
    return train(recipe_path, tmp_path_factory.mktemp("one") / "runs", "train.keep_every=6")


def test_accumulated_losses_and_the_export_equal_plain_torch(
    recipe_path: Path, reference: Artifact
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, losses, norms = plain_torch(load_recipe(recipe_path))
    found = metrics(reference)
    assert [r["train/loss"] for r in found] == pytest.approx(losses, abs=1e-5)
    assert [r["train/grad_norm"] for r in found] == pytest.approx(norms, rel=1e-4)
    exported = AutoModelForCausalLM.from_pretrained(reference.path / "hf", dtype=torch.float32)
    tokens = torch.arange(40)[None]
    logits = [each.eval()(tokens).logits for each in (exported, model)]
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-3)
    tokenizer = AutoTokenizer.from_pretrained(reference.path / "hf")
    assert exported.config.eos_token_id == tokenizer.eos_token_id
    drawn = {name: s["drawn"] for name, s in reference.summary["sources"].items()}
    assert sum(drawn.values()) == reference.summary["tokens"] == STEPS * 256


def test_too_little_data_is_refused_before_a_job_starts(
    recipe_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(recipe_path, ["mixture.max_repetition=0.1"])
    pipeline = Pipeline(recipe, recipe_path, [])
    with pytest.raises(TsqaError, match=r"mixture\.max_repetition"):
        pipeline.run(until="train")
    assert "train:main" in capsys.readouterr().err
    assert not list(pipeline.folder.glob("logs/*"))


@pytest.mark.parametrize(("stage", "offload", "micro"), [(3, "none", 2), (2, "optimizer", 1)])
def test_two_processes_that_share_the_state_give_the_same_losses(
    recipe_path: Path, reference: Artifact, tmp_path: Path, stage: int, offload: str, micro: int
) -> None:
    split = train(
        recipe_path, tmp_path / "runs", f"train.micro_batch_size={micro}",
        f"train.zero_stage={stage}", f"train.offload={offload}", "train.keep_every=6", processes=2,
    )  # fmt: skip
    for key in ("train/loss", "train/loss/qa", "train/grad_norm"):
        expected = [record.get(key, 0.0) for record in metrics(reference)]
        found = [record.get(key, 0.0) for record in metrics(split)]
        assert found == pytest.approx(expected, abs=1e-5, rel=1e-4), key
    exports = []
    for run, name in ((split, "split"), (reference, "whole")):
        export_checkpoint(run.path / "checkpoints" / "step-00000006", tmp_path / name)
        exports.append(load_file(tmp_path / name / "model.safetensors"))
    torch.testing.assert_close(*exports, atol=2e-4, rtol=1e-3)


@dataclass
class SpentWhen(Spending):
    """Affords everything until a file is there."""

    file: Path = Path()

    def affords(self, dollars: float) -> bool:
        return not self.file.exists()


def test_a_killed_run_and_one_that_became_too_dear_end_bit_for_bit_the_same(
    recipe_path: Path, reference: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    values = (f"runs={runs}", "train.checkpoint_every=2")
    partial = stop_after(recipe_path, runs, 2)
    [node] = [
        node
        for node in Pipeline(load_recipe(recipe_path, [*values]), recipe_path, [*values]).nodes
        if node.stage == "train"
    ]
    log = tmp_path / "train.log"
    monkeypatch.setattr("os.environ", ENVIRONMENT)
    monkeypatch.setattr("tsqa.pipeline.training_job._LOOK_SECONDS", 0.01)
    spending = SpentWhen(limit=1, file=partial / "checkpoints" / "step-00000004")
    with pytest.raises(SpentError, match="going on with train"):
        TrainingJob(node, values, log, partial / "metrics.jsonl", "train", spending, 1).run()
    assert re.search(r"exitcode *: 75", log.read_text())  # saved, then ended by itself
    assert not (partial / "trained.json").exists()
    resumed = train(recipe_path, runs, *values[1:])
    assert metrics(resumed) == metrics(reference)
    weights = [artifact.path / "hf" / "model.safetensors" for artifact in (resumed, reference)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert not (resumed.path / "checkpoints").exists()


def test_the_checkpoint_of_the_last_step_is_kept_and_resumed_from(
    recipe_path: Path, reference: Artifact, tmp_path: Path
) -> None:
    steps = {folder.name for folder in (reference.path / "checkpoints").glob("step-*")}
    assert steps == {"step-00000006", "step-00000012"}
    asked = (f"train.keep_every={STEPS}", "train.heldout_rows=8")  # web: documents of six rows
    log = stop_after(recipe_path, tmp_path / "runs", STEPS, *asked) / "heldout.jsonl"
    measured = json.loads(log.read_text())
    log.unlink()  # not yet on the disk where a machine fails, nor seen by others of the run
    resumed = train(recipe_path, tmp_path / "runs", *asked)
    assert [record["step"] for record in metrics(resumed)] == [*range(1, STEPS + 1)]
    losses = {name: measured[f"heldout/loss/{name}"] for name in ("web", "qa")}
    assert resumed.summary["heldout"] == losses
