"""Intervals hold what they promise where the truth is known; alpha is the published one."""

from __future__ import annotations

import numpy as np
import pytest

from tsqa.review.estimate import (
    Drawn,
    estimate_rate,
    interval,
    krippendorff,
    needed_for_width,
    predict_rate,
)

SIZES = np.array([4000.0, 1000.0, 600.0, 300.0])
RATES = np.array([0.02, 0.05, 0.15, 0.4])
TRUE = float((SIZES * RATES).sum() / SIZES.sum())


def simulate(rng: np.random.Generator, drawn: list[int]) -> tuple[Drawn, np.ndarray, np.ndarray]:
    """A sample, which of it is unfit, and which of it is `accepted` (the first three strata)."""
    stratum = np.repeat(np.arange(len(drawn)), drawn)
    unfit = rng.random(len(stratum)) < RATES[stratum]
    return Drawn(stratum, SIZES), unfit, stratum < 3


@pytest.mark.parametrize("drawn", [[200, 50, 30, 15], [60, 60, 60, 60], [40, 10, 6, 3]])
def test_the_interval_covers_the_true_rate(drawn: list[int]) -> None:
    rng = np.random.default_rng(5)
    covered, values = 0, []
    for _ in range(400):
        sample, unfit, _ = simulate(rng, drawn)
        rate = estimate_rate(sample, unfit, np.ones(len(unfit), bool))
        assert rate.value is not None and rate.low is not None and rate.high is not None
        covered += rate.low <= TRUE <= rate.high
        values.append(rate.value)
    assert covered >= 400 * 0.93
    assert np.mean(values) == pytest.approx(TRUE, rel=0.06), "weights make the total right"


def test_the_interval_of_a_ratio_covers_it() -> None:
    """Recall of a filter: of all that is unfit, the share in the last stratum."""
    rng = np.random.default_rng(6)
    true = float(SIZES[3] * RATES[3] / (SIZES * RATES).sum())
    covered = 0
    for _ in range(400):
        sample, unfit, others = simulate(rng, [200, 60, 60, 60])
        rate = estimate_rate(sample, ~others, unfit)
        assert rate.low is not None and rate.high is not None
        covered += rate.low <= true <= rate.high
    assert covered >= 400 * 0.93


def test_nothing_found_is_not_nothing_there() -> None:
    sample = Drawn(np.zeros(60, int), np.array([1000.0]))
    none, all_of = np.zeros(60, bool), np.ones(60, bool)
    rate = estimate_rate(sample, none, all_of)
    assert rate.value == 0 and rate.high == pytest.approx(1 - 0.025 ** (1 / 60))
    assert estimate_rate(sample, none, none).value is None


def test_a_dataset_reviewed_whole_leaves_no_doubt_about_itself() -> None:
    sample = Drawn(np.zeros(50, int), np.array([50.0]))
    unfit = np.arange(50) < 5
    rate = estimate_rate(sample, unfit, np.ones(50, bool), finite=True)
    assert (rate.low, rate.value, rate.high) == (0.1, 0.1, 0.1)
    process = estimate_rate(sample, unfit, np.ones(50, bool))
    assert process.low is not None and process.low < 0.05


def test_the_size_gives_the_width() -> None:
    for assumed in (0.02, 0.1, 0.5):
        count = needed_for_width(0.05, assumed)
        low, high = interval(assumed, count)
        before = interval(assumed, count - 1)
        assert high - low <= 0.05 < before[1] - before[0]
    assert needed_for_width(0.05, 0.1, 300) < 300


def test_alpha_is_that_of_krippendorffs_example() -> None:
    """Nominal data of Krippendorff 2011, section C: four observers, 12 units, alpha 0.743."""
    rows = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    units = [[v for v in unit if v != "."] for unit in zip(*map(str.split, rows), strict=True)]
    alpha = krippendorff(units)
    assert alpha.value == pytest.approx(0.743, abs=0.0005) and alpha.items == 11
    assert alpha.low is not None and alpha.high is not None
    assert alpha.low < 0.743 < alpha.high <= 1


def test_alpha_needs_two_reviewers_and_a_difference() -> None:
    assert krippendorff([["fit"], ["unfit"]]).value is None
    assert krippendorff([["fit", "fit"]] * 5).value is None
    same = krippendorff([["fit", "fit"], ["unfit", "unfit"]] * 20)
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("sizes", "rates", "drawn"),
    [([100], [0.05], [50]), ([100], [0.02], [90]), ([400, 100], [0.02, 0.1], [200, 50])],
)
def test_what_nobody_saw_is_within_its_bound_where_much_was_seen(
    sizes: list[int], rates: list[float], drawn: list[int]
) -> None:
    rng = np.random.default_rng(7)
    stratum, within = np.repeat(np.arange(len(drawn)), drawn), 0
    sample = Drawn(stratum, np.array(sizes, float))
    for _ in range(400):
        whole = [rng.random(size) < rate for size, rate in zip(sizes, rates, strict=True)]
        seen = np.concatenate([each[:n] for each, n in zip(whole, drawn, strict=True)])
        unseen = np.concatenate([each[n:] for each, n in zip(whole, drawn, strict=True)])
        found = predict_rate(sample, seen, np.ones(len(seen), bool))
        assert found.low is not None and found.high is not None
        within += found.low <= unseen.mean() <= found.high
    assert within >= 400 * 0.95


def test_one_item_of_a_large_stratum_says_little_of_it() -> None:
    """A small stratum of which much was seen does not make up for it."""
    stratum = np.repeat([0, 1], [1, 100])
    unfit = np.arange(101) == 100
    rate = estimate_rate(Drawn(stratum, np.array([1000.0, 1000.0])), unfit, np.ones(101, bool))
    assert rate.high is not None and rate.high > 0.4
