"""By simulation: false findings per table, coverage of intervals, power at the stated effect."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from eval.compare import comparison
from eval.compare.scores import Evaluated
from eval.deltas import DeltaTable
from eval.results import TaskResult
from eval.statistics import crossed, stats
from eval.statistics.paired import Scored
from eval.statistics.power import POWER, detectable
from tests.benchmarks.coverage import Design, one_seed_coverage, simulate


def bound(rate: float, rounds: int) -> float:
    """Three Monte Carlo standard errors."""
    return 3 * math.sqrt(rate * (1 - rate) / rounds)


def scored(values: NDArray[np.float64], group_size: int, task: str) -> Scored:
    rows = [
        ((i, f"{task} {i}"), float(v), f"{task} g{i // group_size:04d}" if group_size > 1 else None)
        for i, v in enumerate(values)
    ]
    return Scored.of(rows, "t")


def table(design: Design, rng: np.random.Generator) -> DeltaTable:
    """One comparison of simulated arms; arm 0 is the control."""
    by_task = [simulate(design, rng) for _ in range(design.tasks)]
    models = []
    for arm in range(design.arms):
        for seed in range(design.seeds):
            scores = {f"t{k}": values[arm, seed] for k, values in enumerate(by_task)}
            tasks = {
                name: TaskResult(
                    metric="acc",
                    n=design.documents,
                    score=float(v.mean()),
                    stderr=0.0,
                    version=1,
                    num_fewshot=0,
                    kind="k",
                    backend="hf",
                )
                for name, v in scores.items()
            }
            macro = float(np.mean([task.score for task in tasks.values()]))
            lined = {name: scored(v, design.group_size, name) for name, v in scores.items()}
            name = f"arm{arm}"
            models.append(Evaluated(f"{name},{seed}", name, seed, tasks, macro, lined))
    return comparison.compare(
        models, control="arm0", bootstrap=200, confidence=0.95, seed=int(rng.integers(1 << 30))
    )


@pytest.mark.parametrize(
    "design",
    [
        Design(arms=3, tasks=2, seeds=1, documents=100),
        Design(arms=3, tasks=2, seeds=1, documents=120, group_size=4, group_sd=2.0),
        Design(arms=4, tasks=2, seeds=3, documents=60),
        Design(arms=4, tasks=2, seeds=3, documents=60, seed_sd=0.3),
        Design(arms=4, tasks=2, seeds=3, documents=60, group_size=4, group_sd=2.0, seed_sd=0.1),
        Design(arms=5, tasks=2, seeds=3, documents=60, seed_sd=0.2, uneven=(1, 3.0)),
        Design(arms=5, tasks=2, seeds=3, documents=60, seed_sd=0.2, uneven=(0, 3.0)),
    ],
    ids=[
        "one seed",
        "groups",
        "equal seeds",
        "noisy seeds",
        "groups and noisy seeds",
        "uneven",
        "uneven control",
    ],
)
def test_without_an_effect_at_most_five_percent_of_tables_hold_a_false_finding(
    design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A third of the time, and no verdict reads it; its own promise is below.
    monkeypatch.setattr(comparison, "_detectable", lambda *_: math.nan)
    rng = np.random.default_rng(1)
    rounds = 200 if design.seeds > 1 else 80
    false = sum(
        any(row.verdict != stats.UNCHANGED for row in table(design, rng).rows)
        for _ in range(rounds)
    )
    assert false / rounds <= 0.05 + bound(0.05, rounds)


@pytest.mark.parametrize(
    ("documents", "changed", "effect"), [(50, 0.05, 0.03), (100, 0.1, 0.05), (300, 0.3, 0.15)]
)
def test_the_interval_of_one_seed_covers_a_true_effect(
    documents: int, changed: float, effect: float
) -> None:
    rounds = 500
    found = one_seed_coverage(documents, changed, effect, rounds, np.random.default_rng(6))
    assert found["ours"] >= 0.95 - bound(0.95, rounds)


def estimates(differences: NDArray[np.float64]) -> list[crossed.Estimate]:
    """Of each simulated comparison: rounds x seeds x documents."""
    return [crossed.estimate(d.mean(axis=1), [crossed.of_documents(d)]) for d in differences]


def gaussian(
    rng: np.random.Generator, rounds: int, shape: tuple[int, int], parts: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Differences with given standard deviations of seeds, documents and residuals."""
    (seeds, n), (by_seed, by_document, residual) = shape, parts
    return (
        rng.normal(0, by_seed, (rounds, seeds, 1))
        + rng.normal(0, by_document, (rounds, 1, n))
        + rng.normal(0, residual, (rounds, seeds, n))
    )


PARTS = [(0.0, 0.4, 0.2), (0.0, 0.0, 0.4), (0.03, 0.3, 0.3), (0.3, 0.3, 0.3)]


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("parts", PARTS, ids=["documents", "residual", "some seeds", "seeds"])
def test_the_interval_over_seeds_covers_a_true_effect(
    seeds: int, parts: tuple[float, float, float]
) -> None:
    rounds, effect = 500, 0.07
    found = estimates(effect + gaussian(np.random.default_rng(2), rounds, (seeds, 80), parts))
    intervals = [one.interval(0.95) for one in found]
    covered = sum(low <= effect <= high for low, high in intervals)
    assert covered / rounds >= 0.95 - bound(0.95, rounds)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("parts", PARTS, ids=["documents", "residual", "some seeds", "seeds"])
def test_the_stated_effect_is_found_with_the_stated_power(
    seeds: int, parts: tuple[float, float, float]
) -> None:
    """Each estimate's own, given to it: its width is known, what it varies by is not."""
    rounds = 500
    found = estimates(gaussian(np.random.default_rng(3), rounds, (seeds, 80), parts))
    share = sum(one.delta + detectable(one, 0.05) > one.half_width(0.95) for one in found) / rounds
    assert abs(share - POWER) <= 0.04 + bound(POWER, rounds)


def test_the_p_value_and_the_interval_say_the_same() -> None:
    for one in estimates(0.05 + gaussian(np.random.default_rng(4), 200, (3, 50), PARTS[2])):
        p = one.p_value()
        low, high = one.interval(1 - p)
        assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-6)
        assert (p <= 0.05) == (not one.interval(0.95)[0] <= 0 <= one.interval(0.95)[1])


def test_pooling_uses_every_arm_and_loses_certainty_where_arms_differ() -> None:
    means = np.random.default_rng(5).normal(0, 1, (5, 3))
    even, uneven = crossed.pool(means), crossed.pool(means * [[1], [1], [1], [1], [20]])
    assert even is not None and uneven is not None
    residual = means - means.mean(1, keepdims=True) - means.mean(0) + means.mean()
    assert even.variance == pytest.approx(2 * np.sum(residual**2) / 8)
    assert 2 <= uneven.df < even.df <= 8
    assert crossed.pool(means[:1]) is None and crossed.pool(means[:, :1]) is None


def test_an_arm_with_one_seed_lends_no_spread_and_one_with_two_lends_what_it_has() -> None:
    rng = np.random.default_rng(8)
    means = rng.normal(0, 1, (5, 3))
    lost = np.vstack([means, [[0.3, math.nan, math.nan]]])
    assert crossed.pool(lost) == crossed.pool(means)
    variances = []
    for _ in range(400):
        uneven = rng.normal(0, 1, (5, 3)) + rng.normal(0, 3, 3)
        uneven[4, 2] = math.nan
        pooled = crossed.pool(uneven)
        assert pooled is not None and 1 <= pooled.df <= 7
        variances.append(pooled.variance)
    assert np.mean(variances) == pytest.approx(2, rel=0.1)


def test_the_spread_of_one_arm_counts_what_all_arms_share_under_a_seed() -> None:
    rng = np.random.default_rng(9)
    alone = [crossed.pool_alone(rng.normal(0, 1, (4, 3)) + rng.normal(0, 2, 3)) for _ in range(400)]
    assert np.mean([one.variance for one in alone if one]) == pytest.approx(5, rel=0.15)


def test_identical_seeds_and_documents_are_not_certain() -> None:
    one = crossed.estimate(np.zeros(3), [crossed.of_documents(np.zeros((3, 50)))])
    low, high = one.interval(0.95)
    assert low < 0 < high and one.p_value() == 1
