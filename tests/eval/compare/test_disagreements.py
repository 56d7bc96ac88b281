"""Promises of eval.disagreements: paired, counted in full, limited, and gaps with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.compare import disagreements
from eval.compare.disagreements import Evaluations
from eval.statistics import stats
from tests.support import page_world
from tests.support.sealed import invented_artifact
from tsqa.recipe import arms_of
from tsqa.store.artifact import Artifact


def side(name: str, root: Path, *by_seed: dict[str, list[float]]) -> Evaluations:
    made = {i: page_world.evaluation(root / f"{name}{i}", s) for i, s in enumerate(by_seed)}
    return Evaluations(name, made)


def test_fixed_and_broken_are_counted_over_the_seeds(tmp_path: Path) -> None:
    before = side("c", tmp_path, {"day": [0, 0, 1, 1, 0]}, {"day": [0, 0, 1, 0, 1]})
    after = side("x", tmp_path, {"day": [1, 1, 0, 1, 1]}, {"day": [1, 0, 0, 0, 0]})
    [pair] = disagreements.disagreements([("x - c", before, after)])["comparisons"]
    [counts] = pair["counts"]
    assert counts == {
        "task": "day",
        "n": 5,
        "fixed": 2,
        "fixed_always": 1,
        "broken": 1,
        "broken_always": 1,
        "mixed": 1,
        "told": "+10.0",
    }
    found = {item["document"]: item for item in pair["items"]}
    assert pair["changed"] == len(found) == 4
    kinds = sorted((i["kind"], i["fixed"], i["broken"]) for i in found.values())
    assert kinds == [("both ways", 1, 1), ("broken", 0, 2), ("fixed", 1, 0), ("fixed", 2, 0)]


def test_an_item_shows_what_each_seed_said(tmp_path: Path) -> None:
    before = side("c", tmp_path, {"day": [0, 1]}, {"day": [0, 1]})
    after = side("x", tmp_path, {"day": [1, 1]}, {"day": [0, 1]})
    made = disagreements.disagreements([("x - c", before, after)])
    [item] = made["comparisons"][0]["items"]
    document = made["documents"][item["document"]]
    assert (document["task"], document["doc_id"], document["answer"]) == ("day", 0, "metre")
    assert item["before"] == [["litre", 0.0], ["litre", 0.0]]
    assert item["after"] == [["metre", 1.0], ["litre", 0.0]]


def test_the_counts_sum_to_the_delta_of_the_table(tmp_path: Path) -> None:
    recipe = page_world.make_recipe([0.0, 0.5], [1, 2, 3])
    made = page_world.make_evaluations(tmp_path, recipe, ["day", "unit"], 80)
    deltas = page_world.make_deltas(recipe, made)
    sides: dict[str, dict[int, Artifact]] = {}
    for name, arm in arms_of(recipe).items():
        sides.setdefault(arm.condition, {})[arm.seed] = made[name]
    arm, control = (Evaluations(n, sides[n]) for n in ("synthetic=0.5", "synthetic=0.0"))
    found = disagreements.disagreements([("x", control, arm)])["comparisons"][0]
    rows = {r["task"]: r for r in deltas["rows"] if r["arm"] == "synthetic=0.5"}
    for counts in found["counts"]:
        assert counts["told"] == stats.points(rows[counts["task"]]["delta"])
    net = sum(item["fixed"] - item["broken"] for item in found["items"])
    assert found["changed"] == len(found["items"])
    total = np.mean([rows[task]["delta"] for task in ("day", "unit")])
    assert net / (3 * 160) == pytest.approx(total)


def test_the_base_model_is_paired_with_every_seed(tmp_path: Path) -> None:
    base = page_world.evaluation(tmp_path / "base", {"day": [0, 1]})
    after = side("c", tmp_path, {"day": [1, 1]}, {"day": [1, 0]})
    before = Evaluations("base", dict.fromkeys(after.by_seed, base))
    [pair] = disagreements.disagreements([("c - base", before, after)])["comparisons"]
    assert [(i["fixed"], i["broken"]) for i in pair["items"]] == [(2, 0), (0, 1)]


def test_shown_items_are_limited_and_spread_over_tasks(tmp_path: Path) -> None:
    n = disagreements.PER_COMPARISON
    tasks = {"big": [0.0] * 3 * n, "small": [0.0] * 5}
    before = side("c", tmp_path, tasks)
    after = side("x", tmp_path, {task: [1.0] * len(v) for task, v in tasks.items()})
    made = disagreements.disagreements([("x - c", before, after)])
    [pair] = made["comparisons"]
    assert pair["changed"] == 3 * n + 5 and len(pair["items"]) == n == made["limit"]
    shown = [made["documents"][item["document"]]["task"] for item in pair["items"]]
    assert shown.count("small") == 5


def test_what_cannot_be_paired_is_a_gap_with_its_reason(tmp_path: Path) -> None:
    before = side("c", tmp_path, {"day": [0, 1, 1]})
    other = side("x", tmp_path, {"day": [0, 1]})
    gone = Evaluations("y", {0: invented_artifact(tmp_path / "gone")})
    found = disagreements.disagreements(
        [("x - c", before, other), ("y - c", before, gone), ("z - c", before, Evaluations("z", {}))]
    )["comparisons"]
    assert "other documents (2 and 3)" in found[0]["gap"]
    assert "gone" in found[1]["gap"]
    assert "no seed was evaluated on both sides" in found[2]["gap"]


def test_long_texts_are_cut_and_say_so() -> None:
    assert disagreements.shorten("abc " * 10, 8) == "abc abc [...]"
    assert disagreements.shorten(None, 8) == ""
