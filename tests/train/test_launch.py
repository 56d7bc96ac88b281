"""The launcher: the exit code of a job that saved, and an environment that stays in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import yaml
from accelerate.commands import launch as accelerate_launch

from train import launch
from tsqa.errors import PREEMPTED
from tsqa.shipped import LAUNCH_CONFIG


@pytest.mark.parametrize(
    ("codes", "asked", "code"),
    [
        ({75}, False, 75),  # another machine was asked
        ({75, -signal.SIGTERM}, True, 75),  # one had not begun
        ({-signal.SIGTERM}, True, 143),  # none had
        ({-signal.SIGTERM}, False, None),
        ({75, 1}, True, None),
        (set(), True, None),
    ],
)
def test_a_job_is_to_be_continued_where_its_ranks_saved(
    monkeypatch: pytest.MonkeyPatch, codes: set[int], asked: bool, code: int | None
) -> None:
    monkeypatch.setattr(launch, "_asked", [signal.SIGTERM] if asked else [])
    assert launch._code_of(codes) == code
    assert PREEMPTED == 75


def test_a_signal_from_before_the_ranks_reaches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_asked", [])
    launch._pass_on(signal.SIGTERM, None)
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(sleeps, env={**os.environ, "RANK": "0"}) as rank:
        assert rank.wait(30) == -signal.SIGTERM


@pytest.mark.parametrize("flags", [[], ["--deepspeed_multinode_launcher", "pdsh"]])
def test_no_configuration_makes_accelerate_write_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    config = yaml.safe_load(LAUNCH_CONFIG.with_name("multi.yaml").read_text())
    config["deepspeed_config"] = {"deepspeed_multinode_launcher": "pdsh"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    started = []
    monkeypatch.setattr(
        "torch.distributed.run.run", lambda arguments: started.append(arguments.nnodes)
    )
    monkeypatch.setattr(
        sys, "argv", ["launch", "--config_file", str(tmp_path / "own.yaml"), *flags,
                      "--main_process_ip", "127.0.0.1", "--machine_rank", "1", "-m", "train"],
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with mock.patch.dict(os.environ):  # it names itself as the parent of what it starts
            assert launch.main() == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert started == ["2"]
    assert [path.name for path in tmp_path.iterdir()] == ["own.yaml"]


def test_shipped_configurations_start_no_pdsh_and_agree_on_a_port() -> None:
    files = sorted(LAUNCH_CONFIG.parent.glob("*.yaml"))
    assert [file.name for file in files] == ["deepspeed.yaml", "multi.yaml"]
    for file in files:
        config = yaml.safe_load(file.read_text())
        assert config["deepspeed_config"] == {"deepspeed_multinode_launcher": "standard"}, file
        assert (config["num_machines"] > 1) == (config["main_process_port"] != 0), file
        known = accelerate_launch.launch_command_parser().parse_args(["x"])
        assert {k for k in config if k not in ("compute_environment", "distributed_type")} <= {
            *vars(known), "deepspeed_config",
        }  # fmt: skip
