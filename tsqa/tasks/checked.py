"""Which tasks seeds and documents are kept apart from: the evaluated ones, and those that were.

Guarantee: a task that is taken out of `eval.tasks` changes no row of the same recipe, unless
`eval.check_removed` is false; what is checked besides is said.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tsqa.recipe import Recipe, needed
from tsqa.store.digests import hash_bytes
from tsqa.store.identity import Json
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import read_own
from tsqa.tasks.fingerprint import identify_tasks, pinned_datasets


@dataclass(frozen=True)
class _Checked:
    """`benchmarks.json` in the folder of a recipe: what its rows were last checked against."""

    tasks: list[str]
    include: str
    """Hash of `eval.include` and what is in it."""


def evaluated_config(recipe: Recipe) -> dict[str, Json]:
    """Which documents must not leak: those of the checked tasks, however they are asked."""
    if recipe.eval is None:
        return {}
    tasks = sorted({*recipe.eval.tasks, *removed_tasks(recipe)})
    return {
        "tasks": tasks,
        "include": identify_tasks(recipe.eval.include),
        **pinned_datasets("eval.tasks", recipe.eval.include, tuple(tasks)),
    }


def removed_tasks(recipe: Recipe) -> list[str]:
    """The tasks that are checked although they are evaluated no more."""
    section = recipe.eval
    if section is None or not section.check_removed or not _file_of(recipe).is_file():
        return []
    known = read_own(_file_of(recipe), _Checked)
    if known.include != _include_of(recipe):  # its tasks may be others now
        return []
    return sorted(set(known.tasks) - set(section.tasks))


def remember_tasks(recipe: Recipe) -> None:
    """To be called when rows of the recipe were checked."""
    tasks = sorted({*needed(recipe.eval, "eval").tasks, *removed_tasks(recipe)})
    _file_of(recipe).parent.mkdir(parents=True, exist_ok=True)
    write_json(_file_of(recipe), asdict(_Checked(tasks, _include_of(recipe))))


def _file_of(recipe: Recipe) -> Path:
    return Path(recipe.runs) / recipe.name / "benchmarks.json"


def _include_of(recipe: Recipe) -> str:
    section = needed(recipe.eval, "eval")
    content = json.dumps([section.include, identify_tasks(section.include)], sort_keys=True)
    return hash_bytes(content.encode())
