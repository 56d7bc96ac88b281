"""A group that holds no tasks is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from eval.harness.metrics import check_metrics
from tsqa.errors import DataError, RecipeError
from tsqa.recipe import EvalSection
from tsqa.tasks.library import TaskLibrary


def folder_with(folder: Path, group: str) -> Path:
    (folder / "test.jsonl").write_text(json.dumps({"q": "a", "a": "b"}) + "\n")
    task = {
        "task": "leaf",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "test.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{a}}",
        "metric_list": [{"metric": "exact_match", "aggregation": "mean"}],
    }
    (folder / "leaf.yaml").write_text(yaml.safe_dump(task))
    (folder / "wanted.yaml").write_text(group)
    return folder


@pytest.mark.parametrize(
    "group",
    [
        *("group: wanted\ntask: []\n", "group: wanted\n", "group: wanted\ntask: [wanted]\n"),
        *("group: wanted\ntask: [{nope: 1}]\n", "group: wanted\ntask: [{task: 5}]\n"),
        *("group: wanted\ntask: [leaf, [5]]\n", "group: wanted\ntask: nothing\n"),
        *("group: wanted\ntask: {a: b}\n", "group: wanted\ntask: [null]\n"),
        "group: wanted\ntask: [{task: new, dataset_path: json, output_type: multiple_choice}]\n",
        "group: wanted\ntask: [{group: inner, task: [wanted]}]\n",
        "task: wanted\nx: !!python/object/apply:os.system ['exit 1']\n",
        *("task: wanted\ninclude: wanted.yaml\n", "task: wanted\ninclude: none.yaml\n"),
        *("task: [", "task: wanted\n---\na: b\n", "task: wanted\nmetric_list: 5\n"),
        "task: wanted\nmetric_list: [5]\n",
    ],
)
def test_what_holds_no_task_is_a_recipe_error(tmp_path: Path, group: str) -> None:
    folder = folder_with(tmp_path, group)
    with pytest.raises(RecipeError, match="wanted"):
        check_metrics(EvalSection(tasks=["wanted"]), folder)


def test_groups_of_two_that_hold_each_other_are_named(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "group: wanted\ntask: [other]\n")
    (folder / "other.yaml").write_text("group: other\ntask: [leaf, wanted]\n")
    with pytest.raises(RecipeError, match="wanted > other > wanted go in a circle"):
        check_metrics(EvalSection(tasks=["wanted"]), folder)


@pytest.mark.parametrize(
    "members", ["[leaf]", "[leaf, leaf]", "[{task: leaf}]", "[{group: inner, task: [leaf]}]"]
)
def test_a_group_of_tasks_is_read(tmp_path: Path, members: str) -> None:
    check_metrics(
        EvalSection(tasks=["wanted"]), folder_with(tmp_path, f"group: wanted\ntask: {members}\n")
    )


def test_a_task_in_a_group_is_no_row_of_ours(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "group: wanted\ntask: [macro]\n")
    text = (folder / "leaf.yaml").read_text().replace("task: leaf", "task: macro")
    (folder / "leaf.yaml").write_text(text)
    with pytest.raises(RecipeError, match="the task 'macro'"):
        check_metrics(EvalSection(tasks=["wanted"]), folder)


@pytest.mark.parametrize(
    ("group", "settings"),
    [
        ("task: [leaf]\n", {}),
        ("task: [{task: leaf, task_alias: x, doc_to_text: '{{q}}'}]\n", {}),
        ("task: [{task: leaf, num_fewshot: 5}]\nnum_fewshot: 2\n", {"num_fewshot": 5}),
        ("task: [leaf]\nnum_fewshot: 2\n", {"num_fewshot": 2}),
        (
            "task: [{group: a, num_fewshot: 3, task: [{group: b, task: [leaf]}]}]\n",
            {"num_fewshot": 3},
        ),
        ("task: [{group: other, num_fewshot: 4}]\n", {"num_fewshot": 4}),
    ],
)
def test_what_a_group_sets_is_known(tmp_path: Path, group: str, settings: object) -> None:
    folder = folder_with(tmp_path, f"group: wanted\n{group}")
    (folder / "other.yaml").write_text("group: other\ntask: [leaf]\nnum_fewshot: 1\n")
    found = TaskLibrary(folder).group_settings(["wanted"])
    assert found == {"leaf": settings}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        # The guard would keep the task's own split apart, and lm-eval score another one.
        ("[{task: leaf, test_split: other}]", "wanted sets test_split of leaf"),
        ("[leaf]\ndoc_to_text: '{{a}}'", "wanted sets doc_to_text of leaf"),
        ("[{task: other, num_fewshot: 1}]", "other is a group: lm-eval gives all"),
    ],
)
def test_what_a_group_may_not_set_is_refused(tmp_path: Path, members: str, message: str) -> None:
    folder = folder_with(tmp_path, f"group: wanted\ntask: {members}\n")
    (folder / "other.yaml").write_text("group: other\ntask: [leaf]\n")
    with pytest.raises(DataError, match=message):
        TaskLibrary(folder).expand(["wanted"])


def test_a_task_in_two_names_with_other_settings_is_refused(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "group: wanted\ntask: [{task: leaf, num_fewshot: 5}]\n")
    with pytest.raises(DataError, match="leaf is in leaf and wanted, with other settings"):
        TaskLibrary(folder).expand(["leaf", "wanted"])
