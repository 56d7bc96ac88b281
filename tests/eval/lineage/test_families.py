"""A task is seeded, of a seeded capability, of another one, or of unknown family."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from eval.lineage.families import Kin, Kinship, Seeded, _sources, part_of
from eval.statistics import stats
from tests.support.generation import make_seed
from tests.support.paths import REPOSITORY
from tests.support.sealed import invented_artifact
from tsqa.recipe import arms_of, control_of, load_recipe
from tsqa.seeds.taxonomy import load_taxonomy, stated_family
from tsqa.store.jsonl import write_jsonl

ARC = Kin("arc_easy", "arc", "knowledge", True)
MATH = Kin("gsm8k", "gsm8k", "math", True)


@pytest.mark.parametrize(
    ("task", "part"),
    [
        (Kin("arc_challenge", "arc", "knowledge", True), stats.SEEDED),
        (Kin("sciq", "sciq", "knowledge", True), stats.SAME_CAPABILITY),
        (Kin("piqa", "piqa", "commonsense", True), stats.OTHER_CAPABILITIES),
        (Kin("mine", "mine2", "other", True), stats.OTHER_FAMILIES),
        (Kin("mine", "mine", "knowledge", False), stats.UNKNOWN_FAMILY),
    ],
)
def test_the_part_of_a_task(task: Kin, part: str) -> None:
    assert part_of(task, Seeded(frozenset({ARC, MATH}))) == part


def test_seeds_of_unknown_family_or_not_at_hand_leave_no_task_called_another_family() -> None:
    own = Kin("own", "own", "knowledge", False)
    sciq = Kin("sciq", "sciq", "knowledge", True)
    assert part_of(sciq, Seeded(frozenset({own}))) == stats.UNKNOWN_FAMILY
    assert part_of(sciq, Seeded(frozenset({ARC}), is_whole=False)) == stats.UNKNOWN_FAMILY
    assert part_of(own, Seeded(frozenset({own}))) == stats.SEEDED
    # Whoever holds a family out says that no seed is of it.
    assert part_of(sciq, Seeded(frozenset({own}), frozenset({"sciq"}))) == stats.SAME_CAPABILITY


def test_a_family_is_held_out_only_where_all_that_leaves_a_doubt_holds_it_out() -> None:
    own = Seeded(frozenset({Kin("own", "own", "knowledge", False)}), frozenset({"sciq"}))
    sciq = {"sciq": Kin("sciq", "sciq", "knowledge", True)}
    sides = {"x": own, "lost": Seeded(is_whole=False), "known": Seeded(frozenset({ARC}))}
    kin = Kinship(sciq, sides)
    assert kin.split("x", "lost") == {stats.UNKNOWN_FAMILY: ["sciq"]}
    assert kin.split("x", "known") == {stats.SAME_CAPABILITY: ["sciq"]}
    assert kin.split("x", "c") == {stats.SAME_CAPABILITY: ["sciq"]}


@pytest.mark.parametrize("name", ["recipe", "local"])
def test_the_shipped_real_recipe_states_the_family_of_each_task(name: str) -> None:
    recipe = load_recipe(REPOSITORY / "recipes" / "real" / f"{name}.yaml")
    assert recipe.eval is not None and recipe.seeds is not None
    stated = {stated_family(task, recipe.seeds.families) for task in recipe.eval.tasks}
    assert stated == {"arc_easy", "openbookqa"}


def test_the_shipped_ablation_of_transfer_splits_its_tasks_as_its_arms_are_called() -> None:
    recipe = load_recipe(REPOSITORY / "recipes" / "ablations" / "transfer.yaml")
    assert recipe.eval is not None
    taxonomy = load_taxonomy()

    def kin(task: str) -> Kin:
        return Kin(task, task, taxonomy.capability(task, [], task), True)

    arms = {arm.condition: arm.recipe for arm in arms_of(recipe).values()}
    seeds = {
        name: Seeded(frozenset(map(kin, own.seeds.tasks)))
        for name, own in arms.items()
        if own.seeds and name != control_of(recipe)
    }
    known = Kinship({task: kin(task) for task in recipe.eval.tasks}, seeds)
    day, month, sequence = recipe.eval.tasks
    assert known.split("same families", "no seeds") == {stats.SEEDED: [day, month, sequence]}
    assert known.split("other families", "no seeds") == {
        stats.SAME_CAPABILITY: [day, month],
        stats.OTHER_CAPABILITIES: [sequence],
    }
    assert known.split("no seeds", "base") == {}


def test_either_side_of_a_comparison_counts_and_none_makes_no_split() -> None:
    kin = Kinship({"arc_easy": ARC, "gsm8k": MATH}, {"x": Seeded(frozenset({ARC}))})
    split = {stats.SEEDED: ["arc_easy"], stats.OTHER_CAPABILITIES: ["gsm8k"]}
    assert kin.split("x", "c") == kin.split("c", "x") == split
    assert kin.split("c", "d") == {}


def test_documents_are_of_unknown_family_unless_the_recipe_says_it(tmp_path: Path) -> None:
    seeds = [replace(make_seed(0), task=name, family=name) for name in ("gsm8k", "books")]
    write_jsonl(tmp_path / "seeds.jsonl", map(asdict, seeds))
    made = invented_artifact(
        tmp_path,
        config={"datasets": [], "documents": [{"name": "books"}]},
        summary={"by_task": {"gsm8k": 1, "books": 1}},
    )
    known = {one.task: one.is_known for one in _sources(made, {})}
    assert known == {"gsm8k": True, "books": False}
    assert all(one.is_known for one in _sources(made, {"books": "novels"}))


def test_a_name_wins_over_a_glob() -> None:
    families = {"arc*": "arc", "arc_own": "mine", "*": "rest"}
    assert [stated_family(t, families) for t in ("arc_x", "arc_own", "q")] == [
        "arc",
        "mine",
        "rest",
    ]
    assert stated_family("q", {}) is None
