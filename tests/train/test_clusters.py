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

SKY = REPOSITORY / "launch" / "sky" / "train.yaml"
K8S = REPOSITORY / "launch" / "k8s" / "trainjob.yaml"
PYTHON = """#!/bin/bash
env | grep -c ^PET_ > {folder}/left
printf '%q ' "$@" > {folder}/words
"""


def start(folder: Path, command: list[str], **variables: str) -> list[str]:
    """Run a command in the clone; the words with which it starts Python."""
    (folder / "python").write_text(PYTHON.format(folder=folder))
    (folder / "python").chmod(0o755)
    own = {"PATH": os.environ["PATH"], "TSQA_PYTHON": str(folder / "python")}
    subprocess.run(command, env={**own, **variables}, cwd=REPOSITORY, check=True)
    return shlex.split((folder / "words").read_text())


def check(words: list[str], port: int) -> None:
    assert words[:2] == ["-m", "train.launch"]
    asked = launch_command_parser().parse_args(words[2:])
    assert (asked.num_machines, asked.num_processes, asked.machine_rank) == (2, 16, 1)
    assert (asked.main_process_ip, asked.main_process_port) == ("10.0.0.7", port)
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
    with pytest.raises(subprocess.CalledProcessError):
        start(tmp_path, ["bash", "-c", task["run"]], ARGUMENTS="", **given)
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [75]
    assert task["envs"].keys() <= {*re.findall(r"\$\{?([A-Z_]+)", task["run"])}


def test_kubernetes_starts_each_machine_with_its_rank(tmp_path: Path) -> None:
    runtime, job = yaml.safe_load_all(K8S.read_text())
    trainer = job["spec"]["trainer"]
    given = {
        "PET_NNODES": str(trainer["numNodes"]), "PET_NODE_RANK": "1",
        "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
        "PET_MASTER_ADDR": "10.0.0.7", "PET_MASTER_PORT": "29500",
        "TSQA_FOLDER": str(REPOSITORY),
    }  # fmt: skip
    check(start(tmp_path, [*trainer["command"], *trainer["args"]], **given), 29500)
    assert (tmp_path / "left").read_text().strip() == "0"
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == trainer["numProcPerNode"]
    pod = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    assert {m["name"] for m in pod["spec"]["containers"][0]["volumeMounts"]} == {
        volume["name"] for volume in pod["spec"]["volumes"]
    }


@pytest.mark.parametrize("file", [SKY, K8S], ids=lambda file: file.parent.name)
def test_no_file_holds_a_secret(file: Path) -> None:
    def keys(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [*map(str, value), *(key for inner in value.values() for key in keys(inner))]
        return [key for inner in value for key in keys(inner)] if isinstance(value, list) else []

    documents = list(yaml.safe_load_all(file.read_text()))
    assert not [key for key in keys(documents) if re.search(r"(?i)key|token|secret|passw", key)]
