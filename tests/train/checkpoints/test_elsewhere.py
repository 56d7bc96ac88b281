"""An arm trained elsewhere: taken in, marked as declared, refused where it is another model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoTokenizer, NemotronConfig, NemotronForCausalLM

from eval.compare.contamination import unseen_notes
from eval.lineage.sources import sources_of
from tests.support.sealed import invented_artifact
from tests.support.tiny_teacher import make_tiny_teacher
from tsqa.errors import DataError, RecipeError, TsqaError
from tsqa.pipeline.node import trained_node, upstream_of
from tsqa.pipeline.run import Pipeline, Training
from tsqa.recipe import load_recipe
from tsqa.store.artifact import Artifact


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, from which the arms start, and `came`, to which one came elsewhere."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("base", "came"):
        make_tiny_teacher(folder / name)
    return folder


def open_arms(folder: Path, models: Path, came: Path | None = None) -> Pipeline:
    lines = (json.dumps({"text": f"the {n} apples and the pears"}) for n in range(80))
    (folder / "web.jsonl").write_text("\n".join(lines))
    tree: dict[str, Any] = {
        "name": "arms",
        "runs": str(folder / "runs"),
        "model": {"path": str(models / "base")},
        "mixture": {
            "sources": {"web": {"path": str(folder / "web.jsonl")}},
            "phases": [{"tokens": 320, "ratios": {"web": 1}}],
        },
        "train": {"sequence_length": 16, "global_batch_tokens": 32, "lr": 1e-3},
        "ablation": {
            "arms": [
                {"name": "control", "train.lr": 1e-4},
                {"name": "bridge", "train.elsewhere": str(came or models / "came")},
            ],
            "control": "control",
        },
        "tracking": {"mode": "disabled"},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    return Pipeline(load_recipe(path), path, [])


def build(pipeline: Pipeline) -> Artifact:
    node = trained_node(pipeline.nodes, "bridge")
    for upstream in [*upstream_of(node).values()][::-1]:
        made = pipeline.ensure(upstream)
    return made


def test_it_is_taken_in_with_what_the_recipe_declares(tmp_path: Path, models: Path) -> None:
    pipeline = open_arms(tmp_path, models)
    made = build(pipeline)
    assert made.manifest.stage == "train"
    assert made.summary["declared_tokens"] == 320 and made.summary["declared"] == {"web": 320}
    assert "tokens" not in made.summary and "sources" not in made.summary, "nobody saw them"
    weights = (made.path / "hf" / "model.safetensors").read_bytes()
    assert weights == (models / "came" / "model.safetensors").read_bytes()
    assert AutoTokenizer.from_pretrained(made.path / "hf")("the apples").input_ids
    evaluation = invented_artifact(
        pipeline.store.path_of("evaluate", "e"), inputs={"model": made.fingerprint}
    )
    [source] = sources_of(evaluation)
    assert (source.owner, source.name, source.is_declared) == ("", "web", True)
    begun, note = unseen_notes({"bridge": [evaluation]})
    assert begun.startswith("All models: begun from a pretrained model. What that one read before")
    assert note.startswith("Trained elsewhere: bridge. What it read is declared by the recipe, not")


def test_its_arms_are_other_artifacts_and_those_trained_here_stay(
    tmp_path: Path, models: Path
) -> None:
    nodes = open_arms(tmp_path, models).nodes
    here, there = trained_node(nodes, "control"), trained_node(nodes, "bridge")
    assert (here.trains, there.trains) == (True, False)
    assert "elsewhere" not in json.dumps(here.config)
    assert str(models) not in json.dumps(there.config), "by its content, not by its place"


def test_ranks_do_not_train_it(tmp_path: Path, models: Path) -> None:
    pipeline = open_arms(tmp_path, models)
    with pytest.raises(RecipeError, match="the arm bridge is trained elsewhere"):
        Training(pipeline.recipe, pipeline.origin, "bridge")


def test_a_model_of_another_shape_is_no_continuation(tmp_path: Path, models: Path) -> None:
    other = tmp_path / "other"
    config = NemotronConfig.from_pretrained(models / "came")
    config.hidden_size, config.num_hidden_layers = 32, 1
    NemotronForCausalLM(config).save_pretrained(other)
    with pytest.raises(DataError, match=r"hidden_size is 32, and \d+ in .*base, from which"):
        build(open_arms(tmp_path, models, other))


def test_a_folder_that_is_not_there_is_refused_before_any_work(
    tmp_path: Path, models: Path
) -> None:
    with pytest.raises(TsqaError, match=r"no such file or folder|no such folder"):
        build(open_arms(tmp_path, models, tmp_path / "nowhere"))
