"""The macro average is split by what was seeded from; placebos and nearness stand beside it."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from eval.compare.tables import markdown, print_table
from eval.deltas import DeltaTable
from eval.lineage.families import Kin, Kinship, Seeded
from eval.lineage.nearest import Nearness
from eval.statistics import stats
from eval.statistics.blocks import blocks_of
from eval.statistics.paired import Scored, _shared_clusters
from tests.support.invented_arms import deltas_of, evaluated, of_scores

RATES = {"day": 0.2, "month": 0.2, "unit": 0.3, "word": 0.3}
GAINS = {"day": 0.5, "month": 0.5, "unit": 0.3, "word": 0.3}


def kin(*seeded: str, tasks: dict[str, float] = RATES) -> Kinship:
    known = {name: Kin(name, name, "math", True) for name in tasks}
    return Kinship(known, {"x": Seeded(frozenset(known[name] for name in seeded))})


def table(**options: Any) -> DeltaTable:
    models = [evaluated("c", RATES), evaluated("x", GAINS)]
    return deltas_of(*models, seed_spread=0.001, **options)


def test_a_gain_that_lives_in_the_seeded_families_is_told_as_such() -> None:
    deltas = table(kinship=kin("day", "month"))
    seeded, others = deltas.split
    assert (seeded.task, others.task) == ("macro:seeded families", "macro:same capability")
    macro = next(row for row in deltas.rows if row.task == stats.MACRO)
    assert (seeded.delta + others.delta) / 2 == pytest.approx(macro.delta)
    assert (seeded.verdict, others.verdict) == (stats.BETTER, stats.UNCHANGED)
    assert ", better, in the seeded families; " in deltas.conclusion
    assert ", not detectable, in other families of a seeded capability." in deltas.conclusion
    console = Console(file=io.StringIO(), width=100)
    print_table(deltas, console)
    for text in (console.file.getvalue(), markdown(deltas)):  # type: ignore[attr-defined]
        assert "seeded families" in text and "same capability" in text


def test_the_split_leaves_the_numbers_and_the_weight_of_the_macro_row_alone() -> None:
    plain, split = table(), table(kinship=kin("day", "month"))
    for one, other in zip(plain.rows, split.rows, strict=True):
        assert (one.task, one.delta, one.low, one.high, one.p) == (
            other.task, other.delta, other.low, other.high, other.p,
        )  # fmt: skip
    weights = stats.table_weights([True, False, False, True, True], 2)
    assert weights == pytest.approx([0.8, 0.05, 0.05, 0.05, 0.05])


def test_where_all_is_seeded_the_table_says_that_it_cannot_show_generalisation() -> None:
    deltas, plain = table(kinship=kin(*RATES)), table()
    assert [row.task for row in deltas.split] == ["macro:seeded families"]
    assert "cannot show generalisation" in deltas.conclusion
    assert deltas.rows == plain.rows  # the same hypothesis is not tested twice


def test_an_arm_is_compared_with_its_placebo_and_its_baseline() -> None:
    for kind, called in (("format_matched", "placebo"), ("nearest_human", "baseline")):
        models = [evaluated("c", RATES), evaluated("x", GAINS), evaluated(f"x,{kind}", GAINS)]
        deltas = deltas_of(*models, seed_spread=0.001)
        (row,) = deltas.split
        assert (row.comparison, row.task) == (f"x - x,{kind}", stats.MACRO)
        assert (row.delta, row.verdict) == (0.0, stats.UNCHANGED)
        said = f"Beyond its {called} x,{kind}, x changes the macro average by"
        assert said in deltas.conclusion


def test_the_change_is_told_by_the_nearest_training_document() -> None:
    at = [0.6] * 100 + [0.4] * 100 + [0.1] * 100
    near = {(task, i): value for task in RATES for i, value in enumerate(at)}
    deltas = table(near=Nearness({"x": near}))
    macro = {row.distance: row for row in deltas.nearness if row.task == stats.MACRO}
    assert {name: row.n for name, row in macro.items()} == dict.fromkeys(
        ("far", "near", "very near"), 400
    )
    whole = next(row for row in deltas.rows if row.task == stats.MACRO)
    assert sum(row.delta for row in macro.values()) / 3 == pytest.approx(whole.delta)
    assert "By the nearest training document, x - c: far +" in markdown(deltas)
    assert table(near=Nearness()).nearness == []
    at = [0.9] * 100 + [0.7] * 200
    meant = {(task, i): value for task in RATES for i, value in enumerate(at)}
    both = table(near=Nearness({"x": near}, {"x": meant}))
    assert [row for row in both.nearness if row.by == "words"] == deltas.nearness
    rows = {r.distance: r for r in both.nearness if (r.by, r.task) == ("meaning", stats.MACRO)}
    assert {name: row.n for name, row in rows.items()} == {"near": 800, "very near": 400}
    assert "By the nearest training document in meaning, x - c: near +" in markdown(both)


def test_intervals_at_a_distance_rest_on_the_spread_between_seeds_there() -> None:
    rng = np.random.default_rng(0)
    models = []
    for name in ("c", "x", "y"):
        for seed in (1, 2):
            day = np.concatenate([rng.integers(0, 2, 20), np.ones(380)]).astype(float)
            models.append(of_scores(name, seed, {"day": day}))
    near = {("day", i): 0.6 if i < 20 else 0.0 for i in range(400)}
    deltas = deltas_of(*models, near=Nearness({"x": near, "y": near}))
    alone = [of_scores(m.condition, m.seed, {"day": m.scores["day"].values[:20]}) for m in models]
    rows = {(r.comparison, r.task): (r.low, r.high) for r in deltas_of(*alone).rows}
    found = [row for row in deltas.nearness if row.distance == "very near"]
    assert len(found) == 4
    for row in found:
        assert (row.low, row.high) == pytest.approx(rows[row.comparison, row.task])


def test_the_weights_of_a_table_sum_to_one_and_no_part_that_is_another_row_is_tested() -> None:
    for flags, parts in (([True, False], 0), ([True, True, False, True, True], 2)):
        assert sum(stats.table_weights(flags, parts)) == pytest.approx(1)
    # `day` and `unit` alone are rows of their own, and so is the macro average `both`.
    seeded = kin("day", "month")
    deltas = table(kinship=seeded, macros={"both": ["month", "day"]})
    copied = next(row for row in deltas.rows if row.task == "macro:both")
    assert deltas.split[0] == replace(copied, task="macro:seeded families")
    tested = [*deltas.rows, deltas.split[1]]
    flags = [stats.is_macro(row.task) for row in tested]
    shares = stats.table_shares([row.comparison for row in tested], flags, 1)
    assert [r.p_holm for r in tested] == pytest.approx(
        stats.holm([row.p for row in tested], shares)
    )


def test_a_group_in_one_of_two_tasks_does_not_hide_that_they_share_documents() -> None:
    keys = [(i, f"h{i}") for i in range(6)]
    grouped = Scored(keys, np.zeros(6), ["a", "a", "b", "b", "c", "c"])
    plain = Scored(keys, np.zeros(6))
    shared = _shared_clusters({"one": grouped, "two": plain})
    assert shared["one"] == shared["two"] == ["a", "a", "b", "b", "c", "c"]
    assert blocks_of(shared) == [["one", "two"]] or blocks_of(shared) == [["two", "one"]]
    alone = Scored([(i, f"x{i}") for i in range(6)], np.zeros(6))
    assert len(blocks_of(_shared_clusters({"one": grouped, "two": alone}))) == 2
