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
from tsqa.recipe import Recipe
from tsqa.stage import StageContext
from tsqa.tracking import Tracker


def evaluated(name: str, rates: dict[str, float], n: int = 300, **changes: Any) -> Any:
    scores, tasks = {}, {}
    for task, rate in rates.items():
        values = (np.random.default_rng(len(task)).random(n) < rate).astype(float)
        scores[task] = {(i, f"h{i}"): float(v) for i, v in enumerate(values)}
        tasks[task] = {
            "metric": "acc",
            "version": 1.0,
            "num_fewshot": 0,
            "kind": "multiple_choice",
            "n": n,
            "score": float(values.mean()),
        } | changes
    macro = float(np.mean([task["score"] for task in tasks.values()]))
    return compare.Evaluated(name, tasks, macro, scores)


def deltas_of(*models: Any, control: str = "c") -> dict[str, Any]:
    return compare.compare(
        {model.name: model for model in models},
        control=control,
        bootstrap=500,
        confidence=0.95,
        seed=0,
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
    "change", [{"version": 2.0}, {"num_fewshot": 5}, {"n": 299}, {"metric": "acc_norm"}]
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


def test_holm_is_applied_within_macro_rows_and_within_task_rows() -> None:
    models = [evaluated(name, {"day": 0.2 + 0.05 * i}) for i, name in enumerate("cxy")]
    deltas = deltas_of(*models)
    family = [r for r in deltas["rows"] if r["task"] == "day"]
    assert [r["p_holm"] for r in family] == stats.holm([r["p"] for r in family])


def save(model: Any, folder: Path) -> Artifact:
    folder.mkdir()
    done = {
        task: {
            "documents": [
                {"task": task, "doc_id": i, "doc_hash": h, "metric": "acc", "score": score}
                | {"question": "q", "answer": "a", "prediction": "a"}
                for (i, h), score in documents.items()
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
    assert row(deltas, "synthetic=0.5", "day")["against"] == "synthetic=0.0"
    assert (out / "deltas.csv").read_text().count("\n") == 5


def test_the_table_and_the_csv_show_every_task(tmp_path: Path) -> None:
    rates = {"day": 0.2, "[unit]": 0.4}
    deltas = deltas_of(evaluated("base", rates), evaluated("c", rates), evaluated("x", rates))
    console = Console(file=io.StringIO(), width=160)
    compare.print_table(json.loads(json.dumps(deltas)), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("day", "[unit]", "macro", "base", "no detectable change", "training seeds"):
        assert word in shown
    compare._write_csv(tmp_path / "deltas.csv", deltas["rows"])
    with (tmp_path / "deltas.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 6 and float(rows[0]["delta"]) == 0
