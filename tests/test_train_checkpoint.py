"""Checkpoints: a damaged one is refused by name, a foreign one is never loaded."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest

from train.checkpoint import MANIFEST, Checkpoints, verify
from tsqa.artifact import write_json
from tsqa.errors import CheckpointError


def write(folder: Path, step: int, plan: str = "p", processes: int = 1) -> Path:
    made = folder / f"step-{step:08d}"
    made.mkdir(parents=True)
    (made / "weights").write_bytes(b"w" * step)
    mark = hashlib.sha256(b"w" * step).hexdigest()
    files = {"weights": {"bytes": step, "sha256": mark}}
    manifest = {"step": step, "plan": plan, "processes": processes, "state": {}, "files": files}
    write_json(made / MANIFEST, manifest)
    return made


@pytest.mark.parametrize("damage", [b"w" * 19, b"v" * 20, None])
def test_a_damaged_checkpoint_is_named_and_the_older_one_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes | None
) -> None:
    write(tmp_path, 10)
    newest = write(tmp_path, 20)
    if damage is None:
        (newest / "weights").unlink()
    else:
        (newest / "weights").write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        found = Checkpoints(tmp_path, "p", 2)._newest(1)
    assert found is not None
    assert found["step"] == 10
    assert "step-00000020 is damaged" in caplog.text


def test_a_checkpoint_without_manifest_is_refused(tmp_path: Path) -> None:
    (write(tmp_path, 10) / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="step-00000010"):
        verify(tmp_path / "step-00000010")
    assert Checkpoints(tmp_path, "p", 2)._newest(1) is None


def test_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 10, processes=2)
    with pytest.raises(CheckpointError, match="written by 2 processes, this run has 1"):
        Checkpoints(tmp_path, "p", 2)._newest(1)


def test_another_plan_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 10, plan="other")
    with pytest.raises(CheckpointError, match="belongs to the plan other"):
        Checkpoints(tmp_path, "p", 2)._newest(1)


def test_an_unfinished_checkpoint_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, 10).rename(tmp_path / "step-00000010.tmp")
    assert Checkpoints(tmp_path, "p", 2)._newest(1) is None
