"""Memory and FLOPs of models against published numbers, DeepSpeed's estimates and what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.support.paths import REPOSITORY
from tests.support.train_runs import EXPERTS
from train.model.build import new_model
from train.model.memory import (
    MemorySettings,
    ModelShape,
    logits_bytes,
    model_states,
    shape_of,
    training_memory,
)

GIB = 2**30
NANO = REPOSITORY / "recipes" / "nemotron3_nano" / "architecture.json"
RUN = MemorySettings(8, 3, 1, 8192, 2, gradient_checkpointing=True)


def on_meta(values: dict[str, Any]) -> ModelShape:
    with torch.device("meta"):
        return shape_of(new_model(values))


@pytest.fixture(scope="module")
def nano() -> ModelShape:
    return on_meta(json.loads(NANO.read_text()))


def test_nemotron_3_nano_has_its_published_parameters(nano: ModelShape) -> None:
    """31.6B, 3.6B active, 3.2B without the embeddings (arXiv 2512.20848)."""
    assert nano.total == 31_577_937_344 == sum(nano.kinds.values())
    assert nano.active == pytest.approx(3.580e9, rel=1e-3)
    assert nano.active - nano.embedded == pytest.approx(3.228e9, rel=1e-3)
    billions = {name: round(count / 1e9, 3) for name, count in nano.kinds.items()}
    assert billions == {
        "Mamba-2": 0.891, "attention": 0.140, "experts": 29.375, "MLP": 0.459, "embeddings": 0.705,
        "norms and routers": 0.008,
    }  # fmt: skip


def test_the_flops_of_a_token_agree_with_the_published_speed(nano: ModelShape) -> None:
    """Megatron-Bridge: 328 TFLOP/s at 14,719 tokens/s of an H100, at 8,192 tokens."""
    assert nano.flops_per_token(8192) == pytest.approx(22.03e9, rel=1e-3)
    assert nano.flops_per_token(8192) == pytest.approx(328e12 / 14_719, rel=0.012)


def test_a_dense_model_takes_six_a_parameter_and_its_attention() -> None:
    """PaLM (2204.02311, appendix B): 6 N + 12 L H Q T."""
    shape = on_meta(
        {
            **{"model_type": "llama", "vocab_size": 1000, "hidden_size": 64, "head_dim": 16},
            **{"intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4},
            **{"num_key_value_heads": 2, "tie_word_embeddings": False},
        }
    )
    matrices = 3 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128) + 1000 * 64
    assert shape.flops_per_token(512) == 6 * matrices + 12 * 3 * 4 * 16 * 512
    assert shape.active == shape.total == matrices + 1000 * 64 + 7 * 64


@pytest.mark.parametrize(
    "world, zero3, offloaded, host, zero2",
    [
        (8, 71.0, 12.2, 706, 125.0),
        (16, 37.9, 8.5, 353, 91.9),
        (32, 21.4, 6.7, 176, 75.4),
        (64, 13.1, 5.8, 88, 67.1),
        (128, 9.0, 5.3, 44, 63.0),
    ],
)
def test_model_states_are_those_of_deepspeed(
    nano: ModelShape, world: int, zero3: float, offloaded: float, host: float, zero2: float
) -> None:
    """The figures of DeepSpeed 0.19.8's own functions for this model, in GiB."""

    def states(stage: int, offload: str = "none") -> tuple[float, float]:
        run = replace(RUN, world=world, zero_stage=stage, offload=offload)
        states, gradients, host = model_states(nano.total, nano.gathered, run)
        return (states + gradients) / GIB, host * 8 / GIB

    assert states(3)[0] == pytest.approx(zero3, rel=0.01)
    assert states(2)[0] == pytest.approx(zero2, rel=0.01)
    assert states(3, "optimizer") == pytest.approx((offloaded, host), rel=0.01)


def test_checkpointing_and_chunks_save_what_they_say(nano: ModelShape) -> None:
    whole = training_memory(nano, replace(RUN, gradient_checkpointing=False))
    again = training_memory(nano, RUN)
    assert again.activations < whole.activations / 10
    assert whole.logits == again.logits == 8192 * 131_072 * 10
    assert logits_bytes(nano, 8192, 2048, 2) < whole.logits * 0.6
    assert training_memory(nano, replace(RUN, micro_batch_size=2)).activations == (
        2 * again.activations
    )


DENSE = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 16,
         "num_key_value_heads": 2, "intermediate_size": 256, "vocab_size": 128}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "values",
    [
        {"model_type": "llama", **DENSE},
        {"model_type": "qwen3", **DENSE},
        {**EXPERTS, "hidden_size": 256, "moe_intermediate_size": 192, "vocab_size": 128,
         "moe_shared_expert_intermediate_size": 384, "intermediate_size": 512,
         "layers_block_type": ["full_attention", "mlp", "full_attention", "moe"]},
    ],
    ids=["llama", "qwen3", "experts"],
)  # fmt: skip
def test_activations_are_what_the_blocks_keep(values: dict[str, Any], dtype: torch.dtype) -> None:
    """Against the tensors that autograd saves in a forward pass, parameters excepted."""
    torch.manual_seed(0)
    rest = {name: value for name, value in values.items() if name != "model_type"}
    config = AutoConfig.for_model(values["model_type"], **rest)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    shape, length = shape_of(model), 256
    own = {p.data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and not isinstance(tensor, torch.nn.Parameter):
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    alive: list[torch.Tensor] = []
    keep: Callable[[torch.Tensor], torch.Tensor] = save
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.model(input_ids=torch.arange(length)[None] % 128, use_cache=False)
    size = torch.finfo(dtype).bits // 8
    last_norm = (8 + size) * config.hidden_size
    predicted = length * (last_norm + sum(block.of(size) for block in shape.blocks))
    assert sum(kept.values()) == pytest.approx(predicted, rel=0.15)
