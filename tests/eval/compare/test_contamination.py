"""What matched is named, and the clean documents are scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.compare.contamination import contamination
from eval.harness import stage as harness
from eval.results import DOCUMENTS, Document
from tests.support.curated_rows import rejected_row
from tests.support.sealed import invented_artifact
from tsqa.curated.files import DatasetWriter
from tsqa.recipe import Recipe
from tsqa.store.artifact import Artifact
from tsqa.store.roles import ArmRole, CheckedRole, Role

RECIPE = Recipe.model_validate(
    {
        "name": "x",
        "model": {"path": "m"},
        "mixture": {
            "sources": {"human": {"path": "a"}},
            "phases": [{"tokens": 64, "ratios": {"human": 1.0}}],
        },
        "train": {"sequence_length": 8, "global_batch_tokens": 8, "lr": 0.1},
        "eval": {"tasks": ["day", "unit"]},
        "ablation": {
            "axes": {"train.lr": [0.1, 0.2]},
            "control": {"train.lr": 0.1},
            "seeds": [1, 2],
        },
    }
)


def evaluation(folder: Path, day: list[float]) -> Artifact:
    """Four documents of `day`, the last a copy of the first; two of `unit`, both wrong."""
    folder.mkdir()
    hashes = ["h0", "h1", "h2", "h0"]
    documents = [
        Document(task, i, hashes[i], "acc", score, "q", "a", "a")
        for task, scores in {"day": day, "unit": [0.0, 0.0]}.items()
        for i, score in enumerate(scores)
    ]
    harness._write_documents(folder / DOCUMENTS, documents)
    return invented_artifact(folder)


@pytest.fixture
def evaluations(tmp_path: Path) -> dict[Role, Artifact]:
    days: dict[Role, list[float]] = {
        "base": [0.0, 0.0, 1.0, 0.0],
        ArmRole("lr=0.1,seed=1"): [1.0, 0.0, 0.0, 1.0],
        ArmRole("lr=0.1,seed=2"): [1.0, 1.0, 1.0, 1.0],
        ArmRole("lr=0.2,seed=1"): [1.0, 1.0, 0.0, 1.0],
    }
    return {role: evaluation(tmp_path / str(i), d) for i, (role, d) in enumerate(days.items())}


def filtered(folder: Path, matches: list[str], **summary: Any) -> Artifact:
    folder.mkdir()
    with DatasetWriter(folder) as writer:
        writer.rejected(rejected_row(0, step="dedup", match="day-1"))
        for number, match in enumerate(matches, start=1):
            writer.rejected(rejected_row(number, step="decontamination", match=match))
    return invented_artifact(folder, summary=summary)


def test_a_touched_document_and_its_copy_leave_the_clean_score(
    evaluations: dict[Role, Artifact], tmp_path: Path
) -> None:
    found = contamination(
        RECIPE, {**evaluations, CheckedRole("filter", 0): filtered(tmp_path / "f", ["day-0"])}
    )
    assert found["unit"].status == "clean"
    assert found["unit"].n_clean == 2 and found["unit"].documents == 0
    day = found["day"]
    assert (day.status, day.documents, day.n_clean) == ("touched", 2, 2)
    assert day.checked == ["candidates"]
    assert day.score_clean == {"base": 0.5, "lr=0.1": 0.5, "lr=0.2": 0.5}


def test_documents_of_the_mixture_are_counted_where_they_were_checked(
    evaluations: dict[Role, Artifact], tmp_path: Path
) -> None:
    dropped = {"text": "00ff", "reason": "ngram of the evaluated unit-1"}
    (tmp_path / "dropped.jsonl").write_text(json.dumps(dropped) + "\n")
    checked: dict[Role, Artifact] = {CheckedRole("decontaminate", 1): invented_artifact(tmp_path)}
    for inputs, status in ((checked, "touched"), ({}, "unknown")):
        found = contamination(RECIPE, {**evaluations, **inputs})
        assert found["unit"].status == status
        assert found["unit"].n_clean == (1 if inputs else None)
    assert found["day"].score_clean["base"] is None


def test_an_allowed_leak_is_named_by_the_task_that_it_reaches(
    evaluations: dict[Role, Artifact], tmp_path: Path
) -> None:
    leak = {"task": "other", "reason": "its training split (train) is evaluated by day"}
    found = contamination(
        RECIPE,
        {
            **evaluations,
            CheckedRole("filter", 0): filtered(tmp_path / "f", ["day-0"], allowed_leaks=[leak]),
        },
    )
    assert (found["day"].status, found["unit"].status) == ("allowed_leak", "clean")
    assert found["day"].n_clean is None
