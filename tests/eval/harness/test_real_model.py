"""A real pretrained model scores here as by lm-eval's own command, digit for digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml

from tests.benchmarks.evaluate import run_command, run_ours
from tests.benchmarks.questions import REAL as DATA
from tests.support.paths import REPOSITORY
from tests.support.real_model import REAL, needs_real_model

pytestmark = [
    pytest.mark.engine,
    needs_real_model,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real benchmarks in {DATA}"),
]
TASKS = ("arc_easy_local", "arc_easy_local_gold")


def copy_tasks(folder: Path, documents: int) -> Path:
    """The recipe's tasks over the first documents of ARC-Easy."""
    shipped = REPOSITORY / "recipes" / "real" / "tasks"
    folder.mkdir()
    lines = (DATA / "arc_easy" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "test.jsonl").write_text("\n".join(lines[:documents]) + "\n", encoding="utf-8")
    for file in (*shipped.glob("arc_easy*.yaml"), shipped / "likelihood.py"):
        text = file.read_text(encoding="utf-8")
        for split in ("train", "test"):
            text = text.replace(f"benchmarks/tasks/arc_easy/{split}.jsonl", f"{folder}/test.jsonl")
        (folder / file.name).write_text(text, encoding="utf-8")
    return folder


def test_its_scores_are_those_of_lm_evals_own_command(tmp_path: Path) -> None:
    include = copy_tasks(tmp_path / "tasks", 8)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    run_ours(REAL, include, ",".join(TASKS), 8, ours)
    run_command(REAL, include, ",".join(TASKS), 8, theirs)
    [results] = (theirs / "lm_eval").rglob("results_*.json")
    reported = json.loads(results.read_text(encoding="utf-8"))["results"]
    [folder] = (ours / "runs").glob("artifacts/evaluate/*/")
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))["tasks"]
    assert found[TASKS[0]]["score"] == pytest.approx(reported[TASKS[0]]["acc,none"], abs=1e-12)
    # The command batches the requests of all tasks together, which rounds otherwise.
    gold = reported[TASKS[1]]["prob_per_byte,none"]
    assert found[TASKS[1]]["score"] == pytest.approx(gold, abs=1e-6)
    rows = pyarrow.parquet.read_table(folder / "documents.parquet").to_pylist()
    scored = [row["loglikelihoods"] for row in rows if row["task"] == TASKS[0]]
    for mine, logged in zip(scored, _logged(theirs), strict=True):
        assert mine == pytest.approx(logged, abs=1e-4)
    assert len(rows) == 16


def _logged(out: Path) -> list[Any]:
    """lm-eval's log-probabilities of each document's choices."""
    [samples] = (out / "lm_eval").rglob(f"samples_{TASKS[0]}_2*.jsonl")
    records = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    records.sort(key=lambda record: record["doc_id"])
    return [[float(response[0]) for response in r["filtered_resps"]] for r in records]


def test_the_recipes_tasks_differ_from_lm_evals_own_in_their_data_alone() -> None:
    import lm_eval.tasks

    folder = Path(lm_eval.tasks.__file__).parent
    ours = yaml.safe_load((REPOSITORY / "recipes/real/tasks/arc_easy.yaml").read_text())
    theirs = yaml.safe_load((folder / "arc" / "arc_easy.yaml").read_text())
    for key in ("doc_to_text", "doc_to_target", "doc_to_choice", "output_type"):
        assert ours[key] == theirs[key]
