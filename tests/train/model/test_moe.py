"""Experts are kept busy and counted alike for every split, and an idle one stops nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from tests.support.train_runs import EXPERTS, STEPS, metrics, records, train, write_recipe
from train.model.moe import Routers
from train.trainer.schedule import learning_rate
from tsqa.errors import RecipeError
from tsqa.recipe import RouterSection, load_recipe

BIAS = "e_score_correction_bias"


def make(**values: Any) -> Any:
    torch.manual_seed(0)
    kept = {key: value for key, value in EXPERTS.items() if key != "model_type"}
    config = AutoConfig.for_model("nemotron_h", vocab_size=64, **{**kept, **values})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def routers_of(model: Any) -> list[Any]:
    return [module for module in model.modules() if hasattr(module, BIAS)]


def forward(
    model: Any, routers: Routers, tokens: torch.Tensor, padding: torch.Tensor | None = None
) -> torch.Tensor:
    with routers.watch(torch.zeros_like(tokens, dtype=torch.bool) if padding is None else padding):
        logits: torch.Tensor = model(input_ids=tokens, use_cache=False).logits
    return logits


def test_the_bias_moves_against_the_load_of_the_step() -> None:
    model = make()
    routers = Routers(model, RouterSection(bias_rate=0.01))
    routers.update([10.0, 2.0, 4.0, 0.0, 4.0, 4.0, 4.0, 4.0])
    first, second = (getattr(router, BIAS).tolist() for router in routers_of(model))
    assert first == pytest.approx([-0.01, 0.01, 0.0, 0.01])
    assert second == [0.0] * 4
    window = routers.close_window()
    assert window["moe/tokens/model.layers.1.mixer.gate"] == [10.0, 2.0, 4.0, 0.0]
    assert window["moe/idle_experts/model.layers.1.mixer.gate"] == 1
    assert window["moe/max_violation/model.layers.1.mixer.gate"] == pytest.approx(1.5)
    assert window["moe/max_violation/model.layers.3.mixer.gate"] == 0.0


def test_the_bias_evens_out_a_lopsided_router() -> None:
    model = make()
    with torch.no_grad():
        getattr(routers_of(model)[0], BIAS)[0] += 0.05
    routers = Routers(model, RouterSection(bias_rate=0.002))
    tokens = torch.randint(0, 64, (8, 32), generator=torch.Generator().manual_seed(1))
    violations = []
    for _ in range(60):
        forward(model, routers, tokens)
        routers.update(routers.take_counts())
        violations.append(routers.close_window()["moe/max_violation/model.layers.1.mixer.gate"])
    assert violations[0] > 0.8
    assert violations[-1] < 0.25


def test_counts_and_losses_are_equal_for_every_split_into_micro_batches() -> None:
    model = make()
    routers = Routers(model, RouterSection())
    tokens = torch.randint(0, 64, (4, 16), generator=torch.Generator().manual_seed(2))
    results = []
    for size in (4, 2, 1):
        for part in tokens.split(size):
            forward(model, routers, part)
        results.append((float(routers.take_loss().detach()), routers.take_counts()))
    assert all(counts == results[0][1] for _, counts in results)
    assert sum(results[0][1]) == 2 * tokens.numel() * 2
    assert [loss for loss, _ in results] == pytest.approx([results[0][0]] * 3, rel=1e-5)


def test_the_balancing_loss_is_least_where_experts_are_equally_busy() -> None:
    routers = Routers(make(), RouterSection())
    routers._padding = torch.zeros(1, 2, dtype=torch.bool)
    even = torch.tensor([[5.0, 5.0, -5.0, -5.0], [-5.0, -5.0, 5.0, 5.0]])
    routers.see("model.layers.1.mixer.gate", even, torch.tensor([[0, 1], [2, 3]]))
    balanced = float(routers.take_loss())
    same = even[:1].expand(2, -1)
    routers.see("model.layers.1.mixer.gate", same, torch.tensor([[0, 1], [0, 1]]))
    assert balanced == pytest.approx(1.0, abs=1e-4)
    assert float(routers.take_loss()) == pytest.approx(2.0, abs=0.05)


def test_padding_is_no_load_and_not_balanced() -> None:
    """Two rows whose padding differs count alike, and as their tokens alone do."""
    routers = Routers(make(), RouterSection())
    logits = torch.randn(2 * 6, 4, generator=torch.Generator().manual_seed(4))
    experts = logits.topk(2).indices
    padding = torch.zeros(2, 6, dtype=torch.bool)
    padding[:, 4:] = True
    gate = "model.layers.1.mixer.gate"
    with routers.watch(padding):
        routers.see(gate, logits, experts)
    found = routers._step.pop(gate).tolist(), float(routers.take_loss())
    kept = ~padding.flatten()
    with routers.watch(padding[:, :4]):
        routers.see(gate, logits[kept], experts[kept])
    expected = routers._step.pop(gate).tolist(), float(routers.take_loss())
    assert sum(expected[0]) == 2 * 4 * 2
    assert found[0] == expected[0] and found[1] == pytest.approx(expected[1], rel=1e-6)


def test_checkpointed_activations_are_counted_once_and_give_the_same_gradients() -> None:
    tokens = torch.randint(0, 64, (2, 16), generator=torch.Generator().manual_seed(3))
    found = []
    for checkpointed in (False, True):
        model = make()
        model.train()
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        routers = Routers(model, RouterSection())
        logits = forward(model, routers, tokens)
        (logits.square().mean() + routers.take_loss()).backward()
        gradients = [router.weight.grad.clone() for router in routers_of(model)]
        found.append((routers.take_counts(), gradients))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1])
    assert all(float(gradient.abs().max()) > 0 for gradient in found[0][1])


def test_a_model_without_routers_is_refused_only_where_the_recipe_asks_for_them() -> None:
    model = make(layers_block_type=["mlp"])
    assert Routers(model, None).take_counts() == []
    with pytest.raises(RecipeError, match="no router with an expert bias"):
        Routers(model, RouterSection())


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("experts"), EXPERTS)


@pytest.mark.engine
def test_sharded_offloaded_checkpointed_experts_train_as_one_process_does(
    recipe_path: Path, tmp_path: Path
) -> None:
    """Two processes with ZeRO-3, offload and recomputation against one without."""
    asked = (
        "train.router.bias_rate=0.01",
        "train.router.loss=0.01",
        "train.z_loss=0.0001",
        "train.heldout_rows=8",  # a document of web is up to six rows long
        "train.batch_ramp=[{until: 0.25, global_batch_tokens: 128}]",
    )
    whole = train(recipe_path, tmp_path / "one", *asked)
    split = train(
        recipe_path, tmp_path / "two", *asked, "train.micro_batch_size=2", "train.zero_stage=3",
        "train.offload=parameters", "train.gradient_checkpointing=true", processes=2,
    )  # fmt: skip
    expected, found = metrics(whole), metrics(split)
    assert [r["train/tokens"] for r in found][:7] == [128, 256, 384, 512, 640, 768, 1024]
    for key in ("train/loss", "train/grad_norm", "train/lr", "train/batch_tokens"):
        assert [r[key] for r in found] == pytest.approx([r[key] for r in expected], rel=1e-4), key
    section = load_recipe(recipe_path, asked).train
    batches = [range(4 * n, 4 * n + 4) for n in range(6)]
    batches += [range(24 + 8 * n, 32 + 8 * n) for n in range(9)]
    closed_form = [learning_rate(section, batch, STEPS * 8) for batch in batches]
    assert [r["train/lr"] for r in found] == closed_form
    for key in (key for key in expected[0] if key.startswith("moe/tokens/")):
        assert [r[key] for r in found] == [pytest.approx(r[key], abs=2) for r in expected], key
    exported = [load_file(made.path / "hf" / "model.safetensors") for made in (whole, split)]
    assert exported[0].keys() == exported[1].keys()
    for name, weight in exported[0].items():
        torch.testing.assert_close(exported[1][name], weight, atol=1e-3, rtol=0)
        assert not name.endswith(BIAS) or weight.any()
    for name in ("web", "qa"):
        losses = [records(a, "heldout.jsonl")[-1][f"heldout/loss/{name}"] for a in (whole, split)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        assert whole.summary["heldout"][name] == losses[0]


@pytest.mark.engine
def test_an_expert_that_gets_no_token_neither_hangs_nor_breaks_sharded_training(
    recipe_path: Path, tmp_path: Path
) -> None:
    """Sixty-four experts for rows of 32 tokens of a fresh router: some are idle on either rank."""
    idle = train(
        recipe_path, tmp_path / "idle", "model.config.n_routed_experts=64",
        "model.config.num_experts_per_tok=1", "train.global_batch_tokens=64",
        "train.micro_batch_size=1", "train.zero_stage=3", "mixture.phases.0.tokens=256",
        processes=2,
    )  # fmt: skip
    for record in metrics(idle):
        counts = [value for key, value in record.items() if key.startswith("moe/idle_experts/")]
        assert min(counts) > 0
        assert record["train/loss"] < 7
