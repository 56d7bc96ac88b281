"""The daily loop: what one changed key makes a finished run do again, and what the dry run says.

The stages are fakes that write their recipe's own settings of the stage, or always the same.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tsqa.pipeline.run as pipeline_module
from tests.support.paths import REPOSITORY
from tsqa.pipeline.node import Node, forget_files
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.store.jsonl import write_json
from tsqa.store.stage import StageContext

SMOKE = REPOSITORY / "recipes" / "smoke" / "recipe.yaml"
KIND = {"sequence_length": 128, "dtype": "uint16", "vocab_size": 512, "eos_token_id": 1}
SYNTHETIC = "train:synthetic=0.5"
SCORES = ["evaluate:base", "evaluate:synthetic=0", "evaluate:synthetic=0.5"]
STAGES = ("guard", "decontaminate", "filter")


def write(context: StageContext) -> dict[str, Any]:
    """Every file that readers of the plan need; the checks come out the same whatever they read."""
    stage = context.out.parent.name
    content = stage if stage in STAGES else context.out.name
    for name in ("file.txt", "dataset/data/rows.txt", "dropped.txt", "hf/model.txt"):
        (context.out / name).parent.mkdir(parents=True, exist_ok=True)
        (context.out / name).write_text(content)
    rows = {"rows": 10_000, "padding": 0, "answers_only": False}
    write_json(context.out / "sources.json", {**KIND, "sources": {context.part: rows}})
    return {"documents": 3}


@pytest.fixture(autouse=True)
def fake_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(self: Pipeline, node: Node) -> None:
        with self.open_stage(node) as (context, commit):
            if context is not None:
                commit(write(context))

    monkeypatch.setattr(Pipeline, "_launch_training", train)
    stages = SimpleNamespace(import_module=lambda name: SimpleNamespace(run=write))
    monkeypatch.setattr(pipeline_module, "importlib", stages)


def open_pipeline(runs: Path, *overrides: str) -> Pipeline:
    given = [f"runs={runs}", "tracking.mode=disabled", *overrides]
    return Pipeline(load_recipe(SMOKE, given), SMOKE, given)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    open_pipeline(tmp_path).run()
    return tmp_path


def states(pipeline: Pipeline) -> dict[str, str]:
    """Label -> state, of what is not cached."""
    found = {pipeline.label(node): pipeline.state(node) for node in pipeline.nodes}
    return {label: state for label, state in found.items() if state != "cached"}


def ran(pipeline: Pipeline) -> list[str]:
    pipeline.run()
    return [pipeline.label(n) for n in pipeline.nodes if n.fingerprint in pipeline.ran]


def unless(*labels: str) -> str:
    come = "comes" if len(labels) == 1 else "come"
    return f"to run unless {' and '.join(labels)} {come} out the same"


def test_nothing_runs_for_guards_orders_and_sources_that_are_not_drawn(
    runs: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"text": "a b c"}) + "\n")
    for change in (
        "mixture.max_repetition=900",
        "eval.tasks=[mini_unit,mini_day,mini_opposite]",
        f"mixture.sources.more={{path: {more}}}",
    ):
        assert states(open_pipeline(runs, change)) == {}, change


def test_a_benchmark_that_is_taken_out_costs_a_comparison(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = "eval.tasks=[mini_day,mini_opposite]"
    assert states(open_pipeline(runs, fewer)) == dict.fromkeys([*SCORES, "compare"], "to run")
    assert ran(open_pipeline(runs, fewer)) == [*SCORES, "compare"]
    assert "no longer in eval.tasks: mini_unit" in capsys.readouterr().err
    assert states(open_pipeline(runs, fewer)) == {}, "it is remembered"
    back = states(open_pipeline(runs, fewer, "eval.check_removed=false"))
    assert {"benchmarks", "guard", "filter", "decontaminate:docs"} <= back.keys()
    assert "generate" not in back and "seeds" not in back


def test_a_new_benchmark_is_checked_and_scored_and_nothing_else_is_made_again(runs: Path) -> None:
    more = "eval.tasks=[mini_day,mini_opposite,mini_unit,mini_month]"
    left = states(open_pipeline(runs, more))
    teacher = "smoke-teacher/decontaminate"  # what the teacher read, for the page
    checks = ("benchmarks", "guard", "filter", "decontaminate:docs", teacher)
    assert {label: left.pop(label) for label in checks} == dict.fromkeys(checks, "to run")
    assert left.pop("tokenize:docs") == unless("decontaminate:docs")
    assert left.pop("tokenize:synthetic") == unless("filter")
    assert left.pop("train:synthetic=0") == unless("tokenize:docs")
    assert left.pop(SYNTHETIC) == unless("tokenize:docs", "tokenize:synthetic")
    assert left == dict.fromkeys([*SCORES, "compare"], "to run")
    made = ran(open_pipeline(runs, more))
    assert sorted(made) == sorted([*checks, *SCORES, "compare"])


def test_a_changed_filter_leaves_human_text_and_the_control(runs: Path) -> None:
    change = "filter.agreement=0.6"
    assert states(open_pipeline(runs, change)) == {
        "filter": "to run",
        "tokenize:synthetic": unless("filter"),
        SYNTHETIC: unless("tokenize:synthetic"),
        "evaluate:synthetic=0.5": unless(SYNTHETIC),
        "compare": "to run",
    }
    assert ran(open_pipeline(runs, change)) == ["filter", "compare"]


def test_another_number_of_votes_leaves_human_text_and_the_control(runs: Path) -> None:
    left = states(open_pipeline(runs, "generate.votes=2"))
    assert (left.pop("generate"), left.pop("filter")) == ("to run", "to run")
    assert left.keys() == {
        "tokenize:synthetic", SYNTHETIC, "evaluate:synthetic=0.5", "compare"
    }  # fmt: skip


def test_a_trained_run_with_more_exports_serves_one_that_asks_for_fewer(runs: Path) -> None:
    assert "train:synthetic=0" in states(open_pipeline(runs, "eval.every_tokens=4K"))
    curve = open_pipeline(runs, "eval.every_tokens=4K")
    curve.run()
    left = states(open_pipeline(runs, "eval.every_tokens=8K"))
    assert list(left) == ["compare"], "its points are among those of the run with more"


def test_what_came_out_the_same_keeps_its_first_name_and_its_lineage(runs: Path) -> None:
    changed = open_pipeline(runs, "filter.agreement=0.6")
    changed.run()
    (filtered,) = [node for node in changed.nodes if node.stage == "filter"]
    made = changed.find(filtered)
    assert made is not None and made.manifest.same_as not in ("", made.fingerprint)
    tokens = next(node for node in changed.nodes if node.label == "tokenize:synthetic")
    read = changed.find(tokens)
    assert read is not None and read.manifest.inputs["filter"] == made.identity
    assert changed.store.find("filter", made.identity) is not None


def test_an_edited_prompt_is_a_reason_by_its_name(runs: Path, tmp_path: Path) -> None:
    mine = Path(
        shutil.copytree(REPOSITORY / "tsqa" / "prompts" / "question" / "plain", tmp_path / "mine")
    )
    change = f"generate.prompts={{question: {mine}, answer: plain}}"
    ran(open_pipeline(runs, change))
    with (mine / "any.jinja").open("a") as file:
        file.write("{# a note #}\n")
    (mine / "reading.jinja").unlink()
    forget_files()
    changed = open_pipeline(runs, change)
    (node,) = (node for node in changed.nodes if changed.label(node) == "generate")
    why = "generate.prompts.question: any.jinja changed, reading.jinja removed"
    assert changed.why(node) == why
