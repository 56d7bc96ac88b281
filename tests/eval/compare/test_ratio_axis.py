"""Only an ablation of one ratio has an axis; its points are the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from eval.compare.ratio_axis import RatioAxis, ratio_axis
from eval.statistics import stats
from tests.support.invented_arms import deltas_of, seeded
from tsqa.recipe import load_recipe


def test_only_an_axis_of_one_ratio_is_fitted() -> None:
    path = Path("recipes/quickstart/recipe.yaml")
    axis = ratio_axis(load_recipe(path, ["ablation.seeds=[1,2]"]))
    assert axis is not None and list(axis.ratios.values()) == [0, 0.25, 0.5]
    other = "ablation={axes: {train.lr: [0.001, 0.002]}, control: {train.lr: 0.001}}"
    assert ratio_axis(load_recipe(path, [other])) is None


def test_an_ablation_of_one_ratio_is_fitted() -> None:
    rates = {0.0: 0.2, 0.1: 0.4, 0.25: 0.5, 0.5: 0.4, 1.0: 0.1}
    models = [model for r, rate in rates.items() for model in seeded(f"synthetic={r}", rate, 1, 2)]
    axis = RatioAxis("mixture.synthetic", {f"synthetic={r}": r for r in rates})
    deltas = deltas_of(*models, control="synthetic=0.0", axis=axis)
    assert deltas.fit is not None
    assert deltas.fit.axis == "mixture.synthetic" and deltas.fit.task == stats.MACRO
    for point in deltas.fit.points:
        name = f"synthetic={point.ratio}"
        assert point.score == pytest.approx(deltas.scores[name][stats.MACRO])
        assert point.low < point.score < point.high
    assert deltas.fit.recommendation in deltas.conclusion
    assert deltas_of(*models, control="synthetic=0.0").fit is None


def test_the_fit_names_what_lacks_a_seed_of_the_control_and_keeps_what_has_more() -> None:
    rates = {0.0: 0.2, 0.1: 0.4, 0.25: 0.5, 0.5: 0.4, 1.0: 0.1}
    axis = RatioAxis("mixture.synthetic", {f"synthetic={r}": r for r in rates})

    def fitted(seeds_of: Mapping[float, Sequence[int]]) -> tuple[list[float], str]:
        models = [
            model
            for r, rate in rates.items()
            for model in seeded(f"synthetic={r}", rate, *seeds_of.get(r, (1, 2)))
        ]
        deltas = deltas_of(*models, control="synthetic=0.0", axis=axis)
        assert deltas.fit is not None
        return [point.ratio for point in deltas.fit.points], deltas.caveat

    points, caveat = fitted({0.25: [1]})
    assert points == [0.0, 0.1, 0.5, 1.0]
    assert "left out of the fit: synthetic=0.25." in caveat
    points, caveat = fitted({0.0: [2]})
    assert points == list(rates) and "left out" not in caveat


def test_the_fit_of_one_seed_takes_the_spread_that_is_stated_or_that_the_arms_show() -> None:
    rates = {0.0: 0.2, 0.1: 0.4, 0.25: 0.5, 0.5: 0.4, 1.0: 0.1}
    axis = RatioAxis("mixture.synthetic", {f"synthetic={r}": r for r in rates})

    def width(seeds: Sequence[int], **options: float) -> float:
        models = [
            model
            for r, rate in rates.items()
            for model in seeded(f"synthetic={r}", rate + 0.02 * r, *(seeds if r else [1]))
        ]
        deltas = deltas_of(*models, control="synthetic=0.0", axis=axis, **options)
        assert deltas.fit is not None
        return deltas.fit.points[2].high - deltas.fit.points[2].low

    alone = width([1])
    stated = width([1], seed_spread=0.05)
    assert stated**2 == pytest.approx(alone**2 + (2 * 1.96 * 0.05) ** 2, rel=0.15)
    assert width([1, 2, 3]) > alone
