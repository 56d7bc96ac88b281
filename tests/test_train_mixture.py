"""The mixture: exact ratios, whole epochs, any world size."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.mixture import MixturePlan, period_table, permute, plan
from tsqa.errors import DataError, RecipeError
from tsqa.recipe import MixtureSection, TrainSection

TRAIN = TrainSection(sequence_length=8, global_batch_tokens=32, lr=1e-3)


def make(
    phases: list[tuple[int, dict[str, float]]], rows: dict[str, int], max_repetition: float = 1e6
) -> MixturePlan:
    section = MixtureSection.model_validate(
        {
            "sources": {name: {"path": "x"} for name in rows},
            "phases": [{"tokens": t, "ratios": r} for t, r in phases],
            "max_repetition": max_repetition,
        }
    )
    return plan(section, TRAIN, rows, seed=7)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 120), min_size=1, max_size=7).filter(any))
def test_every_prefix_is_within_one_row_of_the_ratio(weights: list[int]) -> None:
    counts = [0] * len(weights)
    period = sum(weights)
    for k, source in enumerate(period_table(tuple(weights)), 1):
        counts[source] += 1
        assert all(abs(c * period - w * k) < period for c, w in zip(counts, weights, strict=True))
    assert counts == weights


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 700), st.text(max_size=8))
def test_permute_is_a_bijection(size: int, key: str) -> None:
    assert sorted(permute(n, size, key) for n in range(size)) == list(range(size))


def test_every_row_comes_once_per_epoch_and_epochs_differ() -> None:
    made = make([(8 * 400, {"a": 0.5, "b": 0.5})], {"a": 50, "b": 200})
    seen: dict[int, list[int]] = {}
    for k in range(made.total_rows):
        row = made.row(k)
        if row.source == 0:
            seen.setdefault(row.epoch, []).append(row.index)
    assert all(sorted(indices) == list(range(50)) for indices in seen.values())
    assert len(seen) == 4
    assert seen[0] != seen[1]


def test_consumption_carries_on_across_phases() -> None:
    made = make([(8 * 100, {"a": 0.25, "b": 0.75}), (8 * 100, {"a": 1.0})], {"a": 125, "b": 75})
    rows = [made.row(k) for k in range(made.total_rows)]
    assert sorted(r.index for r in rows if r.source == 0) == list(range(125))
    assert made.drawn == {"a": 125, "b": 75}
    assert all(r.source == 0 for r in rows[100:])


def test_rows_do_not_depend_on_where_the_reader_starts() -> None:
    made = make([(8 * 64, {"a": 0.3, "b": 0.7})], {"a": 5, "b": 9})
    forward = [made.row(k) for k in range(made.total_rows)]
    assert [made.row(k) for k in reversed(range(made.total_rows))] == forward[::-1]


def test_steps_are_rounded_down_to_whole_batches_and_say_so() -> None:
    made = make([(8 * 11, {"a": 1.0})], {"a": 50})
    assert (made.steps, made.total_rows) == (2, 8)
    assert "24 tokens short" in made.note()


def test_too_much_repetition_is_refused_with_both_fixes() -> None:
    with pytest.raises(RecipeError, match=r"sources\.b") as caught:
        make([(8 * 100, {"a": 0.5, "b": 0.5})], {"a": 50, "b": 10}, max_repetition=2)
    assert "short by 240 tokens" in str(caught.value)
    assert "max_repetition to 5, or lower its ratio to 0.2" in str(caught.value)


def test_empty_source_is_refused_only_when_drawn_from() -> None:
    assert make([(64, {"a": 1.0, "b": 0.0})], {"a": 8, "b": 0}).drawn == {"a": 8, "b": 0}
    with pytest.raises(DataError, match="b is empty"):
        make([(64, {"a": 0.5, "b": 0.5})], {"a": 8, "b": 0})
