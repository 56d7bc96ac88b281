"""The one door to lm-eval's task registry: read a task's configuration, then one of its splits.

Guarantees: a configuration is read without touching any data, so that a wrong choice of split is
refused before a download; only the split asked for is read, and its documents are rendered by the
task itself; a broken local data file is named with its line and reason.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tsqa.errors import DataError, TsqaError
from tsqa.store.jsonl import read_jsonl
from tsqa.tasks.identity import evaluated_split, split_files
from tsqa.tasks.index import OwnFolder, make_manager, read_index
from tsqa.tasks.patches import (
    draw_documents_alike,
    import_tasks_afresh,
    pin_datasets,
    read_datasets_afresh,
)

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

    from tsqa.tasks.split import TaskSplit

FUNCTION_KEYS = (
    "class",
    "custom_dataset",
    "process_docs",
    "doc_to_text",
    "doc_to_target",
    "doc_to_choice",
)


class TaskLibrary:
    """The tasks of one folder of YAMLs, or lm-eval's own (`include` None)."""

    def __init__(self, include: Path | None) -> None:
        if include is not None and not include.is_dir():
            raise DataError(f"{include}: no such folder of task YAMLs", "correct `include`")
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        self._origin = str(include) if include else "lm-eval's own tasks"
        self.is_own = include is None
        self._configs: dict[str, dict[str, Any]] = {}
        self.index = read_index(include)
        self._folder = OwnFolder(include, self.index)

    @cached_property
    def manager(self) -> TaskManager:
        """What lm-eval itself loads tasks with."""
        _patch_packages()
        return make_manager(self.index)

    def leaf_tasks(self) -> list[str]:
        """Every task that is no group and no tag."""
        return sorted(n for n, entry in self.index.items() if entry.kind in ("TASK", "PY_TASK"))

    def expand(self, names: list[str]) -> list[str]:
        """Replace groups and tags by their leaf tasks, keeping order, each task once."""
        self._folder.refuse_ambiguous()
        found: dict[str, None] = {}
        for name in names:
            for leaf in self._leaves(name):
                found[leaf] = None
        return list(found)

    def unknown(self, name: str, key: str = "") -> DataError:
        """The error for a name that is no task, group or tag, which names the nearest.

        `key` of the recipe holds it.
        """
        near = difflib.get_close_matches(name, self.index, n=5, cutoff=0.4)
        return DataError(
            f"{key}{': ' if key else ''}unknown task {name!r} in {self._origin}"
            f"{self._folder.unread()}",
            f"did you mean one of {', '.join(near or sorted(self.index)[:8])}?",
        )

    def hub_datasets(self, name: str) -> list[str]:
        """The datasets of the hub (`id` or `id@revision`) behind a task, group or tag.

        None for an unknown name. No data is read, and no code of a task runs.
        """
        from tsqa.tasks.hub_datasets import hub_datasets

        found: set[str] = set()
        todo, seen = [name], set()
        while todo:
            entry = self.index.get(todo.pop())
            if entry is None or entry.name in seen:
                continue
            seen.add(entry.name)
            if entry.kind == "TAG":
                todo += [n for n, other in self.index.items() if entry.name in other.tags]
            else:
                found |= set(hub_datasets(entry.config))
            if entry.kind == "GROUP":
                todo += _texts(entry.config.get("task"))
        return sorted(found)

    def config(self, name: str) -> dict[str, Any]:
        """The task's configuration with its includes resolved; no data is read.

        A Python-class task is described by the same keys: its dataset, and the splits it says
        it has.
        """
        if name not in self._configs:
            config = self._configs[name] = self.index[name].config
            if "class" in config:
                config |= self._describe_class(name)
        return dict(self._configs[name])

    def tags(self, name: str) -> list[str]:
        tags = self.config(name).get("tag")
        return [str(tag) for tag in tags] if isinstance(tags, list) else [str(tags)] if tags else []

    def family(self, name: str) -> str:
        """The task's folder in lm-eval; elsewhere its first tag, or its own name."""
        path = self.index[name].yaml
        if self.is_own and path is not None:
            return _folder_below(path, "tasks")
        return next(iter(self.tags(name)), name)

    def open_split(self, name: str, split: Literal["train", "test"]) -> TaskSplit:
        """The training split or (`test`) the split that is scored, ready to render.

        Raise DataError when it cannot be loaded, or holds no document. Local JSONL is checked
        line by line first.
        """
        from tsqa.tasks.split import open_class_split, open_yaml_split

        _patch_packages()
        config = self.config(name)
        wanted = config.get("training_split") if split == "train" else evaluated_split(config)
        for path in split_files(config, str(wanted)):
            if isinstance(path, Path) and path.suffix == ".jsonl":
                for _ in read_jsonl(path):
                    pass
        try:
            if "class" in config:
                return open_class_split(self.manager, name, split)
            return open_yaml_split(self.resolved(name), str(wanted))
        except TsqaError:
            raise
        except Exception as error:
            raise DataError(
                f"the data of the task {name} cannot be loaded: {type(error).__name__}: {error}",
                "check the task's dataset_path, and the network when it is on the hub",
            ) from error

    def resolved(self, name: str) -> dict[str, Any]:
        """The configuration with the `!function` references that rendering needs imported.

        Those of the metrics stay references: they need packages that no seed does.
        """
        config = self.config(name)
        for key in FUNCTION_KEYS:
            if key in config:
                config[key] = self.imported(name, key, config[key])
        return config

    def imported(self, name: str, what: str, value: Any) -> Any:
        """The function that a `!function` reference of a task names; any other value unchanged."""
        from lm_eval.tasks._yaml_loader import _import_func_in_yml

        # lm-eval keeps an unresolved reference as `<folder of its YAML>/module.function`.
        if not (isinstance(value, str) and value.startswith("/") and Path(value).parent.is_dir()):
            return value
        path = Path(value)
        _patch_packages()
        try:
            return _import_func_in_yml(path.name, path.parent)
        except Exception as error:
            raise DataError(
                f"the task {name}: {what} cannot be imported: {type(error).__name__}: {error}",
                "install what it needs, or take the task out of the recipe",
            ) from error

    def _describe_class(self, name: str) -> dict[str, Any]:
        try:
            found = self.resolved(name)["class"]
        except DataError as error:
            return {"unknown": str(error)}
        described: dict[str, Any] = {
            "dataset_path": found.DATASET_PATH,
            "dataset_name": found.DATASET_NAME,
            "output_type": found.OUTPUT_TYPE or "generate_until",
        }
        bare = found.__new__(found)
        for key, has, split in (
            ("training_split", "has_training_docs", "train"),
            ("validation_split", "has_validation_docs", "validation"),
            ("test_split", "has_test_docs", "test"),
        ):
            try:
                described[key] = split if getattr(bare, has)() else None
            except AttributeError:
                return {**described, "unknown": "its splits are known only with its data"}
        return described

    def _leaves(self, name: str, within: tuple[str, ...] = ()) -> list[str]:
        entry = self.index.get(name)
        if entry is None:
            raise self.unknown(name)
        if name in within:
            raise DataError(
                f"{self._origin}: the groups {' > '.join((*within, name))} go in a circle",
                "remove the group from its members",
            )
        if entry.kind == "TAG":
            self._folder.refuse_passed_over(name)
            index = sorted(self.index.items())
            leaves = [n for n, e in index if name in e.tags and e.kind != "TAG"]
        elif entry.kind == "GROUP":
            leaves = self._members(name)
        else:
            return [name]
        return list(
            dict.fromkeys(x for leaf in leaves for x in self._leaves(leaf, (*within, name)))
        )

    def _members(self, group: str) -> list[str]:
        """The names in a group's `task`."""
        given = self.config(group).get("task")
        names: list[Any] = []
        for member in given if isinstance(given, list) else [given]:
            if isinstance(member, Mapping):  # a task with settings, or a group written out
                member = member.get("task", member.get("group"))
            names += member if isinstance(member, list) else [member]
        if not names or not all(isinstance(name, str) for name in names):
            raise DataError(
                f"{self._origin}: the group {group!r} names no tasks: task = {given!r:.80}",
                "give it a list of names of tasks",
            )
        return names


@lru_cache(maxsize=4)
def task_library(include: Path | None) -> TaskLibrary:
    """One index per folder and process, for all stages."""
    return TaskLibrary(include)


def _patch_packages() -> None:
    """Before lm-eval or `datasets` read data or import code."""
    import datasets

    read_datasets_afresh()
    pin_datasets()
    import_tasks_afresh()
    draw_documents_alike()
    datasets.disable_progress_bars()  # type: ignore[no-untyped-call, unused-ignore]


def _texts(value: object) -> list[str]:
    """Every text below the members of a group: their names are among them."""
    if isinstance(value, Mapping):
        return _texts([value.get("task"), value.get("group")])
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def _folder_below(path: Path, root: str) -> str:
    parts = path.parts
    below = len(parts) - 1 - parts[::-1].index(root)
    return parts[below + 1]
