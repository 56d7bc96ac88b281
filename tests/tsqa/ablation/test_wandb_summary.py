"""The run that sums up an ablation, read back from its offline file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import page_world
from tests.support.sealed import invented_artifact
from tests.support.wandb_records import read_runs
from tsqa.ablation.wandb_summary import MOST_LINES, log_ablation, shown_intervals
from tsqa.recipe import TrackingSection, arms_of
from tsqa.store.jsonl import write_json


def test_the_summary_run_holds_tables_intervals_page_and_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    recipe = page_world.make_recipe([0.0, 0.1, 0.5], [1, 2])
    tracking = TrackingSection(mode="offline")
    recipe = recipe.model_copy(update={"runs": str(tmp_path), "tracking": tracking})
    evaluations = page_world.make_evaluations(tmp_path / "e", recipe, ["day", "unit"], 30)
    deltas = page_world.make_deltas(recipe, evaluations)
    (tmp_path / "compared").mkdir()
    write_json(tmp_path / "compared" / "deltas.json", deltas.to_json())
    compared = invented_artifact(tmp_path / "compared", fingerprint="f00d", summary={})
    page = tmp_path / "report.html"
    page.write_text("<p>page</p>")
    pipeline: Any = SimpleNamespace(recipe=recipe, arms=arms_of(recipe))
    log_ablation(pipeline, compared, page, {"lost": "why"})

    run = read_runs(tmp_path)["ablation-f00d"]
    assert run.run.display_name == "invented / ablation / f00d" and run.run.job_type == "ablation"
    assert set(run.run.tags) == {"recipe:invented", "teacher:t", "model:m"}
    assert deltas.conclusion in run.run.notes and deltas.caveat in run.run.notes
    assert len(run.table("deltas")["data"]) == len(deltas.rows)
    lines = run.table("change_table")["data"]
    first = deltas.rows[0]
    assert len(lines) == 3 * len(deltas.rows)
    found = [x for x, *_ in lines[:3]]
    assert found == pytest.approx([100 * first.low, 100 * first.delta, 100 * first.high])
    assert run.summary["macro/synthetic=0.5"] == deltas.scores["synthetic=0.5"]["macro"]
    assert run.summary["failed"] == ["lost"] and run.exit_code == 1
    assert not any("train/tokens" in row for row in run.history)


def test_many_rows_are_charted_by_their_macro_averages(tmp_path: Path) -> None:
    recipe = page_world.make_recipe([i / 100 for i in range(31)], [1])
    evaluations = page_world.make_evaluations(tmp_path, recipe, ["day", "unit"], 20)
    rows = list(shown_intervals(page_world.make_deltas(recipe, evaluations)))
    assert len(rows) == 31 <= MOST_LINES and all("macro" in row.label for row in rows)
    assert all(row.low <= row.value <= row.high for row in rows)
