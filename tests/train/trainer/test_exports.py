"""Models along a training that is finished: from its checkpoints, or by training again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.train_runs import HYBRID, write_recipe
from tsqa.errors import RecipeError
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.preview.estimate import Estimates
from tsqa.recipe import load_recipe

POINTS = "eval={tasks: [arc_easy], every_tokens: 1000}"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("exports"), HYBRID)


@pytest.fixture
def ask(recipe: Path, tmp_path: Path) -> Callable[..., tuple[Pipeline, Node]]:
    """The pipeline of the recipe with some keys, and its training."""
    made = Path(load_recipe(recipe).runs) / "artifacts"
    (tmp_path / "runs" / "artifacts").mkdir(parents=True)
    for stage in ("tokenizer", "tokenize"):
        (tmp_path / "runs" / "artifacts" / stage).symlink_to(made / stage)

    def ask(*keys: str) -> tuple[Pipeline, Node]:
        given = [f"runs={tmp_path / 'runs'}", "mixture.decontaminate=false", *keys]
        pipeline = Pipeline(load_recipe(recipe, given), recipe, given)
        [node] = [node for node in pipeline.nodes if node.stage == "train"]
        return pipeline, node

    return ask


def pretend_training(pipeline: Pipeline, node: Node, *steps: int) -> None:
    """A finished run that kept the checkpoints of some steps."""
    with pipeline.open_stage(node) as (context, commit):
        assert context
        for name in ("hf", "hf-500", *(f"checkpoints/step-{step:08d}" for step in steps)):
            (context.out / name).mkdir(parents=True)
            (context.out / name / "model.safetensors").write_text(name)
        (context.out / "metrics.jsonl").write_text("{}\n")
        commit({"tokens": 3072, "seconds": 60.0})


def export(checkpoint: Path, folder: Path, trust_remote_code: bool) -> None:
    """In the place of DeepSpeed's conversion."""
    folder.mkdir()
    (folder / "model.safetensors").write_text(f"of {checkpoint.name}")


def test_kept_checkpoints_give_the_models_along_a_training(
    ask: Callable[..., tuple[Pipeline, Node]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.checkpoints.export.export_checkpoint", export)
    pipeline, node = ask()
    pretend_training(pipeline, node, 4, 8, 12)
    trained = pipeline.find(node)
    pipeline, node = ask(POINTS)
    assert "without training" in pipeline.why(node)
    assert Estimates(pipeline).of(node).basis == (
        "models along the training, from its checkpoints: assumed",
    )
    made = pipeline.ensure(node)
    assert trained and made.identity == trained.fingerprint != made.fingerprint
    assert made.summary["seconds"] == 60.0
    names = {path.name for path in made.path.iterdir()}
    assert names == {"hf", "hf-1000", "hf-2000", "metrics.jsonl", "manifest.json"}
    # Steps of 256 tokens: the fourth is the first to reach 1,000, the eighth to reach 2,000.
    for point, step in ((1000, 4), (2000, 8)):
        folder = made.path / f"hf-{point}"
        assert (folder / "model.safetensors").read_text() == f"of step-{step:08d}"
        told = json.loads((folder / "exported.json").read_text())
        assert told == {"step": step, "tokens": step * 256}


@pytest.mark.parametrize("steps", [(), (4,), (3, 7)])
def test_without_the_checkpoint_of_each_it_trains_again_and_the_plan_says_why(
    ask: Callable[..., tuple[Pipeline, Node]],
    monkeypatch: pytest.MonkeyPatch,
    steps: tuple[int, ...],
) -> None:
    launched = []
    monkeypatch.setattr(Pipeline, "_launch_training", lambda self, node: launched.append(node))
    pretend_training(*ask(), *steps)
    pipeline, node = ask(POINTS)
    why = "with 1000, 2000: trains again, as no checkpoint of these was kept (train.keep_every)"
    assert pipeline.why(node).endswith(why)
    with pytest.raises(Exception, match="without its artifact"):
        pipeline.ensure(node)
    assert launched == [node]


def test_a_mean_needs_its_models_and_is_another_model(
    ask: Callable[..., tuple[Pipeline, Node]],
) -> None:
    plain = ask(POINTS)[1].fingerprint
    two, three = (ask(POINTS, f"train.average_last={n}")[1] for n in (2, 3))
    assert len({plain, two.fingerprint, three.fingerprint}) == 3
    assert (two.config["averaged"], three.config["averaged"]) == ([2000], [1000, 2000])
    with pytest.raises(RecipeError, match=r"average_last: 4 .*every_tokens makes 3 with the"):
        ask(POINTS, "train.average_last=4")
    with pytest.raises(RecipeError, match="every_tokens makes 1"):
        ask("train.average_last=2")
    with pytest.raises(RecipeError, match=r"train\.elsewhere is taken as it is; say .*null"):
        ask(POINTS, "train.average_last=2", "train.elsewhere=/its/hf")
