"""False findings stay rare, p-values are exact, Holm spends its weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from eval.statistics import stats


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
        findings += stats.verdict(low, high, p, 0.95, covers_seeds=True) != stats.UNCHANGED
    assert findings / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


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


def test_linearised_groups_have_the_mean_of_their_documents() -> None:
    differences = np.random.default_rng(11).normal(1, 1, (2, 9))
    units = stats.group_units(differences, list("aabbbbccc"))
    assert units.shape == (2, 3)
    assert units.mean(axis=1) == pytest.approx(differences.mean(axis=1))
    equal = stats.group_units(differences, list("aaabbbccc"))
    assert equal == pytest.approx(differences.reshape(2, 3, 3).mean(axis=2))


def test_weighted_holm_spends_each_weight_and_passes_it_on() -> None:
    even, uneven = stats.Shares.fixed([0.5, 0.5]), stats.Shares.fixed([0.9, 0.1])
    assert stats.holm([0.01, 0.02], even) == pytest.approx([0.02, 0.02])
    assert stats.holm([0.02, 0.02], uneven) == pytest.approx([0.02 / 0.9, 0.02 / 0.9])
    assert stats.table_weights([True, False, False]) == pytest.approx([0.8, 0.1, 0.1])


def test_a_macro_row_that_is_found_leaves_its_share_to_the_tasks_of_its_comparison() -> None:
    comparisons, flags = ["x"] * 3 + ["y"] * 3, [True, False, False] * 2
    shares = stats.table_shares(comparisons, flags)
    found = np.array([True, False, False] * 2)
    assert shares.own == pytest.approx([0.4, 0.05, 0.05] * 2)
    assert shares.after(found)[[1, 4]] == pytest.approx([0.25, 0.25])
    p_values = [0.001, 0.012, 0.9, 0.9, 0.012, 0.9]
    adjusted = stats.holm(p_values, shares)
    # 0.012 of the found arm asks for 1/4 of the 5%, that of the other for 1/20.
    assert adjusted[1] == pytest.approx(0.012 / 0.25) and adjusted[4] > 0.1
    assert stats.holm([0.9, *p_values[1:]], shares)[1] > 0.1


def test_holm_matches_a_worked_example() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = stats.holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)
