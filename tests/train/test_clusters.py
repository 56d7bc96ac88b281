"""launch/sky and launch/k8s: what each machine is started with, by a stand-in for Python."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser

from tests.support.paths import REPOSITORY
from tsqa.errors import PREEMPTED, TERMINATED

SKY = REPOSITORY / "launch" / "sky" / "train.yaml"
K8S = REPOSITORY / "launch" / "k8s" / "job.yaml"
PYTHON = """#!/bin/bash
printf '%q ' "$@" > {folder}/words
"""


def start(folder: Path, command: list[str], **variables: str) -> list[str]:
    """Run a command in the clone; the words with which it starts Python."""
    (folder / "python").write_text(PYTHON.format(folder=folder))
    (folder / "python").chmod(0o755)
    own = {"PATH": os.environ["PATH"], "TSQA_PYTHON": str(folder / "python")}
    subprocess.run(command, env={**own, **variables}, cwd=REPOSITORY, check=True)
    return shlex.split((folder / "words").read_text())


def check(words: list[str], port: int, first: str = "10.0.0.7") -> None:
    assert words[:2] == ["-m", "train.launch"]
    asked = launch_command_parser().parse_args(words[2:])
    assert (asked.num_machines, asked.num_processes, asked.machine_rank) == (2, 16, 1)
    assert (asked.main_process_ip, asked.main_process_port) == (first, port)
    assert (REPOSITORY / asked.config_file).is_file()
    assert asked.module and asked.training_script == "train"
    assert asked.training_script_args == ["RECIPE", "--arm", "NAME", "runs=/shared/runs"]


def test_sky_starts_each_machine_with_its_rank(tmp_path: Path) -> None:
    task = yaml.safe_load(SKY.read_text())
    given = {
        "SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.8", "SKYPILOT_NODE_RANK": "1",
        "SKYPILOT_NUM_NODES": str(task["num_nodes"]), "SKYPILOT_NUM_GPUS_PER_NODE": "8",
    }  # fmt: skip
    words = "RECIPE --arm 'NAME' runs=/shared/runs"
    check(start(tmp_path, ["bash", "-c", task["run"]], ARGUMENTS=words, **given), 29500)
    each = {**given, "SKYPILOT_NUM_GPUS_PER_NODE": "0", "TSQA_PROCESSES": "8"}  # without GPUs
    check(start(tmp_path, ["bash", "-c", task["run"]], ARGUMENTS=words, **each), 29500)
    with pytest.raises(subprocess.CalledProcessError):
        start(tmp_path, ["bash", "-c", task["run"]], ARGUMENTS="", **given)
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [PREEMPTED, TERMINATED]
    assert task["envs"].keys() <= {*re.findall(r"\$\{?([A-Z_]+)", task["run"])}


def test_kubernetes_starts_each_machine_with_its_rank(tmp_path: Path) -> None:
    job = yaml.safe_load(K8S.read_text())
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    given = {
        "TSQA_FIRST": "127.0.0.7", "TSQA_MACHINES": "2", "TSQA_PROCESSES": "8",
        "JOB_COMPLETION_INDEX": "1", "TSQA_FOLDER": str(REPOSITORY),
    }  # fmt: skip
    words = ["RECIPE", "--arm", "NAME", "runs=/shared/runs"]
    check(start(tmp_path, [*container["command"], *words], **given), 29500, "127.0.0.7")
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    codes = [
        rule.get("onExitCodes", {}).get("values", [])
        for rule in job["spec"]["podFailurePolicy"]["rules"]
    ]
    assert codes == [[], [PREEMPTED, TERMINATED], [0, PREEMPTED, TERMINATED]]


@pytest.mark.parametrize(
    "file", [SKY, K8S, K8S.with_name("console.yaml")], ids=lambda file: file.stem
)
def test_no_file_holds_a_secret(file: Path) -> None:
    def keys(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [*map(str, value), *(key for inner in value.values() for key in keys(inner))]
        return [key for inner in value for key in keys(inner)] if isinstance(value, list) else []

    documents = list(yaml.safe_load_all(file.read_text()))
    assert not [key for key in keys(documents) if re.search(r"(?i)key|token|secret|passw", key)]
