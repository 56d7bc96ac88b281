"""`tsqa plan`: what does not fit says why, speed is bounded, a measured run is believed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.paths import REPOSITORY
from train.model.memory import ModelShape
from tsqa.cli.app import app
from tsqa.errors import DataError, RecipeError
from tsqa.preview.models import shape_of_config
from tsqa.preview.plan import (
    Assumptions,
    Job,
    choose,
    fit,
    mfu_of,
    read_hardware,
    smallest_world,
    speed,
    usual_mfu,
    ways,
)
from tsqa.preview.show_plan import is_same_device
from tsqa.recipe import TrainSection

NANO = REPOSITORY / "recipes" / "nemotron3_nano"
ASSUMED = Assumptions()


@pytest.fixture(scope="module")
def shape() -> ModelShape:
    return shape_of_config(json.dumps(json.loads((NANO / "architecture.json").read_text())))


def job(shape: ModelShape, hardware: str = "h100", **train: object) -> Job:
    values = {
        **{"sequence_length": 8192, "global_batch_tokens": 8192 * 3072, "lr": 1e-5},
        **{"zero_stage": 3, "gradient_checkpointing": True, "loss_chunk": 2048, **train},
    }
    return Job(shape, TrainSection.model_validate(values), 100 * 10**9, read_hardware(hardware)[0])


def test_a_device_and_a_number_are_read_and_others_refused() -> None:
    device, count = read_hardware("H200x16")
    assert (device.name, count, round(device.gib)) == ("h200", 16, 140)
    assert read_hardware("cpux2")[0].gib == pytest.approx(read_hardware("cpu")[0].gib / 2)
    for wrong in ("h100x0", "tpu", "h100 x8", "x8", ""):
        with pytest.raises(RecipeError, match="--hardware"):
            read_hardware(wrong)


def test_what_does_not_fit_says_why_and_how_many_would(shape: ModelShape) -> None:
    wide = job(shape)
    assert "GiB" in fit(wide, 8, 3, "none", ASSUMED).problem
    assert "rows of a batch" in fit(wide, 7, 3, "none", ASSUMED).problem
    taken = choose(ways(wide, 8, ASSUMED))
    assert taken is not None and taken.label == "Z3+CPU"
    assert fit(wide, 16, 3, "none", ASSUMED).problem == ""
    assert fit(job(shape, "h200"), 8, 3, "none", ASSUMED).problem == ""
    whole = job(shape, gradient_checkpointing=False, micro_batch_size=8)
    assert smallest_world(whole, ASSUMED) is None
    assert smallest_world(wide, ASSUMED) == 1  # with the optimizer on the host


def test_time_and_money_follow_from_the_mfu(shape: ModelShape) -> None:
    """Published for Megatron: 33% of the bf16 peak, 1,890 GPU-hours for 100B tokens."""
    plain = job(shape, gradient_checkpointing=False)
    found = speed(plain, fit(plain, 16, 2, "none", ASSUMED), replace(ASSUMED, mfu=0.331))
    assert found.gpu_hours == pytest.approx(1890, rel=0.02)
    assert found.dollars == pytest.approx(2.5 * found.gpu_hours)
    assert found.seconds / 86_400 == pytest.approx(4.9, rel=0.02)


def test_gathering_all_parameters_bounds_the_speed(shape: ModelShape) -> None:
    fast = replace(ASSUMED, mfu=1.0)
    small = job(shape)
    bound = speed(small, fit(small, 64, 3, "none", fast), fast)
    assert bound.is_bound_by_link
    assert bound.tokens_per_second / 64 == pytest.approx(12_000, rel=0.03)
    assert not speed(small, fit(small, 64, 2, "none", fast), fast).is_bound_by_link


def test_a_measured_run_is_predicted_by_its_own_mfu(shape: ModelShape) -> None:
    measured = job(shape)
    mfu = mfu_of(measured, 64_000.0, 32)
    again = speed(measured, fit(measured, 32, 3, "none", ASSUMED), replace(ASSUMED, mfu=mfu))
    assert again.tokens_per_second == pytest.approx(64_000)


def test_an_mfu_is_that_of_the_log_with_and_without_checkpointing(shape: ModelShape) -> None:
    """What the log counts as use of the peak leaves out the repeated forward pass."""
    for repeats in (False, True):
        run = job(shape, gradient_checkpointing=repeats)
        found = speed(run, fit(run, 16, 2, "none", ASSUMED), replace(ASSUMED, mfu=0.2))
        logged = found.tokens_per_second / 16 * shape.flops_per_token(8192) / 989e12
        assert logged == pytest.approx(0.2) == mfu_of(run, found.tokens_per_second, 16)
        assert usual_mfu(run.train) == pytest.approx(0.225 if repeats else 0.3)


def test_offloading_on_a_cpu_saves_nothing(shape: ModelShape) -> None:
    small = job(shape, "cpu")
    assert all("+CPU" not in way.label for way in ways(small, 1, ASSUMED))
    plain, offloaded = (fit(small, 1, 3, how, ASSUMED).memory for how in ("none", "optimizer"))
    assert offloaded.total > plain.total and offloaded.host == 0


@pytest.mark.parametrize(
    "device, name",
    [("NVIDIA A100-SXM4-80GB", "a100"), ("NVIDIA H100 80GB HBM3", "h100"), ("cpu", "cpu"),
     ("NVIDIA GB200", "gb200")],
)  # fmt: skip
def test_devices_are_known_by_the_name_that_cuda_gives(device: str, name: str) -> None:
    same = [each for each in ("a100", "h100", "b200", "gb200", "cpu")
            if is_same_device(read_hardware(each)[0], device)]  # fmt: skip
    assert same == [name]


def plan(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["plan", *arguments], catch_exceptions=False)
    return result.exit_code, " ".join(result.output.split())


def test_the_published_run_is_planned_offline_and_one_gpu_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    config = str(NANO / "architecture.json")
    code, shown = plan(
        str(NANO / "recipe.yaml"), f"runs={tmp_path}", "eval.suite=null", "eval.tasks=[piqa]",
        "eval.protocols={}", "eval.macros={}", "--architecture", config, "--hardware", "h100x1",
        "train.gradient_checkpointing=false",
    )  # fmt: skip
    assert "parameters 31,577,937,344" in shown and "3,974 steps" in shown
    assert "MFU 0.3 (assumed; --mfu)" in shown and "$2.5 a GPU-hour (assumed; --dollars)" in shown
    assert code == 1 and "does not fit on h100x1" in shown
    assert "the smallest that does: h100x8" in shown


def test_a_model_that_is_not_here_needs_its_config(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "{name: one, model: {path: nobody/knows}, tokenizer: {path: nobody/knows}, mixture: "
        "{sources: {web: {path: a/b, revision: main}}, phases: [{tokens: 16K, ratios: {web: 1}}]}, "
        "train: {sequence_length: 128, global_batch_tokens: 1024, lr: 1e-3}}"
    )
    with pytest.raises(RecipeError, match=r"the config of nobody/knows is not on this machine"):
        plan(str(file), f"runs={tmp_path}")


def test_a_config_that_is_not_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    config = str(NANO / "architecture.json")
    code, shown = plan("recipes/smoke/base.yaml", f"runs={tmp_path}", "--architecture", config)
    assert code == 0 and "not read, as the model's own config is here" in shown
    broken = tmp_path / "config.json"
    broken.write_text('{"model_type": "nosuch"}')
    with pytest.raises(DataError, match=r"config.json: transformers refuses nosuch"):
        plan(str(NANO / "recipe.yaml"), f"runs={tmp_path}", "--architecture", str(broken))
