"""The stage `benchmarks`: every document of the evaluated splits, rendered once.

Guarantees: seeds, filter and tokenize keep apart from the same documents, in the same order; a rule
of `eval.groups` that names no field of these documents is refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from tsqa.errors import RecipeError
from tsqa.recipe import EvalSection, needed
from tsqa.records.seed import Seed, read_seeds
from tsqa.seeds.sources import open_evaluated, render_evaluated
from tsqa.store.identity import Json
from tsqa.store.stage import StageContext
from tsqa.tasks.library import task_library
from tsqa.tasks.split import TaskSplit

_DOCUMENTS = "documents.jsonl"


def run(context: StageContext) -> dict[str, Json]:
    """Write the documents, task by task."""
    section = needed(context.recipe.eval, "eval")
    include = context.task_folder(section)
    counts: Counter[str] = Counter()
    fields: dict[str, list[Json]] = {}
    # Odd documents count too, so lone surrogates must survive: ASCII.
    with (context.out / _DOCUMENTS).open("w", encoding="ascii") as out:
        for name in evaluated_tasks(context, include):
            split = open_evaluated(name, include)
            if split is None:
                continue
            fields[name] = _common_fields(split)
            refuse_groups(section, include, fields)
            for document in render_evaluated(name, include, split):
                out.write(json.dumps(asdict(document)) + "\n")
                counts[name] += 1
    return {
        "documents": counts.total(),
        "tasks": len(counts),
        "by_task": {**counts},
        "fields": {**fields},
    }


def _common_fields(split: TaskSplit) -> list[Json]:
    """The fields that hold a text in every document."""
    texts = ({key for key, one in each.items() if isinstance(one, str)} for each in split)
    first = next(texts, set())
    return [*sorted(first.intersection(*texts))]


def refuse_groups(
    section: EvalSection, include: Path | None, fields: Mapping[str, Sequence[Json]]
) -> None:
    """Raise RecipeError where a rule of `eval.groups` names no field of a task's documents.

    `fields`: of the tasks that are known.
    """
    for name, rule in section.groups.items():
        if rule.startswith("/"):
            continue
        for leaf in task_library(include).expand([name]):
            if rule not in fields.get(leaf, [rule]):
                known = ", ".join(map(str, fields[leaf]))
                raise RecipeError(
                    f"eval.groups.{name} = {rule!r}: not every document of {leaf} has such a text",
                    f"use one of: {known}" if known else "use a regular expression",
                )


def evaluated_tasks(context: StageContext, include: Path | None) -> list[str]:
    """The leaf tasks that `benchmarks` renders: evaluated ones, and those that were."""
    made = context.inputs.get("benchmarks")
    config = context.config if made is None else made.manifest.config
    section = needed(context.recipe.eval, "eval")
    return task_library(include).expand(cast("list[str]", config.get("tasks", section.tasks)))


def read_evaluated(context: StageContext) -> Iterator[Seed]:
    """The documents that nothing may repeat, from the artifact `benchmarks`."""
    return read_seeds(context.inputs["benchmarks"].path / _DOCUMENTS)
