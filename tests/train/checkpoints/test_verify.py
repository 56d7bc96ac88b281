"""An export that transformers or vLLM would read as another model is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from tests.support.train_runs import EXPERTS, HYBRID, train, write_recipe
from train.checkpoints.verify import TOLERANCE, verify_export
from tsqa.errors import CheckpointError, EngineError, UsageError


def save(folder: Path, values: dict[str, Any]) -> Path:
    """A bf16 export as training writes it: buffers stay in float32."""
    torch.manual_seed(0)
    kind = values["model_type"]
    rest = {key: value for key, value in values.items() if key != "model_type"}
    config = AutoConfig.for_model(kind, vocab_size=320, **rest)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    model.config.dtype = torch.bfloat16
    model.save_pretrained(folder)
    return folder


def change(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    save_file(tensors, file, metadata={"format": "pt"})


def test_a_saved_hybrid_with_experts_comes_back_bit_for_bit(tmp_path: Path) -> None:
    report = verify_export(save(tmp_path / "hf", EXPERTS), with_vllm=False)
    assert report.scored_tokens == 0
    assert set(report.dtypes) == {"bfloat16", "float32"}
    assert report.dtypes["float32"] == 2  # the routers' biases
    assert report.tensors == sum(report.dtypes.values())
    assert verify_export(tmp_path, with_vllm=False) == report


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [
        ("backbone.norm_f.weight", None, "1 tensor missing: model.norm_f.weight"),
        ("backbone.extra.weight", torch.ones(3), "1 tensor unexpected: model.extra.weight"),
        ("backbone.norm_f.weight", torch.ones(5), "of another shape: .*norm_f.weight 5, not 32"),
        ("backbone.norm_f.weight", torch.ones(32, dtype=torch.float16), "comes back .*bfloat16"),
    ],
)
def test_a_missing_unknown_or_misshapen_tensor_is_named(
    tmp_path: Path, name: str, tensor: torch.Tensor | None, problem: str
) -> None:
    change(save(tmp_path, HYBRID), name, tensor)
    with pytest.raises(CheckpointError, match=problem):
        verify_export(tmp_path, with_vllm=False)


def test_what_transformers_rounds_is_reported(tmp_path: Path) -> None:
    change(save(tmp_path, HYBRID), "backbone.layers.0.mixer.A_log", torch.full((4,), 0.1))
    report = verify_export(tmp_path, with_vllm=False)
    assert report.rounded == ("backbone.layers.0.mixer.A_log",)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a Hugging Face folder nor a checkpoint"):
        verify_export(tmp_path)


@pytest.mark.engine
def test_vllm_scores_a_trained_bf16_hybrid_as_transformers_does(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, HYBRID)
    report = verify_export(train(recipe, tmp_path / "runs", "train.precision=bf16").path)
    assert report.dtypes["bfloat16"] > 10
    assert report.scored_tokens == 4 * 47
    assert report.largest_difference <= TOLERANCE


@pytest.mark.engine
@pytest.mark.skipif(torch.cuda.is_available(), reason="vLLM serves experts on a GPU")
def test_a_model_that_vllm_cannot_serve_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is_act_and_mul=False"):
        verify_export(save(tmp_path, EXPERTS))
