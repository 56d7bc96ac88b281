"""No stage writes or deletes outside of its working folder, whatever sources and tasks are called.

An audit of the interpreter's opens sees Python's own; a comparison of the files sees all others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.audited_stages import STAGES
from tests.support.paths import REPOSITORY
from tsqa.pipeline import stages


@pytest.mark.parametrize(
    "stages",
    [
        pytest.param([name for name in STAGES if name != "train"], id="all but train"),
        pytest.param(["train"], id="train", marks=pytest.mark.engine),
    ],
)
def test_no_stage_writes_or_deletes_outside_of_its_folder(
    stages: list[str], tmp_path: Path
) -> None:
    outside, temporary = tmp_path / "outside", tmp_path / "temporary"
    inside = outside / "a" / "b" / "runs"
    for folder in (inside, temporary, outside / "shards" / "x", outside / "a" / "shards"):
        folder.mkdir(parents=True)
        if folder not in (inside, temporary):
            (folder / "kept.txt").write_text("kept")
    before = _files_of(tmp_path, inside, temporary)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.faults.audited_stages"),
            *(str(inside), str(temporary), *stages),
        ],
        cwd=REPOSITORY,
        env={
            # Torch writes the folders of its caches into the environment of a process that used it.
            **{k: v for k, v in os.environ.items() if not k.startswith(("TORCH", "TRITON"))},
            **{"TMPDIR": str(temporary), "HOME": str(temporary), "WANDB_MODE": "disabled"},
            **{"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
            **{"HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(temporary / "cache")},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert _files_of(tmp_path, inside, temporary) == before


def test_every_stage_is_audited() -> None:
    in_others = {"data", "benchmarks"}  # run_filter and run_seeds run them too
    assert {*STAGES, *in_others} == {stage.name for stage in stages.STAGES}


def _files_of(folder: Path, *without: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if not any(path.is_relative_to(other) for other in without)
    }
