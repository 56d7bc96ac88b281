"""A planted best ratio is found, and nothing is recommended without one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from eval.deltas import Fit
from eval.statistics import fit
from tests.benchmarks.verdicts import GEOMETRIC, collapse

RATIOS = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0]


def fitted(
    truth: Callable[[np.ndarray[Any, Any]], Any], sd: float, rng: np.random.Generator
) -> Fit:
    """Scores that share 60% of their variance, as ratios scored on the same documents do."""
    k = len(RATIOS)
    covariance = sd**2 * (0.6 * np.ones((k, k)) + 0.4 * np.eye(k))
    scores = truth(np.array(RATIOS)) + rng.multivariate_normal(np.zeros(k), covariance)
    return fit.fit_ratios(RATIOS, scores, covariance, confidence=0.95, seed=0)


@pytest.mark.parametrize("sd", [0.005, 0.02])
def test_the_interval_of_the_best_ratio_holds_a_planted_optimum(sd: float) -> None:
    rng = np.random.default_rng(0)
    rounds, best = 100, 0.45
    found = [fitted(lambda x: 0.4 - 0.3 * (x - best) ** 2, sd, rng) for _ in range(rounds)]
    held = [f.best is not None and f.best.low <= best <= f.best.high for f in found]
    told = sum(f.recommendation.startswith("Best ratio 0.") for f in found)
    assert sum(map(bool, held)) / rounds >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / rounds)
    assert told / rounds >= 0.8


def test_flat_scores_recommend_nothing() -> None:
    rng = np.random.default_rng(1)
    rounds = 100
    told = [fitted(lambda x: 0.4 + 0 * x, 0.01, rng).recommendation for _ in range(rounds)]
    wrong = sum(not text.startswith("No recommendation") for text in told)
    assert wrong / rounds <= 0.05
    assert sum("do not differ detectably" in text for text in told) / rounds >= 0.85


def test_a_rising_curve_recommends_nothing_but_to_measure_higher_ratios() -> None:
    text = fitted(lambda x: 0.2 + 0.3 * x, 0.005, np.random.default_rng(2)).recommendation
    assert text.startswith("No recommendation: the best ratio is the edge 1 of the range")
    assert "measure higher ones" in text


def test_three_ratios_are_too_few_and_still_drawn() -> None:
    found = fit.fit_ratios([0, 0.1, 0.2], np.zeros(3), np.eye(3), confidence=0.95, seed=0)
    assert found.best is None and found.curve == [] and len(found.points) == 3
    assert "3 ratios are too few" in found.recommendation


def test_a_jump_that_no_form_describes_recommends_nothing() -> None:
    scores = np.array([0.1, 0.5, 0.1, 0.5, 0.1, 0.5])
    found = fit.fit_ratios(RATIOS, scores, np.eye(6) * 1e-6, confidence=0.95, seed=0)
    assert "no smooth curve fits" in found.recommendation


def test_neighbours_that_cannot_be_told_apart_are_named() -> None:
    found = fit.fit_ratios(
        RATIOS,
        np.array([0.1, 0.3, 0.40, 0.401, 0.3, 0.1]),
        np.eye(6) * 1e-4,
        confidence=0.95,
        seed=0,
    )
    assert [(n.ratio, n.distinguishable) for n in found.neighbours] == [
        (0.25, False),
        (0.75, True),
    ]
    assert "not distinguishable from 0.25" in found.recommendation


def test_the_covariance_counts_documents_shared_by_ratios_and_seeds_of_each() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 1, 400)
    units = [(1.0, [np.tile(shared, (3, 1)) for _ in range(4)])]
    same = fit.covariance_of(units, np.zeros((4, 3)))
    assert same == pytest.approx(np.full((4, 4), np.var(shared, ddof=1) / 400))
    noisy = fit.covariance_of(units, rng.normal(0, 0.1, (4, 3)))
    assert np.all(np.diag(noisy - same) > 1e-4)
    assert (noisy - same)[0, 1] == pytest.approx(0)


def test_a_best_ratio_far_from_any_measured_one_is_not_recommended_but_named() -> None:
    found = collapse(GEOMETRIC, 20, np.random.default_rng(4))
    assert found == {"recommended inside it": 0, "asks to measure": 1}


def test_a_recommendation_says_between_which_ratios_it_takes_the_curve_for_smooth() -> None:
    scores = 0.4 - 0.3 * (np.array(RATIOS) - 0.5) ** 2
    found = fit.fit_ratios(RATIOS, scores, np.eye(6) * 1e-6, confidence=0.95, seed=0)
    assert re.fullmatch(
        r"Best ratio 0\.5 .*; this takes the score for smooth between 0\.25 and 0\.75\.",
        found.recommendation,
    )
