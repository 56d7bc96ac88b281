"""Training splits of lm-eval tasks, normalised to Seed records.

Promises: a task without a training split, or whose training split is one that is evaluated, is
refused before any data is read; a training document whose question is also an evaluated one is
dropped and written to `rejected_seeds.jsonl`; the choice of seeds is a pure function of the recipe.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from tsqa.artifact import write_jsonl
from tsqa.errors import DataError, LeakError
from tsqa.filters.text import normalise, normalise_answer, parse_number
from tsqa.lm_tasks import TaskLibrary, evaluated_split, split_identity, task_library
from tsqa.progress import progress_bar
from tsqa.recipe import Recipe
from tsqa.stage import StageContext

_EXPLANATION_FIELDS = ("explanation", "rationale", "support", "solution")


@dataclass(frozen=True)
class Seed:
    """One document of a task: the question as text, the answer as text."""

    id: str
    task: str
    family: str
    kind: str
    question: str
    choices: list[str]
    answer: str
    explanation: str
    dataset: str
    split: str
    doc_id: int
    content_hash: str


def run(context: StageContext) -> dict[str, Any]:
    """Write seeds.jsonl and rejected_seeds.jsonl."""
    section = context.recipe.seeds
    if section is None:
        raise DataError("the recipe has no `seeds` section", "add one")
    include = context.task_folder(section)
    library = task_library(include)
    tasks = library.expand(section.tasks)
    evaluated = _evaluated(context)
    refuse_leaks(tasks, library, evaluated)

    known = {
        normalise(document.question)
        for name, folder in sorted({*evaluated, *((t, include) for t in tasks)}, key=str)
        for document in load_split(name, folder, "test")
    }
    chosen: list[Seed] = []
    rejected: list[dict[str, Any]] = []
    with progress_bar() as bar:
        row = bar.add_task("seeds", total=len(tasks), note="")
        for task in tasks:
            pool = load_split(task, include, "train")
            random.Random(f"{section.seed}:{task}").shuffle(pool)
            clean: list[Seed] = []
            dropped: list[Seed] = []
            for seed in pool:
                (dropped if normalise(seed.question) in known else clean).append(seed)
            rejected += [{**asdict(s), "reason": "question of an evaluated split"} for s in dropped]
            if not clean:
                raise DataError(f"the task {task} leaves no seed: {len(dropped)} dropped as leaks")
            chosen += sorted(clean[: section.max_per_task], key=lambda seed: seed.doc_id)
            bar.update(row, advance=1, note=task)
    write_jsonl(context.out / "rejected_seeds.jsonl", rejected)
    write_jsonl(context.out / "seeds.jsonl", (asdict(seed) for seed in chosen))
    return {
        "seeds": len(chosen),
        "rejected_seeds": len(rejected),
        "by_task": dict(Counter(seed.task for seed in chosen)),
        "by_kind": dict(Counter(seed.kind for seed in chosen)),
    }


def load_split(task_name: str, include: Path | None, split: Literal["train", "test"]) -> list[Seed]:
    """All documents of a leaf task's training split, or (`test`) of the split that is scored."""
    return list(_load_split(task_name, include, split))


@lru_cache(maxsize=256)
def _load_split(
    task_name: str, include: Path | None, split: Literal["train", "test"]
) -> tuple[Seed, ...]:
    """Rendering costs about 1 ms a document, and several stages of one process ask for it."""
    library = task_library(include)
    config = library.config(task_name)
    name = config.get("training_split") if split == "train" else evaluated_split(config)
    if not name and "class" not in config:
        if split == "test":
            return ()
        raise LeakError(f"the task {task_name} has no training split", "take it out of seeds.tasks")
    task = library.load(task_name)
    documents = task.training_docs() if split == "train" else task.eval_docs
    tags = config.get("tag")
    family = str(tags[0] if isinstance(tags, list) else tags) if tags else task_name
    dataset = ":".join(str(config[k]) for k in ("dataset_path", "dataset_name") if config.get(k))
    return tuple(
        _seed(task, dict(document), number, task_name, family, dataset, str(name or split))
        for number, document in enumerate(documents)
    )


def refuse_leaks(
    tasks: list[str], library: TaskLibrary, evaluated: list[tuple[str, Path | None]]
) -> None:
    """Raise LeakError when a training split is missing or is a split that anything evaluates."""
    scored: dict[tuple[str, ...], str] = {}
    for name, folder in evaluated:
        config = task_library(folder).config(name)
        split = evaluated_split(config)
        if split:
            scored[split_identity(config, split)] = name
    for task in tasks:
        config = library.config(task)
        training = config.get("training_split")
        if not training:
            raise LeakError(
                f"seeds.tasks: {task} has no training split, and nothing else may be a seed",
                f"take {task} out of seeds.tasks",
            )
        own = evaluated_split(config)
        if own and split_identity(config, own) == split_identity(config, training):
            raise LeakError(
                f"seeds.tasks: the training split of {task} ({training}) is the split it is "
                "evaluated on; seeding from it would train on the test",
                f"take {task} out of seeds.tasks",
            )
        other = scored.get(split_identity(config, training))
        if other:
            raise LeakError(
                f"seeds.tasks: the training split of {task} ({training}) is evaluated by {other} "
                "in eval.tasks",
                f"take {task} out of seeds.tasks, or {other} out of eval.tasks",
            )


def evaluated_tasks(recipe: Recipe, include: Path | None) -> list[str]:
    """The leaf tasks behind recipe.eval.tasks."""
    return task_library(include).expand(recipe.eval.tasks) if recipe.eval else []


def _evaluated(context: StageContext) -> list[tuple[str, Path | None]]:
    section = context.recipe.eval
    if section is None:
        return []
    include = context.task_folder(section)
    return [(name, include) for name in evaluated_tasks(context.recipe, include)]


def _seed(
    task: Any,
    document: dict[str, Any],
    number: int,
    name: str,
    family: str,
    dataset: str,
    split: str,
) -> Seed:
    text = task.doc_to_text(document)
    target = task.doc_to_target(document)
    is_choice = task.OUTPUT_TYPE == "multiple_choice"
    choices = [str(choice).strip() for choice in task.doc_to_choice(document)] if is_choice else []
    if isinstance(target, list):
        target = target[0] if target else ""
    if isinstance(text, int):  # the choices are contexts, as in winogrande
        text, choices, is_choice = choices[text], [], False
    elif is_choice and isinstance(target, int):
        target = choices[target]
    answer, explanation = split_answer(str(target))
    for field in _EXPLANATION_FIELDS:
        if not explanation and isinstance(document.get(field), str):
            explanation = " ".join(document[field].split())
    question = bare_question(str(text))
    kind = "choice" if is_choice else "number" if parse_number(answer) is not None else "short_text"
    digest = hashlib.sha256(f"{normalise(question)}\n{normalise_answer(answer)}".encode())
    return Seed(
        id=f"{name}-{number}",
        task=name,
        family=family,
        kind=kind,
        question=question,
        choices=choices,
        answer=answer,
        explanation=explanation,
        dataset=dataset,
        split=split,
        doc_id=number,
        content_hash=digest.hexdigest()[:16],
    )


def bare_question(text: str) -> str:
    """A task's rendered prompt on one line, without its `Question:` and `Answer:` frame."""
    text = re.sub(r"^\s*(?:Question|Q):\s*", "", text)
    text = re.sub(r"\s*\b(?:Answer|A):\s*$", "", text)
    return " ".join(text.split())


def split_answer(target: str) -> tuple[str, str]:
    """(answer, explanation) of a target; `... #### 18` is the answer 18 with its whole working."""
    working, marker, final = target.rpartition("####")
    if marker:
        clean = re.sub(r"<<[^>]*>>", "", working)
        return final.strip(), " ".join(clean.split())
    return " ".join(target.split()), ""
