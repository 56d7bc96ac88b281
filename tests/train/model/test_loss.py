"""The loss by chunks is the whole one, in value and gradient, and holds fewer logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from tests.support.train_runs import HYBRID, metrics, train, write_recipe
from train.data.stream import IGNORED, collate
from train.model.loss import TokenLosses
from tsqa.errors import EngineError

WORDS = 61


class Engine:
    """What TokenLosses asks of DeepSpeed's engine."""

    def __init__(self, kind: str = "llama", **settings: Any) -> None:
        torch.manual_seed(0)
        self.config = AutoConfig.for_model(
            kind, vocab_size=WORDS, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8, **settings,
        )  # fmt: skip
        self.module = AutoModelForCausalLM.from_config(self.config, dtype=torch.float32)

    def __call__(self, **arguments: Any) -> Any:
        return self.module(**arguments)


def batch_of(generator: torch.Generator) -> Any:
    rows = torch.randint(0, WORDS, (2, 13), generator=generator)
    return collate([row.numpy() for row in rows], [0, 1], 0)


@pytest.mark.parametrize("tied", [False, True])
@settings(deadline=None, max_examples=30)
@given(chunk=st.integers(1, 30), z_loss=st.sampled_from([0.0, 0.1]), seed=st.integers(0, 99))
def test_chunks_give_the_same_losses_and_gradients(
    tied: bool, chunk: int, z_loss: float, seed: int
) -> None:
    batch = batch_of(torch.Generator().manual_seed(seed))
    found = []
    for size in (None, chunk):
        engine = Engine(tie_word_embeddings=tied)
        total, losses = TokenLosses(engine, engine.config, size, z_loss)(batch)
        (total * 0.37).backward()
        found.append([total.detach(), losses, *(p.grad for p in engine.module.parameters())])
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


def test_the_whole_loss_is_that_of_torch_with_the_z_loss_of_palm() -> None:
    engine, batch = Engine(), batch_of(torch.Generator().manual_seed(1))
    total, losses = TokenLosses(engine, engine.config, None, 0.1)(batch)
    logits = engine(input_ids=batch.tokens, position_ids=batch.positions, use_cache=False).logits
    expected = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")
    valid = batch.targets != IGNORED
    squared = logits.exp().sum(-1).log().square()[valid].sum()
    torch.testing.assert_close(total, expected + 0.1 * squared)
    torch.testing.assert_close(losses.sum(), expected)
    assert not losses[~valid].any()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("gemma2", {"final_logit_softcapping": 30.0}), ("phi", {})],
)
def test_a_model_with_another_output_layer_is_refused(kind: str, changes: Any) -> None:
    engine = Engine(kind, **changes)
    with pytest.raises(EngineError, match=f"loss_chunk: a {kind} does more"):
        TokenLosses(engine, engine.config, 4, 0.0)


def test_no_tensor_holds_more_logits_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, batch = Engine(), batch_of(torch.Generator().manual_seed(1))
    losses_of = TokenLosses(engine, engine.config, 5, 0.0)
    seen: list[int] = []
    matmul = torch.Tensor.__matmul__

    def watched(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        out = matmul(left, right)
        if out.shape[-1] == WORDS:
            seen.append(out.numel())
        return out

    monkeypatch.setattr(torch.Tensor, "__matmul__", watched)
    losses_of(batch)[0].backward()
    assert seen == [5 * WORDS] * 5 + [WORDS]


@pytest.mark.engine
@pytest.mark.parametrize("zero_stage", [1, 3])
def test_a_bf16_run_by_chunks_goes_as_one_by_whole_logits(tmp_path: Path, zero_stage: int) -> None:
    recipe = write_recipe(tmp_path, HYBRID)
    common = ("train.precision=bf16", f"train.zero_stage={zero_stage}", "train.z_loss=1e-3")
    whole, chunks = (
        metrics(train(recipe, tmp_path / name, *common, "train.heldout_rows=2", *others))
        for name, others in (("whole", ()), ("chunks", ("train.loss_chunk=50",)))
    )
    for key, tolerance in (("train/loss", 2e-3), ("train/grad_norm", 2e-2)):
        expected, found = ([record[key] for record in run] for run in (whole, chunks))
        assert found == pytest.approx(expected, rel=tolerance)
        assert found != expected
