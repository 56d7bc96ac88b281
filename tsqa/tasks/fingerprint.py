"""What decides the documents of tasks: the content of their folder, or lm-eval's version, and the
commits of the hub datasets that they name; and which tasks rows are kept apart from.

Guarantee: a task that is taken out of `eval.tasks` changes no row of the same recipe, unless
`eval.check_removed` is false; what is checked besides is said.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import distribution, version
from importlib.util import find_spec
from pathlib import Path

from rich.text import Text

from tsqa.console import console
from tsqa.errors import DataError, RecipeError
from tsqa.hub.pins import PINS, UNPINNED
from tsqa.locks import hold_file
from tsqa.names import data_problem
from tsqa.recipe import Recipe, needed
from tsqa.remote import data_path
from tsqa.secrets import redact
from tsqa.store.digests import DIGESTS, hash_bytes
from tsqa.store.identity import Json, folder_identity
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import read_own
from tsqa.tasks.identity import in_bucket

OWN_DATASETS = "task-datasets.json"
"""Next to the pins: which datasets lm-eval's own tasks name. It may be deleted at any time."""
_said: set[str] = set()


@cache
def identify_tasks(include: str | None) -> Json:
    """A folder of tasks is identified by its content, lm-eval's own tasks by its version."""
    if include is None:
        return _own_tasks()
    if include.startswith("{data}"):
        return include
    if not Path(include).is_dir():
        raise RecipeError(f"{include}: no such folder of task YAMLs", "correct `include`")
    from tsqa.tasks.files import task_folder_identity

    return task_folder_identity(Path(include))


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
    file, include = _file_of(recipe), _include_of(recipe)
    file.parent.mkdir(parents=True, exist_ok=True)
    with hold_file(file):  # another run of the recipe may check other tasks
        tasks = sorted({*needed(recipe.eval, "eval").tasks, *removed_tasks(recipe)})
        write_json(file, asdict(_Checked(tasks, include)))


@cache
def pinned_datasets(key: str, include: str | None, names: tuple[str, ...]) -> dict[str, Json]:
    """`hub`: dataset -> commit, of the tasks' hub datasets; empty where all their data is local.

    DataError where lm-eval has no such task; `key` names them.
    """
    if not names or (include or "").startswith("{data}"):
        return {}
    commits: dict[str, Json] = {}
    for name in sorted(_folder_datasets(include, names) if include else _own_datasets(key, names)):
        dataset, _, revision = name.partition("@")
        if in_bucket(name):
            commits[name] = _content_of(key, name)
            continue
        url = "://" in name
        commit = None if url else PINS.pin("dataset", dataset, revision or None)
        commits[name] = commit or UNPINNED
    _say_unpinned({name for name, commit in commits.items() if commit == UNPINNED})
    return {"hub": commits} if commits else {}


def _content_of(key: str, url: str) -> str:
    """The hash of an object that a task reads."""
    if problem := data_problem(url):
        raise RecipeError(f"{key}: a task's data_files: {redact(url)}: {problem}")
    try:
        return DIGESTS.of(data_path(url))
    except DataError as error:
        raise RecipeError(f"{key}: a task's data_files: {error}") from error


def forget_tasks() -> None:
    """Look at the folders of tasks afresh."""
    identify_tasks.cache_clear()
    pinned_datasets.cache_clear()


def _folder_datasets(include: str, names: tuple[str, ...]) -> set[str]:
    from tsqa.tasks.library import TaskLibrary

    library = TaskLibrary(Path(include))
    return {dataset for name in names for dataset in library.hub_datasets(name)}


@dataclass(frozen=True)
class _OwnDatasets:
    tasks: str
    """lm-eval's version, or the content of its tasks."""
    datasets: dict[str, list[str]]


def _own_datasets(key: str, names: tuple[str, ...]) -> set[str]:
    """Of lm-eval's own tasks: looked up once for a folder of runs."""
    tasks = json.dumps(_own_tasks())
    file = PINS.folder / OWN_DATASETS if PINS.folder else None
    known: dict[str, list[str]] = {}
    if file is not None and file.is_file():
        read = read_own(file, _OwnDatasets)
        known = read.datasets if read.tasks == tasks else {}
    missing = [name for name in names if name not in known]
    if missing:
        from tsqa.tasks.library import task_library

        library = task_library(None)
        for name in missing:
            if name not in library.index:
                raise library.unknown(name, key)
        known |= {name: library.hub_datasets(name) for name in missing}
        if file is not None:
            with suppress(OSError):  # a folder that only others may write: looked up again
                file.parent.mkdir(parents=True, exist_ok=True)
                write_json(file, asdict(_OwnDatasets(tasks, known)))
    return {dataset for name in names for dataset in known[name]}


def _say_unpinned(names: set[str]) -> None:
    """Once a process."""
    new = sorted(names - _said)
    _said.update(new)
    if new:
        console.print(
            Text.assemble(
                ("  not pinned to a commit:", "yellow"),
                f" {', '.join(new)}; whatever version loads is used",
            )
        )


@cache
def _own_tasks() -> Json:
    """lm-eval's own tasks: its version, and their content where it was installed to be edited."""
    named = f"lm_eval {version('lm_eval')}"
    installed = distribution("lm_eval").read_text("direct_url.json") or ""
    spec = find_spec("lm_eval")
    if '"editable": true' not in installed or spec is None or spec.origin is None:
        return named
    return {"version": named, "tasks": folder_identity(Path(spec.origin).parent / "tasks")}


@dataclass(frozen=True)
class _Checked:
    """`benchmarks.json` in the folder of a recipe: what its rows were last checked against."""

    tasks: list[str]
    include: str
    """Hash of `eval.include` and what is in it."""


def _file_of(recipe: Recipe) -> Path:
    return Path(recipe.runs) / recipe.name / "benchmarks.json"


def _include_of(recipe: Recipe) -> str:
    section = needed(recipe.eval, "eval")
    content = json.dumps([section.include, identify_tasks(section.include)], sort_keys=True)
    return hash_bytes(content.encode())
