"""The effect stated before a run is the one the run can find."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

from eval.statistics import crossed, planned, stats
from eval.statistics.planned_rows import (
    PlannedRow,
    PlannedTable,
    documents_variance,
    planned_row,
)
from eval.statistics.power import detectable
from tests.benchmarks.coverage import Design, simulate
from tests.support.invented_arms import deltas_of, evaluated, of_scores
from tests.support.tiny_eval import make_tasks
from tsqa.preview import buy
from tsqa.preview.measured import Range
from tsqa.recipe import DataSection, Recipe, SeedsSection


def test_the_planned_effect_is_found_with_the_stated_power_by_one_seed() -> None:
    rng = np.random.default_rng(0)
    n, rounds, share = 400, 400, 0.2
    effect = alone(planned_row([n], 1, discordance=[share]))
    chances = [(share - effect) / 2, 1 - share, (share + effect) / 2]
    found = 0
    for _ in range(rounds):
        p = stats.mcnemar(rng.choice([-1.0, 0.0, 1.0], n, p=chances))
        assert p is not None
        found += p <= 0.05
    assert abs(found / rounds - 0.8) <= 0.03 + 3 * math.sqrt(0.16 / rounds)


def test_the_planned_effect_agrees_with_the_one_found_after_for_several_seeds() -> None:
    rng = np.random.default_rng(1)
    after, shares, repeats = [], [], []
    for _ in range(40):
        scores = simulate(Design(seeds=5, documents=400), rng)
        differences = scores[1] - scores[0]
        shares.append(float(np.mean(differences**2)))
        repeats.append(float(np.mean(differences[0] * differences[1])))
        one = crossed.estimate(differences.mean(axis=1), [crossed.of_documents(differences)])
        after.append(detectable(one, 0.05))
    share = float(np.mean(shares))
    repeated = float(np.mean(repeats)) / share
    row = planned_row([400], 5, discordance=[share], repeated=repeated, seed_sd=0.0)
    assert alone(row) == pytest.approx(np.median(after), rel=0.15)


def test_more_documents_seeds_and_tasks_detect_less() -> None:
    def mde(n: list[int], seeds: int) -> float:
        return alone(planned_row(n, seeds, discordance=[0.2] * len(n)))

    assert mde([400], 1) == pytest.approx(mde([100], 1) / 2)
    assert mde([100], 3) > mde([100], 5) > mde([100], 10)
    assert mde([100, 100], 1) == pytest.approx(mde([100], 1) / math.sqrt(2))


def test_the_planned_effect_of_pooled_arms_is_found_with_about_the_stated_power() -> None:
    rng = np.random.default_rng(2)
    arms, seeds, n, rounds, share, sd = 5, 3, 200, 300, 0.2, 0.02
    row = planned_row([n], seeds, discordance=[share], arms=arms, seed_sd=sd)
    effect = alone(row)
    found = 0
    for _ in range(rounds):
        scores = (
            rng.normal(0, sd / math.sqrt(2), (arms, seeds, 1))
            + rng.normal(0, math.sqrt(share / 4), (arms, 1, n))
            + rng.normal(0, math.sqrt(share / 4), (arms, seeds, n))
        )
        differences = scores[1] - scores[0] + effect
        documents = [crossed.of_documents(differences)]
        pooled = crossed.pool(scores.mean(axis=2))
        found += crossed.estimate(differences.mean(axis=1), documents, pooled).p_value() <= 0.05
    assert abs(found / rounds - 0.77) <= 0.04 + 3 * math.sqrt(0.16 / rounds)


def alone(row: PlannedRow) -> float:
    """By a 95% interval."""
    return detectable(row, np.array([0.05]))


def recipe_of(include: Path | None, tasks: list[str], limit: int | None = None) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "x",
            "model": {"path": "m"},
            "mixture": {
                "sources": {"human": {"path": "a"}, "synthetic": {"path": "b"}},
                "phases": [{"tokens": 64, "ratios": {"human": 0.5, "synthetic": 0.5}}],
            },
            "train": {"sequence_length": 8, "global_batch_tokens": 8, "lr": 0.1},
            "eval": {"tasks": tasks, "include": include and str(include), "limit": limit},
            "ablation": {
                "axes": {"mixture.synthetic": [0.0, 0.5]},
                "seeds": [1, 2, 3],
                "control": {"mixture.synthetic": 0.0},
            },
        }
    )


def shown(recipe: Recipe, include: Path | None) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(planned.planned_table(recipe, include=include))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_documents_are_counted_from_local_data_and_limited(tmp_path: Path) -> None:
    folder = make_tasks(tmp_path / "tasks", count=6)

    def counts(*tasks: str, limit: int | None = None) -> dict[str, int | None]:
        return planned.planned_documents(recipe_of(folder, list(tasks), limit), folder)[1]

    known: dict[str, int | None] = {"tiny_choice": 6, "tiny_number": 6}
    assert counts("tiny_choice", "tiny_number", "absent") == {**known, "absent": None}
    assert counts("tiny_choice", limit=4) == {"tiny_choice": 4}
    assert planned.planned_documents(recipe_of(None, ["gsm8k"]), None)[1] == {"gsm8k": 1319}
    folder = tmp_path / "not yet there"
    assert counts("tiny_choice") == {"tiny_choice": None}


def test_documents_of_tasks_that_the_data_stage_will_build_are_those_of_the_recipe() -> None:
    built = DataSection(builder="miniature", test_per_family=40)
    recipe = recipe_of(None, ["mini_day", "mini_unit"]).model_copy(update={"data": built})
    found = planned.planned_documents(recipe, Path("{data}/tasks"))[1]
    assert found == {"mini_day": 40, "mini_unit": 40}


def test_the_table_says_unknown_and_states_its_assumptions(tmp_path: Path) -> None:
    text = shown(recipe_of(None, ["gsm8k", "never_heard_of"]), None)
    by_task = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert by_task["never_heard_of"] == by_task["macro"] == ["unknown"] * 3
    assert by_task["gsm8k"][0] == "1,319"
    alone, corrected = map(float, by_task["gsm8k"][1:])
    assert 0 < alone < corrected
    told = " ".join(text.split())
    assert "3 seed(s), 2 comparison(s)" in told and "20% of the documents change (assumed)" in told


def test_an_earlier_run_replaces_the_assumed_share_of_changes() -> None:
    rates = {"gsm8k": 0.3}
    previous = deltas_of(evaluated("c", rates), evaluated("x", rates))
    rows = [replace(row, stderr=0.01, n=1000) for row in previous.rows]
    previous = replace(previous, rows=rows)
    assert planned.discordance_of(previous) == {"gsm8k": pytest.approx(0.1)}
    assert planned.discordance_of(None) == {}


def test_two_tasks_over_the_same_documents_are_one_sample(tmp_path: Path) -> None:
    def mde(n: list[int], seeds: int, samples: list[str]) -> float:
        row = planned_row(n, seeds, discordance=[0.2] * len(n), samples=samples)
        return alone(row)

    for seeds in (1, 3):
        assert mde([100, 100], seeds, ["a", "a"]) == pytest.approx(mde([100], seeds, ["a"]))
        assert mde([100, 100], seeds, ["a", "b"]) < mde([100, 100], seeds, ["a", "a"])
    folder = make_tasks(tmp_path / "tasks", count=40)
    again = (folder / "tiny_choice.yaml").read_text().replace("tiny_choice", "again")
    (folder / "again.yaml").write_text(again.replace("Answer:", "So:"))
    found = {}
    for tasks in (["tiny_choice"], ["tiny_choice", "again"], ["tiny_choice", "tiny_number"]):
        lines = shown(recipe_of(folder, tasks), folder).splitlines()
        macro = next(line.split() for line in lines if line.strip().startswith("macro"))
        found[tasks[-1]] = macro[1:3]
    assert found["again"] == found["tiny_choice"] and found["tiny_choice"][0] == "40"
    assert found["tiny_number"][0] == "80" and found["tiny_number"][1] < found["again"][1]


def test_a_group_counts_as_the_rows_that_its_tasks_are(tmp_path: Path) -> None:
    folder = make_tasks(tmp_path / "tasks", count=6)
    (folder / "both.yaml").write_text("group: both\ntask: [tiny_choice, tiny_number]\n")
    one = shown(recipe_of(folder, ["tiny_choice", "tiny_number"]), folder)
    assert shown(recipe_of(folder, ["both"]), folder) == one


def table_of(*tasks: str, by_documents: bool = False, may_split: bool = False) -> PlannedTable:
    return PlannedTable(
        dict.fromkeys(tasks, 400),
        {},
        {task: task for task in tasks},
        [tasks],
        seeds=3,
        arms=2,
        has_base=True,
        repeated=0.5,
        seed_sd=0.01,
        by_documents=by_documents,
        may_split=may_split,
        confidence=0.95,
    )


def test_task_rows_leave_room_for_the_parts_of_a_macro_average(tmp_path: Path) -> None:
    folder = make_tasks(tmp_path / "tasks", count=40)
    plain = recipe_of(folder, ["tiny_choice", "tiny_number"])
    text = shown(plain, folder)
    seeded = plain.model_copy(update={"seeds": SeedsSection(tasks=["tiny_choice"])})
    split = shown(seeded, folder)
    rows, others = (
        {line.split()[0]: line.split() for line in told.splitlines() if line.strip()}
        for told in (text, split)
    )
    for row in ("macro", "tiny_choice"):
        assert rows[row][:3] == others[row][:3]
    plainly, by_parts = (table_of(*"abcdef", may_split=parts) for parts in (False, True))
    sizes = dict.fromkeys("abcdef", 400)
    least = [one.detectable(["a"], sizes, is_macro=False) for one in (plainly, by_parts)]
    assert least[0] < least[1]
    assert "with room for parts" in " ".join(split.split())
    assert "with room for parts" not in " ".join(text.split())


@pytest.mark.parametrize("by_documents", [False, True])
def test_a_task_finds_no_less_than_the_macro_average_that_it_moves(by_documents: bool) -> None:
    one, size = table_of("a", by_documents=by_documents), {"a": 400}
    average, task = (one.detectable(["a"], size, is_macro=flag) for flag in (True, False))
    assert average <= task <= 1.05 * average
    two, sizes = table_of("a", "b", by_documents=by_documents), {"a": 400, "b": 400}
    unmoved = detectable(two.row(["a"], sizes), two._chance(0))
    assert two.detectable(["a"], sizes, is_macro=False) < 0.95 * unmoved
    assert two.detectable(["a"], size, is_macro=False) == detectable(
        two.row(["a"], size), two._chance(0)
    )


def test_what_to_buy_is_enough_and_no_number_of_documents_is_where_seeds_differ() -> None:
    recipe = recipe_of(None, ["gsm8k"])
    wanted = 0.035
    ways = planned.ways_to_detect(wanted, recipe, None, None)
    assert ways is not None and ways.planned == planned.Way(3, 1) and ways.now > wanted
    assert ways.found[-1].documents == 1 and ways.spread == "assumed"
    counts = [way.documents for way in ways.found]
    assert counts == sorted(counts, reverse=True)
    for way in ways.found:
        table = planned._plan_of(recipe, None, None).with_seeds(way.seeds).table
        sizes = {"gsm8k": math.ceil(1319 * way.documents)}
        mde = table.detectable(["gsm8k"], sizes, is_macro=True)
        assert 0.97 * wanted < mde <= wanted or way.documents == 1
    assert planned.ways_to_detect(0.5, recipe, None, None).found == [ways.planned]  # type: ignore[union-attr]
    assert ways.least is not None and ways.least <= ways.now
    tight = planned.ways_to_detect(0.9 * ways.least, recipe, None, None)
    assert tight is not None and all(way.seeds > 3 for way in tight.found)
    assert planned.ways_to_detect(wanted, recipe_of(None, ["never_heard_of"]), None, None) is None


def with_seeds(recipe: Recipe, seeds: int, **section: object) -> Recipe:
    tree = recipe.model_dump(mode="json", by_alias=True)
    tree["ablation"]["seeds"] = [*range(seeds)]
    tree["eval"] |= section
    return Recipe.model_validate(tree)


def test_what_to_buy_begins_with_the_seeds_that_are_planned_and_says_how_they_are_known() -> None:
    recipe = recipe_of(None, ["gsm8k"])
    many = planned.ways_to_detect(0.001, with_seeds(recipe, 24), None, None)
    assert many is not None and many.most_seeds == 24
    few = planned.ways_to_detect(0.03, with_seeds(recipe, 1), None, None)
    assert few is not None and few.least is None and few.found[0].seeds > 1
    told = with_seeds(recipe, 1, seed_spread=0.5)
    stated = planned.ways_to_detect(0.03, told, None, None)
    assert stated is not None and stated.found[0].seeds == 1 and stated.least is not None
    assert stated.spread == "stated (eval.seed_spread)"


@pytest.mark.parametrize(
    ("seeds", "section", "said"),
    [
        (1, {}, "documents alone cannot: one seed gives no verdict"),
        (1, {"seed_spread": 2.0}, "documents alone cannot: with any number of them 8."),
        (3, {}, "5 seeds an arm instead of 3 and 2,8"),
    ],
)
def test_what_it_says_to_buy(
    monkeypatch: pytest.MonkeyPatch, seeds: int, section: dict[str, object], said: str
) -> None:
    prices = buy._Prices(Range(10, 20), Range(1, 2), "GPU-hours")
    monkeypatch.setattr(buy, "_prices", lambda *_: prices)
    recipe = with_seeds(recipe_of(None, ["gsm8k"]), seeds, **section)
    told = buy.what_to_buy(cast(Any, None), 3, planned.ways_to_detect(0.03, recipe, None, None))
    assert said in told and "cheapest: " in told, told


def test_no_effect_beyond_what_scores_can_differ_by_is_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(buy, "_prices", lambda *_: buy._Prices(None, None, "hours"))
    two, five = planned.Way(2, 1), planned.Way(5, 1)
    ways = planned.Ways(1.6, two, 100, found=[five], least=1.2, most_seeds=20, spread="assumed")
    told = buy.what_to_buy(cast(Any, None), 9, ways)
    assert "documents alone cannot: with any number of them not even 100 points are found" in told
    plan = planned._plan_of(with_seeds(recipe_of(None, ["gsm8k"]), 2, limit=2), None, None)
    assert "macro average over 100 points alone, with a third seed " in planned._more(plan)


def test_a_plan_that_does_not_know_its_groups_says_so() -> None:
    recipe = recipe_of(None, ["gsm8k"])
    grouped = with_seeds(recipe, 3, groups={"gsm8k": "question"})
    said = "one group (eval.groups) are taken for draws of their own"
    assert said in planned._assumptions(planned._plan_of(grouped, None, None))
    assert said not in planned._assumptions(planned._plan_of(recipe, None, None))


def test_two_tasks_on_the_same_documents_are_bought_once() -> None:
    recipe = recipe_of(None, ["gsm8k", "gsm8k_cot"])
    ways = planned.ways_to_detect(0.02, recipe, None, None)
    assert ways is not None and ways.documents == 1319
    assert re.search(r"macro +1,319 ", shown(recipe, None))


@pytest.mark.parametrize("by_documents", [False, True])
def test_what_documents_add_is_what_the_last_table_says(by_documents: bool) -> None:
    rng = np.random.default_rng(0)
    models = [
        of_scores(arm, seed, {task: own + rng.normal(0, 1e-3) for task, own in kept.items()})
        for arm in ("c", "x")
        for kept in [{task: rng.normal(0.5, 0.3, n) for task, n in (("s", 40), ("t", 400))}]
        for seed in range(3)
    ]
    table = deltas_of(*models, by_documents=by_documents)
    (row,) = (row for row in table.rows if row.task == stats.MACRO)
    noise = planned._noise_of(table, {})
    assert noise.repeated > 0.99
    documents = documents_variance([40, 400], [*noise.shares.values()], [], by_documents)
    assert documents == pytest.approx(row.stderr**2, rel=0.01)


def test_the_last_run_shows_how_far_seeds_differ_beside_what_documents_do() -> None:
    rng = np.random.default_rng(0)
    found, shares = [], []
    for _ in range(5):
        ability = rng.normal(0, 0.04, (4, 5))
        models = [
            of_scores(
                "c" if arm == 0 else f"a{arm}",
                seed,
                {task: (rng.random(100) < 0.5 + ability[arm, seed]) * 1.0 for task in ("s", "t")},
            )
            for arm in range(4)
            for seed in range(5)
        ]
        noise = planned._noise_of(deltas_of(*models), {})
        assert noise.seed_sd is not None
        found.append(noise.seed_sd)
        assert noise.repeated < 0.4
        shares.append(np.mean([*noise.shares.values()]))
    assert np.mean(found) == pytest.approx(math.sqrt(2) * 0.04, rel=0.35)
    assert np.mean(shares) == pytest.approx(2 * 0.25, rel=0.3)
    one_seed = planned._noise_of(deltas_of(*models[::5]), {})
    assert one_seed.seed_sd is None and set(one_seed.shares) == {"s", "t"}


def test_what_the_last_run_could_find_in_bits_is_said() -> None:
    previous = deltas_of(evaluated("c", {"day": 0.3}), evaluated("x", {"day": 0.3}))
    assert planned._bits_note(previous) == planned._bits_note(None) == ""
    row = next(row for row in previous.rows if row.task == stats.MACRO)
    bits, chosen = [replace(row, mde=0.125)], [replace(row, mde=0.05)]
    note = planned._bits_note(replace(previous, bits=bits, right_choice=chosen))
    assert "0.12 bits per byte of the right answer, 5.0 points of the right choice's" in note
