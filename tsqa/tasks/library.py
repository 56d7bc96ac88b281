"""The one door to lm-eval's task registry: read a task's configuration, then one of its splits.

Guarantees: a configuration is read without touching any data, so that a wrong choice of split is
refused before a download; only the split asked for is read, and its documents are rendered by the
task itself; a broken local data file is named with its line and reason.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tsqa.errors import DataError, TsqaError
from tsqa.readers.tables import check_header
from tsqa.store.jsonl import read_jsonl
from tsqa.tasks.identity import evaluated_split, split_files
from tsqa.tasks.index import OwnFolder, make_manager, read_index
from tsqa.tasks.patches import (
    draw_documents_alike,
    import_tasks_afresh,
    pin_datasets,
    read_datasets_afresh,
    read_names_as_written,
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
_MOST_NAMED = 3
"""Files, in an error."""
_OTHER_HEADERS = {"names", "column_names", "header", "skiprows", "sep", "delimiter"}
"""Options of `datasets` for CSV files whose first line is not names between commas."""
_Settings = Mapping[str, Any]
_GROUP_KEYS = {
    *("group", "group_alias", "task", "task_alias", "aggregate_metric_list", "metadata"),
    *("tag", "version", "weight_by_size"),
}
"""Of a group and its members; every other key replaces one of the tasks' own."""
_ASKED_BY = {
    *("num_fewshot", "fewshot_split", "fewshot_delimiter", "target_delimiter", "description"),
    *("generation_kwargs", "gen_prefix"),
}
"""Keys of a task that decide neither its documents nor how they are scored."""


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
        return list(self.group_settings(names))

    def group_settings(self, names: list[str]) -> dict[str, dict[str, Any]]:
        """Leaf task -> what the groups above it set in place of its own YAML, such as num_fewshot.

        DataError where a group sets what decides the documents or the scores, which are read by the
        task's own YAML, and where two of the names set something else for one task.
        """
        self._folder.refuse_ambiguous()
        found: dict[str, dict[str, Any]] = {}
        of: dict[str, str] = {}
        for name in names:
            for leaf, settings in self._leaves(name):
                if found.setdefault(leaf, settings) != settings:
                    both = f"{of[leaf]} and {name}" if of[leaf] != name else f"{name}, twice"
                    raise DataError(
                        f"{self._origin}: {leaf} is in {both}, with other settings: "
                        f"{found[leaf] or 'none'} and {settings or 'none'}",
                        "leave one out, or give one of them a task of its own by `include`",
                    )
                of.setdefault(leaf, name)
        return found

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
        line by line first, and the names of CSV columns: pandas renames the second of two.
        """
        from tsqa.tasks.split import open_class_split, open_yaml_split

        _patch_packages()
        config = self.config(name)
        wanted = config.get("training_split") if split == "train" else evaluated_split(config)
        options = config.get("dataset_kwargs") or {}
        for path in split_files(config, str(wanted)):
            if isinstance(path, Path) and path.suffix == ".jsonl":
                for _ in read_jsonl(path):
                    pass
            elif path.suffix == ".csv" and not _OTHER_HEADERS & options.keys():
                check_header(path)
        try:
            if "class" in config:
                return open_class_split(self.manager, name, split)
            return open_yaml_split(self.resolved(name), str(wanted))
        except TsqaError:
            raise
        except Exception as error:
            # `datasets` says "An error occurred" and keeps what it was.
            cause = error.__cause__ or error
            files = ", ".join(map(str, split_files(config, str(wanted))[:_MOST_NAMED]))
            raise DataError(
                f"the data of the task {name} cannot be loaded: {type(cause).__name__}: {cause}",
                f"correct {files}"
                if files
                else "check the task's dataset_path, and the network when it is on the hub",
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

    def _leaves(
        self, name: str, within: tuple[str, ...] = (), settings: _Settings | None = None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(leaf task, what differs from its YAML) of a name within groups with these settings."""
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
            for leaf, other in sorted(self.index.items()):
                if name in other.tags and other.kind != "TAG":
                    yield from self._leaves(leaf, (*within, name), settings)
        elif entry.kind == "GROUP":
            yield from self._members(name, self.config(name), (*within, name), settings or {})
        else:
            yield name, self._differing(name, settings or {}, within)

    def _members(
        self, group: str, config: _Settings, within: tuple[str, ...], settings: _Settings
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The leaves of a group with a YAML, or of one written out within another.

        As lm-eval has it, a group's settings yield to those of the group around it, and both to
        those of the member.
        """
        given = config.get("task")
        settings = {k: v for k, v in config.items() if k not in _GROUP_KEYS} | {**settings}
        for member in given if isinstance(given, list) and given else [given]:
            own: _Settings = member if isinstance(member, Mapping) else {"": member}
            inner = own.get("group") or own.get("task") or own.get("")
            if "group" in own and "task" in own and inner not in self.index:
                yield from self._members(str(inner), own, within, settings)
                continue
            if not isinstance(inner, str):
                raise DataError(
                    f"{self._origin}: the group {group!r} names no tasks: task = {given!r:.80}",
                    "give it a list of names of tasks",
                )
            more = {k: v for k, v in own.items() if k and k not in _GROUP_KEYS}
            if "task" in own:
                self._check_member(group, inner, more)
            yield from self._leaves(inner, within, {**settings, **more})

    def _check_member(self, group: str, name: str, own: _Settings) -> None:
        """Refuse a task without a YAML, and groups and tags, whose tasks lm-eval names wrongly."""
        known = self.index.get(name)
        if known is None and own:
            raise DataError(
                f"{self._origin}: the group {group!r} defines the task {name!r} within itself",
                "give the task a YAML of its own, and the group its name",
            )
        if known is not None and known.kind in ("GROUP", "TAG"):
            raise DataError(
                f"{self._origin}: the group {group!r} has `task: {name}`, and {name} is a "
                f"{known.kind.lower()}: lm-eval gives all of its tasks that name",
                f"name the members of {group} in its place, what it sets for each in eval.protocols"
                if self.is_own
                else f"write `{name}` alone, or name its tasks one by one",
            )

    def _differing(self, name: str, settings: _Settings, within: tuple[str, ...]) -> dict[str, Any]:
        """What of a group's settings differs from the task's YAML; DataError where it may not."""
        if not settings:
            return {}
        config = self.config(name)
        found = {k: v for k, v in settings.items() if k not in config or config[k] != v}
        if deciding := sorted(found.keys() - _ASKED_BY):
            raise DataError(
                f"{self._origin}: the group {within[-1]} sets {', '.join(deciding)} of {name}, "
                "which decides its documents or scores",
                f"name the tasks in place of the group; or a YAML with `include: "
                f"{self.index[name].yaml}`, `task: NAME` and {deciding[0]}",
            )
        return found


@lru_cache(maxsize=4)
def task_library(include: Path | None) -> TaskLibrary:
    """One index per folder and process, for all stages."""
    return TaskLibrary(include)


def _patch_packages() -> None:
    """Before lm-eval or `datasets` read data or import code."""
    import datasets

    read_datasets_afresh()
    read_names_as_written()
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
