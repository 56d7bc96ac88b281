"""FLOPs against a count by hand and by torch; held-out rows; what counts as a spike."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from tests.support.train_runs import EXPERTS, HYBRID
from train.data.mixture import training_rows
from train.data.stream import IGNORED
from train.model.flops import flops_per_token
from train.trainer.heldout import HeldOut
from train.trainer.loss_guard import LossGuard
from train.trainer.loss_totals import StepSums
from tsqa.errors import DataError

LENGTH = 32


def make(**values: Any) -> Any:
    kind = values.pop("model_type")
    config = AutoConfig.for_model(kind, **{"vocab_size": 64, **values})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def test_hybrid_flops_equal_the_count_by_hand() -> None:
    inner, state = 4 * 16, 16
    mamba = 2 * 32 * (2 * inner + 2 * state + 4) + 2 * inner * 32  # in_proj, out_proj
    mamba += 2 * 4 * (inner + 2 * state) + 7 * inner * state  # convolution, scan
    attention = 2 * 32 * (64 + 32 + 32 + 64) + 4 * 2 * 32 * LENGTH
    mlp, head = 2 * 2 * 32 * 64, 2 * 32 * 64
    by_hand = 3 * (mamba + attention + mlp + head)
    assert flops_per_token(make(**HYBRID), LENGTH) == by_hand


def test_only_the_chosen_experts_count() -> None:
    base = flops_per_token(make(**EXPERTS), LENGTH)
    wider = flops_per_token(make(**{**EXPERTS, "n_routed_experts": 8}), LENGTH)
    more = flops_per_token(make(**{**EXPERTS, "num_experts_per_tok": 3}), LENGTH)
    layers = 2
    assert wider - base == 3 * layers * 2 * 4 * 32  # four more rows of each router
    assert more - base == 3 * layers * 2 * 2 * 16 * 32  # one more expert's two matrices


@pytest.mark.parametrize("kind", ["nemotron", "llama", "qwen3"])
def test_dense_flops_agree_with_what_torch_counts(kind: str) -> None:
    model = make(
        model_type=kind, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        attn_implementation="eager",
    )  # fmt: skip
    tokens = torch.zeros(1, LENGTH, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens, use_cache=False).logits.sum().backward()
    # torch counts no gradient for the embedded tokens of the first layer: a little less.
    assert counter.get_total_flops() / LENGTH == pytest.approx(
        flops_per_token(model, LENGTH), rel=0.06
    )


def sums(loss: float, norm: float = 1.0) -> StepSums:
    return StepSums([loss, 0.0], [1.0, 0.0], [0.0, 0.0], norm)


def guard(max_spike: float | None) -> LossGuard:
    return LossGuard(*cast(Any, (None, None, None, None)), max_spike, Path())


@given(loss=st.floats(0.1, 20), mean=st.floats(0.1, 20))
def test_only_a_loss_beyond_the_limit_is_a_spike(loss: float, mean: float) -> None:
    assert guard(None)._reason(sums(loss), mean) is None
    assert guard(2.0)._reason(sums(loss), None) is None
    assert (guard(2.0)._reason(sums(loss), mean) is not None) == (loss > 2 * mean)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_or_norm_that_is_not_finite_always_stops(bad: float) -> None:
    assert guard(None)._reason(sums(bad), 1.0) is not None
    assert guard(None)._reason(sums(1.0, norm=bad), 1.0) is not None


def held_out(rows: list[list[int]], last: int) -> HeldOut:
    store = SimpleNamespace(
        rows={"web": len(rows)}, eos=0, length=4,
        row=lambda name, index: np.array(rows[index]), loss=lambda name, index: None,
    )  # fmt: skip
    return HeldOut(cast(Any, store), ("web",), last)


def test_held_out_rows_are_the_last_ones() -> None:
    assert training_rows({"web": 10, "base": 3}, 3) == {"web": 7, "base": 0}
    with pytest.raises(DataError, match=r"mixture.sources.base holds 3 rows"):
        training_rows({"web": 10, "base": 3}, 4)
    rows = [[5, 5, 5, 5], [5, 0, 6, 6], [6, 6, 6, 0]]
    batch = held_out(rows, 2)._batch([(0, 0), (0, 1)])
    assert batch.tokens.tolist() == rows[1:]


@pytest.mark.parametrize(
    ("rows", "last", "bear_a_loss"),
    [
        ([[5, 5, 5, 5], [5, 0, 6, 6], [6, 6, 6, 0]], 2, [[6], [6, 6, 0]]),
        ([[5, 5, 5, 5], [5, 5, 5, 5], [5, 5, 0, 6]], 2, [[], []]),  # for more than a row
        ([[5, 5, 5, 5], [5, 5, 5, 5], [5, 0, 6, 6]], 2, [[], [6]]),
        ([[5, 5, 5, 5], [5, 5, 5, 0], [6, 6, 6, 0]], 2, [[], [6, 6, 0]]),
        ([[5, 5, 5, 5], [5, 5, 5, 5], [5, 5, 5, 5]], 2, [[], []]),
        ([[5, 5, 5, 0], [6, 6, 6, 6], [6, 6, 6, 0]], 2, [[6, 6, 6], [6, 6, 0]]),  # not begun
        ([[6, 6, 6, 6], [6, 6, 6, 0]], 2, [[6, 6, 6], [6, 6, 0]]),  # nothing is trained on
    ],
)
def test_a_held_out_document_that_began_in_a_trained_row_bears_no_loss(
    rows: list[list[int]], last: int, bear_a_loss: list[list[int]]
) -> None:
    held = held_out(rows, last)
    for cells in ([(0, 0), (0, 1)], [(0, 1), (0, 0)]):
        targets = held._batch(cells).targets.tolist()
        found = [[target for target in row if target != IGNORED] for row in targets]
        assert found == [bear_a_loss[row] for _, row in cells]
