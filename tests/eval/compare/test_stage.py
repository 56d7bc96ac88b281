"""Mismatches are refused by name; the conclusion follows the numbers."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from eval.compare import stage as compare
from eval.compare import tables
from eval.compare.conclusion import macro_notes
from eval.compare.scores import Evaluated
from eval.deltas import DeltaRow, DeltaTable, Gap
from eval.harness import stage as harness
from eval.results import DOCUMENTS, RESULTS, Document, Results
from eval.statistics import crossed, stats
from tests.benchmarks.verdicts import lost_seeds, simulated, table
from tests.support.invented_arms import deltas_of, evaluated, of_scores, seeded
from tests.support.sealed import invented_artifact
from tsqa.errors import DataError
from tsqa.recipe import Recipe
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import write_json
from tsqa.store.roles import ArmRole
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker


def row(deltas: DeltaTable, arm: str, task: str) -> DeltaRow:
    return next(r for r in deltas.rows if (r.arm, r.task) == (arm, task))


def test_a_gain_a_loss_and_no_change_each_get_their_word() -> None:
    deltas = deltas_of(
        evaluated("base", {"day": 0.2, "unit": 0.2}),
        evaluated("c", {"day": 0.2, "unit": 0.2}),
        evaluated("good", {"day": 0.5, "unit": 0.2}),
        evaluated("bad", {"day": 0.1, "unit": 0.05}),
        seed_spread=0.001,
    )
    assert row(deltas, "good", "day").verdict == stats.BETTER
    assert row(deltas, "good", "unit").verdict == stats.UNCHANGED
    assert row(deltas, "bad", stats.MACRO).verdict == stats.WORSE
    assert row(deltas, "c", stats.MACRO).delta == 0
    text = deltas.conclusion
    assert "better than the control c: good (" in text
    assert "worse than the control c: bad (" in text
    assert "No arm gains detectably on 1 of 2 tasks: unit." in text
    assert "the control c: no detectable change" in text


def test_one_seed_gives_no_verdict_but_says_that_two_checkpoints_differ() -> None:
    models = [evaluated("c", {"day": 0.2, "unit": 0.2}), evaluated("x", {"day": 0.6, "unit": 0.2})]
    deltas = deltas_of(*models)
    assert row(deltas, "x", "day").verdict == stats.DIFFERS
    assert not row(deltas, "x", "day").covers_seeds
    assert "different in this run from the control c: x (" in deltas.conclusion
    assert "on 1 of 2 tasks: day; one training seed is no evidence" in deltas.conclusion
    assert "better" not in deltas.conclusion and "two checkpoints differ" in deltas.caveat
    stated = deltas_of(*models, seed_spread=0.02)
    found, alone = row(stated, "x", "day"), row(deltas, "x", "day")
    assert (found.verdict, found.covers_seeds) == (stats.BETTER, True)
    half = (found.high - found.low) / 2
    assert half > (alone.high - alone.low) / 2 and half > 1.96 * 0.02 * 2**0.5
    assert "a score varies by 2 points between training seeds" in stated.caveat
    assert row(deltas_of(*models, seed_spread=0.2), "x", "day").verdict == stats.UNCHANGED


def test_an_arm_that_lost_seeds_takes_the_spread_of_the_others_and_is_named() -> None:
    rng = np.random.default_rng(0)
    seeds = {"c": [0, 1, 2], "x": [0, 1, 2], "lost": [1], "half": [0, 2]}
    deltas = table(simulated(seeds, 0.02, rng))
    lost, full = row(deltas, "lost", stats.MACRO), row(deltas, "x", stats.MACRO)
    assert (lost.seeds, lost.covers_seeds, lost.method) == (1, True, "crossed t, pooled")
    assert lost.stderr > full.stderr
    half = row(deltas, "half", stats.MACRO)
    assert (half.seeds, half.method) == (2, "crossed t, pooled")
    assert "lost - c, half - c: fewer seeds than others; the spread" in deltas.caveat
    alone = table(simulated({"c": [0, 1, 2], "lost": [1]}, 0.02, rng, effect=0.4))
    assert row(alone, "lost", stats.MACRO).verdict == stats.DIFFERS
    assert "not the spread between training seeds" in alone.caveat


def test_an_arm_with_other_seeds_takes_the_spread_of_the_others_and_leaves_them_theirs() -> None:
    rng = np.random.default_rng(0)
    full = {"c": [0, 1, 2], "x": [0, 1, 2], "y": [0, 1, 2]}
    deltas = table(simulated({**full, "other": [2, 3, 4]}, 0.02, rng))
    for arm, seeds in (("other", 1), ("x", 3), ("y", 3)):
        found = row(deltas, arm, stats.MACRO)
        assert (found.seeds, found.covers_seeds, found.method) == (seeds, True, "crossed t, pooled")
    assert "other - c: fewer seeds than others; the spread" in deltas.caveat


def test_one_seed_is_no_verdict_though_others_lend_it_their_spread() -> None:
    rng = np.random.default_rng(0)
    full = {"c": [0, 1, 2], "x": [0, 1, 2], "y": [0, 1, 2]}
    models = simulated({**full, "one": [1], "two": [0, 2]}, 0.005, rng, effect=0.3)
    deltas = table(models)
    words = {arm: row(deltas, arm, stats.MACRO).verdict for arm in ("x", "two", "one")}
    assert words == {"x": stats.BETTER, "two": stats.BETTER, "one": stats.DIFFERS}
    assert row(deltas, "one", stats.MACRO).covers_seeds
    assert "one - c: one seed shows no spread of its own, so `differs in this run`" in deltas.caveat
    assert "two - c: one seed" not in deltas.caveat


def test_a_noisy_arm_that_lost_a_seed_leaves_the_others_their_own_spread() -> None:
    rng = np.random.default_rng(0)
    models = simulated({name: range(3) for name in "cuvx"}, 0.005, rng)
    alone = row(table([m for m in models if m.condition != "x"]), "u", stats.MACRO)
    models = [m for m in models if m.condition != "x"]
    models += simulated({"x": range(2)}, 0.3, rng)
    deltas = table(models)
    assert "x: seeds may differ more than the other arms' do" in deltas.caveat
    assert "x - c: fewer seeds than others, and no spread but their own." in deltas.caveat
    found = row(deltas, "u", stats.MACRO)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


def test_a_stated_spread_counts_where_only_one_arm_has_several_seeds() -> None:
    models = [*seeded("c", 0.2, 0), *seeded("x", 0.5, 0, 1, 2)]
    assert row(deltas_of(*models), "x", "day").verdict == stats.DIFFERS
    stated = row(deltas_of(*models, seed_spread=0.02), "x", "day")
    assert (stated.verdict, stated.covers_seeds) == (stats.BETTER, True)


def test_two_arms_that_score_alike_tell_nothing_of_the_spread_between_seeds() -> None:
    models = [*seeded("c", 0.2, 0), *seeded("x", 0.5, 0, 1, 2)]
    models += [replace(model, condition="y", name="y") for model in seeded("x", 0.5, 0, 1, 2)]
    assert row(deltas_of(*models), "x", "day").verdict == stats.DIFFERS


@pytest.mark.parametrize("lacking", ["c", "x"])
def test_arms_that_were_evaluated_on_other_tasks_are_refused_by_task(lacking: str) -> None:
    rates = {"c": {"day": 0.2, "unit": 0.3}, "x": {"day": 0.2, "unit": 0.3}}
    del rates[lacking]["unit"]
    models = [evaluated(name, tasks) for name, tasks in rates.items()]
    with pytest.raises(DataError, match=rf"evaluated on unit, {lacking} was not"):
        deltas_of(*models, macros={"both": ["day", "unit"]})


@pytest.mark.parametrize("seeds", [1, 3])
def test_no_number_depends_on_the_order_of_the_arms(seeds: int) -> None:
    rates = {"c": 0.2, "x": 0.25, "y": 0.22}
    arms = {name: seeded(name, rate, *range(seeds)) for name, rate in rates.items()}
    one, other = (deltas_of(*(m for name in order for m in arms[name])) for order in ("cxy", "ycx"))
    found = {(r.comparison, r.task): r for r in other.rows}
    assert other.arms == ["y", "x"]
    for first in one.rows:
        second = found[first.comparison, first.task]
        assert (first.low, first.high, first.p_holm, first.mde) == pytest.approx(
            (second.low, second.high, second.p_holm, second.mde), rel=1e-9
        )


def test_an_arm_that_scores_as_another_does_lends_no_spread_between_seeds() -> None:
    rng = np.random.default_rng(3)
    models = simulated({name: range(3) for name in "cxy"}, 0.02, rng)
    twins = [
        replace(m, condition=f"{m.condition} {n}", name=f"{m.name} {n}")
        for n in range(3)
        for m in models
        if m.condition == "c" and (m.seed or 0) < 3 - n
    ]
    alone, among = table(models), table([*models, *twins])
    for arm in "xy":
        for task in ("t0", stats.MACRO):
            one, other = row(alone, arm, task), row(among, arm, task)
            assert (one.low, one.high) == pytest.approx((other.low, other.high))
    assert "may differ more" not in among.caveat


def test_one_model_under_several_seeds_is_one_seed_and_named() -> None:
    one = {arm: evaluated(arm, {"day": rate}) for arm, rate in (("c", 0.2), ("x", 0.6))}
    copied = [replace(m, seed=s, name=f"{arm},{s}") for arm, m in one.items() for s in range(3)]
    deltas = deltas_of(*copied)
    assert row(deltas, "x", "day").verdict == stats.DIFFERS
    assert deltas.seeds == {"c": [0], "x": [0]}
    assert "x,2: no result (it answers every document as x,0 does, so it is" in deltas.caveat
    bits = [{"day": replace(m.scores["day"], values=np.full(300, m.seed * 0.1))} for m in copied]
    own = [replace(m, bits=found) for m, found in zip(copied, bits, strict=True)]
    assert deltas_of(*own).seeds == {"c": [0, 1, 2], "x": [0, 1, 2]}
    hopeless = [evaluated(arm, {"day": 0.0}, seed=s) for arm in "cx" for s in range(3)]
    assert deltas_of(*hopeless).seeds == {"c": [0, 1, 2], "x": [0, 1, 2]}


def test_a_noisy_pair_with_fewer_seeds_is_not_said_to_rest_on_others() -> None:
    rng = np.random.default_rng(0)
    models = simulated({"c": [0, 1], **{name: range(3) for name in "uvwx"}}, 0.01, rng)
    for model in simulated({"x": range(3)}, 0.3, rng):
        models = [m for m in models if m.name != model.name] + [model]
    caveat = table(models).caveat
    assert "x: seeds may differ more than the other arms' do" in caveat
    assert "u - c, v - c, w - c: fewer seeds than others; the spread between seeds is" in caveat
    assert "x - c: fewer seeds than others, and no spread but their own." in caveat


def test_no_interval_goes_beyond_what_scores_can_differ_by() -> None:
    models = [model for name in "cx" for model in seeded(name, 0.3, 0, 1, 2)]
    for model in models:
        scored = model.scores["day"]
        model.scores["day"] = replace(scored, groups=["one"] * len(scored.keys))
    found = row(deltas_of(*models), "x", "day")
    assert (found.low, found.high) == (-1, 1)


def test_a_placebo_is_none_of_the_arms_of_which_one_is_best() -> None:
    rng = np.random.default_rng(1)
    names = ("c", "x", "x,format_matched", "x,repeat_matched")
    seeds = {name: range(2) for name in names}
    assert "is the best of" not in table(simulated(seeds, 0.02, rng, effect=0.1)).caveat


def test_the_control_that_lost_seeds_is_judged_with_the_spread_of_the_arms() -> None:
    rng = np.random.default_rng(1)
    found = lost_seeds("c", 1, 0.04, 25, rng)
    assert found["tables with a false finding"] <= 0.05
    # The three rows of a table share the control's one run: 25 draws.
    assert found["coverage of its macro rows"] >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 25)


def test_where_the_control_lost_seeds_its_arms_are_said_to_rest_on_fewer() -> None:
    rng = np.random.default_rng(1)
    seeds: dict[str, Sequence[int]] = {"c": [0], "x": range(3), "y": range(3), "z": range(3)}
    deltas = table(simulated(seeds, 0.015, rng, effect=0.03))
    assert "x - c, y - c, z - c: fewer seeds than others; the spread" in deltas.caveat
    assert "is the best of 3 arms" in deltas.caveat


def test_documents_of_one_group_are_said_to_be_one_draw() -> None:
    models = [evaluated(name, {"day": 0.3, "unit": 0.3}, n=60) for name in "cx"]
    for model in models:
        scored = model.scores["day"]
        model.scores["day"] = replace(scored, groups=[f"g{n // 3}" for n in range(60)])
    assert "one group count as one draw: day 60 in 20." in deltas_of(*models).caveat


def test_scores_in_percent_of_an_evaluation_from_before_are_named() -> None:
    shares = np.array([0.0, 1.0] * 20)
    models = [of_scores(arm, 0, {"day": shares, "bleu": 40 * shares}) for arm in "ca"]
    assert "Scores of bleu are no shares from 0 to 1" in deltas_of(*models).caveat
    models = [of_scores(arm, 0, {"day": shares}) for arm in "ca"]
    assert "no shares" not in deltas_of(*models).caveat


def test_a_stated_spread_is_not_said_to_be_one_of_bits() -> None:
    models = [
        evaluated(name, {"day": rate, "unit": 0.3}) for name, rate in (("c", 0.2), ("x", 0.5))
    ]
    models = [replace(one, bits=one.scores) for one in models]
    stated = deltas_of(*models, seed_spread=0.02)
    assert stated.bits and not any(one.covers_seeds for one in stated.bits)
    assert "Intervals of bits and of the right choice cover documents alone." in stated.caveat


def test_the_best_of_several_arms_is_said_to_be_too_high() -> None:
    rng = np.random.default_rng(2)
    seeds = {name: range(3) for name in ("c", "u", "v", "w", "x", "y")}
    deltas = table(simulated(seeds, 0.015, rng, effect=0.03))
    best = max((r for r in deltas.rows if r.task == stats.MACRO), key=lambda r: r.delta)
    assert f"{best.arm} is the best of 5 arms, so its macro average is too high" in deltas.caveat
    assert f"instead of {stats.points(best.delta)}." in deltas.caveat
    two = table(simulated({name: range(3) for name in "cxy"}, 0.015, rng))
    assert "is the best of" not in two.caveat


def test_the_best_of_several_arms_counts_for_less_where_its_seeds_differ_more() -> None:
    rng = np.random.default_rng(5)
    models = simulated({name: range(3) for name in "cuvx"}, 0.005, rng, effect=0.03)
    for seed, score in enumerate((0.45, 0.6, 0.75)):
        noisy = {f"t{k}": rng.permutation(np.arange(100) < 100 * score) * 1.0 for k in range(6)}
        models.append(of_scores("noisy", seed, noisy))
    caveat = table(models).caveat
    assert "noisy: seeds may differ more" in caveat
    told = re.search(r"noisy is the best of 4 .* the arms \+(\S+) instead of \+(\S+)\.", caveat)
    assert told and float(told[1]) < 5 < float(told[2])


def test_a_small_task_that_makes_the_width_of_the_macro_average_is_named() -> None:
    rng = np.random.default_rng(3)
    models = []
    for arm in "cx":
        sizes = {"small": 20, "day": 400, "unit": 400}
        scores = {task: (rng.random(n) < 0.4).astype(float) for task, n in sizes.items()}
        models.append(of_scores(arm, 0, scores))
    deltas = deltas_of(*models)
    assert "x - c: small (20 documents) makes " in deltas.caveat
    assert "macro average: weigh tasks by their documents (eval.macro)." in deltas.caveat
    limited = deltas_of(*models, limit=20)
    assert "macro average: evaluate more of its documents (eval.limit), or weigh" in limited.caveat
    weighed = deltas_of(*models, by_documents=True)
    assert "of the variance of the macro average" not in weighed.caveat
    macro, narrow = row(deltas, "x", stats.MACRO), row(weighed, "x", stats.MACRO)
    assert narrow.high - narrow.low < 0.7 * (macro.high - macro.low)
    assert weighed.scores["x"][stats.MACRO] == pytest.approx(narrow.score)


def test_what_all_tasks_share_is_not_said_to_be_of_the_task_that_varies_most() -> None:
    scores = np.tile([0.0, 1.0], 500)
    rows = deltas_of(*(of_scores(arm, 0, dict.fromkeys("stu", scores)) for arm in "ca")).rows
    variances = {"s": 3.0, "t": 1.0, "u": 1.0}
    for macro, said in ((5 / 9, True), (11 / 9, False)):  # as if apart; with more in common
        known = [
            replace(
                row, stderr=math.sqrt(macro if row.task == stats.MACRO else variances[row.task])
            )
            for row in rows
        ]
        notes = [*macro_notes(known, False, None)]
        assert (
            notes
            == ["a - c: s (1,000 documents) makes 60% of the variance of the macro average."][
                : int(said)
            ]
        )


def test_the_conclusion_names_what_an_arm_loses() -> None:
    before, after = {"day": 0.2, "unit": 0.6, "year": 0.3}, {"day": 0.6, "unit": 0.2, "year": 0.3}
    one = deltas_of(evaluated("c", before), evaluated("x", after)).conclusion
    assert "higher in this run on 1 of 3 tasks: day, and some lower in this run on 1 of 3" in one
    sides = (("c", before), ("x", after), ("y", before))
    models = [evaluated(arm, rates, seed=seed) for arm, rates in sides for seed in range(3)]
    assert deltas_of(*models).conclusion.endswith(
        "Some arm gains detectably on 1 of 3 tasks: day.\nSome arm is worse on 1 of 3 tasks: unit."
    )
    alone = deltas_of(evaluated("c", {"day": 0.2}), evaluated("x", {"day": 0.6})).conclusion
    assert "higher in this run on the one task; one training seed" in alone


def test_the_conclusion_claims_nothing_where_nothing_changed() -> None:
    same = {"day": 0.3}
    text = deltas_of(evaluated("c", same), evaluated("x", same)).conclusion
    assert "better" not in text and "no detectable change from the control c: x" in text


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2.0},
        {"num_fewshot": 5},
        {"n": 299},
        {"metric": "acc_norm"},
        {"backend": "vllm"},
        {"backend": "hf on a GPU"},
    ],
)
def test_unlike_evaluations_are_refused_by_name(change: dict[str, Any]) -> None:
    (key,) = change
    with pytest.raises(DataError, match=rf"x - c: day: {key} is"):
        deltas_of(evaluated("c", {"day": 0.3}), evaluated("x", {"day": 0.3}, **change))


def test_a_missing_control_and_a_lonely_control_are_refused() -> None:
    with pytest.raises(DataError, match="control arm `c` has no evaluation"):
        deltas_of(evaluated("x", {"day": 0.3}))
    with pytest.raises(DataError, match="nothing to compare"):
        deltas_of(evaluated("c", {"day": 0.3}))


def test_the_whole_table_is_corrected_and_never_more_than_by_holm() -> None:
    models = [evaluated(name, {"day": 0.2 + 0.05 * i, "unit": 0.3}) for i, name in enumerate("cxy")]
    rows = deltas_of(*models).rows
    shares = stats.table_shares(
        [r.comparison for r in rows], [stats.is_macro(r.task) for r in rows]
    )
    holm = stats.holm([r.p for r in rows], shares)
    assert all(r.p <= r.p_holm <= h for r, h in zip(rows, holm, strict=True))
    assert sum(r.p_holm for r in rows) < sum(holm)


def test_a_task_that_moves_the_macro_average_detects_by_what_that_leaves_it() -> None:
    rng = np.random.default_rng(0)
    models = [
        of_scores(
            name, 0, {"few": rng.integers(0, 2, 40) * 1.0, "many": rng.integers(0, 2, 4000) * 1.0}
        )
        for name in "cx"
    ]
    few, many, macro = deltas_of(*models).rows
    # The macro average is half of `few`, and nearly all of its noise.
    assert few.mde == pytest.approx(2 * macro.mde, rel=0.1)
    # At a tenth of the 5% each: (2.81 + 0.84) standard errors, were nothing left or shared.
    assert many.mde == pytest.approx(3.65 * many.stderr, rel=0.03)


def test_what_a_macro_average_leaves_its_tasks_is_measured_once() -> None:
    rng = np.random.default_rng(0)
    crossed._half_width.cache_clear()
    rows = table(simulated({name: range(3) for name in "cx"}, 0.01, rng)).rows
    # Each row by its interval and its own chance, a task also by what is left to it.
    assert crossed._half_width.cache_info().misses == 3 * len(rows) - 1


def test_arms_are_paired_seed_by_seed() -> None:
    deltas = deltas_of(
        evaluated("base", {"day": 0.2, "unit": 0.3}),
        *seeded("c", 0.2, 1, 2),
        *seeded("x", 0.5, 2, 1),
    )
    assert deltas.seeds == {"c": [1, 2], "x": [1, 2]} and deltas.arms == ["x"]
    per_seed = deltas.scores_by_seed["x"]
    assert deltas.scores["x"]["day"] == pytest.approx(
        (per_seed["1"]["day"] + per_seed["2"]["day"]) / 2
    )
    found = row(deltas, "x", "day")
    assert found.seeds == 2 and found.p_mcnemar is None and "crossed" in found.method
    assert found.delta == pytest.approx(
        deltas.scores["x"]["day"] - deltas.scores["c"]["day"], abs=1e-12
    )
    assert row(deltas, "c", "day").seeds == 2
    assert "spread between training seeds" in deltas.caveat


def test_only_common_seeds_are_compared_and_it_is_said() -> None:
    deltas = deltas_of(*seeded("c", 0.2, 1, 2, 3), *seeded("x", 0.5, 2, 3))
    assert row(deltas, "x", "day").seeds == 2
    told = "x has seeds 2, 3, c has seeds 1, 2, 3: their difference is over seeds 2, 3."
    assert told in deltas.caveat
    one = deltas_of(*seeded("c", 0.2, 1, 2), *seeded("x", 0.5, 2))
    assert "x has seed 2, c has seeds 1, 2: their difference is over seed 2." in one.caveat
    with pytest.raises(DataError, match=r"x - c: no seed in common \(4 and 1, 2\)"):
        deltas_of(*seeded("c", 0.2, 1, 2), *seeded("x", 0.5, 4))
    with pytest.raises(DataError, match="same condition `x` under the same seed 1"):
        deltas_of(*seeded("c", 0.2, 1), *seeded("x", 0.5, 1, 1))


@pytest.mark.parametrize("change", [{"version": 2.0}, {"n": 200}, {"backend": "vllm"}])
@pytest.mark.parametrize("further", ["c", "x"])
def test_a_seed_that_one_side_alone_has_is_left_out_where_it_was_scored_otherwise(
    further: str, change: dict[str, Any]
) -> None:
    models = [*seeded("c", 0.2, 1, 2), *seeded("x", 0.5, 1, 2)]
    alone = deltas_of(*models)
    odd = replace(evaluated(further, {"day": 0.9, "unit": 0.3}, seed=3, **change), name="odd")
    deltas = deltas_of(*models, odd)
    assert (deltas.rows, deltas.scores) == (alone.rows, alone.scores)
    why = f"scored otherwise: day: {next(iter(change))} is"
    assert why in deltas.gaps["odd"].reason and why in deltas.caveat
    other = evaluated(further, {"day": 0.9, "unit": 0.3}, seed=3)
    other.scores["day"].keys[0] = (0, "another")
    deltas = deltas_of(*models, replace(other, name="odd"))
    assert deltas.rows == alone.rows
    assert "day: the two models were not scored on the same documents" in deltas.gaps["odd"].reason
    paired = [*seeded("c", 0.2, 1, 2, 3), *seeded("x", 0.5, 1, 2, 3)]
    paired = [one for one in paired if (one.condition, one.seed) != (further, 3)]
    with pytest.raises(DataError, match=f"x - c: day: {next(iter(change))} is"):
        deltas_of(*paired, odd)


def test_an_arm_without_a_seed_of_the_control_is_named_and_the_others_are_compared() -> None:
    models = [*seeded("c", 0.2, 1, 2), *seeded("x", 0.5, 1, 2)]
    apart = [replace(m, name=f"y,{m.seed}") for m in seeded("y", 0.5, 4, 5)]
    deltas = deltas_of(*models, *apart)
    assert deltas.rows == deltas_of(*models).rows and deltas.arms == ["x"]
    assert "y,5: no result (y - c: no seed in common (4, 5 and 1, 2))." in deltas.caveat
    names = {"x": "x", "y": "x,format_matched", "c": "c"}
    half = [*seeded("c", 0.2, 1, 2), *seeded("x", 0.5, 1), *seeded("y", 0.5, 2)]
    found = deltas_of(*(replace(m, condition=names[m.condition]) for m in half))
    assert found.split == []
    assert "x - x,format_matched: not compared: no seed in common (1 and 2)." in found.caveat


def test_one_run_under_two_names_is_said_to_be_one() -> None:
    models = [*seeded("c", 0.2, 1), *seeded("x", 0.5, 1), *seeded("y", 0.5, 1)]
    named = [replace(m, run="f" if m.name == "x" else m.name) for m in models]
    again = replace(named[1], name="again", condition="again")
    caveat = deltas_of(*named, again).caveat
    assert "x and again are the same run (f) under several names." in caveat
    assert "y" not in "".join(line for line in caveat.splitlines() if "same run" in line)
    caveat = deltas_of(named[0], replace(named[0], name="again", condition="again")).caveat
    assert "c and again are the same run (c)" in caveat and "no effect here" not in caveat


def test_of_copies_the_one_is_kept_whose_seed_the_control_has() -> None:
    copies = [replace(m, answers="alike") for m in seeded("y", 0.4, 1) for _ in range(2)]
    copies[1] = replace(copies[1], seed=2, name="y2")
    deltas = deltas_of(*seeded("c", 0.2, 2), *copies, *seeded("x", 0.5, 1, 2))
    assert deltas.seeds["y"] == [2] and deltas.gaps["y"].condition == "y"
    assert row(deltas, "y", "day").seeds == 1
    assert deltas_of(*seeded("c", 0.2, 1, 2), *copies).seeds["y"] == [1]


def test_arms_without_results_are_named_and_not_counted() -> None:
    gaps = {"y,seed=1": Gap("y", "not evaluated")}
    deltas = deltas_of(*seeded("c", 0.2, 1), *seeded("x", 0.5, 1), gaps=gaps)
    assert deltas.arms == ["x"] and deltas.gaps["y,seed=1"].condition == "y"
    assert "y,seed=1: no result (not evaluated)." in deltas.caveat
    console = Console(file=io.StringIO(), width=160)
    tables.print_table(deltas, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("no result") == 3 + 1  # day, unit, macro, and the caveat


def test_a_suite_has_its_own_macro_row() -> None:
    deltas = deltas_of(*seeded("c", 0.2, 1, 2), *seeded("x", 0.5, 1, 2), macros={"time": ["day"]})
    suite, day = row(deltas, "x", "macro:time"), row(deltas, "x", "day")
    assert suite.delta == day.delta and suite.low == pytest.approx(day.low)
    assert deltas.scores["x"]["macro:time"] == deltas.scores["x"]["day"]
    with pytest.raises(DataError, match=r"eval.macros.odd averages night, which was not evaluated"):
        deltas_of(*seeded("c", 0.2, 1), *seeded("x", 0.5, 1), macros={"odd": ["night"]})


def save(model: Evaluated, folder: Path) -> Artifact:
    folder.mkdir()
    documents = [
        Document(task, i, doc_hash, "acc", float(score), "q", "a", "a")
        for task, scored in model.scores.items()
        for (i, doc_hash), score in zip(scored.keys, scored.values, strict=True)
    ]
    harness._write_documents(folder / DOCUMENTS, documents)
    results = Results(model.tasks, groups={}, backend="hf", macro=model.macro)
    write_json(folder / RESULTS, results.to_json())
    return invented_artifact(folder)


def test_the_stage_reads_artifacts_and_writes_what_the_numbers_say(tmp_path: Path) -> None:
    models = {
        "base": evaluated("base", {"day": 0.2}),
        ArmRole("synthetic=0.0"): evaluated("synthetic=0.0", {"day": 0.2}),
        ArmRole("synthetic=0.5"): evaluated("synthetic=0.5", {"day": 0.5}),
    }
    inputs = {role: save(m, tmp_path / str(i)) for i, (role, m) in enumerate(models.items())}
    recipe = Recipe.model_validate(
        {
            "name": "x",
            "model": {"path": "m"},
            "mixture": {
                "sources": {"human": {"path": "a"}, "synthetic": {"path": "b"}},
                "phases": [{"tokens": 64, "ratios": {"human": 0.5, "synthetic": 0.5}}],
            },
            "train": {"sequence_length": 8, "global_batch_tokens": 8, "lr": 0.1},
            "eval": {"tasks": ["day"], "bootstrap": 500},
            "ablation": {
                "axes": {"mixture.synthetic": [0.0, 0.5]},
                "control": {"mixture.synthetic": 0.0},
            },
        }
    )
    out = tmp_path / "out"
    out.mkdir()
    summary = compare.run(StageContext(recipe, inputs, out, Tracker.silent()))
    text = (out / "deltas.json").read_text()
    deltas = compare.read_deltas(invented_artifact(out))
    assert json.dumps(deltas.to_json(), indent=1, ensure_ascii=False) == text
    assert summary["differs_in_this_run"] == 2 and summary["no_detectable_change"] == 2
    assert deltas.contamination["day"].status == "not_checked"
    assert deltas.control == "synthetic=0.0" and deltas.arms == ["synthetic=0.5"]
    assert deltas.fit is not None
    assert [point.ratio for point in deltas.fit.points] == [0.0, 0.5]
    assert "2 ratios are too few" in deltas.fit.recommendation
    assert row(deltas, "synthetic=0.5", "day").against == "synthetic=0.0"
    assert (out / "deltas.csv").read_text().count("\n") == 5


def test_an_arm_that_answers_as_the_control_does_is_named() -> None:
    deltas = deltas_of(*seeded("c", 0.2, 1, 2), *seeded("x", 0.2, 1, 2), *seeded("yy", 0.2, 1, 2))
    assert "x scores on every document exactly as c does" in deltas.caveat
    assert "yy scores on every document" not in deltas.caveat
    assert "No arm gains detectably on any of the 2 tasks." in deltas.conclusion
