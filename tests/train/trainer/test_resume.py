"""Checkpoints of real runs: other process counts, damage, permanent ones, bad losses."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
import torch

from tests.support.forks import start_fork
from tests.support.train_runs import (
    ENVIRONMENT,
    EXPERTS,
    STEPS,
    command,
    fail,
    finished,
    metrics,
    prepare,
    stop_after,
    train,
    wait_for,
    write_recipe,
)
from train.__main__ import main
from train.checkpoints.checkpoint import Checkpoints
from train.checkpoints.export import export_checkpoint
from train.data.mixture import plan_of
from train.data.stream import TokenStore
from tsqa.errors import PREEMPTED
from tsqa.recipe import load_recipe
from tsqa.store.artifact import Artifact

pytestmark = pytest.mark.engine
ASKED = ("train.micro_batch_size=2", "train.router.bias_rate=0.01", "train.router.loss=0.001")


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("resume"), EXPERTS)


@pytest.fixture(scope="module")
def undisturbed(recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """One process with a permanent checkpoint at steps 5 and 10."""
    return train(recipe_path, tmp_path_factory.mktemp("whole") / "runs", *ASKED,
                 "train.keep_every=5", "train.keep_checkpoints=1")  # fmt: skip


@pytest.mark.parametrize(("before", "after", "stage"), [(2, 1, 0), (1, 2, 2), (2, 1, 3)])
def test_another_number_of_processes_continues_with_the_same_losses(
    recipe_path: Path, undisturbed: Artifact, tmp_path: Path, before: int, after: int, stage: int
) -> None:
    runs, asked = tmp_path / "runs", (*ASKED, f"train.zero_stage={stage}")
    partial = stop_after(recipe_path, runs, 6, *asked, processes=before)
    assert json.loads((partial / "checkpoints/step-00000006/checkpoint.json").read_text())
    resumed = train(recipe_path, runs, *asked, processes=after)
    for key in ("train/loss", "train/grad_norm"):
        expected = [record[key] for record in metrics(undisturbed)]
        assert [record[key] for record in metrics(resumed)] == pytest.approx(expected, abs=1e-5)


def test_ranks_begin_again_by_themselves_where_one_dies(recipe_path: Path, tmp_path: Path) -> None:
    longer = (
        "mixture.phases=[{tokens: 15360, ratios: {web: 0.6, qa: 0.4}}]",
        *("mixture.max_repetition=1000", "train.checkpoint_every=5", "train.zero_stage=2"),
    )
    whole = train(recipe_path, tmp_path / "whole", *longer, processes=2)
    runs, log = tmp_path / "runs", tmp_path / "log"
    prepare(recipe_path, runs)
    job = command(recipe_path, *longer, "train.processes=2", f"runs={runs}", processes=2)
    at = job.index("--num_processes")
    job[at:at] = ["--max_restarts", "1"]
    with (
        log.open("w") as printed,
        subprocess.Popen(
            job, env=ENVIRONMENT, stdout=printed, stderr=subprocess.STDOUT
        ) as launcher,
    ):
        wait_for(runs, "*.partial/checkpoints/step-00000005", lambda: launcher.poll() is None)
        ranks = psutil.Process(launcher.pid).children(recursive=True)
        next(rank for rank in ranks if rank.environ().get("RANK") == "1").kill()
        assert launcher.wait(300) == 0, log.read_text()[-4000:]
    assert "lost in a step" in log.read_text()
    assert metrics(finished(runs)) == metrics(whole)


def test_another_micro_batch_size_continues_and_another_zero_stage_is_refused(
    recipe_path: Path, undisturbed: Artifact, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    stop_after(recipe_path, runs, 6, *ASKED)
    printed = fail(recipe_path, runs, *ASKED, "train.zero_stage=2")
    assert "was written with train.zero_stage 1, train.offload none, this run has" in printed
    resumed = train(recipe_path, runs, *ASKED, "train.micro_batch_size=4")
    for key in ("train/loss", "train/grad_norm"):
        expected = [record[key] for record in metrics(undisturbed)]
        assert [record[key] for record in metrics(resumed)] == pytest.approx(expected, abs=1e-5)
    assert resumed.summary["execution"]["micro_batch_size"] == 4


def test_a_damaged_checkpoint_stops_a_run_and_an_older_one_ends_the_same(
    recipe_path: Path, undisturbed: Artifact, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    partial = stop_after(recipe_path, runs, 3, *ASKED)
    stop_after(recipe_path, runs, 6, *ASKED)
    (optimizer,) = partial.glob("checkpoints/step-00000006/state/*optim_states.pt")
    optimizer.write_bytes(optimizer.read_bytes()[:-1])
    assert f"step-00000006 is damaged: state/{optimizer.name} has" in fail(
        recipe_path, runs, *ASKED
    )
    resumed = train(recipe_path, runs, *ASKED, "train.older_checkpoint=true")
    assert metrics(resumed) == metrics(undisturbed)


@pytest.mark.parametrize("processes", [0, 2])
def test_a_checkpoint_of_somebody_else_runs_no_code(
    recipe_path: Path, tmp_path: Path, processes: int
) -> None:
    runs, canary = tmp_path / "runs", tmp_path / "canary"
    saved = stop_after(recipe_path, runs, 3, *ASKED) / "checkpoints" / "step-00000003"
    for path in saved.glob("state/*.pt"):
        torch.save({"module": Touch(str(canary))}, path)
    manifest = json.loads((saved / "checkpoint.json").read_text())
    del manifest["seal"]
    for name in manifest["files"]:
        content = (saved / name).read_bytes()
        mark = hashlib.sha256(content).hexdigest()
        manifest["files"][name] = {"bytes": len(content), "sha256": mark}
    (saved / "checkpoint.json").write_text(json.dumps(manifest))
    printed = fail(recipe_path, runs, *ASKED, processes=processes)
    assert "could run code; it is not read" in printed
    assert not canary.exists()


class Touch:
    """Pickled as a call that leaves a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self._path, "w")


def ended_as_it_saves() -> int:
    """`python -m train` that is asked to end while it saves."""
    save = Checkpoints.save

    def save_and_end(self: Checkpoints, *arguments: Any) -> None:
        save(self, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        print("saved step", arguments[2])

    with mock.patch.object(Checkpoints, "save", save_and_end):
        return main()


def test_a_run_that_is_asked_to_end_as_it_saves_does_not_save_the_step_again(
    recipe_path: Path, undisturbed: Artifact, tmp_path: Path
) -> None:
    runs, log = tmp_path / "runs", tmp_path / "log"
    asked = [*ASKED, "train.checkpoint_every=3", f"runs={runs}"]
    prepare(recipe_path, runs)
    for _ in range(2):
        child = start_fork(ended_as_it_saves, ["train", str(recipe_path), *asked], log)
        child.join()
        assert child.exitcode == PREEMPTED, log.read_text()[-4000:]
    assert re.findall("saved step .*", log.read_text()) == ["saved step 3", "saved step 6"]
    assert metrics(train(recipe_path, runs, *ASKED)) == metrics(undisturbed)


def test_a_resume_where_a_phase_and_an_epoch_end_changes_nothing(
    recipe_path: Path, tmp_path: Path
) -> None:
    half = STEPS * 128
    phases = (
        f"mixture.phases=[{{tokens: {half}, ratios: {{web: 0.2083, qa: 0.7917}}}},"
        f" {{tokens: {half}, ratios: {{web: 0.5, qa: 0.5}}}}]"
    )
    whole = train(recipe_path, tmp_path / "whole", *ASKED, phases)
    store = TokenStore(*(tmp_path / "whole" / "artifacts" / "tokenize").glob("*/"))
    made = plan_of(load_recipe(recipe_path, [phases]), store.rows)
    epochs = [[made.row(k).epoch for k in part if made.sources[made.row(k).source] == "qa"]
              for part in (range(STEPS * 4), range(STEPS * 4, STEPS * 8))]  # fmt: skip
    assert (len(epochs[0]), set(epochs[0]), set(epochs[1])) == (store.rows["qa"], {0}, {1})
    stop_after(recipe_path, tmp_path / "runs", STEPS // 2, *ASKED, phases)
    resumed = train(recipe_path, tmp_path / "runs", *ASKED, phases)
    assert metrics(resumed) == metrics(whole)
    assert resumed.summary["sources"] == whole.summary["sources"]


def test_permanent_checkpoints_stay_and_can_be_exported(
    recipe_path: Path, undisturbed: Artifact, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    kept = sorted(path.name for path in (undisturbed.path / "checkpoints").iterdir())
    assert kept == ["model", "step-00000005", "step-00000010"]
    export_checkpoint(undisturbed.path / "checkpoints" / "step-00000010", tmp_path / "hf")
    early, final = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict()
        for folder in (tmp_path / "hf", undisturbed.path / "hf")
    )
    assert early.keys() == final.keys()
    moved = [float((early[name] - final[name]).abs().max()) for name in early]
    assert 0 < max(moved) < 0.1
    state = json.loads(
        (undisturbed.path / "checkpoints/step-00000010/checkpoint.json").read_text()
    )["state"]
    for name, bias in state["routers"]["biases"].items():
        assert early[f"{name}.e_score_correction_bias"].tolist() == bias
        assert any(bias)


def test_a_loss_that_is_not_a_number_stops_and_names_rows_and_checkpoint(
    recipe_path: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    printed = fail(recipe_path, runs, *ASKED, "train.lr=1e30", "train.checkpoint_every=1")
    partial = next((runs / "artifacts" / "train").glob("*.partial"))
    saved = max((partial / "checkpoints").glob("step-????????"))
    assert f"last checkpoint: {saved}" in printed
    assert "the loss is nan" in printed or "gradient norm nan" in printed
    rows = json.loads((partial / "bad_batch.json").read_text())
    step = int(saved.name[5:])
    assert sorted(row["row"] for row in rows) == list(range(8 * step, 8 * step + 8))
    assert all(row["documents"] and row["source"] in ("web", "qa") for row in rows)


def test_a_bf16_run_adds_gradients_over_processes_in_fp32(
    recipe_path: Path, tmp_path: Path
) -> None:
    asked = ("train.precision=bf16", "train.micro_batch_size=2", "train.zero_stage=1")
    one = train(recipe_path, tmp_path / "one", *asked)
    two = train(recipe_path, tmp_path / "two", *asked, processes=2)
    for key in ("train/loss", "train/grad_norm"):
        expected = [record[key] for record in metrics(one)]
        assert [record[key] for record in metrics(two)] == pytest.approx(expected, rel=1e-6)


def test_a_bf16_run_computes_the_named_parameters_in_fp32(
    recipe_path: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    named = "[A_log, D, dt_bias, gate.weight, norm.weight]"
    asked = ("train.precision=bf16", f"train.fp32_parameters={named}", "train.keep_every=5")
    runs = tmp_path / "runs"
    whole = train(recipe_path, tmp_path / "whole", *ASKED, *asked)
    stop_after(recipe_path, runs, 5, *ASKED, *asked)
    resumed = train(recipe_path, runs, *ASKED, *asked)
    assert metrics(resumed) == metrics(whole)
    weights = load_file(whole.path / "hf" / "model.safetensors")
    kept = {name for name, value in weights.items() if value.dtype == torch.float32}
    assert {re.sub(r".*\.(?=mixer|norm)|mixer\.", "", name) for name in kept} == {
        "A_log", "D", "dt_bias", "gate.weight", "gate.e_score_correction_bias", "norm.weight",
    }  # fmt: skip
    rounded = [weights[name].bfloat16().float().equal(weights[name]) for name in sorted(kept)]
    assert not all(rounded)
    export_checkpoint(whole.path / "checkpoints" / "step-00000010", tmp_path / "hf")
    early = load_file(tmp_path / "hf" / "model.safetensors")
    assert {n: w.dtype for n, w in early.items()} == {n: w.dtype for n, w in weights.items()}
