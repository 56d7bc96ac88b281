"""Invented benchmarks and a dataset into which their documents are planted, for the leak audit."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from tsqa.records.seed import Seed
from tsqa.seeds.sources import load_evaluated

_STEMS = [f"{a}{b}" for a in "bcdfglmnprstvw" for b in ("ale", "ind", "ost", "urn", "elt", "amp")]
VOCABULARY = [first + second for first in _STEMS for second in ("", "er", "ing")]


def make_suite(folder: Path, names: Sequence[str], count: int) -> Path:
    """Write a suite of choice tasks with `count` documents each; return its path."""
    tasks = folder / "tasks"
    tasks.mkdir(parents=True)
    for name in names:
        data = tasks / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in _questions(name, count)))
        config = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "question",
            "doc_to_choice": "choices",
            "doc_to_target": "label",
        }
        (tasks / f"{name}.yaml").write_text(yaml.safe_dump(config))
    suite = folder / "suite.yaml"
    suite.write_text(yaml.safe_dump({"eval": {"tasks": [*names], "include": str(tasks)}}))
    return suite


def documents_of(suite: Path, name: str) -> list[Seed]:
    return load_evaluated(name, suite.parent / "tasks")


def clean_text(rng: random.Random, words: int = 120) -> str:
    """A row that holds no evaluated document."""
    return " ".join(rng.choices(VOCABULARY, k=words)).capitalize() + "."


def _questions(name: str, count: int) -> Iterator[dict[str, object]]:
    """Every third is short; the last is the same in every task."""
    rng = random.Random(name)
    for number in range(count):
        if number == count - 1:
            rng = random.Random("shared")
        size = 6 if number % 3 == 0 else 24
        asked = " ".join(rng.choices(VOCABULARY, k=size))
        choices = [" ".join(rng.choices(VOCABULARY, k=2)) for _ in range(4)]
        yield {"question": f"Which {asked}?", "choices": choices, "label": number % 4}
