"""The stage `benchmarks`: every document of the evaluated splits, rendered once.

Guarantee: seeds, filter and tokenize keep apart from the same documents, in the same order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import cast

from tsqa.recipe import needed
from tsqa.records.seed import Seed, read_seeds
from tsqa.seeds.sources import load_evaluated
from tsqa.store.identity import Json
from tsqa.store.stage import StageContext
from tsqa.tasks.library import task_library

_DOCUMENTS = "documents.jsonl"


def run(context: StageContext) -> dict[str, Json]:
    """Write the documents, task by task."""
    include = context.task_folder(needed(context.recipe.eval, "eval"))
    counts: Counter[str] = Counter()
    # Odd documents count too, so lone surrogates must survive: ASCII.
    with (context.out / _DOCUMENTS).open("w", encoding="ascii") as out:
        for name in evaluated_tasks(context, include):
            for document in load_evaluated(name, include):
                out.write(json.dumps(asdict(document)) + "\n")
                counts[name] += 1
    return {"documents": counts.total(), "tasks": len(counts), "by_task": {**counts}}


def evaluated_tasks(context: StageContext, include: Path | None) -> list[str]:
    """The leaf tasks that `benchmarks` renders: evaluated ones, and those that were."""
    made = context.inputs.get("benchmarks")
    config = context.config if made is None else made.manifest.config
    section = needed(context.recipe.eval, "eval")
    return task_library(include).expand(cast("list[str]", config.get("tasks", section.tasks)))


def read_evaluated(context: StageContext) -> Iterator[Seed]:
    """The documents that nothing may repeat, from the artifact `benchmarks`."""
    return read_seeds(context.inputs["benchmarks"].path / _DOCUMENTS)
