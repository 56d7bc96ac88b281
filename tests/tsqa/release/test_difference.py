"""Every change between two versions is counted once, under its cause."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.released import accepted, build, rejected, seed, write_recipe
from tsqa.records.rows import CuratedRow
from tsqa.release.difference import (
    RenamedSeeds,
    Side,
    VersionDifference,
    compare_sides,
    print_difference,
)
from tsqa.release.make import make_release
from tsqa.release.sides import open_side


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path)


def causes(found: VersionDifference) -> dict[tuple[str, str], int]:
    return {(cause.kind, cause.cause): cause.items for cause in found.causes}


def test_each_change_has_its_cause(recipe: Path) -> None:
    old = make_release(
        build(
            recipe,
            [seed(n) for n in range(8)],
            [accepted(n) for n in (0, 1, 2, 3, 4, 7)],
            [rejected(5), rejected(6)],
        ),
        "v1",
    )
    again = replace(accepted(7), id="toy:7.q1")
    new = make_release(
        build(
            recipe,
            [seed(n) for n in (*range(1, 8), 9)],
            [
                accepted(1),
                accepted(2, answer="litre", text="Answer: litre"),
                accepted(3, text="told otherwise"),
                accepted(5),
                accepted(9),
                accepted(7),
                again,
            ],
            [rejected(4, "copy"), rejected(6)],
            overrides=["seeds.seed=1"],
        ),
        "v2",
    )
    found = compare_sides(Side.of_release(old.folder), Side.of_release(new.folder))
    assert causes(found) == {
        ("in", "new seed"): 1,
        ("in", "no longer rejected by agreement"): 1,
        ("in", "asked again of an old seed"): 1,
        ("out", "seed gone"): 1,
        ("out", "rejected by copy"): 1,
        ("changed", "another answer"): 1,
        ("changed", "another text"): 1,
    }
    assert found.same == 2 and found.moved == 0
    (task,) = found.seeds
    assert (task.new, task.gone, task.kept, task.examples) == (1, 1, 7, ["toy:9"])
    back = compare_sides(Side.of_release(new.folder), Side.of_release(old.folder))
    assert (back.count("in"), back.count("out")) == (found.count("out"), found.count("in"))
    assert back.same == found.same and back.count("changed") == found.count("changed")


def test_a_version_and_itself_differ_in_nothing(recipe: Path) -> None:
    made = make_release(build(recipe, [seed(0), seed(1)], [accepted(0)], [rejected(1)]), "v1")
    side = Side.of_release(made.folder)
    found = compare_sides(side, side)
    assert (found.causes, found.same, found.seeds[0].kept) == ([], 1, 2)


def test_an_edited_prompt_and_another_model_are_named_though_no_item_changed(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def made(**lineage: Any) -> list[CuratedRow]:
        told = [json.loads(accepted(n).lineage) | lineage for n in (0, 1)]
        return [replace(accepted(n), lineage=json.dumps(told[n])) for n in (0, 1)]

    before = json.loads(accepted(0).lineage)
    prompts = {role: {**one, "sha256": "f" * 64} for role, one in before["prompts"].items()}
    seeds = [seed(0), seed(1)]
    old = make_release(build(recipe, seeds, made()), "v1")
    again = build(recipe, seeds, made(prompts=prompts), overrides=["seeds.seed=1"])
    new = make_release(again, "v2")
    found = compare_sides(Side.of_release(old.folder), Side.of_release(new.folder))
    assert (found.causes, found.same) == ([], 2)
    assert {(way.old, way.new) for way in found.ways} == {(2, 0), (0, 2)}
    assert all(way.way.startswith("prompt of ") for way in found.ways)
    print_difference(found, as_json=False)
    assert "sha256 ffffffffffff: 0 -> 2 items" in " ".join(capsys.readouterr().err.split())


def test_an_item_whose_seed_moved_is_the_same_item(recipe: Path) -> None:
    old = make_release(build(recipe, [seed(0), seed(1)], [accepted(0), accepted(1)]), "v1")
    moved = [seed(3), replace(seed(0), id="toy:1"), replace(seed(1), id="toy:2")]
    texts = [accepted(0), accepted(1)]
    rows = [
        replace(accepted(n, place=n + 1), question=texts[n].question, text=texts[n].text)
        for n in (0, 1)
    ]
    new = make_release(build(recipe, moved, rows, overrides=["seeds.seed=1"]), "v2")
    found = compare_sides(Side.of_release(old.folder), Side.of_release(new.folder))
    assert (found.moved, found.same, found.causes) == (2, 2, [])


def test_a_task_of_another_name_is_told_and_its_items_are_the_same(recipe: Path) -> None:
    """Before, all items were out with a seed gone, and in with a new one."""
    old = make_release(build(recipe, [seed(n) for n in range(4)], [*map(accepted, range(3))]), "v1")

    def other(made: Any) -> Any:
        return replace(made, id=made.id.replace("toy:", "told:"), task="told")

    seeds = [other(seed(n)) for n in (0, 1, 2, 9)]
    rows = [other(accepted(0)), other(accepted(1, text="told otherwise")), other(accepted(9))]
    new = make_release(build(recipe, seeds, rows, overrides=["seeds.seed=1"]), "v2")
    found = compare_sides(Side.of_release(old.folder), Side.of_release(new.folder))
    assert found.renamed == [RenamedSeeds("toy", "told", 3)]
    assert causes(found) == {
        ("in", "new seed"): 1,
        ("out", "no longer asked of its seed"): 1,
        ("changed", "another text"): 1,
    }
    assert (found.same, found.moved) == (1, 2)


def test_an_answer_that_a_filter_then_rejects_says_both(recipe: Path) -> None:
    old = make_release(build(recipe, [seed(0)], [accepted(0, answer="gram")]), "v1")
    changed = build(recipe, [seed(0), seed(1)], [accepted(1)], [rejected(0)], ["seeds.seed=1"])
    make_release(changed, "v2")
    found = compare_sides(Side.of_release(old.folder), open_side("v2", recipe.parent / "runs"))
    assert causes(found) == {
        ("in", "new seed"): 1,
        ("out", "rejected by agreement, with another answer"): 1,
    }
    (out,) = (cause for cause in found.causes if cause.kind == "out")
    assert out.examples[0].id == "toy:0.q0"
    assert out.examples[0].text == "Which unit measures the length of rope 0?"


def test_a_recipe_stands_for_what_it_has_built(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_release(build(recipe, [seed(0)], [accepted(0)]), "v1")
    grown = ["seeds.seed=1"]
    build(recipe, [seed(0), seed(1)], [accepted(0), accepted(1)], overrides=grown)
    runs = recipe.parent / "runs"
    found = compare_sides(open_side("v1", runs), open_side(str(recipe), runs, overrides=grown))
    assert causes(found) == {("in", "new seed"): 1}
    unchanged = compare_sides(open_side("v1", runs), open_side(str(recipe), runs))
    assert not unchanged.causes and unchanged.same == 1
    sides = [open_side(named, runs, True, grown) for named in ("v1", str(recipe))]
    seeds = compare_sides(*sides, seeds_only=True)
    assert [(task.task, task.new) for task in seeds.seeds] == [("toy", 1)] and not seeds.causes
    print_difference(seeds, as_json=False)
    told = capsys.readouterr().err
    assert "toy: 1 new, 0 gone, such as toy:1" in told and "items" not in told
    print_difference(found, as_json=True)
    assert json.loads(capsys.readouterr().out)["causes"][0]["items"] == 1


def test_a_release_since_another_says_what_changed(recipe: Path) -> None:
    old = make_release(build(recipe, [seed(0)], [accepted(0)]), "v1")
    grown = build(recipe, [seed(0), seed(1)], [accepted(0), accepted(1)], (), ["seeds.seed=1"])
    made = make_release(grown, "v2", since=old.folder)
    assert made.release.since == "v1"
    notes = (made.folder / "CHANGES.md").read_text()
    assert "seeds: 1 new, 0 gone, 1 kept" in notes
    assert "items: 1 in, 0 out, 0 changed, 1 the same" in notes
    assert "in: new seed: 1" in notes and "toy:1.q0: Which unit" in notes
