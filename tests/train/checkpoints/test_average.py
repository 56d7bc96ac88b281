"""The mean of exports is their mean, in their type, or it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from train.checkpoints.average import average_exports
from tsqa.errors import CheckpointError


def export(folder: Path, *shards: dict[str, torch.Tensor]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(folder.name)
    for number, tensors in enumerate(shards):
        save_file(tensors, folder / f"model-{number}.safetensors", {"format": "pt"})
    return folder


def test_the_mean_is_taken_in_float32_whatever_the_shards(tmp_path: Path) -> None:
    values = torch.tensor([[1.0, 2.0], [1.0, 2.0078125], [1.0078125, 2.0]]).bfloat16()
    steps = torch.tensor([7])
    one = export(tmp_path / "a", {"w": values[0], "b": torch.tensor([1.0]), "n": steps})
    two = export(tmp_path / "b", {"w": values[1]}, {"b": torch.tensor([2.0]), "n": steps})
    last = export(tmp_path / "c", {"b": torch.tensor([6.0])}, {"w": values[2], "n": steps})
    average_exports([one, two], last)
    assert load_file(last / "model-0.safetensors")["b"].item() == 3.0
    found = load_file(last / "model-1.safetensors")
    assert torch.equal(found["w"], values.float().mean(0).bfloat16()) and found["n"].item() == 7
    assert (last / "config.json").read_text() == "c"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"w": torch.ones(3)}, "other tensors than"),
        ({"w": torch.ones(3), "n": torch.tensor([8])}, "of which there is no mean"),
        ({"w": torch.ones(4), "n": torch.tensor([7])}, r"w is torch.float32 \[3\]"),
        ({"w": torch.ones(3).half(), "n": torch.tensor([7])}, "in .* torch.float16"),
        ({"w": torch.full((3,), torch.nan), "n": torch.tensor([7])}, "w is not finite"),
    ],
)
def test_exports_without_a_mean_are_refused(
    tmp_path: Path, other: dict[str, torch.Tensor], said: str
) -> None:
    last = export(tmp_path / "last", {"w": torch.ones(3), "n": torch.tensor([7])})
    before = (last / "model-0.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match=said):
        average_exports([export(tmp_path / "other", other)], last)
    assert (last / "model-0.safetensors").read_bytes() == before
    with pytest.raises(CheckpointError, match="no weights to average"):
        average_exports([tmp_path / "gone"], last)
