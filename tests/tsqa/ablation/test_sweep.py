"""An ablation as a W&B sweep: its YAML, and what an agent's run does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import tsqa.ablation.sweep as sweep_module
from tests.support.paths import REPOSITORY
from tests.support.sealed import seal_artifact
from tests.support.wandb_records import read_runs
from tsqa.ablation.plan import ArmWork
from tsqa.ablation.sweep import find_arm, run_sweep_arm, write_sweep
from tsqa.errors import RecipeError
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import Recipe, arms_of, load_recipe

RATIO = REPOSITORY / "recipes" / "ablations" / "quickstart_ratio.yaml"
TRANSFER = REPOSITORY / "recipes" / "ablations" / "transfer.yaml"


def sweep_of(path: Path, folder: Path) -> tuple[Recipe, dict[str, Any]]:
    recipe = load_recipe(path)
    write_sweep(recipe, path, folder / "sweep.yaml")
    return recipe, yaml.safe_load((folder / "sweep.yaml").read_text())


@pytest.mark.parametrize("path", [RATIO, TRANSFER], ids=["axes", "arms"])
def test_the_grid_of_the_sweep_is_the_ablation(path: Path, tmp_path: Path) -> None:
    recipe, sweep = sweep_of(path, tmp_path)
    assert sweep["method"] == "grid" and sweep["metric"]["name"] == "macro"
    combinations: list[dict[str, Any]] = [{}]
    for key, parameter in sweep["parameters"].items():
        combinations = [{**c, key: value} for c in combinations for value in parameter["values"]]
    found = [find_arm(recipe, combination).name for combination in combinations]
    assert sorted(found) == sorted(arms_of(recipe))


def test_the_command_of_the_sweep_is_one_that_exists(tmp_path: Path) -> None:
    from tsqa.cli.app import app

    _, sweep = sweep_of(RATIO, tmp_path)
    assert sweep["command"][:4] == ["${env}", "${interpreter}", "-m", "tsqa.cli.app"]
    assert sweep["command"][4] in {command.name for command in app.registered_commands}
    assert sweep["command"][5:] == [str(RATIO), "${args_no_hyphens}"]


def test_values_that_are_no_arm_are_refused() -> None:
    recipe = load_recipe(RATIO)
    with pytest.raises(RecipeError, match=r"mixture\.synthetic=0\.3: 0 arms"):
        find_arm(recipe, {"mixture.synthetic": 0.3})


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment that `wandb agent` gives to the command of a run."""
    parameters = tmp_path / "config.yaml"
    parameters.write_text("wandb_version: 1\nmixture.synthetic: {value: 0.25}\n")
    for name, value in {
        "WANDB_SWEEP_ID": "sweep123",
        "WANDB_RUN_ID": "agentrun",
        "WANDB_SWEEP_PARAM_PATH": str(parameters),
        "WANDB_MODE": "offline",
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "runs"


def evaluated(runs: Path, score: dict[str, list[int]], made: list[str]) -> Any:
    """Stands for the stages: an evaluation of 40 documents, by condition."""
    import os

    from tests.support.page_world import evaluation

    def build(pipeline: Pipeline, work: ArmWork) -> Node:
        assert "WANDB_SWEEP_ID" not in os.environ and "WANDB_RUN_ID" not in os.environ
        pipeline.tracker(work.own[-1]).finish()
        made.append(work.arm.name)
        [node] = [n for n in work.own if n.stage == "evaluate"]
        folder = pipeline.store.path_of(node.stage, node.fingerprint)
        if not folder.exists():
            artifact = evaluation(folder, {"mini_day": score[work.arm.condition]})
            results = json.loads((artifact.path / "results.json").read_text())
            results["tasks"]["mini_day"] |= {
                **{"metric": "acc", "n": 40, "version": 1.0, "num_fewshot": 0, "kind": "choice"},
                "stderr": 0.1,
            }
            (artifact.path / "results.json").write_text(json.dumps(results))
            seal_artifact(folder)
        return node

    return build


def test_an_agents_run_holds_the_scores_and_the_deltas_of_its_arm(
    agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    scores = {"synthetic=0": [0] * 30 + [1] * 10, "synthetic=0.25": [0] * 10 + [1] * 30}
    monkeypatch.setattr(sweep_module, "_build", evaluated(agent, scores, made))
    given = [f"runs={agent}", "mixture.synthetic=0.25", "seed=2", "eval.seed_spread=1"]
    run_sweep_arm(RATIO, given)
    assert made == ["synthetic=0,seed=2", "synthetic=0.25,seed=2"]
    run = read_runs(agent)["agentrun"]
    assert (run.run.sweep_id, run.run.run_group) == ("sweep123", "quickstart-ratio")
    assert run.run.display_name == "synthetic=0.25,seed=2" and run.exit_code == 0
    assert run.config["ablation/mixture.synthetic"] == 0.25 and run.config["seed"] == 2
    assert run.summary["macro"] == 0.75 and run.summary["score/mini_day"] == 0.75
    assert run.summary["delta/macro"] == pytest.approx(0.5)
    assert run.summary["delta_low"] < 0.5 < run.summary["delta_high"]
    assert run.summary["verdict"] == "better"  # as the recipe's own table, by its seed_spread


def test_an_agents_run_says_that_its_arm_failed(
    agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(pipeline: Pipeline, work: ArmWork) -> Node:
        raise OSError("no space left")

    monkeypatch.setattr(sweep_module, "_build", fail)
    with pytest.raises(OSError, match="no space"):
        run_sweep_arm(RATIO, [f"runs={agent}", "mixture.synthetic=0.25", "seed=2"])
    run = read_runs(agent)["agentrun"]
    assert run.exit_code == 1 and "macro" not in run.summary
