"""One correction of a table: what its rows share is used, and false findings stay within 5%."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

from eval.statistics import joint
from eval.statistics.crossed import Estimate
from eval.statistics.joint import Noise, adjust, spend
from eval.statistics.spreads import noisy_arms, pool_tasks
from eval.statistics.stats import Shares, holm, mcnemar, table_shares

NAMES = [f"d{i}" for i in range(60)]


def noise_of(differences: np.ndarray, name: str = "row") -> Noise:
    return Noise(name, NAMES, differences / len(differences))


def test_equal_rows_cost_nothing_and_rows_apart_what_holm_asks_for() -> None:
    gain = np.array([1.0] * 18 + [-1.0] * 5 + [0.0] * 37)
    p = mcnemar(gain)
    assert p is not None
    even = Shares.fixed([0.25] * 4)
    found = adjust([p] * 4, even, [noise_of(gain)] * 4, 0, 0.95)
    assert found.p_values == pytest.approx([p] * 4, rel=0.5)
    assert 0.25 <= found.shares.own[0] <= 1
    apart = [Noise(f"row {k}", [f"{k} {name}" for name in NAMES], gain / 60) for k in range(4)]
    alone = adjust([p] * 4, even, apart, 0, 0.95)
    assert alone.p_values == pytest.approx([4 * p] * 4, rel=0.2)
    assert alone.shares.own == pytest.approx([0.25] * 4, rel=0.2)  # few values occur: not above


def test_what_a_row_alone_must_reach_is_what_the_smallest_p_value_seldom_is_below() -> None:
    rng = np.random.default_rng(0)
    one, even = rng.normal(0, 1, 4000), Shares.fixed([0.25] * 4)
    assert 0.05 * spend(np.array([one] * 4), even, 0.95).own == pytest.approx(0.05, rel=0.02)
    apart = 0.05 * spend(rng.normal(0, 1, (4, 4000)), even, 0.95).own
    assert apart == pytest.approx(1 - 0.95**0.25, rel=0.15)


def test_tasks_have_what_a_macro_average_leaves_where_the_same_misleads_both() -> None:
    rng = np.random.default_rng(0)
    shares = table_shares(["x"] * 5, [True] + [False] * 4)
    alike = spend(np.array([rng.normal(0, 1, 4000)] * 5), shares, 0.95)
    assert alike.own == pytest.approx([0.8] + [1.0] * 4, rel=0.02)
    assert alike.passed[0] == pytest.approx([0] + [0.2] * 4, rel=0.02)
    apart = spend(rng.normal(0, 1, (5, 4000)), shares, 0.95)
    assert apart.own == pytest.approx([0.8] + [0.05] * 4, rel=0.2)


def test_beyond_the_last_flip_holm_says_more() -> None:
    gain = np.array([1.0] * 50 + [0.0] * 10)
    p, even = [1e-12, 0.5], Shares.fixed([0.5, 0.5])
    found = adjust(p, even, [noise_of(gain), noise_of(-gain)], 0, 0.95).p_values
    assert found[0] == holm(p, even)[0] and found[1] >= 0.5


def test_a_task_is_found_by_what_its_macro_average_leaves_and_other_rows_are_as_before() -> None:
    rng = np.random.default_rng(3)
    gain, weak, none = (
        rng.permutation([1.0] * k + [-1.0] * 4 + [0.0] * (56 - k)) for k in (30, 15, 4)
    )
    p = [mcnemar(one) or 1.0 for one in (gain, weak, none, none)]
    rows = [
        Noise(f"row {k}", [f"{k} {n}" for n in NAMES], one / 60)
        for k, one in enumerate((gain, weak, none, none))
    ]
    passing = table_shares(["x", "x", "y", "y"], [True, False, True, False])
    kept, left = (
        adjust(p, s, rows, 0, 0.95).p_values for s in (Shares.fixed([*passing.own]), passing)
    )
    assert left[0] == kept[0] and left[2] >= p[2]
    assert p[1] <= left[1] < 0.05 < kept[1]


def test_where_a_macro_average_is_found_false_findings_of_its_tasks_stay_within_five_percent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joint, "FLIPS", 500)
    rng, rounds, false = np.random.default_rng(0), 300, 0
    shares = table_shares(["x"] * 4 + ["y"] * 4, [True, False, False, False] * 2)
    for number in range(rounds):
        tasks = rng.normal(0, 1, (2, 3, 60))
        rows = [one for arm in tasks for one in (arm.mean(axis=0), *arm)]
        p_values = [
            float(2 * ndtr(-abs(row.mean()) * math.sqrt(60 * (1 + 2 * (k % 4 == 0)))))
            for k, row in enumerate(rows)
        ]
        p_values[0] = 1e-9  # the macro average of x, by something that its three tasks lack
        noise = [noise_of(row) for row in rows]
        found = adjust(p_values, shares, noise, number, 0.95).p_values
        false += min(found[1:]) <= 0.05
    assert 0.02 <= false / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_tables_without_an_effect_hold_a_finding_in_at_most_five_percent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joint, "FLIPS", 500)
    rng, rounds, false = np.random.default_rng(0), 300, 0
    even = Shares.fixed([1 / 3] * 3)
    for number in range(rounds):
        scores = rng.integers(0, 2, (4, 60)).astype(float)
        rows = [one - scores[0] for one in scores[1:]]
        p_values = [mcnemar(row) or 1.0 for row in rows]
        noise = [noise_of(row) for row in rows]
        false += min(adjust(p_values, even, noise, number, 0.95).p_values) <= 0.05
    assert false / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_the_spread_of_tasks_is_that_of_runs_and_what_is_apart() -> None:
    rng = np.random.default_rng(1)
    average = {f"t{k}": 0.25 for k in range(4)}
    found = []
    for _ in range(200):
        shared = rng.normal(0, 1, (5, 3))
        means = {task: shared + rng.normal(0, 2, (5, 3)) for task in average}
        macro, tasks = pool_tasks(means, average, {}, "")
        assert macro is not None
        found.append((macro.variance, np.mean([s.variance + s.apart for s in tasks.values()])))
    assert np.mean(found, axis=0) == pytest.approx([2 * (1 + 4 / 4), 2 * (1 + 4)], rel=0.15)


def test_an_arm_ten_times_as_noisy_is_told_and_alike_arms_seldom_are() -> None:
    rng = np.random.default_rng(2)
    found = alike = further = 0
    for _ in range(100):
        means = rng.normal(0, 1, (5, 3))
        alike += bool(noisy_arms({"t": means}, {"t": 1.0}))
        named = noisy_arms({"t": means * [[1], [10], [1], [1], [1]]}, {"t": 1.0})
        found += 1 in named
        further += len(named) > 1
    assert found >= 85 and alike <= 30 and further <= 5


@pytest.mark.parametrize(("kept", "least"), [(2, 60), (4, 90)])
def test_a_noisy_arm_that_lost_a_seed_is_told_by_those_that_it_kept(kept: int, least: int) -> None:
    rng = np.random.default_rng(2)
    found = alike = others = 0
    for _ in range(100):
        means = rng.normal(0, 1, (5, kept + 1))
        means[1, 0] = np.nan
        named = noisy_arms({"t": means}, {"t": 1.0})
        alike += 1 in named
        others += bool(named - {1})
        found += 1 in noisy_arms({"t": means * [[1], [10], [1], [1], [1]]}, {"t": 1.0})
    assert found >= least and alike <= 20 and others <= 30
    one_left = np.array([[1.0, 2, 3], [3, 1, 2], [2, 3, 1], [9, np.nan, np.nan]])
    assert 3 not in noisy_arms({"t": one_left}, {"t": 1.0})


def test_no_number_depends_on_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(4)
    shares = table_shares(["x"] * 3 + ["y"] * 3, [True, False, False] * 2)
    gains = rng.integers(-1, 2, (6, 60)).astype(float)
    spreads = [
        Estimate(gain.mean(), 1e-4 * (k + 1), 2, 1e-3, 59, "") for k, gain in enumerate(gains)
    ]
    rows = [
        replace(noise_of(gain, f"row {k}"), estimate=spread)
        for k, (gain, spread) in enumerate(zip(gains, spreads, strict=True))
    ]
    p_values = [spread.p_value() for spread in spreads]
    first, order = adjust(p_values, shares, rows, 0, 0.95), [4, 0, 3, 5, 1, 2]
    second = adjust(
        [p_values[row] for row in order], shares.at(order), [rows[row] for row in order], 0, 0.95
    )
    assert second.p_values == [first.p_values[row] for row in order]
    assert second.shares.own.tolist() == first.shares.own[order].tolist()
