"""The training benchmarks still run, on a small model and any machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.support.train_runs import ENVIRONMENT, ROOT

pytestmark = pytest.mark.engine


_LIMIT = 600
"""Seconds; on idle cores a benchmark takes less than one minute."""


def run(*arguments: str) -> str:
    """What a benchmark prints; one that hangs fails with the stacks of its processes."""
    environment = {**ENVIRONMENT, "PYTHONFAULTHANDLER": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", *arguments], env=environment, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            printed, said = process.communicate(timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)
            printed, said = process.communicate()
    assert process.returncode == 0, said[-8000:]
    return printed


def test_the_device_benchmark_runs_on_small_models_one_after_the_other() -> None:
    printed = run(
        "tests.benchmarks.gpu_train", "--small", "--length", "64", "--rows", "2", "--steps", "2",
        "--peak", "0.1",
    )  # fmt: skip
    for model in ("dense", "hybrid"):
        assert re.search(rf"{model} .* 64 .*\d+ .*\d\.\d\d%", printed), printed
    assert "steps 6 to 7; torch 2." in printed


def test_the_step_benchmark_measures_every_side() -> None:
    printed = run("tests.benchmarks.train_step", "--rounds", "1", "--steps", "1")
    assert re.search(r"overhead over bare torch: -?\d+\.\d+%", printed), printed
    assert re.search(r"speed against the Trainer: \d+\.\d+ x", printed), printed
