"""Guards are in no fingerprint, and so are checked again where a finished stage is reused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import REPOSITORY
from tsqa.errors import RecipeError
from tsqa.pipeline.history import History
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.teachers import RefusedError

SMOKE = REPOSITORY / "recipes" / "smoke" / "recipe.yaml"


def open_pipeline(runs: Path, *overrides: str) -> Pipeline:
    given = [f"runs={runs}", "tracking.mode=disabled", *overrides]
    return Pipeline(load_recipe(SMOKE, given), SMOKE, given)


def own(pipeline: Pipeline, stage: str) -> list[Node]:
    found = [node for node in pipeline.nodes if node.stage == stage]
    return [node for node in found if node.recipe.name == "smoke"]


def make(pipeline: Pipeline, node: Node, summary: dict[str, Any], **files: object) -> None:
    with pipeline.store.working_directory(node.stage, node.fingerprint) as partial:
        for name, content in files.items():
            (partial / f"{name}.json").write_text(json.dumps(content))
        made = (partial, node.stage, node.fingerprint, node.config)
        pipeline.store.commit(*made, node.input_fingerprints, summary)


def test_a_trained_arm_that_repeats_its_data_too_often_is_not_reused(tmp_path: Path) -> None:
    pipeline = open_pipeline(tmp_path)
    rows = {"rows": 20, "padding": 0, "answers_only": False}
    tokens = {
        "sequence_length": 128,
        "dtype": "uint16",
        "vocab_size": 512,
        "eos_token_id": 1,
    }
    for node in own(pipeline, "tokenize"):
        made = {**tokens, "sources": {node.definition.part: rows}}
        make(pipeline, node, {}, sources=made)
    make(pipeline, own(pipeline, "train")[0], {})
    pipeline.check_guards()
    with pytest.raises(RecipeError, match=r"6\.\d+ epochs, mixture\.max_repetition 2"):
        open_pipeline(tmp_path, "mixture.max_repetition=2").check_guards()


def test_a_dataset_with_more_unanswered_requests_than_allowed_is_not_reused(
    tmp_path: Path,
) -> None:
    pipeline = open_pipeline(tmp_path, "generate.allow_failed=0.1")
    row = {"teacher": "teacher", "model": "m", "requests": 100, "prompt_tokens": 0}
    row |= {"output_tokens": 0, "engine_seconds": 0.0, "dollars": 0.0, "unanswered": {"late": 5}}
    make(pipeline, own(pipeline, "generate")[0], {"ledger": [row]})
    pipeline.check_guards()
    with pytest.raises(RefusedError, match=r"5 of 100 requests.*generate\.allow_failed is 0\.01"):
        open_pipeline(tmp_path, "generate.allow_failed=0.01").check_guards()


def test_a_stage_says_why_it_runs(tmp_path: Path) -> None:
    first = open_pipeline(tmp_path)
    (made,) = own(first, "filter")
    assert first.why(made) == "first time"
    make(first, made, {})
    changed = open_pipeline(tmp_path, "filter.agreement=0.5", "filter.renderings=[qa,exam]")
    (node,) = own(changed, "filter")
    differ = "filter.agreement 0.4 -> 0.5, filter.renderings with "
    assert changed.why(node).startswith(f"first time; differs from filter/{made.fingerprint} by")
    first.record([made])
    assert changed.why(node).startswith(differ)
    after = open_pipeline(tmp_path, "seeds.max_per_task=5")
    assert after.why(own(after, "filter")[0]) == (
        "input generate changed, input guard changed, input seeds changed"
    )
    History(after.folder).add({"filter": node.fingerprint})
    assert changed.why(node) == "its artifact was removed"
    changed.store.partial_path_of("filter", node.fingerprint).mkdir()
    assert changed.why(node) == "continues where it was interrupted"
