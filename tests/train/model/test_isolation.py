"""Packed documents do not see each other, and the replaced fallbacks compute the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModelForCausalLM
from transformers import modeling_flash_attention_utils as fa
from transformers.models.nemotron_h import modeling_nemotron_h

from train.data.stream import collate
from train.model.isolation import (
    check_architecture,
    check_isolation,
    forward_arguments,
    isolate,
    isolated_conv,
    isolated_scan,
)
from tsqa.errors import EngineError

EOS = 0
SMALL = {
    "nemotron_h": {
        "layers_block_type": ["linear_attention", "mlp", "full_attention"],
        "num_key_value_heads": 2,
        "head_dim": 16,
        "ssm_state_size": 8,
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "n_groups": 2,
        "chunk_size": 16,
    },
    "nemotron": {"num_hidden_layers": 2, "num_key_value_heads": 2},
    "llama": {"num_hidden_layers": 2, "num_key_value_heads": 1},
    "qwen3": {"num_hidden_layers": 2, "num_key_value_heads": 1, "head_dim": 16},
    "mixtral": {"num_hidden_layers": 2, "num_key_value_heads": 1, "num_local_experts": 4},
    "lfm2": {
        "num_hidden_layers": 3,
        "layer_types": ["conv", "full_attention", "conv"],
        "num_key_value_heads": 1,
    },
    "bloom": {"n_layer": 2},
    "jamba": {
        "num_hidden_layers": 4,
        "num_key_value_heads": 1,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "num_experts": 1,
        "use_mamba_kernels": False,
    },
}
ORIGINAL = (modeling_nemotron_h.causal_conv1d_fn, modeling_nemotron_h.mamba2_chunk_scan)


@pytest.fixture(autouse=True)
def restore_fallbacks() -> Iterator[None]:
    yield
    modeling_nemotron_h.causal_conv1d_fn, modeling_nemotron_h.mamba2_chunk_scan = ORIGINAL


def make(model_type: str) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        model_type,
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        **SMALL[model_type],
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


@pytest.mark.parametrize("model_type", ["nemotron_h", "nemotron"])
def test_packed_documents_score_as_if_alone(model_type: str) -> None:
    model = make(model_type)
    isolate(model, torch.device("cpu"))
    torch.manual_seed(1)
    documents = [torch.cat([torch.randint(1, 64, (n,)), torch.tensor([EOS])]) for n in (21, 40, 9)]
    packed = collate([torch.cat(documents).numpy()], [0], EOS)
    together = model(**forward_arguments(model.config, packed)).logits[0]
    start = 0
    for document in documents:
        alone = collate([document.numpy()], [0], EOS)
        expected = model(**forward_arguments(model.config, alone)).logits[0]
        found = together[start : start + len(document)]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        start += len(document)


@pytest.mark.parametrize("model_type", ["nemotron_h", "nemotron"])
def test_one_changed_token_moves_no_logit_of_its_neighbour(model_type: str) -> None:
    model = make(model_type)
    isolate(model, torch.device("cpu"))
    check_isolation(model, model.config, 2, 64, EOS, torch.device("cpu"))


def test_the_fallbacks_of_transformers_are_caught_leaking() -> None:
    model = make("nemotron_h")
    with pytest.raises(EngineError, match="packed documents leak"):
        check_isolation(model, model.config, 1, 64, EOS, torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("model_type", ["lfm2", "bloom", "jamba"])
def test_a_small_leak_of_a_model_from_scratch_is_found(model_type: str, dtype: torch.dtype) -> None:
    model, cpu = make(model_type).to(dtype), torch.device("cpu")
    if dtype == torch.bfloat16 or model_type == "lfm2":  # less than may be rounding
        check_isolation(model, model.config, 2, 64, EOS, cpu)
    with pytest.raises(EngineError, match=f"packed documents leak.*{model_type}"):
        check_architecture(model, 2, 64, EOS, cpu)


@pytest.mark.parametrize("model_type", ["llama", "mixtral", "nemotron"])
def test_another_model_of_its_class_passes_where_attention_keeps_documents_apart(
    model_type: str,
) -> None:
    model = make(model_type)
    before = torch.random.get_rng_state()
    check_architecture(model, 2, 64, EOS, torch.device("cpu"))
    assert torch.random.get_rng_state().equal(before)


def flash(query: Any, key: Any, value: Any, softmax_scale: float, **_: Any) -> torch.Tensor:
    """What flash-attn computes: causal attention of (rows, length, heads, width)."""
    heads = query.shape[2]
    each = [
        t.repeat_interleave(heads // t.shape[2], 2).transpose(1, 2) for t in (query, key, value)
    ]
    out = F.scaled_dot_product_attention(*each, is_causal=True, scale=softmax_scale)
    return out.transpose(1, 2)


def flash_varlen(
    query: Any, key: Any, value: Any, cu_seqlens_q: Any, cu_seqlens_k: Any,
    max_seqlen_q: int, max_seqlen_k: int, softmax_scale: float, **_: Any,
) -> torch.Tensor:  # fmt: skip
    """The same of (tokens, heads, width), within the given bounds."""
    lengths = cu_seqlens_q.diff()
    assert cu_seqlens_q.equal(cu_seqlens_k)
    assert max_seqlen_q == max_seqlen_k == lengths.max()
    parts = [tensor[None].split(lengths.tolist(), 1) for tensor in (query, key, value)]
    each = [flash(*tensors, softmax_scale) for tensors in zip(*parts, strict=True)]
    return torch.cat(each, 1)[0]


@pytest.fixture
def flash_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' own way to flash-attn, with kernels that a CPU can run."""
    described = fa._lazy_define_process_function(flash_varlen)
    kernels = ((flash, flash_varlen, None, None, None), (described, dict))
    monkeypatch.setattr(fa, "lazy_import_flash_attention", lambda *_: kernels)


@pytest.mark.usefixtures("flash_kernels")
@pytest.mark.parametrize(
    ("model_type", "rows"),
    [("nemotron_h", 2), ("llama", 2), ("qwen3", 2), ("nemotron", 1)],
)
def test_flash_attention_keeps_the_documents_of_every_row_apart(model_type: str, rows: int) -> None:
    tokens = torch.randint(1, 64, (2, 40))
    tokens[0, [3, 4, 20]] = tokens[1, [11, 39]] = EOS
    batch = collate([row.numpy() for row in tokens[:rows]], [0] * rows, EOS)
    logits = []
    for attention in ("sdpa", "flash_attention_2"):
        model = make(model_type)
        isolate(model, torch.device("cpu"))
        model.config._attn_implementation_internal = attention
        check_isolation(model, model.config, rows, 64, EOS, torch.device("cpu"))
        logits.append(model(**forward_arguments(model.config, batch)).logits)
    torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("flash_kernels")
def test_a_model_that_keeps_the_bounds_from_flash_attention_is_refused() -> None:
    model = make("nemotron")
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(EngineError, match=r"attention flash_attention_2(.|\n)*micro_batch_size 1"):
        check_isolation(model, model.config, 2, 64, EOS, torch.device("cpu"))


def test_without_documents_both_equal_the_originals_with_gradients() -> None:
    torch.manual_seed(2)
    x, weight, bias = torch.randn(2, 12, 37), torch.randn(12, 4), torch.randn(12)
    expected = ORIGINAL[0](x, weight, bias, activation="silu")
    torch.testing.assert_close(isolated_conv(x, weight, bias, "silu"), expected)
    heads = [torch.randn(2, 37, 4, 8), torch.randn(2, 37, 4), -torch.rand(4)]
    states = [torch.randn(2, 37, 2, 5), torch.randn(2, 37, 2, 5)]
    inputs = [value.requires_grad_() for value in (*heads, *states)]
    extra = {"D": torch.randn(4), "dt_bias": torch.randn(4), "dt_softplus": True}
    first = torch.randn(2, 4, 8, 5)
    results = []
    for scan in (ORIGINAL[1], isolated_scan):
        out, final = scan(*inputs, 16, initial_states=first, return_final_states=True, **extra)
        results.append([out, final, *torch.autograd.grad(out.square().sum(), inputs)])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_gradients_stay_finite_where_documents_change() -> None:
    model = make("nemotron_h")
    isolate(model, torch.device("cpu"))
    row = torch.randint(1, 64, (40,))
    row[[3, 4, 20, 39]] = EOS
    batch = collate([row.numpy()], [0], EOS)
    model(**forward_arguments(model.config, batch)).logits.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
