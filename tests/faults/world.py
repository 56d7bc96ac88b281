"""A tiny finished run without engines: real stages where they need none, sealed ones elsewhere."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest import mock

import yaml

from tests.support.generation import FakeEngine, opened
from tests.support.page_world import evaluation, make_train
from tests.support.sealed import seal_artifact
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.tasks.toy import standard_library_docs

RECIPE = """\
name: tiny
runs: {runs}
data: {{builder: miniature, train_per_family: 8, test_per_family: 4, teacher_documents: 8}}
seeds: {{tasks: [mini_day], include: "{{data}}/tasks"}}
generate:
  teacher: {{engine: openai, model: {{path: m}}, urls: ["http://127.0.0.1:9/v1"], form: completion}}
  prompts: {{question: plain, answer: plain}}
  per_seed: 2
  votes: 3
filter: {{agreement: 0.6}}
model:
  config:
    model_type: nemotron
    hidden_size: 32
    intermediate_size: 32
    num_hidden_layers: 1
    num_attention_heads: 2
    num_key_value_heads: 2
    max_position_embeddings: 64
tokenizer: {{train_on: ["{{data}}/docs.jsonl"], vocab_size: 300}}
mixture:
  sources:
    docs: {{path: "{{data}}/docs.jsonl"}}
    near: {{nearest: {{pool: docs}}, size_of: synthetic}}
    synthetic: {{from: filter}}
  phases: [{{tokens: 1K, ratios: {{docs: 0.25, near: 0.25, synthetic: 0.5}}}}]
  max_repetition: 1000
  tokenize_processes: 1
train: {{sequence_length: 32, global_batch_tokens: 64, lr: 1e-3}}
eval: {{tasks: [mini_day], include: "{{data}}/tasks", bootstrap: 100}}
ablation: {{axes: {{mixture.synthetic: [0, 0.5]}}, control: {{mixture.synthetic: 0}}}}
tracking: {{mode: disabled}}
"""


def write_recipe(folder: Path, runs: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(RECIPE.format(runs=runs))
    assert yaml.safe_load(path.read_text())["name"] == "tiny"
    return path


def open_pipeline(path: Path, *overrides: str) -> Pipeline:
    return Pipeline(load_recipe(path, overrides), path, list(overrides))


@contextmanager
def fake_teacher(order: int = 0) -> Iterator[FakeEngine]:
    engine = FakeEngine(order)
    with mock.patch("tsqa.teachers.client.open_engine", lambda *_: opened(engine)):
        yield engine


def run_all(path: Path) -> Path:
    """Every stage of the recipe up to the comparison; returns the folder of the runs."""
    pipeline = open_pipeline(path)
    docs = itertools.islice(standard_library_docs(), 300)  # 6 s of CPU less than with all
    with fake_teacher(), mock.patch("tsqa.tasks.toy.standard_library_docs", lambda: docs):
        pipeline.run(until="tokenize")
    recipe = pipeline.recipe
    with tempfile.TemporaryDirectory() as scratch:
        trained = make_train(Path(scratch), recipe)
        for node in pipeline.nodes:
            folder = pipeline.store.path_of(node.stage, node.fingerprint)
            if node.stage == "train":
                shutil.copytree(trained[str(node.arm)].path, folder)
                summary = trained[str(node.arm)].summary
            elif node.stage == "evaluate":
                right = [float(n % 2 or node.arm != "synthetic=0") for n in range(6)]
                summary = evaluation(folder, {"mini_day": right}, tokens=1024).summary
            else:
                continue
            seal_artifact(
                folder, config=node.config, inputs=node.input_fingerprints, summary=summary
            )
    open_pipeline(path).run(until="compare")
    return Path(recipe.runs)


@cache
def finished_run() -> Path:
    """The folder of one finished run, for all tries of this process; they undo what they do."""
    folder = Path(tempfile.mkdtemp(prefix="tsqa-tries-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return run_all(write_recipe(folder, folder / "runs"))


def recipe_of(runs: Path) -> Path:
    return runs.parent / "tiny.yaml"
