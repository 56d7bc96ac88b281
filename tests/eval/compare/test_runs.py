"""Runs are found by folder or W&B id, gaps and misfits named."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from typer.testing import CliRunner

from eval.compare import runs
from eval.deltas import DeltaTable, Gap
from eval.harness import stage as harness
from eval.results import DOCUMENTS, RESULTS, Document, Results, TaskResult
from tests.support.sealed import seal_artifact
from tsqa.cli.app import app
from tsqa.errors import DataError, UsageError
from tsqa.store.jsonl import write_json

N = 200


def fingerprint(number: int) -> str:
    return f"{number:016x}"


def add_evaluation(
    root: Path,
    number: int,
    rate: float,
    *,
    seed: int = 0,
    tokens: int = 1000,
    config: Mapping[str, object] | None = None,
    **changes: Any,
) -> Path:
    """A train artifact and its evaluation, both of this number; return the evaluation."""
    trained, evaluation = (
        root / "artifacts" / s / fingerprint(number) for s in ("train", "evaluate")
    )
    for folder in (trained, evaluation):
        folder.mkdir(parents=True)
    seal_artifact(trained, config={"seed": seed}, summary={"tokens": tokens})
    count = changes.get("n", N)
    noise = np.random.default_rng(seed).random(count) - np.random.default_rng(0).random(count)
    chances = np.random.default_rng(0).random(count) + 0.1 * noise
    scores = (chances < rate).astype(float)
    scores = changes.pop("scores", scores)
    said = changes.pop("said", "a")
    documents = [
        Document("day", i, f"h{i}", "acc", float(score), "q", "a", said)
        for i, score in enumerate(scores)
    ]
    harness._write_documents(evaluation / DOCUMENTS, documents)
    task = TaskResult(
        metric="acc",
        n=count,
        score=float(np.mean(scores)),
        stderr=0.0,
        version=1,
        num_fewshot=0,
        kind="multiple_choice",
        backend="hf",
    )
    task = replace(task, **changes)
    results = Results({"day": task}, groups={}, backend="hf", macro=task.score)
    write_json(evaluation / RESULTS, results.to_json())
    seal_artifact(evaluation, config=config or {}, inputs={"model": fingerprint(number)})
    return evaluation


def add_recipe(root: Path, name: str, arms: dict[str, int]) -> Path:
    folder = root / name
    folder.mkdir()
    stages = {f"evaluate:{arm}": fingerprint(number) for arm, number in arms.items()}
    write_json(folder / "stages.json", {**stages, "filter": "f", "other/evaluate": "f"})
    return folder


def compare_runs(root: Path, *arguments: str | Path, **options: Any) -> DeltaTable:
    settings = {"control": None, "allow": frozenset(), "bootstrap": 500, "confidence": 0.95}
    return runs.compare_runs(list(map(str, arguments)), root, **settings | options)


def test_a_recipe_folder_gives_its_base_and_arms_by_seed(tmp_path: Path) -> None:
    arms = {"base": 1, "synthetic=0,seed=1": 2, "synthetic=0,seed=2": 3}
    arms |= {"synthetic=0.5,seed=1": 4, "synthetic=0.5,seed=2": 5}
    for name, number in arms.items():
        seed = int(name[-1]) if name != "base" else 0
        add_evaluation(tmp_path, number, 0.6 if "0.5" in name else 0.2, seed=seed)
    deltas = compare_runs(tmp_path, add_recipe(tmp_path, "recipe", arms))
    assert deltas.seeds == {"synthetic=0": [1, 2], "synthetic=0.5": [1, 2]}
    assert deltas.control == "synthetic=0" and deltas.has_base
    assert {row.seeds for row in deltas.rows} == {2}


@pytest.mark.parametrize(("said", "seeds"), [(("7", "7"), [1]), (("7", "9"), [1, 2])])
def test_seeds_that_score_alike_are_copies_only_where_they_answer_alike(
    tmp_path: Path, said: tuple[str, str], seeds: list[int]
) -> None:
    arms = {f"{arm},seed={seed}": 2 * i + seed for i, arm in enumerate("cx") for seed in (1, 2)}
    for name, number in arms.items():
        seed = int(name[-1])
        scores = [float(i < 2 + (name[0] == "x")) for i in range(8)]
        add_evaluation(tmp_path, number, 0, seed=seed, scores=scores, said=said[seed - 1], n=8)
    folder = add_recipe(tmp_path, "recipe", arms)
    assert compare_runs(tmp_path, folder, control="c").seeds == {"c": seeds, "x": seeds}


def test_an_arm_of_a_recipe_that_was_not_evaluated_is_a_gap(tmp_path: Path) -> None:
    for number, rate in enumerate((0.2, 0.6), 1):
        add_evaluation(tmp_path, number, rate)
    folder = add_recipe(tmp_path, "recipe", {"low": 1, "high": 2})
    stages = json.loads((folder / "stages.json").read_text())
    trained = {f"train:{arm}": fingerprint(n) for n, arm in enumerate(("low", "high", "lost"), 1)}
    write_json(folder / "stages.json", {**stages, **trained})
    deltas = compare_runs(tmp_path, folder)
    assert deltas.gaps == {"lost": Gap("lost", "trained, but not evaluated")}
    compared = tmp_path / "artifacts" / "compare" / fingerprint(4)
    compared.mkdir(parents=True)
    write_json(compared / "deltas.json", deltas.to_json())
    seal_artifact(compared, inputs={"arm:low": fingerprint(1), "arm:high": fingerprint(2)})
    write_json(folder / "stages.json", {**stages, "compare": fingerprint(4)})
    assert compare_runs(tmp_path, folder).gaps == deltas.gaps


def test_a_folder_that_has_compared_gives_those_arms_and_that_control(tmp_path: Path) -> None:
    for number, rate in enumerate((0.2, 0.6, 0.9), 1):
        add_evaluation(tmp_path, number, rate)
    folder = add_recipe(tmp_path, "recipe", {"old": 1, "low": 2, "high": 3})
    compared = tmp_path / "artifacts" / "compare" / fingerprint(4)
    compared.mkdir(parents=True)
    inputs = {"arm:low": fingerprint(2), "arm:high": fingerprint(3), "filter": "f"}
    deltas = compare_runs(tmp_path, folder, control="high")
    write_json(compared / "deltas.json", deltas.to_json())
    seal_artifact(compared, inputs=inputs)
    stages = json.loads((folder / "stages.json").read_text())
    write_json(folder / "stages.json", {**stages, "compare": fingerprint(4)})
    deltas = compare_runs(tmp_path, folder)
    assert deltas.control == "high" and deltas.arms == ["low"]


def compared_recipe(root: Path, name: str, numbers: Sequence[int], **config: object) -> Path:
    """A recipe whose first arm is the control, and its comparison."""
    arms = {f"{name}{i}": number for i, number in enumerate(numbers)}
    for number in numbers:
        add_evaluation(root, number, 0.1 * number)
    folder = add_recipe(root, name, arms)
    compared = root / "artifacts" / "compare" / fingerprint(90 + numbers[0])
    compared.mkdir(parents=True)
    deltas = compare_runs(root, folder)
    write_json(compared / "deltas.json", deltas.to_json())
    inputs = {f"arm:{arm}": fingerprint(number) for arm, number in arms.items()}
    seal_artifact(compared, inputs=inputs, config=config)
    stages = json.loads((folder / "stages.json").read_text())
    write_json(folder / "stages.json", {**stages, "compare": compared.name})
    return folder


def test_runs_are_compared_by_the_rules_of_the_first_recipe(tmp_path: Path) -> None:
    rules = {"macros": {"one": ["day"], "absent": ["night"]}, "macro": "documents"}
    one = compared_recipe(tmp_path, "a", [1, 2], **rules, seed_spread=1.5)
    two = compared_recipe(tmp_path, "b", [3, 4], **rules)
    deltas = compare_runs(tmp_path, one, two)
    assert (deltas.control, deltas.by_documents, deltas.macros) == ("a0", True, {"one": ["day"]})
    assert all(row.covers_seeds for row in deltas.rows)
    assert "varies by 1.5 points" in deltas.caveat
    assert f"{one} and {two} differ in eval.seed_spread: compared as {one}." in deltas.caveat
    deltas = compare_runs(tmp_path, two, one)
    assert deltas.control == "b0" and not any(row.covers_seeds for row in deltas.rows)
    three = compared_recipe(tmp_path, "d", [5, 6], bootstrap=300, confidence=0.9)
    options = {"bootstrap": None, "confidence": None}
    deltas = compare_runs(tmp_path, three, **options)
    assert (deltas.bootstrap, deltas.confidence) == (300, 0.9)
    deltas = compare_runs(tmp_path, three, bootstrap=400, confidence=None)
    assert (deltas.bootstrap, deltas.confidence) == (400, 0.9)
    deltas = compare_runs(tmp_path, add_recipe(tmp_path, "e", {"e0": 5, "e1": 6}), **options)
    assert (deltas.bootstrap, deltas.confidence) == (10_000, 0.95)
    (tmp_path / "x=1").mkdir()  # part of a path, and not a new name
    assert runs._split(str(tmp_path / "x=1" / "a")) == ("", str(tmp_path / "x=1" / "a"))
    assert runs._split(f"new={one}") == ("new", str(one))


def test_two_recipes_may_have_an_arm_and_their_base_in_common_or_other_bases(
    tmp_path: Path,
) -> None:
    for number, rate in enumerate((0.2, 0.3, 0.5, 0.6), 1):
        add_evaluation(tmp_path, number, rate)
    one = add_recipe(tmp_path, "a", {"base": 1, "c": 2, "x": 3})
    two = add_recipe(tmp_path, "b", {"base": 1, "c": 2, "y": 4})
    deltas = compare_runs(tmp_path, one, two)
    assert deltas.has_base and (deltas.control, deltas.arms) == ("c", ["x", "y"])
    assert "another base" not in deltas.caveat
    other = add_recipe(tmp_path, "other", {"base": 4, "z": 3})
    for control, kept in (("c", 0.2), ("z", 0.6)):
        deltas = compare_runs(tmp_path, one, two, other, control=control)
        assert deltas.scores["base"]["day"] == pytest.approx(kept, abs=0.07)
        shown, left = (other, one) if control == "z" else (one, other)
        assert f"{left} starts from another base than {shown}: its base" in deltas.caveat
    lost = add_recipe(tmp_path, "lost", {"base": 9, "w": 3})
    caveat = compare_runs(tmp_path, one, lost).caveat
    assert f"{lost}: no result of its base (its evaluation " in caveat
    artifacts = tmp_path / "artifacts" / "evaluate"
    assert compare_runs(tmp_path, one, artifacts / fingerprint(1)).has_base  # the same
    with pytest.raises(DataError, match="two runs are called base"):  # which was meant?
        compare_runs(tmp_path, one, f"base={artifacts / fingerprint(4)}")
    same_name = add_recipe(tmp_path, "same_name", {"c": 3})
    with pytest.raises(DataError, match=r"(?s)two runs are called c.*new=runs/artifacts/evaluate"):
        compare_runs(tmp_path, one, same_name)


def test_a_suite_gives_macro_averages_but_not_under_the_names_of_other_rows(
    tmp_path: Path,
) -> None:
    one, two = add_evaluation(tmp_path, 1, 0.2), add_evaluation(tmp_path, 2, 0.3)
    suite = tmp_path / "suite.yaml"
    for name in ("mine", "macro", "seeded families"):
        suite.write_text(f"eval: {{tasks: [day], macros: {{{name}: [day]}}}}\n")
        if name == "mine":
            assert compare_runs(tmp_path, one, two, suite=str(suite)).macros == {"mine": ["day"]}
            continue
        with pytest.raises(DataError, match=f"macros.{name}: `{name}`"):
            compare_runs(tmp_path, one, two, suite=str(suite))


def test_artifacts_are_called_by_their_recipe_and_can_be_renamed(tmp_path: Path) -> None:
    one, two = add_evaluation(tmp_path, 1, 0.2), add_evaluation(tmp_path, 2, 0.6)
    add_recipe(tmp_path, "recipe", {"synthetic=0.5": 2})
    trained = tmp_path / "artifacts" / "train" / fingerprint(2)
    deltas = compare_runs(tmp_path, one, trained)
    assert deltas.control == fingerprint(1) and deltas.arms == ["synthetic=0.5"]
    deltas = compare_runs(tmp_path, f"old={one}", f"new={two}", control="new")
    assert deltas.control == "new" and deltas.arms == ["old"]
    with pytest.raises(DataError, match=f"(?s)two runs are called {fingerprint(1)}.*NAME=RUN"):
        compare_runs(tmp_path, one, one)


def test_a_run_without_an_evaluation_is_a_marked_gap(tmp_path: Path) -> None:
    one, two = add_evaluation(tmp_path, 1, 0.2), add_evaluation(tmp_path, 2, 0.6)
    three = add_evaluation(tmp_path, 3, 0.6)
    for file in three.iterdir():
        file.unlink()
    three.rmdir()
    lost = tmp_path / "artifacts" / "train" / fingerprint(3)
    deltas = compare_runs(tmp_path, one, two, lost)
    assert deltas.arms == [fingerprint(2)]
    assert deltas.gaps[fingerprint(3)].reason == "trained, but not evaluated"
    assert "no result (trained, but not evaluated)" in deltas.caveat
    with pytest.raises(DataError, match=r"no evaluation \(trained, but not evaluated\)"):
        compare_runs(tmp_path, lost, one)
    with pytest.raises(DataError, match="has no evaluation"):
        compare_runs(tmp_path, lost)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("tokens", {"tokens": 2000}),
        ("version", {"version": 2}),
        ("num_fewshot", {"num_fewshot": 5}),
        ("chat_template", {"config": {"chat_template": True}}),
        ("system_instruction", {"config": {"system_instruction": "Be brief."}}),
        ("max_length", {"config": {"max_length": 64}}),
        ("fewshot_seed", {"config": {"seed": 3}}),
        ("task_files", {"config": {"include": {"day.yaml": "another prompt"}}}),
    ],
)
def test_what_differs_is_refused_by_name_unless_allowed(
    tmp_path: Path, key: str, change: dict[str, Any]
) -> None:
    one, two = add_evaluation(tmp_path, 1, 0.2), add_evaluation(tmp_path, 2, 0.6, **change)
    with pytest.raises(DataError, match=rf"(?s){key}.*--allow {key}"):
        compare_runs(tmp_path, one, two)
    allowed = compare_runs(tmp_path, one, two, allow=frozenset({key}))
    assert allowed.arms == [fingerprint(2)] and "(allowed)." in allowed.caveat


def test_different_documents_are_refused_even_when_all_is_allowed(tmp_path: Path) -> None:
    one, two = add_evaluation(tmp_path, 1, 0.2), add_evaluation(tmp_path, 2, 0.6, n=N - 1)
    with pytest.raises(DataError, match=r"day: n is 200 for .* and 199 for"):
        compare_runs(tmp_path, one, two, allow=frozenset({"tokens", "version"}))
    with pytest.raises(DataError, match="--allow documents: not something to allow"):
        compare_runs(tmp_path, one, two, allow=frozenset({"documents"}))


def test_seeds_that_differ_are_paired_only_on_request(tmp_path: Path) -> None:
    one, two = add_evaluation(tmp_path, 1, 0.2, seed=7), add_evaluation(tmp_path, 2, 0.6, seed=8)
    with pytest.raises(DataError, match="no seed in common"):
        compare_runs(tmp_path, one, two)
    deltas = compare_runs(tmp_path, one, two, allow=frozenset({"seeds"}))
    assert deltas.rows[0].seeds == 1
    assert f"they are: {fingerprint(1)} 7; {fingerprint(2)} 8." in deltas.caveat


def test_nan_scores_and_documents_lost_from_the_file_are_refused(tmp_path: Path) -> None:
    one = add_evaluation(tmp_path, 1, 0.2)
    broken = add_evaluation(tmp_path, 2, 0.2, scores=[0.0] * (N - 1) + [float("nan")], score=0.0)
    with pytest.raises(DataError, match="score nan of doc_id 199"):
        compare_runs(tmp_path, one, broken)
    short = add_evaluation(tmp_path, 3, 0.2, scores=[0.0] * (N - 1))
    with pytest.raises(DataError, match=r"day: 199 documents, but results\.json says 200"):
        compare_runs(tmp_path, one, short)


def test_folders_that_are_no_runs_are_refused(tmp_path: Path) -> None:
    one = add_evaluation(tmp_path, 1, 0.2)
    with pytest.raises(DataError, match="neither an artifact"):
        compare_runs(tmp_path, one, tmp_path)
    with pytest.raises(DataError, match="has evaluated nothing"):
        compare_runs(tmp_path, add_recipe(tmp_path, "empty", {}))
    with pytest.raises(DataError, match="no run but the base"):
        compare_runs(tmp_path, add_recipe(tmp_path, "only_base", {"base": 1}))


def test_a_folder_that_is_not_there_ends_with_2_and_what_is_near(tmp_path: Path) -> None:
    one = add_evaluation(tmp_path, 1, 0.2)
    add_recipe(tmp_path, "quickstart", {"x": 1})
    (tmp_path / "quickstar").mkdir()  # no run
    near = re.escape(str(tmp_path / "quickstart"))
    for given in (tmp_path / "quickstrat", tmp_path / "not_here" / "quickstrat"):
        with pytest.raises(UsageError, match=rf"(?s)quickstrat: no such folder.*there is {near}$"):
            compare_runs(tmp_path, one, given)
    with pytest.raises(UsageError, match=r"(?s)other: no such folder.*give an artifact"):
        compare_runs(tmp_path, tmp_path / "other")


def offline_run(root: Path, run_id: str) -> Path:
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    run = wandb.init(project="t", id=run_id, mode="offline", dir=str(root), settings=settings)
    run.log({"x": 1})
    run.finish()
    wandb.teardown()  # the log is written by another process, which this waits for
    (folder,) = (root / "wandb").glob(f"offline-run-*-{run_id}")
    return folder


def test_an_offline_folder_leads_to_its_artifact(
    tmp_path: Path,
) -> None:
    one = add_evaluation(tmp_path, 1, 0.2)
    add_evaluation(tmp_path, 2, 0.6)
    folder = offline_run(tmp_path, f"evaluate-{fingerprint(2)}")
    assert compare_runs(tmp_path, one, folder).arms == [fingerprint(2)]
    elsewhere = runs.find_runs([str(folder)], tmp_path / "other")
    assert elsewhere[0].artifact is None and "is not in" in elsewhere[0].gap


def test_a_half_synced_folder_is_refused(tmp_path: Path) -> None:
    one = add_evaluation(tmp_path, 1, 0.2)
    add_evaluation(tmp_path, 2, 0.6)
    folder = offline_run(tmp_path, f"evaluate-{fingerprint(2)}")
    log = folder / f"run-evaluate-{fingerprint(2)}.wandb"
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    with pytest.raises(DataError, match="ends before the run's exit"):
        compare_runs(tmp_path, one, folder)
    log.unlink()
    with pytest.raises(DataError, match=r"\.wandb is missing"):
        compare_runs(tmp_path, one, folder)


class FakeRun:
    def __init__(self, run_id: str) -> None:
        self.id = run_id


class FakeApi:
    """W&B holds two evaluations, one of which was made on another machine."""

    def run(self, path: str) -> FakeRun:
        return FakeRun(path.rsplit("/", 1)[1])

    def runs(self, path: str, filters: dict[str, str]) -> list[FakeRun]:
        assert path == "me/project" and filters["jobType"] == "evaluate"
        numbers = [1, 2, 99] if filters["group"] == "ablation" else []
        return [FakeRun(f"evaluate-{fingerprint(number)}") for number in numbers]


def test_wandb_runs_and_groups_lead_to_the_artifacts_of_this_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_evaluation(tmp_path, 1, 0.2)
    add_evaluation(tmp_path, 2, 0.6)
    monkeypatch.setattr(wandb, "Api", FakeApi)
    deltas = compare_runs(tmp_path, "wandb:me/project/groups/ablation")
    assert deltas.arms == [fingerprint(2)]
    (gap,) = deltas.gaps.values()
    assert "is not in" in gap.reason
    ids = [f"wandb:me/project/evaluate-{fingerprint(number)}" for number in (2, 1)]
    assert compare_runs(tmp_path, *ids).control == fingerprint(2)
    with pytest.raises(DataError, match="the group has no evaluate runs"):
        compare_runs(tmp_path, "wandb:me/project/groups/nothing")
    with pytest.raises(DataError, match="not the id of a tsqa run"):
        compare_runs(tmp_path, "wandb:me/project/abc123")


def test_a_recipe_keeps_its_own_control() -> None:
    result = CliRunner().invoke(app, ["compare", "recipe.yaml", "--control", "x"])
    assert result.exit_code == 1 and "a recipe names its own control" in str(result.exception)


def test_the_command_writes_the_same_numbers_to_every_format(tmp_path: Path) -> None:
    one, two = add_evaluation(tmp_path, 1, 0.2), add_evaluation(tmp_path, 2, 0.6)
    out = {kind: tmp_path / f"deltas.{kind}" for kind in ("csv", "md", "json")}
    arguments = ["compare", f"old={one}", f"new={two}", "--bootstrap", "500", "--published"]
    for kind, path in out.items():
        arguments += [f"--{kind}", str(path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    deltas = json.loads(out["json"].read_text())
    with out["csv"].open() as handle:
        rows = list(csv.DictReader(handle))
    assert [float(row["delta"]) for row in rows] == [row["delta"] for row in deltas["rows"]]
    shown = f"{100 * deltas['rows'][0]['delta']:+.1f}"
    assert (
        "| new - old | day | 200 | 1 | " in out["md"].read_text() and shown in out["md"].read_text()
    )
