"""launch/slurm: what each machine of a job is started with, by stand-ins for Slurm's commands."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

from tests.support.paths import REPOSITORY

SCRIPT = REPOSITORY / "launch" / "slurm" / "train.sbatch"
SRUN = """#!/bin/bash
echo "srun $1" >> "$NOTES"
shift
code=0
for node in 0 1; do SLURM_NODEID=$node "$@" || code=$?; done
exit $code
"""
SCONTROL = """#!/bin/bash
case "$1 $2" in
"show hostnames") printf 'node7\\nnode8\\n';;
"show job") echo "JobId=$3 JobState=$STATE Reason=None";;
*) echo "scontrol $*" >> "$NOTES";;
esac
"""
PYTHON = """#!/bin/bash
printf '%q ' "$@" >> "$NOTES"; echo >> "$NOTES"
exit "$CODE"
"""


def submit(
    folder: Path, code: int, *arguments: str, state: str = "RUNNING"
) -> tuple[int, list[str]]:
    """Run the script as Slurm does on the first machine of two; its exit code and what it ran."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("python", PYTHON)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}", "NOTES": str(folder / "notes"), "CODE": str(code),
        "STATE": state,
        "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "123456",
        "SLURM_GPUS_ON_NODE": "8",
    }  # fmt: skip
    done = subprocess.run(["bash", str(SCRIPT), *arguments], env=environment, check=False)
    notes = folder / "notes"
    return done.returncode, notes.read_text().splitlines() if notes.exists() else []


def test_each_machine_gets_its_rank_and_the_first_ones_address(tmp_path: Path) -> None:
    code, notes = submit(tmp_path, 0, "my recipe.yaml", "--arm", "a=0.5", "train.lr=1e-4")
    assert (code, notes[0], len(notes)) == (0, "srun --kill-on-bad-exit=1", 3)
    for node, line in enumerate(notes[1:]):
        words = shlex.split(line)
        assert words[:2] == ["-m", "train.launch"]
        asked = launch_command_parser().parse_args(words[2:])
        assert (asked.num_machines, asked.num_processes, asked.machine_rank) == (2, 16, node)
        assert (asked.main_process_ip, asked.main_process_port) == ("node7", 23456)
        assert (REPOSITORY / asked.config_file).is_file()
        assert asked.module and asked.training_script == "train"
        assert asked.training_script_args == ["my recipe.yaml", "--arm", "a=0.5", "train.lr=1e-4"]


@pytest.mark.parametrize(
    ("code", "state", "again"),
    [
        (75, "RUNNING", ["scontrol requeue 123456"]),
        (75, "COMPLETING", []),  # by scancel
        (1, "RUNNING", []),
    ],
)
def test_a_job_that_saved_is_queued_again_and_one_that_failed_or_is_cancelled_is_not(
    tmp_path: Path, code: int, state: str, again: list[str]
) -> None:
    ended, notes = submit(tmp_path, code, "recipe.yaml", state=state)
    assert (ended, notes[3:]) == (code, again)


def test_a_job_without_a_recipe_starts_nothing(tmp_path: Path) -> None:
    assert submit(tmp_path, 0) == (2, [])


def test_the_script_is_one_task_a_machine_and_leaves_time_to_save() -> None:
    asked = [line.removeprefix("#SBATCH ") for line in SCRIPT.read_text().splitlines()
             if line.startswith("#SBATCH")]  # fmt: skip
    assert {"--ntasks-per-node=1", "--requeue", "--open-mode=append", "--signal=TERM@900"} <= {
        *asked
    }
