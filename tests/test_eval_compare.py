"""Promises of eval.compare: mismatches are refused by name; the conclusion follows the numbers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from eval import compare, harness, stats
from tsqa.artifact import Artifact, write_json
from tsqa.errors import DataError
from tsqa.recipe import Recipe, load_recipe
from tsqa.stage import StageContext
from tsqa.tracking import Tracker


def evaluated(
    name: str, rates: dict[str, float], n: int = 300, *, seed: int | None = None, **changes: Any
) -> Any:
    scores, tasks = {}, {}
    for task, rate in rates.items():
        noise = np.random.default_rng(len(task)).random(n)
        if seed is not None:
            noise = noise + np.random.default_rng([seed, len(name)]).normal(0, 0.02, n)
        values = (noise < rate).astype(float)
        rows = [((i, f"h{i}"), float(v), None) for i, v in enumerate(values)]
        scores[task] = stats.Scored.of(rows, task)
        tasks[task] = {
            "metric": "acc",
            "version": 1.0,
            "num_fewshot": 0,
            "kind": "multiple_choice",
            "n": n,
            "score": float(values.mean()),
        } | changes
    macro = float(np.mean([task["score"] for task in tasks.values()]))
    return compare.Evaluated(name, name, seed, tasks, macro, scores)


def deltas_of(*models: Any, control: str = "c", **options: Any) -> dict[str, Any]:
    return compare.compare(
        models, control=control, bootstrap=500, confidence=0.95, seed=0, **options
    )


def row(deltas: dict[str, Any], arm: str, task: str) -> dict[str, Any]:
    return next(r for r in deltas["rows"] if (r["arm"], r["task"]) == (arm, task))


def test_a_gain_a_loss_and_no_change_each_get_their_word() -> None:
    deltas = deltas_of(
        evaluated("base", {"day": 0.2, "unit": 0.2}),
        evaluated("c", {"day": 0.2, "unit": 0.2}),
        evaluated("good", {"day": 0.5, "unit": 0.2}),
        evaluated("bad", {"day": 0.1, "unit": 0.05}),
    )
    assert row(deltas, "good", "day")["verdict"] == stats.BETTER
    assert row(deltas, "good", "unit")["verdict"] == stats.UNCHANGED
    assert row(deltas, "bad", stats.MACRO)["verdict"] == stats.WORSE
    assert row(deltas, "c", stats.MACRO)["delta"] == 0
    text = deltas["conclusion"]
    assert "better than the control c: good (" in text
    assert "worse than the control c: bad (" in text
    assert "No arm gains detectably on 1 of 2 tasks: unit." in text
    assert "the control c: no detectable change" in text


def test_the_conclusion_claims_nothing_where_nothing_changed() -> None:
    same = {"day": 0.3}
    text = deltas_of(evaluated("c", same), evaluated("x", same))["conclusion"]
    assert "better" not in text and "no detectable change from the control c: x" in text


@pytest.mark.parametrize(
    "change",
    [{"version": 2.0}, {"num_fewshot": 5}, {"n": 299}, {"metric": "acc_norm"}, {"backend": "vllm"}],
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


def test_holm_is_applied_over_the_whole_table_macro_rows_weighing_half() -> None:
    models = [evaluated(name, {"day": 0.2 + 0.05 * i, "unit": 0.3}) for i, name in enumerate("cxy")]
    rows = deltas_of(*models)["rows"]
    weights = [1 / 4 if r["task"] == stats.MACRO else 1 / 8 for r in rows]
    assert [r["p_holm"] for r in rows] == stats.holm([r["p"] for r in rows], weights)


def seeded(name: str, rate: float, *seeds: int) -> list[Any]:
    return [evaluated(name, {"day": rate, "unit": 0.3}, seed=seed) for seed in seeds]


def test_arms_are_paired_seed_by_seed() -> None:
    deltas = deltas_of(
        evaluated("base", {"day": 0.2, "unit": 0.3}),
        *seeded("c", 0.2, 1, 2),
        *seeded("x", 0.5, 2, 1),
    )
    assert deltas["seeds"] == {"c": [1, 2], "x": [1, 2]} and deltas["arms"] == ["x"]
    per_seed = deltas["scores_by_seed"]["x"]
    assert deltas["scores"]["x"]["day"] == pytest.approx(
        (per_seed["1"]["day"] + per_seed["2"]["day"]) / 2
    )
    found = row(deltas, "x", "day")
    assert found["seeds"] == 2 and found["p_mcnemar"] is None and "crossed" in found["method"]
    assert found["delta"] == pytest.approx(
        deltas["scores"]["x"]["day"] - deltas["scores"]["c"]["day"], abs=1e-12
    )
    assert row(deltas, "c", "day")["seeds"] == 2
    assert "spread between training seeds" in deltas["caveat"]


def test_only_common_seeds_are_compared_and_it_is_said() -> None:
    deltas = deltas_of(*seeded("c", 0.2, 1, 2, 3), *seeded("x", 0.5, 2, 3))
    assert row(deltas, "x", "day")["seeds"] == 2
    assert "x has the seeds 2, 3 and c 1, 2, 3: their difference is over 2, 3." in deltas["caveat"]
    with pytest.raises(DataError, match=r"x - c: no seed in common \(4 and 1, 2\)"):
        deltas_of(*seeded("c", 0.2, 1, 2), *seeded("x", 0.5, 4))
    with pytest.raises(DataError, match="same condition `x` under the same seed 1"):
        deltas_of(*seeded("c", 0.2, 1), *seeded("x", 0.5, 1, 1))


def test_arms_without_results_are_named_and_not_counted() -> None:
    gaps = {"y,seed=1": ("y", "not evaluated")}
    deltas = deltas_of(*seeded("c", 0.2, 1), *seeded("x", 0.5, 1), gaps=gaps)
    assert deltas["arms"] == ["x"] and deltas["gaps"]["y,seed=1"]["condition"] == "y"
    assert "y,seed=1: no result (not evaluated)." in deltas["caveat"]
    console = Console(file=io.StringIO(), width=160)
    compare.print_table(deltas, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("no result") == 3 + 1  # day, unit, macro, and the caveat


def test_a_suite_has_its_own_macro_row() -> None:
    deltas = deltas_of(*seeded("c", 0.2, 1, 2), *seeded("x", 0.5, 1, 2), macros={"time": ["day"]})
    suite, day = row(deltas, "x", "macro:time"), row(deltas, "x", "day")
    assert suite["delta"] == day["delta"] and suite["low"] == pytest.approx(day["low"])
    assert deltas["scores"]["x"]["macro:time"] == deltas["scores"]["x"]["day"]
    with pytest.raises(DataError, match=r"eval.macros.odd averages night, which was not evaluated"):
        deltas_of(*seeded("c", 0.2, 1), *seeded("x", 0.5, 1), macros={"odd": ["night"]})


def save(model: Any, folder: Path) -> Artifact:
    folder.mkdir()
    done = {
        task: {
            "documents": [
                {"task": task, "doc_id": i, "doc_hash": h, "metric": "acc", "score": score}
                | {"question": "q", "answer": "a", "prediction": "a"}
                for (i, h), score in zip(documents.keys, documents.values, strict=True)
            ]
        }
        for task, documents in model.scores.items()
    }
    harness._write_documents(folder / harness.DOCUMENTS, done)
    write_json(folder / harness.RESULTS, {"tasks": model.tasks, "macro": model.macro})
    return Artifact(folder, {})


def test_the_stage_reads_artifacts_and_writes_what_the_numbers_say(tmp_path: Path) -> None:
    models = {
        "base": evaluated("base", {"day": 0.2}),
        "arm:synthetic=0.0": evaluated("synthetic=0.0", {"day": 0.2}),
        "arm:synthetic=0.5": evaluated("synthetic=0.5", {"day": 0.5}),
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
    deltas = json.loads((out / "deltas.json").read_text())
    assert summary["better"] == 2 and summary["no_detectable_change"] == 2
    assert deltas["control"] == "synthetic=0.0" and deltas["arms"] == ["synthetic=0.5"]
    assert [point["ratio"] for point in deltas["fit"]["points"]] == [0.0, 0.5]
    assert "2 ratios are too few" in deltas["fit"]["recommendation"]
    assert row(deltas, "synthetic=0.5", "day")["against"] == "synthetic=0.0"
    assert (out / "deltas.csv").read_text().count("\n") == 5


def test_only_an_axis_of_one_ratio_is_fitted() -> None:
    path = Path("recipes/quickstart/recipe.yaml")
    axis = compare.ratio_axis(load_recipe(path, ["ablation.seeds=[1,2]"]))
    assert axis is not None and list(axis["ratios"].values()) == [0, 0.25, 0.5]
    other = "ablation={axes: {train.lr: [0.001, 0.002]}, control: {train.lr: 0.001}}"
    assert compare.ratio_axis(load_recipe(path, [other])) is None


def test_the_table_and_the_csv_show_every_task(tmp_path: Path) -> None:
    rates = {"day": 0.2, "[unit]": 0.4}
    deltas = deltas_of(evaluated("base", rates), evaluated("c", rates), evaluated("x", rates))
    console = Console(file=io.StringIO(), width=160)
    compare.print_table(json.loads(json.dumps(deltas)), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("day", "[unit]", "macro", "base", "no detectable change", "training seeds"):
        assert word in shown
    compare.write_csv(tmp_path / "deltas.csv", deltas["rows"])
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
        compare.print_table(deltas, console)
        shown[width] = console.file.getvalue().partition("Macro average")[0]  # type: ignore[attr-defined]
    assert shown[200].count(" day ") == 1 and shown[60].count(" day ") == 2
    for word in ("without", "enrichment", "format_matched", "=0.125,", "seeds.tasks", "=none"):
        assert shown[60].count(word) == shown[200].count(word) == 1
    for condition in (
        "control |replaced=0%",
        "synthetic|=0.125,|votes=3",
        "exact |duplicates |only",
    ):
        assert compare._header(condition.replace("|", "")).plain == "\n".join(
            line.rstrip() for line in condition.split("|")
        )
    for row in deltas["rows"]:
        interval = compare._points(row).partition(" ")[2]
        assert shown[60].count(interval) == shown[200].count(interval)


def test_an_arm_that_answers_as_the_control_does_is_named() -> None:
    deltas = deltas_of(*seeded("c", 0.2, 1, 2), *seeded("x", 0.2, 1, 2), *seeded("yy", 0.2, 1, 2))
    assert "x scores on every document exactly as c does" in deltas["caveat"]
    assert "yy scores on every document" not in deltas["caveat"]
    assert "No arm gains detectably on any of the 2 tasks." in deltas["conclusion"]


def test_an_ablation_of_one_ratio_is_fitted() -> None:
    rates = {0.0: 0.2, 0.1: 0.4, 0.25: 0.5, 0.5: 0.4, 1.0: 0.1}
    models = [model for r, rate in rates.items() for model in seeded(f"synthetic={r}", rate, 1, 2)]
    axis = {"axis": "mixture.synthetic", "ratios": {f"synthetic={r}": r for r in rates}}
    deltas = deltas_of(*models, control="synthetic=0.0", axis=axis)
    assert deltas["fit"]["axis"] == "mixture.synthetic" and deltas["fit"]["task"] == stats.MACRO
    for point in deltas["fit"]["points"]:
        name = f"synthetic={point['ratio']}"
        assert point["score"] == pytest.approx(deltas["scores"][name][stats.MACRO])
        assert point["low"] < point["score"] < point["high"]
    assert deltas["fit"]["recommendation"] in deltas["conclusion"]
    assert deltas_of(*models, control="synthetic=0.0")["fit"] is None
