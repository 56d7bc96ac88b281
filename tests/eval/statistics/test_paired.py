"""Pairs are exact, equal inputs equal numbers, bad numbers are refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap, norm

from eval.deltas import Delta
from eval.statistics import stats
from eval.statistics.paired import Scored, compare_models
from eval.statistics.power import detectable
from tsqa.errors import DataError


def scores(values: Sequence[float], groups: Sequence[str] | None = None) -> Scored:
    rows = [
        ((i, f"hash{i}"), float(value), groups[i] if groups else None)
        for i, value in enumerate(values)
    ]
    return Scored.of(rows, "t")


OPTIONS: dict[str, Any] = {"label": "x - y", "bootstrap": 1000, "confidence": 0.95, "seed": 0}


def rows_of(*sides: Any, **options: Any) -> list[Delta]:
    return [row.delta for row in compare_models(*sides, **options)]


def compare(
    before: Sequence[float], after: Sequence[float], groups: Sequence[str] | None = None
) -> list[Delta]:
    return rows_of([{"t": scores(before, groups)}], [{"t": scores(after, groups)}], **OPTIONS)


def test_the_interval_is_that_of_scipy_and_hardly_moved_by_two_imaginary_documents() -> None:
    differences = np.random.default_rng(7).choice([-1.0, 0.0, 1.0], 300, p=[0.1, 0.7, 0.2])
    draws = stats.bootstrap_means(differences, 20_000, np.random.default_rng(8))
    ours = np.quantile(draws, [0.025, 0.975])
    peer = bootstrap(
        (differences,),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(9),
    ).confidence_interval
    assert ours == pytest.approx([peer.low, peer.high], abs=0.004)
    row = compare([0.0] * 300, list(differences))[0]
    assert row.high - row.low == pytest.approx(ours[1] - ours[0], rel=0.1)
    assert row.low <= row.delta <= row.high


def test_without_any_change_the_interval_is_not_a_point() -> None:
    row = compare([0, 1] * 50, [0, 1] * 50)[0]
    assert row.low < 0 < row.high and row.p == row.p_mcnemar == 1


def test_mcnemar_is_exact_for_binary_scores_and_absent_elsewhere() -> None:
    row = compare([0] * 14 + [1] * 5 + [0] * 40, [1] * 14 + [0] * 5 + [0] * 40)[0]
    assert row.p_mcnemar == binomtest(14, 19).pvalue and row.method == "bootstrap"
    assert compare([0, 0.5], [1, 1])[0].p_mcnemar is None


def test_groups_are_resampled_whole() -> None:
    rng = np.random.default_rng(10)
    gains = rng.choice([-1.0, 0.0, 1.0], 40)
    after, groups = np.repeat(gains, 5), [f"passage{i}" for i in range(40) for _ in range(5)]
    alone, clustered = compare([0.0] * 200, after)[0], compare([0.0] * 200, after, groups)[0]
    assert clustered.delta == alone.delta and clustered.method == "cluster bootstrap"
    ratio = (clustered.high - clustered.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(math.sqrt(5), rel=0.15)
    assert clustered.p_mcnemar is None and clustered.p > alone.p
    with pytest.raises(DataError, match="1 of 2 documents have no group"):
        Scored.of([((0, "a"), 1.0, "g"), ((1, "b"), 1.0, None)], "t")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=20), st.randoms())
def test_equal_inputs_give_equal_numbers_whatever_the_order(
    values: list[float], rnd: object
) -> None:
    rows = [((i, f"hash{i}"), value, None) for i, value in enumerate(values)]
    shuffled = list(rows)
    rnd.shuffle(shuffled)  # type: ignore[attr-defined]
    before, after = Scored.of(rows, "t"), scores(values[::-1])
    one = rows_of([{"a": before, "b": after}], [{"a": after, "b": before}], **OPTIONS)
    again = Scored.of(shuffled, "t")
    two = rows_of([{"b": after, "a": again}], [{"b": again, "a": after}], **OPTIONS)
    assert one == two


def test_different_documents_are_refused_and_never_dropped() -> None:
    with pytest.raises(DataError, match=r"3 and 2 documents, 1 unpaired.*doc_id 2"):
        compare([0, 1, 1], [0, 1])
    same_id_other_text = Scored.of([((0, "other"), 1.0, None)], "t")
    with pytest.raises(DataError, match="not scored on the same documents"):
        rows_of([{"t": scores([1])}], [{"t": same_id_other_text}], **OPTIONS)
    with pytest.raises(DataError, match="doc_id 0 appears twice"):
        Scored.of([((0, "h"), 1.0, None), ((0, "h"), 0.0, None)], "t")


def test_tasks_of_one_side_only_are_refused() -> None:
    with pytest.raises(DataError, match="one side only: b"):
        rows_of([{"a": scores([1])}], [{"a": scores([1]), "b": scores([1])}], **OPTIONS)


def test_nan_is_refused() -> None:
    with pytest.raises(DataError, match="score nan of doc_id 1"):
        compare([0, 1], [0, math.nan])


def test_two_documents_never_make_a_finding() -> None:
    row = compare([0, 0], [1, 1])[0]
    assert row.low < 1 == row.high
    assert stats.verdict(row.low, row.high, row.p, 0.95, covers_seeds=True) == stats.UNCHANGED


def test_no_change_still_has_a_detectable_effect_above_zero() -> None:
    sides = [[{"t": scores([0] * 100)}]] * 2
    tested = compare_models(*sides, **OPTIONS)[0]
    assert tested.delta.delta == 0 and tested.delta.p == 1 and detectable(tested, 0.05) > 0.03


def test_each_task_weighs_the_same_in_the_macro_average() -> None:
    rows = rows_of(
        [{"a": scores([0] * 10), "b": scores([0] * 1000)}],
        [{"a": scores([1] * 10), "b": scores([0] * 1000)}],
        **OPTIONS,
    )
    assert rows[-1].task == stats.MACRO and rows[-1].delta == 0.5 and rows[-1].n == 1010


def test_beyond_the_last_flip_p_is_exact_or_a_bound() -> None:
    """20,000 sign flips end at 5e-5, whatever the evidence."""
    before, after = [0] * 60, [1] * 40 + [0] * 20
    row = compare(before, after)[0]
    assert row.p == row.p_mcnemar == binomtest(40, 40).pvalue < 1e-11
    macro = compare(before, after)[1]
    assert binomtest(40, 40).pvalue < macro.p < 1e-7  # a bound of sums of any magnitudes
    grouped = compare([0] * 120, [1] * 80 + [0] * 40, [str(i // 2) for i in range(120)])[0]
    assert binomtest(40, 40).pvalue < grouped.p < 1e-7


def test_the_bound_is_never_below_the_exact_p() -> None:
    for changed in range(16, 40, 4):
        null = np.zeros(20_000)
        differences = np.ones(changed)
        p = stats.p_value(1.0, null, float(np.sum(differences**2)) / changed**2)
        assert p >= binomtest(changed, changed).pvalue


def test_averages_weigh_tasks_alike_or_by_their_documents() -> None:
    before = {"a": scores([0] * 10), "b": scores([0] * 30)}
    after = {"a": scores([1] * 10), "b": scores([0] * 30)}
    alike, weighed = (
        rows_of([before], [after], by_documents=flag, **OPTIONS)[-1] for flag in (False, True)
    )
    assert (alike.delta, weighed.delta) == (0.5, 0.25)
    several = rows_of([before] * 2, [after] * 2, by_documents=True, **OPTIONS)[-1]
    assert several.delta == 0.25 and several.covers_seeds


def test_the_detectable_effect_of_a_row_grows_with_what_it_must_reach() -> None:
    before, after = [{"t": scores([0, 1] * 50)}], [{"t": scores([0, 1] * 40 + [1, 0] * 10)}]
    for row in compare_models(before, after, **OPTIONS):
        for confidence in (0.95, 0.999):
            z = norm.ppf(0.5 + confidence / 2) + norm.ppf(0.8)
            assert detectable(row, 1 - confidence) == pytest.approx(row.delta.stderr * z)
    assert math.isnan(row.delta.mde)
