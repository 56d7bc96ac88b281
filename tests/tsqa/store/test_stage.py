"""Tasks that were copied with their runs are not read from where they came."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.sealed import seal_artifact
from tsqa.errors import DataError
from tsqa.recipe import EvalSection, Recipe
from tsqa.store.artifact import Artifact
from tsqa.store.manifest import read_manifest
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker

TASKS = EvalSection.model_validate({"tasks": ["t"], "include": "{data}/tasks"})


def context_of(folder: Path) -> StageContext:
    data = Artifact(folder, read_manifest(folder))
    return StageContext(
        Recipe.model_validate({"name": "t"}), {"data": data}, folder, Tracker.silent()
    )


def test_tasks_of_runs_that_were_copied_are_refused(tmp_path: Path) -> None:
    made = tmp_path / "runs" / "artifacts" / "data" / ("0" * 16)
    (made / "tasks").mkdir(parents=True)
    text = f"task: t\ndataset_kwargs: {{data_files: {{test: {made}/tasks/t.jsonl}}}}\n"
    (made / "tasks" / "t.yaml").write_text(text)
    (made / "tasks" / "group.yaml").write_text("group: g\ntask: [t]\n")
    seal_artifact(made, config={}, inputs={}, summary={})
    assert context_of(made).task_folder(TASKS) == made / "tasks"
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    linked = tmp_path / "link" / made.relative_to(tmp_path / "runs")
    assert context_of(linked).task_folder(TASKS) == linked / "tasks"
    shutil.copytree(tmp_path / "runs", tmp_path / "copy")
    copied = tmp_path / "copy" / made.relative_to(tmp_path / "runs")
    with pytest.raises(DataError, match=r"copy/.*t\.yaml: its data are in .*runs were moved"):
        context_of(copied).task_folder(TASKS)
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(DataError, match="the runs were moved or copied"):
        context_of(copied).task_folder(TASKS)


def test_tasks_are_known_to_be_in_place_whatever_yaml_makes_of_the_path(tmp_path: Path) -> None:
    folder = tmp_path / 'my "runs" \u65e5\u672c [1] of words that YAML folds at eighty signs'
    made = folder / "artifacts" / "data" / ("0" * 16)
    (made / "tasks").mkdir(parents=True)
    files = {"test": str(made / "tasks" / "t.jsonl")}
    text = yaml.safe_dump({"task": "t", "dataset_kwargs": {"data_files": files}})
    assert str(made) not in text
    (made / "tasks" / "t.yaml").write_text(text)
    seal_artifact(made, config={}, inputs={}, summary={})
    assert context_of(made).task_folder(TASKS) == made / "tasks"
    shutil.copytree(folder, tmp_path / "copy")
    copied = tmp_path / "copy" / made.relative_to(folder)
    with pytest.raises(DataError, match="the runs were moved or copied"):
        context_of(copied).task_folder(TASKS)
