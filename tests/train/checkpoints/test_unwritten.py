"""A full disk: what cannot be written is told, and nothing half-written stays."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from train.checkpoints.unwritten import whole_or_told
from tsqa.errors import CheckpointError

WEIGHTS = {"weight": torch.zeros(100_000)}


@pytest.mark.parametrize("save", [torch.save, save_file], ids=["torch", "safetensors"])
def test_half_a_file_is_told_and_taken_away(tmp_path: Path, save: object) -> None:
    folder = tmp_path / "step.tmp"
    folder.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with (
            pytest.raises(CheckpointError, match=r"step\.tmp: it cannot be written: .*GB are free"),
            whole_or_told(folder),
        ):
            assert callable(save)
            save(WEIGHTS, folder / "weights")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not folder.exists()


def test_a_system_error_is_told_by_its_cause_and_others_are_raised(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the disk is full"), whole_or_told(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(RuntimeError, match="gloo"), whole_or_told(tmp_path / "x"):
        raise RuntimeError("gloo: connection closed by peer")


def test_what_is_no_lack_of_space_is_told_with_its_own_fix(tmp_path: Path) -> None:
    gone, told = tmp_path / "gone" / "x", "permission denied\n  fix: check who"
    with pytest.raises(CheckpointError, match=told), whole_or_told(gone):
        raise PermissionError(errno.EACCES, "Permission denied")
