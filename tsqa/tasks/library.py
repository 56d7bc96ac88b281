"""The one door to lm-eval's task registry: read a task's configuration, then one of its splits.

Guarantees: a configuration is read without touching any data, so that a wrong choice of split is
refused before a download; only the split asked for is read, and its documents are rendered by the
task itself; a broken local data file is named with its line and reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tsqa.errors import DataError, TsqaError, first_line
from tsqa.store.identity import files_below
from tsqa.store.jsonl import read_jsonl
from tsqa.tasks.identity import evaluated_split, split_files
from tsqa.tasks.patches import import_tasks_afresh, pin_datasets, read_datasets_afresh

if TYPE_CHECKING:
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
    """The tasks of one folder of YAMLs, or lm-eval's own (`include` None; indexing takes 12 s)."""

    def __init__(self, include: Path | None) -> None:
        if include is not None and not include.is_dir():
            raise DataError(f"{include}: no such folder of task YAMLs", "correct `include`")
        import datasets
        from lm_eval.tasks import TaskManager

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        read_datasets_afresh()
        pin_datasets()
        import_tasks_afresh()
        datasets.disable_progress_bars()  # type: ignore[no-untyped-call, unused-ignore]
        self._origin = str(include) if include else "lm-eval's own tasks"
        self.is_own = include is None
        self._configs: dict[str, dict[str, Any]] = {}
        self.manager = TaskManager(
            include_path=str(include) if include else None, include_defaults=include is None
        )

    def leaf_tasks(self) -> list[str]:
        """Every task that is no group and no tag."""
        return list(self.manager.all_subtasks)

    def expand(self, names: list[str]) -> list[str]:
        """Replace groups and tags by their leaf tasks, keeping order, each task once."""
        self._refuse_ambiguous()
        found: dict[str, None] = {}
        for name in names:
            for leaf in self._leaves(name):
                found[leaf] = None
        return list(found)

    def hub_datasets(self, name: str) -> list[str]:
        """The datasets of the hub (`id` or `id@revision`) behind a task, group or tag.

        None for an unknown name. No data is read, and no code of a task runs.
        """
        from lm_eval.tasks._index import Kind

        from tsqa.tasks.hub_datasets import hub_datasets

        index = self.manager.task_index
        found: set[str] = set()
        todo, seen = [name], set()
        while todo:
            entry = index.get(todo.pop())
            if entry is None or entry.name in seen:
                continue
            seen.add(entry.name)
            if entry.kind == Kind.TAG:
                todo += [n for n, other in index.items() if entry.name in other.tags]
            else:
                found |= set(hub_datasets(entry.cfg or {}))
            if entry.kind == Kind.GROUP:
                todo += _texts((entry.cfg or {}).get("task"))
        return sorted(found)

    def config(self, name: str) -> dict[str, Any]:
        """The task's configuration with its includes resolved; no data is read.

        A Python-class task is described by the same keys: its dataset, and the splits it says
        it has.
        """
        if name not in self._configs:
            config = self._configs[name] = dict(self.manager.task_index[name].cfg or {})
            if "class" in config:
                config |= self._describe_class(name)
        return dict(self._configs[name])

    def tags(self, name: str) -> list[str]:
        tags = self.config(name).get("tag")
        return [str(tag) for tag in tags] if isinstance(tags, list) else [str(tags)] if tags else []

    def family(self, name: str) -> str:
        """The task's folder in lm-eval; elsewhere its first tag, or its own name."""
        path = self.manager.task_index[name].yaml_path
        if self.is_own and path is not None:
            return _folder_below(path, "tasks")
        return next(iter(self.tags(name)), name)

    def open_split(self, name: str, split: Literal["train", "test"]) -> TaskSplit:
        """The training split or (`test`) the split that is scored, ready to render.

        Raise DataError when it cannot be loaded, or holds no document. Local JSONL is checked
        line by line first.
        """
        from tsqa.tasks.split import open_class_split, open_yaml_split

        config = self.config(name)
        wanted = config.get("training_split") if split == "train" else evaluated_split(config)
        for path in split_files(config, str(wanted)):
            if path.suffix == ".jsonl":
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
        from lm_eval.tasks._index import Kind

        entry = self.manager.task_index.get(name)
        if entry is None:
            near = ", ".join(self.manager.all_tasks[:8])
            raise DataError(
                f"unknown task {name!r} in {self._origin}{self._unread()}",
                f"choose among: {near}, ...",
            )
        if name in within:
            raise DataError(
                f"{self._origin}: the groups {' > '.join((*within, name))} go in a circle",
                "remove the group from its members",
            )
        if entry.kind == Kind.TAG:
            self._refuse_passed_over(name)
            index = self.manager.task_index
            leaves = [n for n, e in sorted(index.items()) if name in e.tags and e.kind != Kind.TAG]
        elif entry.kind == Kind.GROUP:
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

    @cached_property
    def _passed_over(self) -> dict[Path, str]:
        """Files of an own folder in which lm-eval finds no task, without a word, and why."""
        if self.is_own:
            return {}
        from lm_eval.tasks._yaml_loader import load_yaml

        index = self.manager.task_index
        read = {entry.yaml_path.resolve() for entry in index.values() if entry.yaml_path}
        found = {}
        for file in files_below(Path(self._origin)):
            if file.suffix != ".yaml" or file.resolve() in read:
                continue
            try:
                config = load_yaml(file, resolve_func=False)
            except Exception as error:  # noqa: BLE001 - as lm-eval catches it
                found[file] = f"cannot be read: {first_line(error)}"
                continue
            name = config.get("group") or config.get("task")
            if isinstance(name, str):  # else it is for others to include
                found[file] = self._why_unread(file, name)
        return found

    def _why_unread(self, file: Path, name: str) -> str:
        other = self.manager.task_index.get(name)
        if other is not None and other.yaml_path is None:
            return f"defines {name!r}, which is a tag, too"
        if other is not None:
            return f"defines {name!r}, as does {other.yaml_path}"
        below = [Path(self._origin) in folder.parents for folder in file.parents]
        if any(folder.is_symlink() for folder in file.parents[: sum(below)]):
            return "is below a link to a folder, which lm-eval does not follow"
        return "holds no task that lm-eval can read"

    def _refuse_ambiguous(self) -> None:
        """lm-eval takes the first of two tasks with one name, and a tag for a task or vice versa.

        Raises DataError in an own folder.
        """
        for file, reason in self._passed_over.items():
            if reason.startswith("defines"):
                raise DataError(f"{file}: {reason}", "give each task, group and tag its own name")
        if self.is_own:
            return
        for name, entry in self.manager.task_index.items():
            tags = (entry.cfg or {}).get("tag") or []
            # lm-eval adds the members of a tag to whatever has its name.
            added = entry.tags - ({tags} if isinstance(tags, str) else set(tags))
            if entry.yaml_path is not None and added:
                raise DataError(
                    f"{entry.yaml_path}: defines {name!r}, which is a tag, too",
                    "give each task, group and tag its own name",
                )

    def _refuse_passed_over(self, tag: str) -> None:
        """A file that could not be read may be of any tag."""
        for file, reason in self._passed_over.items():
            raise DataError(f"{file}: {reason}: it may belong to the tag {tag!r}", "correct it")

    def _unread(self) -> str:
        """Which files of an own folder lm-eval passed over without a word."""
        if self.is_own:
            return ""
        read = {entry.yaml_path for entry in self.manager.task_index.values()}
        files = sorted(Path(self._origin).rglob("*.yaml"))
        names = [file.name for file in files if file not in read]
        return f" (without a task that can be read: {', '.join(names[:8])})" if names else ""


@lru_cache(maxsize=4)
def task_library(include: Path | None) -> TaskLibrary:
    """One index per folder and process, for all stages: lm-eval takes 12 s to index its own."""
    return TaskLibrary(include)


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
