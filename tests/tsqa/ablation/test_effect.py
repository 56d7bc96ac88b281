"""Training effectiveness: what a finished ablation says per token, and what an unfinished would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eval.statistics import stats
from tests.support import page_world
from tests.support.released import write_recipe
from tests.support.sealed import invented_artifact
from tsqa.ablation.effect import effect_of, print_proxy, proxy_run
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.store.jsonl import write_json

BUDGET = 4_000_000
PHASE = {"tokens": BUDGET, "ratios": {"human": 0.5, "synthetic": 0.5}}


def opened(folder: Path, *overrides: str, **sections: Any) -> Pipeline:
    (folder / "human.jsonl").write_text('{"text": "one two"}\n')
    trained: dict[str, Any] = {
        "model": {"path": "org/student"},
        "mixture": {
            "sources": {
                "human": {"path": str(folder / "human.jsonl"), "made_by": "people"},
                "synthetic": {"from": "filter"},
            },
            "phases": [PHASE],
        },
        "train": {"sequence_length": 8, "global_batch_tokens": 64, "lr": 1e-3},
    }
    path = write_recipe(folder, **(trained | sections))
    return Pipeline(load_recipe(path, overrides), path, [*overrides])


def of_filter(pipeline: Pipeline) -> Any:
    return next(node for node in pipeline.nodes if node.stage == "filter")


def finish(pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give it a comparison in which synthetic tokens help; return the table."""
    evaluations = page_world.make_evaluations(folder / "e", pipeline.recipe, ["day", "unit"], 60)
    table = page_world.make_deltas(pipeline.recipe, evaluations)
    (folder / "compared").mkdir()
    write_json(folder / "compared" / "deltas.json", table.to_json())
    made = invented_artifact(folder / "compared")
    monkeypatch.setattr(pipeline, "find", lambda node: made if node.stage == "compare" else None)
    return table


def test_the_change_is_per_token_of_the_dataset_against_text_at_the_same_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = [
        {"name": "none", "mixture.synthetic": 0},
        {"name": "quarter", "mixture.synthetic": 0.25},
        {"name": "half", "mixture.synthetic": 0.5},
        {"name": "half, faster", "mixture.synthetic": 0.5, "train.lr": 2e-3},
    ]
    ablation = {"arms": arms, "control": "none", "seeds": [1, 2]}
    pipeline = opened(tmp_path, ablation=ablation)
    table = finish(pipeline, tmp_path, monkeypatch)
    rows = {(row.arm, row.task): row for row in table.rows}
    lines = {each.name: each for each in effect_of(pipeline, of_filter(pipeline))}
    quarter = lines[f"{stats.MACRO}: points per 1M tokens, quarter - none"]
    row = rows["quarter", stats.MACRO]
    assert quarter.value == pytest.approx(100 * row.delta), "it read a million"
    assert (quarter.low, quarter.high) == pytest.approx((100 * row.low, 100 * row.high))
    assert quarter.p == row.p_holm and quarter.n == row.n
    assert quarter.apart == (row.verdict != stats.UNCHANGED)
    assert "the same tokens of human (made by: people); 1,000,000 tokens" in quarter.reference_is
    half = lines["day: points per 1M tokens, half - none"]
    assert half.value == pytest.approx(50 * rows["half", "day"].delta)
    tasks = {name.partition(":")[0] for name in lines if "half - none" in name}
    assert tasks == {stats.MACRO, "day", "unit"}
    assert not any("faster" in name for name in lines), "its training differs too"
    other = opened(tmp_path, "filter.agreement=0.9", ablation=ablation)
    (none,) = effect_of(pipeline, of_filter(other))
    assert none.value is None and "no arm of the ablation read this dataset" in none.missing


def test_without_an_ablation_it_says_what_a_proxy_costs_and_how_to_start_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = opened(tmp_path)
    (line,) = effect_of(pipeline, of_filter(pipeline))
    assert line.value is None and "a control without the dataset" in line.missing
    proxy = proxy_run(pipeline)
    assert proxy and {*proxy.pipeline.arms} == {"synthetic=0", "synthetic=0.5"}
    print_proxy(pipeline)
    said = " ".join(capsys.readouterr().err.split())
    assert "would take 2 trainings of 8M tokens in all" in said and f"{proxy.command} --dry" in said
    ablation = {"axes": {"mixture.synthetic": [0, 0.5]}, "control": {"mixture.synthetic": 0}}
    planned = opened(tmp_path, ablation=ablation)
    assert "is not finished" in effect_of(planned, of_filter(planned))[0].missing


def test_a_recipe_that_trains_nothing_is_told_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(tmp_path)
    pipeline = Pipeline(load_recipe(path, []), path, [])
    assert "trains no student" in effect_of(pipeline, of_filter(pipeline))[0].missing
    print_proxy(pipeline)
    assert "extend it with `model`" in capsys.readouterr().err
