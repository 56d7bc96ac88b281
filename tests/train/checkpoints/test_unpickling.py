"""Checkpoints are data: one that asks to run code is refused."""

from __future__ import annotations

import argparse
import collections
import functools
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from train.checkpoints.unpickling import is_refusal, only_data, write_only_data
from tsqa.errors import CheckpointError


class Runs:
    """What pickle rebuilds by calling something."""

    def __init__(self, call: Any, *values: Any) -> None:
        self._call, self._values = call, values

    def __reduce__(self) -> Any:
        return self._call, self._values


def attacks(canary: Path) -> dict[str, Any]:
    return {
        "a shell": Runs(os.system, f"touch {canary}"),
        "a file": Runs(open, str(canary), "w"),
        "an expression": Runs(eval, f"open({str(canary)!r}, 'w')"),
        "a partial": functools.partial(open, str(canary), "w"),
        "a path": Runs(Path.touch, canary),
        "a namespace": argparse.Namespace(x=Runs(os.mkdir, str(canary))),
        "a nested one": {"optimizer": [{"step": (1, Runs(os.mkdir, str(canary)))}]},
        "a dict of defaults": collections.defaultdict(functools.partial(os.mkdir, str(canary))),
        "a torch function": Runs(torch.hub.load_state_dict_from_url, f"file://{canary}"),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", attacks(Path("x")))
def test_a_file_that_asks_for_code_is_refused(tmp_path: Path, name: str, zipped: bool) -> None:
    canary, path = tmp_path / "canary", tmp_path / "mp_rank_00_model_states.pt"
    torch.save({"module": attacks(canary)[name]}, path, _use_new_zipfile_serialization=zipped)
    with (
        pytest.raises(
            CheckpointError, match=r"step-1: a file of this checkpoint .*not read"
        ) as caught,
        only_data("step-1"),
    ):
        torch.load(path, weights_only=False)
    assert caught.value.fix
    assert not canary.exists()


def test_what_deepspeed_saves_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum

    def by_name(stage: ZeroStageEnum, protocol: object) -> tuple[object, ...]:
        return getattr, (ZeroStageEnum, stage.name)

    monkeypatch.setattr(ZeroStageEnum, "__reduce_ex__", by_name)  # as Python 3.11.2 does
    write_only_data()
    saved = {
        "module": collections.OrderedDict(weight=torch.ones(2, dtype=torch.bfloat16)),
        "zero_stage": ZeroStageEnum.gradients,
        "loss_scaler": LossScaler(1.0),
        "shapes": [torch.Size([2])],
        "mark": (1, 2.5, "x", None, True),
    }
    torch.save(saved, tmp_path / "x.pt")
    with only_data("x"):
        found = torch.load(tmp_path / "x.pt", weights_only=False)
    assert found["zero_stage"] is ZeroStageEnum.gradients and found["loss_scaler"].cur_scale == 1.0
    assert torch.equal(found["module"]["weight"], saved["module"]["weight"])


def test_the_environment_is_as_it_was_and_cannot_relax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    with only_data("x"):
        assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_a_conversion_says_what_it_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(Runs(os.system, "true"), path)
    with pytest.raises(pickle.UnpicklingError) as caught:
        torch.load(path, weights_only=True)
    assert is_refusal(str(caught.value))
    assert not is_refusal("No space left on device")
