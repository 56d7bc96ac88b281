"""Promises of eval.harness: one score per document, resume without change, named errors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from eval import harness
from tests.tiny_eval import make_model, make_tasks
from tsqa.artifact import Artifact
from tsqa.errors import CheckpointError, DataError
from tsqa.recipe import Recipe
from tsqa.stage import StageContext
from tsqa.tracking import Tracker


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    make_model(root / "trained" / "hf")
    make_tasks(root / "tasks")
    return root


def context_of(
    world: Path, out: Path, tasks: list[str], trained: str = "trained", **section: Any
) -> StageContext:
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "model": {"path": str(world / "trained" / "hf")},
            "mixture": {
                "sources": {"a": {"path": "a.jsonl"}},
                "phases": [{"tokens": 64, "ratios": {"a": 1.0}}],
            },
            "train": {"sequence_length": 8, "global_batch_tokens": 8, "lr": 0.1},
            "eval": {"tasks": tasks, "include": str(world / "tasks"), "batch_size": 4} | section,
        }
    )
    out.mkdir(exist_ok=True)
    manifest = {"summary": {"tokens": 640, "heldout": {"a": 5.5}}}
    return StageContext(
        recipe, {"model": Artifact(world / trained, manifest)}, out, Tracker.silent()
    )


def read(out: Path) -> tuple[bytes, bytes]:
    return (out / harness.DOCUMENTS).read_bytes(), (out / harness.RESULTS).read_bytes()


def test_a_hybrid_is_scored_document_by_document_and_a_resume_changes_nothing(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet

    from eval import backend

    tasks = ["tiny_choice", "tiny_number"]
    whole = tmp_path / "whole"
    summary = harness.run(context_of(world, whole, tasks))
    rows = pyarrow.parquet.read_table(whole / harness.DOCUMENTS).to_pylist()
    results = json.loads((whole / harness.RESULTS).read_text())
    assert summary["documents"] == len(rows) == 12
    assert results["tasks"]["tiny_choice"]["metric"] == "acc"
    assert results["tasks"]["tiny_number"]["metric"] == "exact_match,strict-match"
    assert results["tasks"]["tiny_number"]["version"] == 2.0
    choice = [row for row in rows if row["task"] == "tiny_choice"]
    assert [row["doc_id"] for row in choice] == list(range(6))
    assert choice[1]["answer"] == "hot"
    assert all((row["prediction"] == row["answer"]) == bool(row["score"]) for row in choice)

    assert all(len(row["loglikelihoods"]) == 3 for row in choice)
    assert all(row["loglikelihoods"] is None for row in rows if row["task"] == "tiny_number")
    assert results["groups"] == {name: [name] for name in tasks}
    assert (results["backend"], results["tokens"], results["heldout"]) == ("hf", 640, {"a": 5.5})

    real, killed = backend.evaluate_task, tmp_path / "killed"

    def die_at_the_second_task(model: Any, task: Any, *args: Any, **kwargs: Any) -> Any:
        if task.task_name == "tiny_number":
            raise KeyboardInterrupt
        return real(model, task, *args, **kwargs)

    monkeypatch.setattr(backend, "evaluate_task", die_at_the_second_task)
    with pytest.raises(KeyboardInterrupt):
        harness.run(context_of(world, killed, tasks))
    seen: list[str] = []

    def watch(model: Any, task: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(task.task_name)
        return real(model, task, *args, **kwargs)

    monkeypatch.setattr(backend, "evaluate_task", watch)
    harness.run(context_of(world, killed, tasks))
    assert seen == ["tiny_number"]
    assert read(killed) == read(whole)
    assert {f.name for f in killed.iterdir()} == {f.name for f in whole.iterdir()}


def test_a_missing_checkpoint_is_named(world: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere/hf.*config.json is missing"):
        harness.run(context_of(world, tmp_path, ["tiny_choice"], trained="nowhere"))


def test_a_damaged_checkpoint_is_named(world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken" / "hf"
    folder.mkdir(parents=True)
    for file in (world / "trained" / "hf").iterdir():
        (folder / file.name).write_bytes(file.read_bytes()[: 500 if "safe" in file.name else None])
    context = context_of(world, tmp_path / "out", ["tiny_choice"])
    context = StageContext(
        context.recipe, {"model": Artifact(tmp_path / "broken", {})}, context.out, context.tracker
    )
    with pytest.raises(CheckpointError, match="broken/hf: does not load"):
        harness.run(context)


def test_an_unknown_task_and_a_broken_task_are_named(world: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"eval.tasks: tiny_typo: no such task.*\n.*tiny_choice"):
        harness.run(context_of(world, tmp_path, ["tiny_typo"]))
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "trained").symlink_to(world / "trained")
    broken = (world / "tasks" / "tiny_choice.yaml").read_text()
    folder = tmp_path / "w" / "tasks"
    folder.mkdir()
    (folder / "x.yaml").write_text(broken.replace("choice.jsonl", "gone.jsonl"))
    with pytest.raises(DataError, match=r"eval\.tasks: tiny_choice cannot be evaluated"):
        harness.run(context_of(tmp_path / "w", tmp_path, ["tiny_choice"]))


def sample(**changes: Any) -> dict[str, Any]:
    return {
        "doc_id": 0,
        "doc": {"question": "q"},
        "doc_hash": "h",
        "target": "4",
        "arguments": [["q", {}]],
        "filtered_resps": ["4"],
        "filter": "none",
        "metrics": ["exact_match"],
        "exact_match": 1.0,
    } | changes


def raw_of(samples: list[dict[str, Any]], value: float, name: str = "exact_match,none") -> Any:
    return {
        "configs": {"t": {"output_type": "generate_until"}},
        "samples": {"t": samples},
        "results": {"t": {name: value}},
        "versions": {"t": 1},
        "n-shot": {"t": 0},
    }


def test_flexible_extract_is_preferred_to_the_first_filter() -> None:
    samples = [
        sample(filter="strict-match", exact_match=0.0),
        sample(filter="flexible-extract", exact_match=1.0),
    ]
    part = harness.read_result("t", raw_of(samples, 1.0, "exact_match,flexible-extract"))
    assert part["result"]["metric"] == "exact_match,flexible-extract"
    assert (part["result"]["n"], part["result"]["score"]) == (1, 1.0)


def test_acc_norm_counts_only_where_acc_is_absent() -> None:
    both = [sample(metrics=["acc_norm", "acc"])]
    assert harness.pick_metric("t", "multiple_choice", both)[0] == "acc"
    norm = [sample(metrics=["acc_norm"])]
    assert harness.pick_metric("t", "multiple_choice", norm)[0] == "acc_norm"
    with pytest.raises(DataError, match=r"t \(generate_until\) has none of .*it reports bleu"):
        harness.pick_metric("t", "generate_until", [sample(metrics=["bleu"])])


def test_nan_scores_and_corpus_metrics_are_refused() -> None:
    with pytest.raises(DataError, match="doc_id 0 scores NaN"):
        harness.read_result("t", raw_of([sample(exact_match=math.nan)], math.nan))
    with pytest.raises(DataError, match="its documents average"):
        harness.read_result("t", raw_of([sample()], 0.7))
