"""From training splits and human text to rows near the seeds, with no teacher."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import yaml

from tests.support.paths import REPOSITORY
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.store.jsonl import read_jsonl

BASE = REPOSITORY / "recipes" / "smoke" / "base.yaml"
TASKS = {"tasks": ["mini_day", "mini_opposite"], "include": "{data}/tasks"}


def test_a_span_of_tokens_leads_to_its_seed_and_a_second_run_makes_nothing(tmp_path: Path) -> None:
    human = tmp_path / "human.jsonl"
    human.write_text('{"text": "Some words that are not about days."}\n' * 40)
    near = {"nearest": {"pool": "docs"}, "size_of": "human"}
    recipe = {
        "extends": str(BASE),
        "name": "near",
        "runs": str(tmp_path / "runs"),
        "tracking": {"mode": "disabled"},
        "data": {"train_per_family": 24, "test_per_family": 8, "teacher_documents": 40},
        "tokenizer": {"train_on": ["{data}/docs.jsonl"]},
        "seeds": {**TASKS, "max_per_task": 12},
        "eval": TASKS,
        "mixture": {
            "sources": {"human": {"path": str(human)}, "near": near},
            "phases": [{"tokens": "16K", "ratios": {"docs": 0.5, "near": 0.5}}],
            "max_repetition": 1000,
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    made = Pipeline(load_recipe(path), path, []).run(until="tokenize")
    labels = {label.partition(":")[2]: artifact for label, artifact in made.items()}
    assert "nearest" not in labels["near"].manifest.config, "by its artifact, not by its settings"
    rows = {name: labels[name].summary["sources"][name]["rows"] for name in ("human", "near")}
    assert rows["near"] >= rows["human"] > 1
    store = labels["near"].path.parent.parent
    chosen = store / "nearest" / labels["near"].manifest.inputs["nearest"] / "nearest.jsonl"
    records = [*read_jsonl(chosen)]
    seeds = {
        seed["id"]: seed for file in store.glob("seeds/*/seeds.jsonl") for seed in read_jsonl(file)
    }
    (index,) = labels["near"].path.glob("near.docs.parquet")
    first = pq.read_table(index).to_pylist()[0]
    record = records[first["line"] - 1]
    assert (first["file"], first["id"]) == (chosen.name, record["id"])
    assert record["seed"] in seeds and record["score"] > 0.2
    shared = {*record["text"].lower().split()} & {
        *seeds[record["seed"]]["question"].lower().split()
    }
    assert shared
    assert Pipeline(load_recipe(path), path, []).run(until="tokenize").keys() == made.keys()
    assert len([*store.glob("nearest/*/manifest.json")]) == 1
