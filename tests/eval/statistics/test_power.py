"""The difference that a row finds with 80% power, with what other rows leave it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import norm

from eval.statistics.crossed import Floats
from eval.statistics.power import POWER, Left, detectable


@dataclass(frozen=True)
class Known:
    """A row whose standard error is known."""

    stderr: float

    def deviations(self) -> Floats:
        return np.array([self.stderr])

    def widths(self, chance: float) -> Floats:
        return np.array([norm.isf(chance / 2) * self.stderr])


def test_alone_it_is_the_sum_of_two_quantiles() -> None:
    assert detectable(Known(2.0), 0.05) == pytest.approx(2 * (norm.isf(0.025) + norm.isf(0.2)))


@pytest.mark.parametrize(("tasks", "apart"), [(1, 1.0), (2, 1.0), (6, 1.0), (6, 0.3), (6, 3.0)])
def test_it_is_found_so_often_where_one_task_of_a_mean_has_it(tasks: int, apart: float) -> None:
    rng, rounds = np.random.default_rng(0), 40_000
    own, leaves = 0.002, 0.04
    mean, row = Known(math.sqrt(1 + apart**2 / tasks)), Known(math.sqrt(1 + apart**2))
    effect = detectable(row, own, [Left(mean, leaves, 1 / tasks, leaves / tasks)])
    shown = rng.normal(0, 1, (rounds, 1)) + rng.normal(0, apart, (rounds, tasks))
    shown[:, 0] += effect
    p_mean, p_row = (
        2 * norm.sf(np.abs(one) / known.stderr)
        for one, known in ((shown.mean(axis=1), mean), (shown[:, 0], row))
    )
    found = p_row <= np.where(p_mean <= leaves, own + leaves / tasks, own)
    assert float(found.mean()) == pytest.approx(POWER, abs=0.02)


def test_what_is_left_by_a_row_that_is_hardly_moved_changes_nothing() -> None:
    alone = detectable(Known(1.0), 0.01)
    assert detectable(Known(1.0), 0.01, [Left(Known(1.0), 0.01, 1e-6, 0.04)]) == pytest.approx(
        alone, rel=1e-4
    )
