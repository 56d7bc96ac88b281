"""Every task is shown, no cell wraps, no arm is lost."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from eval.compare import tables
from eval.compare.published import published_tables, setup_of
from eval.compare.scores import Evaluated, choice_probability
from eval.deltas import DeltaTable, TaskSetup
from eval.statistics import stats
from eval.statistics.paired import Scored
from tests.support.invented_arms import deltas_of, evaluated, of_scores
from tests.support.page_world import make_recipe
from tsqa.recipe import EvalSection


def test_the_table_and_the_csv_show_every_task(tmp_path: Path) -> None:
    rates = {"day": 0.2, "[unit]": 0.4}
    deltas = deltas_of(evaluated("base", rates), evaluated("c", rates), evaluated("x", rates))
    console = Console(file=io.StringIO(), width=160)
    tables.print_table(deltas, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("day", "[unit]", "macro", "base", "no detectable change", "training seeds"):
        assert word in shown
    tables.write_csv(tmp_path / "deltas.csv", deltas.rows)
    with (tmp_path / "deltas.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 6 and float(rows[0]["delta"]) == 0


def test_no_cell_of_a_narrow_table_wraps_and_no_arm_is_lost() -> None:
    arms = ["without enrichment", "enriched,format_matched", "synthetic=0.125,seeds.tasks=none"]
    models = [evaluated(name, {"day": 0.2, "unit": 0.3}) for name in ("base", "c", *arms)]
    deltas = deltas_of(*models)
    shown = {}
    for width in (60, 200):
        console = Console(file=io.StringIO(), width=width)
        tables.print_table(deltas, console)
        shown[width] = console.file.getvalue().partition("Macro average")[0]  # type: ignore[attr-defined]
    assert shown[200].count(" day ") == 1 and shown[60].count(" day ") == 2
    for word in ("without", "enrichment", "format_matched", "=0.125,", "seeds.tasks", "=none"):
        assert shown[60].count(word) == shown[200].count(word) == 1
    for condition in (
        "control |replaced=0%",
        "synthetic|=0.125,|votes=3",
        "exact |duplicates |only",
    ):
        assert tables._header(condition.replace("|", "")).plain == "\n".join(
            line.rstrip() for line in condition.split("|")
        )
    for row in deltas.rows:
        interval = stats.interval(row.low, row.high)
        assert shown[60].count(interval) == shown[200].count(interval)


def arms_with_bits(falls: float, lacks: str = "") -> list[Evaluated]:
    """A control and an arm of equal scores, whose bits fall by so much, but of one task."""
    rng = np.random.default_rng(0)
    models = []
    cost = {task: rng.normal(2, 0.5, 80) for task in ("day", "unit")}
    for arm in ("c", "x"):
        model = of_scores(arm, 0, {task: np.ones(80) for task in cost})
        bits = {
            task: replace(
                model.scores[task],
                values=values - (falls if arm == "x" else 0.0) + rng.normal(0, 0.1, 80),
            )
            for task, values in cost.items()
            if (arm, task) != ("x", lacks)
        }
        models.append(replace(model, bits=bits))
    return models


def test_no_difference_of_scores_is_beyond_100_points() -> None:
    """Two seeds hardly show how far seeds differ: their task rows would need more."""
    rng = np.random.default_rng(0)
    models = [
        of_scores(arm, seed, {task: (rng.random(60) < rate) * 1.0 for task in "xyzu"})
        for arm, seed, rate in (("c", 0, 0.5), ("c", 1, 0.5), ("a", 0, 0.3), ("a", 1, 0.7))
    ]
    deltas = deltas_of(*models)
    assert max(row.mde for row in deltas.rows) > 1 and all(row.high <= 1 for row in deltas.rows)
    assert tables.markdown(deltas).count("| over 100 |") == sum(row.mde > 1 for row in deltas.rows)


def test_fewer_bits_are_better_in_words_and_more_are_worse() -> None:
    with_seeds = [
        replace(
            model,
            seed=seed,
            name=f"{model.name}{seed}",
            bits={
                t: replace(own, values=own.values + 0.01 * seed) for t, own in model.bits.items()
            },
        )
        for seed in (1, 2, 3)
        for model in arms_with_bits(0.3)
    ]
    rows = deltas_of(*with_seeds).bits
    assert [row.task for row in rows] == ["day", "unit", stats.MACRO]
    for row in rows:
        assert row.delta == pytest.approx(row.score - row.reference)
        assert row.low <= row.delta <= row.high < 0 and row.verdict == stats.BETTER
    for falls, verdict in ((-0.3, stats.DIFFERS), (0.0, stats.UNCHANGED)):
        table = deltas_of(*arms_with_bits(falls), seed_spread=0.01)  # one of scores: not of bits
        assert {row.verdict for row in table.bits} == {verdict}
        assert {row.verdict for row in table.rows} == {stats.UNCHANGED}


def test_the_table_of_bits_is_short_and_says_which_tasks_it_lacks() -> None:
    table = deltas_of(*arms_with_bits(0.3, lacks="unit"))
    assert table.no_bits == ["unit"]
    console = Console(file=io.StringIO(), width=120)
    tables.print_table(table, console)
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert shown.count("fewer is better") == 1 and "right choice" not in shown
    assert "Bits per byte: none of unit" in shown
    assert "alone may be the form of answers." in shown
    assert "alone may be the form of answers." in tables.markdown(table)
    assert f"| x - c | day | 80 | {table.bits[0].reference:.3f} |" in tables.markdown(table)
    plain = deltas_of(evaluated("c", {"day": 0.2}), evaluated("x", {"day": 0.2}))
    assert plain.bits == [] and "per byte" not in tables.markdown(plain)


def test_what_makes_every_choice_likelier_leaves_the_right_ones_probability() -> None:
    models = [
        replace(model, right_choice={task: flat(one) for task, one in model.bits.items()})
        for model in arms_with_bits(0.3)
    ]
    table = deltas_of(*models)
    assert {row.verdict for row in table.bits} == {stats.DIFFERS}
    assert {row.verdict for row in table.right_choice} == {stats.UNCHANGED}
    console = Console(file=io.StringIO(), width=120)
    tables.print_table(table, console)
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "right choice" in shown and "form of answers" in tables.markdown(table)
    assert "none of" not in shown
    for model in models:
        del model.right_choice["unit"]  # of generated text
    table = deltas_of(*models)
    assert (table.no_bits, table.no_choices) == ([], ["unit"])
    assert "- Probability of the right choice: none of unit: no choices" in tables.markdown(table)


def test_the_probability_of_the_right_choice_is_a_softmax_of_what_scores_the_choices() -> None:
    assert choice_probability([-1.0, -1.0, -1.0, -1.0], 2) == pytest.approx(0.25)
    assert choice_probability([math.log(0.06), math.log(0.02)], 0) == pytest.approx(0.75)
    assert choice_probability([-5000.0, -1.0], 0) == pytest.approx(0, abs=1e-300)
    assert choice_probability([-5000.0, -9000.0], 0) == 1


def flat(one: Scored) -> Scored:
    """Noise around 0."""
    rng = np.random.default_rng(int(1e6 * one.values.sum()))
    return replace(one, values=rng.normal(0, 0.1, len(one.keys)))


def test_published_deltas_are_subtracted_only_under_one_protocol() -> None:
    rates = {"gpqa_diamond_cot_n_shot": 0.3, "mbpp": 0.4, "day": 0.5}
    deltas = deltas_of(evaluated("base", rates), evaluated("c", rates), evaluated("x", rates))
    kind = "generate_until"
    tasks = {
        **deltas.tasks,
        "gpqa_diamond_cot_n_shot": TaskSetup("exact_match,flexible-extract", 1, 5, kind, 198),
        "mbpp": TaskSetup("pass_at_1 over 8 samples", 1, 3, kind, 500),
    }
    deltas = replace(deltas, tasks=tasks)

    refused = published(deltas, {})
    protocols, rest = refused.split("Nano: deltas in points")
    assert "samples 32 there, 8 here; the whole test split, not the sanitized" in protocols
    assert "in nothing known" in protocols and "protocol not published" in protocols
    lines = {line.split()[0]: line for line in rest.splitlines() if line.strip()}
    assert lines["GPQA"].rstrip().endswith("-11.1"), "same protocol: ours minus theirs"
    assert lines["MBPP"].rstrip().endswith("other protocol: mbpp")
    assert "other protocol" not in published(deltas, {}, any_protocol=True).replace("--", "")
    assert "arXiv 2606.15007" in refused and "arXiv 2604.12374" in refused


def published(deltas: DeltaTable, here: Mapping[str, str], any_protocol: bool = False) -> str:
    console = Console(file=io.StringIO(), width=400)
    for table in published_tables(deltas, here, any_protocol):
        console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_published_mean_is_subtracted_only_from_one_over_the_same() -> None:
    """Of questions where ours is of questions too; of tasks never, since they are not named."""
    names = ["mmlu_pro_law", "mmlu_pro_math"]
    setup = TaskSetup("exact_match,custom-extract", 1, 5, "generate_until", 6016)
    rates = dict.fromkeys((*names, "openbookqa"), 0.4)
    macros = {"mmlu_pro_subjects": names, "commonsense": ["openbookqa"]}
    for by_documents in (False, True):
        models = [evaluated("c", rates), evaluated("x", rates)]
        deltas = deltas_of(*models, macros=macros, by_documents=by_documents)
        alike = {"openbookqa": TaskSetup("acc_norm", 1, 0, "multiple_choice", 500)}
        deltas = replace(deltas, tasks=dict.fromkeys(names, setup) | alike)
        lines = published(deltas, {}).splitlines()
        [mmlu] = [line for line in lines if line.strip().startswith("MMLU-Pro")]
        [commonsense] = [
            line for line in lines if "commonsense (average)" in line and "+1.6" in line
        ]
        assert ("other average: of tasks, theirs of questions" in mmlu) is not by_documents
        assert mmlu.rstrip().endswith("-1.8") is by_documents
        assert "which tasks theirs holds is not published" in commonsense
        assert "other average" not in published(deltas, {}, any_protocol=True)


def test_a_part_of_the_questions_or_a_chat_template_is_another_protocol() -> None:
    rates = {"arc_challenge": 0.3, "piqa": 0.4}
    deltas = deltas_of(evaluated("c", rates), evaluated("x", rates))
    kind = "multiple_choice"
    tasks = {
        "arc_challenge": TaskSetup("acc_norm", 1, 25, kind, 100),
        "piqa": TaskSetup("acc_norm", 1, 0, kind, 1838),
    }
    deltas = replace(deltas, tasks=tasks)
    protocols = published(deltas, {}).split("Nano: deltas")[0]
    [arc] = [line for line in protocols.splitlines() if "arc_challenge" in line]
    [piqa] = [line for line in protocols.splitlines() if "piqa" in line]
    assert "questions 1172 there, 100 here" in arc and "in nothing known" in piqa
    recipe = make_recipe([0, 0.5], [0])
    assert "chat template" not in setup_of(recipe)
    asked = recipe.model_copy(update={"eval": EvalSection(tasks=["piqa"], chat_template=True)})
    assert "asked in a chat template here" in published(deltas, setup_of(asked))
