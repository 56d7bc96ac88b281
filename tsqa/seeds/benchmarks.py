"""The stage `benchmarks`: every document of the evaluated splits, rendered once.

Guarantees: seeds, filter and tokenize keep apart from the same documents, in the same order; a rule
of `eval.groups` that names no field of these documents is refused, and so is a document that is to
be scored and of which no choice is right, before a model is trained.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict, cast

from tsqa.errors import DataError, RecipeError
from tsqa.recipe import EvalSection, Recipe, needed
from tsqa.records.seed import Seed, read_seeds
from tsqa.seeds.sources import open_evaluated, render_evaluated
from tsqa.store.identity import Json
from tsqa.store.stage import StageContext
from tsqa.tasks.library import task_library
from tsqa.tasks.split import RenderedTask, TaskSplit

_DOCUMENTS = "documents.jsonl"


class Unscorable(TypedDict):
    """A document that is no question with a right choice."""

    doc_id: int
    why: str


def run(context: StageContext) -> dict[str, Json]:
    """Write the documents, task by task."""
    section = needed(context.recipe.eval, "eval")
    include = context.task_folder(section)
    counts: Counter[str] = Counter()
    fields: dict[str, list[Json]] = {}
    unscorable: dict[str, Unscorable] = {}
    # Odd documents count too, so lone surrogates must survive: ASCII.
    with (context.out / _DOCUMENTS).open("w", encoding="ascii") as out:
        for name in evaluated_tasks(context, include):
            split = open_evaluated(name, include)
            if split is None:
                continue
            fields[name] = _common_fields(split)
            refuse_groups(section, include, fields)
            if problem := _unscorable(split, task_library(include).config(name)):
                unscorable[name] = problem
                refuse_unscorable(context.recipe, include, unscorable)
            for document in render_evaluated(name, include, split):
                out.write(json.dumps(asdict(document)) + "\n")
                counts[name] += 1
    return {
        "documents": counts.total(),
        "tasks": len(counts),
        "by_task": {**counts},
        "fields": {**fields},
        **({"unscorable": cast(Json, unscorable)} if unscorable else {}),
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


def _unscorable(split: TaskSplit, config: Mapping[str, object]) -> Unscorable | None:
    """The first document on which lm-eval would give every model 0, or end.

    `config`: the task's; its own `process_results` may need no answer.
    """
    is_choice = split.task.OUTPUT_TYPE == "multiple_choice"
    is_own = config.get("process_results") and not is_choice
    if is_own or not isinstance(split.task, RenderedTask):
        return None
    for number, document in enumerate(split):
        try:
            text, _, choices = split.render(document)
            target = split.task.doc_to_target(document)
        except Exception as error:  # noqa: BLE001 - a task's code may raise anything
            return {"doc_id": number, "why": f"does not render: {type(error).__name__}: {error}"}
        if is_choice:
            why = "" if isinstance(text, int) else _wrong_label(target, choices or [])
        else:
            why = "its answer is null" if _is_null(target, split, document) else ""
        if why:
            return {"doc_id": number, "why": why}
    return None


def _wrong_label(target: object, choices: Sequence[object]) -> str:
    """Why a target names no choice; empty where it does."""
    if None in choices:
        return f"its choice {choices.index(None)} is null"
    if _has_right_choice(target, choices):
        return ""
    return f"its label {target!r:.40} is none of its {len(choices)} choices"


def _is_null(target: object, split: TaskSplit, document: Mapping[str, object]) -> bool:
    """Whether lm-eval would compare replies with the word None."""
    return target is None or (target == "None" and None in split.named(document).values())


def _has_right_choice(target: object, choices: Sequence[object]) -> bool:
    """As lm-eval takes a target, or a list of them, for a choice."""
    shown = [str(choice) for choice in choices]
    return any(
        0 <= one < len(shown)
        if isinstance(one, int)
        else not isinstance(one, str) or one in shown or one.lstrip() in shown
        for one in (target if isinstance(target, list) else [target])
    )


def refuse_unscorable(
    recipe: Recipe, include: Path | None, unscorable: Mapping[str, Unscorable]
) -> None:
    """Raise DataError where a recipe that trains scores a document of which no choice is right.

    Documents that are only kept apart may be odd.
    """
    section = needed(recipe.eval, "eval")
    if recipe.train is None:
        return
    for name in task_library(include).expand(section.tasks) if unscorable else ():
        found = unscorable.get(name)
        if found is not None and (section.limit is None or found["doc_id"] < section.limit):
            raise DataError(
                f"eval.tasks: {name}: doc_id {found['doc_id']}: {found['why']}",
                "correct the task's YAML or its data (in CSV, NA and None are null): every model "
                "would score 0 on it",
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
