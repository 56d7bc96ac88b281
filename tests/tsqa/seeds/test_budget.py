"""Budgets: exact, bounded, order-free; the taxonomy maps every miniature task."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.generation import TASKS
from tsqa.errors import DataError, RecipeError
from tsqa.recipe import BudgetSection
from tsqa.seeds.budget import Pool, allocate, plan_seeds
from tsqa.seeds.taxonomy import load_taxonomy

NAMES = st.sampled_from("abcdefghij")
POOLS = st.dictionaries(
    NAMES, st.tuples(st.floats(0.01, 1e6), st.integers(0, 5000)), min_size=1, max_size=10
)


@given(st.integers(0, 20_000), POOLS)
def test_an_allocation_is_exact_and_bounded(
    total: int, pools: dict[str, tuple[float, int]]
) -> None:
    weights = {name: weight for name, (weight, _) in pools.items()}
    bounds = {name: bound for name, (_, bound) in pools.items()}
    given_to = allocate(total, weights, bounds)
    assert sum(given_to.values()) == min(total, sum(bounds.values()))
    assert all(0 <= given_to[name] <= bounds[name] for name in pools)
    backwards = allocate(total, dict(reversed(weights.items())), bounds)
    assert backwards == given_to


@given(st.integers(1, 5000), POOLS)
def test_an_unbounded_allocation_is_within_one_of_its_share(
    total: int, pools: dict[str, tuple[float, int]]
) -> None:
    weights = {name: weight for name, (weight, _) in pools.items()}
    given_to = allocate(total, weights, dict.fromkeys(pools, total))
    scale = sum(weights.values())
    for name, weight in weights.items():
        assert abs(given_to[name] - total * weight / scale) < 1 + 1e-6


def test_a_small_pool_gives_all_and_the_rest_is_shared_by_weight() -> None:
    weights, bounds = {"a": 1.0, "b": 1.0, "c": 2.0}, {"a": 5, "b": 100, "c": 200}
    assert allocate(101, weights, bounds) == {"a": 5, "b": 32, "c": 64}


POOL_SIZES = {
    "big": Pool("math", 9000, 1000),
    "small": Pool("math", 100, 100),
    "facts": Pool("knowledge", 400, 400),
}


@pytest.mark.parametrize(
    ("temperature", "planned"),
    [(1.0, {"big": 284, "small": 3, "facts": 13}), (1e9, {"big": 75, "small": 75, "facts": 150})],
)
def test_temperature_goes_from_proportional_to_equal(
    temperature: float, planned: dict[str, int]
) -> None:
    assert plan_seeds(POOL_SIZES, BudgetSection(total=300, temperature=temperature)) == planned


def test_named_capabilities_take_their_share_and_the_others_the_rest() -> None:
    budget = BudgetSection(total=400, capabilities={"knowledge": 0.25})
    planned = plan_seeds(POOL_SIZES, budget)
    assert planned["facts"] == 100
    assert planned["big"] + planned["small"] == 300
    whole = plan_seeds(POOL_SIZES, BudgetSection(total=10**6, capabilities={"knowledge": 0.25}))
    assert whole == {"big": 1000, "small": 100, "facts": 400}


def test_without_a_budget_every_pool_gives_its_bound() -> None:
    assert plan_seeds(POOL_SIZES, None) == {"big": 1000, "small": 100, "facts": 400}


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"cooking": 0.5}, "no task has the capability cooking"),
        ({"math": 0.4, "knowledge": 0.4}, "no other capability takes the rest"),
    ],
)
def test_shares_that_fit_no_plan_are_refused(shares: dict[str, float], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        plan_seeds(POOL_SIZES, BudgetSection(total=10, capabilities=shares))


def test_every_miniature_task_has_a_capability_and_group() -> None:
    taxonomy = load_taxonomy()
    found = {task: taxonomy.capability(task, [], task) for task in TASKS}
    assert "other" not in found.values()
    assert taxonomy.group_of(found["mini_unit"]) == "reasoning-intensive"
    assert taxonomy.group_of(found["mini_day"]) == "knowledge-intensive"


def test_task_beats_tag_beats_family_and_the_longest_pattern_wins() -> None:
    taxonomy = load_taxonomy()
    assert taxonomy.capability("mgsm_direct_ca", [], "catalan_bench") == "math"
    assert taxonomy.capability("unheard_of", ["math_word_problems"], "arc") == "math"
    assert taxonomy.capability("unheard_of", [], "arc") == "knowledge"
    assert taxonomy.capability("unheard_of", [], "unheard_of") == "other"
    assert taxonomy.language("mgsm_en_cot_de", [], "mgsm") == "de"
    assert taxonomy.language("afrimgsm_cot_amh_prompt_1", [], "afrimgsm") == "am"
    assert taxonomy.language("gsm8k", [], "gsm8k") == "en"


def test_an_own_taxonomy_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("capabilities: {own-group: {chess: [gsm8k, arc]}}\nlanguages: {de: [arc]}\n")
    taxonomy = load_taxonomy(path)
    assert taxonomy.capability("gsm8k", ["math_word_problems"], "gsm8k") == "chess"
    assert taxonomy.capability("arc_easy", ["ai2_arc"], "arc") == "chess"
    assert taxonomy.group_of("chess") == "own-group"
    assert taxonomy.language("arc_easy", [], "arc") == "de"
    assert taxonomy.capability("openbookqa", [], "openbookqa") == "knowledge"


@pytest.mark.parametrize(
    "text", ["- a list", "capability: {}", "capabilities: {math: [gsm8k]}", "capabilities: [", ""]
)
def test_a_malformed_taxonomy_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"bad\.yaml"):
        load_taxonomy(path)
