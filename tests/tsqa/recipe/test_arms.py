"""The arms of an ablation: whole recipes, at exactly rescaled ratios, under one control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.recipe_files import BASE, refusal, write
from tsqa.errors import RecipeError
from tsqa.recipe import BASIS_POINTS, Arm, arms_of, control_of, load_recipe, rescale_ratios

ABLATION = """
ablation:
  axes:
    mixture.synthetic: [0.0, 0.4, 0.7]
    train.lr: [1e-3, 2e-3]
  control: {mixture.synthetic: 0, train.lr: 1e-3}
"""


def test_arms_are_the_product_of_the_axes_and_the_control_is_one_of_them(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, BASE + ABLATION))
    arms = arms_of(recipe)
    assert len(arms) == 6
    assert control_of(recipe) in arms
    assert arms[control_of(recipe)].recipe.mixture.phases[0].ratios["synthetic"] == 0
    assert all(arm.recipe.ablation is None for arm in arms.values())


def test_each_condition_runs_once_per_seed(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, BASE + ABLATION + "  seeds: [3, 4]\n"))
    arms = arms_of(recipe)
    assert len(arms) == 12
    assert {arm.condition for arm in arms.values()} == {
        name.rpartition(",seed=")[0] for name in arms
    }
    assert all(arm.recipe.seed == arm.seed for arm in arms.values())
    assert control_of(recipe) in {arm.condition for arm in arms.values()}


def test_an_arm_at_the_recipes_own_values_is_the_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, BASE + ABLATION))
    same = arms_of(recipe)["synthetic=0.7,lr=1e-3"].recipe
    assert same.data_config() == {**recipe.data_config(), "ablation": None}


def test_without_an_ablation_there_is_one_arm(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, BASE))
    assert arms_of(recipe) == {"main": Arm("main", "main", recipe.seed, recipe)}
    assert control_of(recipe) == "main"


@pytest.mark.parametrize(
    ("axis", "value", "expected"),
    [
        ("train.lrr", 1, r"train\.lrr: no such key: `lrr`\n  fix: did you mean `lr`"),
        ("mixture.synthetik", 0.5, "did you mean `synthetic`"),
        ("mixture.synthetic", 1.5, "share from 0 to 1"),
        ("mixture.synthetic", 0.00005, "whole basis points"),
        ("mixture.synthetic", "many", "expected a number"),
        ("train.lr", -1, "arm lr=-1: train.lr"),
    ],
)
def test_an_arm_that_cannot_be_is_refused(
    tmp_path: Path, axis: str, value: Any, expected: str
) -> None:
    text = f"ablation: {{axes: {{{axis}: [{value}]}}, control: {{{axis}: {value}}}}}\n"
    with pytest.raises(RecipeError, match=expected):
        arms_of(load_recipe(write(tmp_path, BASE + text)))


def test_a_control_outside_its_axis_is_refused(tmp_path: Path) -> None:
    text = BASE + "ablation: {axes: {train.lr: [1, 2]}, control: {train.lr: 3}}\n"
    assert "is not in its axis" in refusal(write(tmp_path, text))


@st.composite
def mixtures(draw: st.DrawFn) -> dict[str, int]:
    names = draw(st.lists(st.sampled_from("abcdef"), min_size=2, unique=True))
    cuts = draw(st.lists(st.integers(0, BASIS_POINTS), min_size=len(names) - 1))
    edges = [0, *sorted(cuts[: len(names) - 1]), BASIS_POINTS]
    return {name: edges[i + 1] - edges[i] for i, name in enumerate(names)}


@given(mixtures(), st.integers(0, BASIS_POINTS))
def test_rescaling_sums_to_one_and_keeps_proportions(points: dict[str, int], share: int) -> None:
    source, *others = points
    assume(sum(points[name] for name in others) > 0)
    ratios = {name: value / BASIS_POINTS for name, value in points.items()}
    try:
        scaled = rescale_ratios(ratios, source, share / BASIS_POINTS)
    except RecipeError as error:
        assert "less than a basis point" in str(error)
        return
    after = {name: round(value * BASIS_POINTS) for name, value in scaled.items()}
    assert all(value == after[name] / BASIS_POINTS for name, value in scaled.items())
    assert sum(after.values()) == BASIS_POINTS
    assert after[source] == share
    total, left = sum(points[name] for name in others), BASIS_POINTS - share
    for name in others:
        assert abs(after[name] - left * points[name] / total) < 1
        assert after[name] or not points[name] or not left


@given(mixtures())
def test_rescaling_to_the_share_it_has_changes_nothing(points: dict[str, int]) -> None:
    source, *others = points
    assume(sum(points[name] for name in others) > 0)
    ratios = {name: value / BASIS_POINTS for name, value in points.items()}
    assert rescale_ratios(ratios, source, ratios[source]) == ratios


def test_a_source_of_one_basis_point_is_not_rounded_away() -> None:
    ratios = {"web": 0.8999, "rare": 0.0001, "synthetic": 0.1}
    scaled = rescale_ratios(ratios, "synthetic", 0.2)
    assert scaled == {"web": 0.7999, "rare": 0.0001, "synthetic": 0.2}
    with pytest.raises(RecipeError, match="leaves rare less than a basis point"):
        rescale_ratios(ratios, "synthetic", 0.8)


def test_rescaling_without_another_source_is_refused() -> None:
    with pytest.raises(RecipeError, match="no other source takes the rest"):
        rescale_ratios({"a": 1.0}, "a", 0.5)
    assert rescale_ratios({"a": 1.0}, "a", 1.0) == {"a": 1.0}
