"""Which parameters are decayed, and which a bf16 run keeps in fp32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.support.train_runs import EXPERTS, HYBRID
from train.model.optimizer import compute_norms_in_fp32, fp32_parameters, parameter_groups
from tsqa.errors import RecipeError
from tsqa.recipe import TrainSection

DENSE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


def section(**values: Any) -> TrainSection:
    return TrainSection.model_validate(
        {"sequence_length": 8, "global_batch_tokens": 8, "lr": 1, **values}
    )


@pytest.fixture(scope="module")
def model() -> Any:
    values = {key: value for key, value in EXPERTS.items() if key != "model_type"}
    config = AutoConfig.for_model("nemotron_h", vocab_size=64, **values)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def names(model: Any, parameters: list[torch.nn.Parameter]) -> set[str]:
    members = set(map(id, parameters))
    return {name for name, parameter in model.named_parameters() if id(parameter) in members}


def test_norms_biases_and_state_space_scalars_are_not_decayed(model: Any) -> None:
    decayed, plain = parameter_groups(model, section())
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    spared = {name.split(".")[-1] for name in names(model, plain["params"])}
    assert spared == {"weight", "bias", "A_log", "D", "dt_bias"}
    assert all("norm" in n for n in names(model, plain["params"]) if n.endswith("weight"))
    assert {"model.embeddings.weight", "lm_head.weight"} <= names(model, decayed["params"])
    assert sum(len(g["params"]) for g in (decayed, plain)) == len(list(model.parameters()))


def test_embeddings_are_spared_when_asked(model: Any) -> None:
    decayed, plain = parameter_groups(model, section(decay_embeddings=False))
    embeddings = {"model.embeddings.weight", "lm_head.weight"}
    assert embeddings <= names(model, plain["params"])
    assert not embeddings & names(model, decayed["params"])


def test_each_group_holds_parameters_of_one_type(model: Any) -> None:
    asked = section(fp32_parameters=["A_log", "dt_bias", "gate.weight"])
    kept = names(model, fp32_parameters(model, asked))
    assert {name.split("mixer.")[1] for name in kept} == {"A_log", "dt_bias", "gate.weight"}
    groups = [names(model, group["params"]) for group in parameter_groups(model, asked)]
    assert sorted(len(group & kept) for group in groups if group & kept) == [2, 2]
    assert all(group <= kept or not group & kept for group in groups)
    assert set().union(*groups) == {name for name, _ in model.named_parameters()}


def test_fp32_parameters_mean_nothing_in_an_fp32_run(model: Any) -> None:
    asked = section(fp32_parameters=["A_log"], precision="fp32")
    assert fp32_parameters(model, asked) == []


def test_a_name_that_no_parameter_has_is_refused(model: Any) -> None:
    with pytest.raises(RecipeError, match="no parameter of the model is called A_logs"):
        fp32_parameters(model, section(fp32_parameters=["A_logs"]))


@pytest.mark.parametrize("model_type", ["nemotron_h", "nemotron", "llama"])
def test_norms_kept_in_fp32_compute_in_fp32_between_bf16_activations(model_type: str) -> None:
    values = {key: value for key, value in HYBRID.items() if key != "model_type"}
    sizes = values if model_type == "nemotron_h" else DENSE
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, vocab_size=64, **sizes)
    whole = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    kept = [p for n, p in model.named_parameters() if "norm" in n]
    for (name, parameter), exact in zip(model.named_parameters(), whole.parameters(), strict=True):
        exact.data = exact.data.bfloat16().float()
        parameter.data = exact.data.clone() if "norm" in name else exact.data.bfloat16()
    compute_norms_in_fp32(model, kept)
    types: set[torch.dtype] = set()
    inside: set[torch.dtype] = set()
    for name, module in model.named_modules():
        if "norm" in name.rpartition(".")[2]:
            module.weight.register_hook(lambda grad: inside.add(grad.dtype))
            module.register_forward_hook(lambda module, args, out: types.add(out.dtype))
    tokens = torch.arange(24)[None] % 64
    logits = model(input_ids=tokens).logits
    logits.float().sum().backward()
    assert types == {torch.bfloat16}
    assert inside == {torch.float32}
    torch.testing.assert_close(logits.float(), whole(input_ids=tokens).logits, atol=0.03, rtol=0.03)


def test_zero_3_with_fp32_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="zero_stage 1 or 2"):
        section(fp32_parameters=["A_log"], zero_stage=3)
