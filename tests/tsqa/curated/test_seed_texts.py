"""The control that trains on the seeds: one document each, without the evaluated ones."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from tests.support.paths import REPOSITORY
from tsqa.curated.seed_texts import write_seed_texts
from tsqa.recipe import load_recipe
from tsqa.records.seed import Seed

SEED = Seed(
    id="t-0",
    task="t",
    family="t",
    capability="math",
    subject="",
    language="en",
    kind="choice",
    question="Which is even?",
    context="",
    choices=["one", "two"],
    answer_index=1,
    answer="two",
    explanation="Two is twice one.",
    tests="",
    dataset="d",
    revision="",
    split="train",
    licence="",
    doc_id=0,
    content_hash="",
)


def test_each_seed_is_one_document_in_the_templates_of_the_items(tmp_path: Path) -> None:
    seeds = [SEED, replace(SEED, id="t-1", question="Dropped?"), replace(SEED, id="t-2")]
    lines = "".join(json.dumps(asdict(seed)) + "\n" for seed in seeds)
    (tmp_path / "seeds.jsonl").write_text(lines)
    recipe = load_recipe(REPOSITORY / "recipes" / "quickstart" / "recipe.yaml")
    out = tmp_path / "out"
    out.mkdir()
    path = write_seed_texts(tmp_path, out, recipe, dropped={"t-1"})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["t-0", "t-2"]
    for row in rows:
        assert "Which is even?" in row["text"] and "two" in row["text"]
