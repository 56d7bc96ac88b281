"""Promises of eval.stats: false findings stay rare, pairs are exact, bad numbers are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from eval import stats
from tsqa.errors import DataError


def scores(values: list[float]) -> dict[tuple[int, str], float]:
    return {(i, f"hash{i}"): float(value) for i, value in enumerate(values)}


def compare(before: list[float], after: list[float], bootstrap: int = 1000) -> list[stats.Delta]:
    return stats.compare_models(
        {"t": scores(before)},
        {"t": scores(after)},
        label="x - y",
        bootstrap=bootstrap,
        confidence=0.95,
        seed=0,
    )


@pytest.mark.parametrize(("n", "changed"), [(60, 0.05), (100, 0.2), (100, 0.5)])
def test_without_an_effect_findings_stay_below_five_percent(n: int, changed: float) -> None:
    rng = np.random.default_rng(1)
    rounds, findings = 400, 0
    for _ in range(rounds):
        flips = rng.random(n) < changed
        differences = np.where(flips, rng.choice([-1.0, 1.0], n), 0.0)
        draws = stats.bootstrap_means(differences, 500, rng)
        low, high = np.quantile(draws, [0.025, 0.975])
        p = stats.p_value(float(differences.mean()), stats.sign_flip_means(differences, 2000, rng))
        findings += stats.verdict(low, high, p, 0.95) != stats.UNCHANGED
    assert findings / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_the_interval_covers_the_true_effect() -> None:
    rng = np.random.default_rng(2)
    rounds, covered = 400, 0
    for _ in range(rounds):
        differences = rng.choice([-1.0, 0.0, 1.0], 200, p=[0.1, 0.6, 0.3])
        low, high = np.quantile(stats.bootstrap_means(differences, 500, rng), [0.025, 0.975])
        covered += low <= 0.2 <= high
    assert covered / rounds >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / rounds) - 0.01


def test_an_effect_of_the_detectable_size_is_found_at_the_promised_power() -> None:
    rng = np.random.default_rng(3)
    n, rounds, found = 300, 300, 0
    spread = math.sqrt(0.2 / n)
    effect = stats.minimum_detectable_effect(spread, 0.95)
    for _ in range(rounds):
        p = [0.1 - effect / 2, 0.8, 0.1 + effect / 2]
        differences = rng.choice([-1.0, 0.0, 1.0], n, p=p)
        null = stats.sign_flip_means(differences, 2000, rng)
        found += stats.p_value(float(differences.mean()), null) <= 0.05
    assert 0.7 <= found / rounds <= 0.9


def test_sign_flips_equal_the_exact_mcnemar_test() -> None:
    differences = np.array([1.0] * 14 + [-1.0] * 5 + [0.0] * 40)
    null = stats.sign_flip_means(differences, 100_000, np.random.default_rng(4))
    exact = binomtest(14, 19).pvalue
    assert stats.p_value(float(differences.mean()), null) == pytest.approx(exact, abs=0.005)


def test_multinomial_resampling_has_the_moments_of_resampling_documents() -> None:
    values = np.random.default_rng(5).normal(0.3, 1, 50)
    draws = stats.bootstrap_means(values, 20_000, np.random.default_rng(6))
    assert draws.mean() == pytest.approx(values.mean(), abs=0.01)
    assert draws.std() == pytest.approx(values.std() / math.sqrt(50), rel=0.03)


def test_holm_matches_a_worked_example() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = stats.holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=20), st.randoms())
def test_equal_inputs_give_equal_numbers_whatever_the_order(
    values: list[float], rnd: object
) -> None:
    before, after = scores(values), scores(values[::-1])
    shuffled = list(after.items())
    rnd.shuffle(shuffled)  # type: ignore[attr-defined]
    options = {"label": "x", "bootstrap": 200, "confidence": 0.9, "seed": 7}
    one = stats.compare_models({"a": before, "b": after}, {"a": after, "b": before}, **options)  # type: ignore[arg-type]
    two = stats.compare_models(
        {"b": after, "a": before}, {"b": before, "a": dict(shuffled)}, **options
    )  # type: ignore[arg-type]
    assert one == two


def test_different_documents_are_refused_and_never_dropped() -> None:
    with pytest.raises(DataError, match=r"3 and 2 documents, 1 unpaired.*doc_id 2"):
        compare([0, 1, 1], [0, 1])
    same_id_other_text = {"t": {(0, "other"): 1.0}}
    with pytest.raises(DataError, match="not scored on the same documents"):
        stats.compare_models(
            {"t": scores([1])},
            same_id_other_text,
            label="x",
            bootstrap=100,
            confidence=0.95,
            seed=0,
        )


def test_tasks_of_one_side_only_are_refused() -> None:
    with pytest.raises(DataError, match="one side only: b"):
        stats.compare_models(
            {"a": scores([1])},
            {"a": scores([1]), "b": scores([1])},
            label="x",
            bootstrap=100,
            confidence=0.95,
            seed=0,
        )


def test_nan_is_refused() -> None:
    with pytest.raises(DataError, match="score nan of doc_id 1"):
        compare([0, 1], [0, math.nan])


def test_two_documents_never_make_a_finding() -> None:
    row = compare([0, 0], [1, 1])[0]
    assert (row.low, row.high) == (1, 1)
    assert stats.verdict(row.low, row.high, row.p, 0.95) == stats.UNCHANGED


def test_no_change_still_has_a_detectable_effect_above_zero() -> None:
    row = compare([0] * 100, [0] * 100)[0]
    assert row.delta == 0 and row.p == 1 and row.mde > 0.03


def test_each_task_weighs_the_same_in_the_macro_average() -> None:
    rows = stats.compare_models(
        {"a": scores([0] * 10), "b": scores([0] * 1000)},
        {"a": scores([1] * 10), "b": scores([0] * 1000)},
        label="x",
        bootstrap=100,
        confidence=0.95,
        seed=0,
    )
    assert rows[-1].task == stats.MACRO and rows[-1].delta == 0.5 and rows[-1].n == 1010
