"""A recipe with a dataset that no model wrote: artifacts sealed by hand where its stages expect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from tests.support.curated_rows import candidate, curated_row, lineage, rejected_row
from tests.support.generation import make_seed
from tests.support.sealed import seal_artifact
from tsqa.curated.files import DatasetWriter
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.records.rows import CuratedRow, RejectedRow
from tsqa.records.seed import Seed

TASK = """\
task: own_task
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/test.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc}}]
"""


def seed(number: int, licence: str = "cc-by-sa-4.0", **changes: Any) -> Seed:
    made = make_seed(number, task="toy")
    hashed = {"id": f"toy:{number}", "licence": licence, "content_hash": f"{number:016x}"}
    return replace(made, **hashed, **changes)


def accepted(number: int, place: int | None = None, **changes: Any) -> CuratedRow:
    """The item of a seed, which stands at another place where one is given."""
    row = curated_row(number if place is None else place, **changes)
    return replace(row, lineage=lineage(number, seed_hash=f"{number:016x}"))


def rejected(number: int, step: str = "agreement") -> RejectedRow:
    record = candidate(number, seed_hash=f"{number:016x}")
    return replace(rejected_row(number), step=step, record=json.dumps(record))


def write_recipe(folder: Path, **sections: Any) -> Path:
    """A recipe of its own dataset, whose artifacts are in `folder/runs`."""
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / "own.yaml").write_text(TASK.format(folder=folder / "tasks"))
    asked = '{"question": "Is it so?", "choices": ["yes", "no"], "answer": 0}\n'
    (folder / "tasks" / "test.jsonl").write_text(asked)
    (folder / "own.jsonl").write_text('{"q": "Why?", "a": "so"}\n')
    columns = {"question": "q", "answer": "a"}
    own = {"name": "toy", "path": str(folder / "own.jsonl"), "columns": columns}
    served = {"engine": "openai", "urls": ["http://127.0.0.1:9/v1"]}
    model = {"path": "teacher-7b", "licence": "apache-2.0"}
    recipe = {
        "name": "toyset",
        "runs": str(folder / "runs"),
        "seeds": {"datasets": [own]},
        "generate": {"teacher": {**served, "model": model}},
        "filter": {},
        "eval": {"tasks": ["own_task"], "include": str(folder / "tasks")},
        "tracking": {"mode": "disabled"},
        **sections,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def build(
    path: Path,
    seeds: Sequence[Seed],
    rows: Sequence[CuratedRow],
    losers: Sequence[RejectedRow] = (),
    overrides: Sequence[str] = (),
) -> Pipeline:
    """Seal the artifacts of a recipe; overrides give another dataset beside an earlier one."""
    pipeline = Pipeline(load_recipe(path, overrides), path, [*overrides])
    nodes = {node.stage: node for node in pipeline.nodes}
    places = {n: pipeline.store.path_of(n, nodes[n].fingerprint) for n in nodes}
    places["seeds"].mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(asdict(each)) + "\n" for each in seeds)
    (places["seeds"] / "seeds.jsonl").write_text(lines)
    places["filter"].mkdir(parents=True, exist_ok=True)
    with DatasetWriter(places["filter"]) as writer:
        for row in rows:
            writer.curated(row)
        for loser in losers:
            writer.rejected(loser)
    (places["filter"] / "dataset" / "README.md").write_text("---\nlicense: mit\n---\n")
    counts = {"candidates": len(rows) + len(losers), "curated": len(rows), "funnel": []}
    for stage in ("seeds", "generate", "filter"):
        summary = {"seeds": len(seeds), **counts} if stage == "filter" else {}
        inputs = nodes[stage].input_fingerprints
        seal_artifact(places[stage], inputs=inputs, summary=summary)
    return pipeline
