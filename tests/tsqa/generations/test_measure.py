"""Measures move with a planted collapse, and the rule fires; not so for a stationary chain."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from tests.support.quality_world import Change, real_text, sample_of
from train.model.loss import TokenLosses
from train.trainer.heldout import HeldOut
from tsqa.generations.measure import (
    GenerationMeasure,
    measure_errors,
    measure_loss,
    measure_narrowing,
)
from tsqa.generations.stop import passed
from tsqa.quality.measure import Spanned
from tsqa.quality.sample import AuditedText
from tsqa.recipe import StopSection

LIMITS = StopSection(errors=0.2, tail=0.3, diversity=0.3, loss=0.2)


def collapsing(share: float) -> Change:
    """That share of the items is one of three questions."""

    def change(item: AuditedText, _: AuditedText, rng: np.random.Generator) -> AuditedText:
        if rng.random() >= share:
            return item
        same = real_text(np.random.default_rng(int(rng.integers(3))), item.id, item.task)
        return replace(same, id=item.id)

    return change


def narrowing(share: float, seed: int = 0, count: int = 120) -> dict[str, GenerationMeasure]:
    found = measure_narrowing(sample_of(collapsing(share), count, seed), 1)
    return {each.name: each for each in found}


def span(measure: GenerationMeasure) -> Spanned:
    assert measure.span is not None, measure.missing
    return measure.span


def test_a_stationary_chain_passes_no_limit_in_any_generation() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(2, 0.3, 40)
    for generation in range(3):
        found = [*narrowing(0.0, generation).values()]
        found.append(measure_errors({"t": {"curated": 200, "true": int(rng.binomial(200, 0.95))}}))
        found.append(measure_loss(list(first + rng.normal(0, 0.1, 40)), list(first)))
        assert passed(found, LIMITS) == {}
        assert all(span(one).low <= 0.05 for one in found)


def test_a_planted_collapse_raises_tail_and_diversity_until_the_rule_fires() -> None:
    chain = [narrowing(share, count=400) for share in (0.0, 0.5, 0.95)]
    for name in ("tail", "diversity"):
        values = [span(found[name]).value for found in chain]
        assert values == sorted(values) and values[-1] > 0.5
    assert not passed([*chain[0].values()], LIMITS)
    assert [*passed([*chain[-1].values()], LIMITS)] == ["tail", "diversity"]
    assert passed([*chain[-1].values()], StopSection()) == {}, "no limit, no stop"


def test_planted_errors_are_counted_and_stop_only_where_the_whole_interval_is_above() -> None:
    truth = {
        "a": {"curated": 150, "well_formed": 140, "true": 120},
        "b": {"curated": 50, "well_formed": 50, "true": 30},
    }
    found = measure_errors(truth)
    assert span(found).value == 0.25 and found.n == 200
    assert span(found).low < 0.2 < 0.25 < span(found).high and not passed([found], LIMITS)
    many = measure_errors(
        {name: {k: 10 * n for k, n in one.items()} for name, one in truth.items()}
    )
    assert passed([many], LIMITS) == {"errors": "0.250 [0.231, 0.270] is above its limit 0.2"}


def test_the_rise_of_the_loss_is_paired_by_row() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(2, 1, 40)  # rows differ far more than models do
    found = measure_loss(list(first + 0.5 + rng.normal(0, 0.05, 40)), list(first))
    assert abs(span(found).value - 0.5) < 0.05 and span(found).low > 0.45
    assert [*passed([found], LIMITS)] == ["loss"]


def test_a_limit_whose_measure_is_missing_stops_too() -> None:
    few = measure_loss([1.0] * 3, [1.0] * 3)
    none = measure_errors({})
    missing = "has a limit, and was not measured: "
    assert passed([few, none], LIMITS) == {
        "loss": f"{missing}3 rows of people's text are held out; 20 are needed",
        "errors": f"{missing}no item of a task with an oracle",
    }
    for loss in (float("nan"), float("inf")):  # of a model that diverged: above no limit
        diverged = measure_loss([1.0] * 39 + [loss], [1.0] * 40)
        assert passed([diverged], LIMITS) == {"loss": f"{missing}1 rows have no finite loss"}
    assert [m.span for m in measure_narrowing(sample_of(count=6), 1)] == [None, None]
    assert passed([few, none], StopSection(tail=0.1)) == {}


def test_rows_are_scored_one_by_one_each_over_its_own_targets() -> None:
    rows = np.array([[5, 5, 5, 5], [5, 5, 0, 6], [6, 6, 6, 0], [0, 0, 0, 0]])
    store = SimpleNamespace(
        rows={"a": 4}, eos=0, length=4,
        row=lambda name, index: rows[index], loss=lambda name, index: None,
    )  # fmt: skip
    likely = torch.tensor([0.5, 0, 0, 0, 0, 1.0, 2.0])

    def model(input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        return SimpleNamespace(logits=likely.expand(*input_ids.shape, -1))

    config: Any = SimpleNamespace(model_type="nemotron", _attn_implementation="eager")
    losses = TokenLosses(cast(Any, model), config, None, 0.0)
    held = HeldOut(cast(Any, store), ("a",), 3)
    cost = -likely.log_softmax(0)
    # The first held-out row begins in a trained document, the last is padding alone.
    wanted = [float(cost[[6, 6, 0]].mean())]
    for size in (1, 2, 3):
        scores = held.score_rows(losses, size, torch.device("cpu"))
        assert np.allclose(scores[-1:], wanted, atol=1e-6)
