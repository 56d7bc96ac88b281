"""The one door to lm-eval's task registry: read a task's configuration, then load its documents.

Promises: a configuration is read without touching any data, so that a wrong choice of split is
refused before a download; a broken local data file is named with its line and reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tsqa.artifact import read_jsonl
from tsqa.errors import DataError


class TaskLibrary:
    """The tasks of one folder of YAMLs, or lm-eval's own (`include` None; indexing takes 12 s)."""

    def __init__(self, include: Path | None) -> None:
        if include is not None and not include.is_dir():
            raise DataError(f"{include}: no such folder of task YAMLs", "correct `include`")
        import datasets
        from lm_eval.tasks import TaskManager

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        datasets.disable_progress_bars()  # type: ignore[no-untyped-call, unused-ignore]
        self._origin = str(include) if include else "lm-eval's own tasks"
        self.manager = TaskManager(
            include_path=str(include) if include else None, include_defaults=include is None
        )

    def expand(self, names: list[str]) -> list[str]:
        """Replace groups and tags by their leaf tasks, keeping order, each task once."""
        found: dict[str, None] = {}
        for name in names:
            for leaf in self._leaves(name):
                found[leaf] = None
        return list(found)

    def config(self, name: str) -> dict[str, Any]:
        """The task's configuration with its includes resolved; no data is read."""
        from lm_eval.tasks._yaml_loader import load_yaml

        entry = self.manager.task_index[name]
        if entry.yaml_path is None:
            return dict(entry.cfg or {})
        return dict(load_yaml(entry.yaml_path, resolve_func=False))

    def load(self, name: str) -> Any:
        """The lm-eval Task with its data; local JSONL is checked line by line first."""
        for path in data_files(self.config(name)).values():
            if path.suffix == ".jsonl":
                for _ in read_jsonl(path):
                    pass
        try:
            return self.manager.load(name)["tasks"][name]
        except Exception as error:
            raise DataError(
                f"the data of the task {name} cannot be loaded: {type(error).__name__}: {error}",
                "check the task's dataset_path, and the network when it is on the hub",
            ) from error

    def _leaves(self, name: str) -> list[str]:
        from lm_eval.tasks._index import Kind

        entry = self.manager.task_index.get(name)
        if entry is None:
            near = ", ".join(self.manager.all_tasks[:8])
            raise DataError(
                f"unknown task {name!r} in {self._origin}", f"choose among: {near}, ..."
            )
        if entry.kind == Kind.TAG:
            index = self.manager.task_index
            leaves = [n for n, e in sorted(index.items()) if name in e.tags and e.kind != Kind.TAG]
            return self.expand(leaves)
        if entry.kind == Kind.GROUP:
            members = self.config(name).get("task", [])
            names = [m if isinstance(m, str) else m["task"] for m in members]
            return self.expand(names)
        return [name]


@lru_cache(maxsize=4)
def task_library(include: Path | None) -> TaskLibrary:
    """One index per folder and process, for all stages: lm-eval takes 12 s to index its own."""
    return TaskLibrary(include)


def evaluated_split(config: Mapping[str, Any]) -> str | None:
    """The split lm-eval scores: test where there is one, else validation."""
    split = config.get("test_split") or config.get("validation_split")
    return str(split) if split else None


def data_files(config: Mapping[str, Any]) -> dict[str, Path]:
    """Split -> local file, for tasks over local files (`dataset_path: json`)."""
    files = (config.get("dataset_kwargs") or {}).get("data_files") or {}
    if not isinstance(files, dict):
        files = {"train": files}
    return {split: Path(file) for split, file in files.items() if isinstance(file, str)}


def split_identity(config: Mapping[str, Any], split: str) -> tuple[str, ...]:
    """What makes two splits the same documents: the file, or the dataset, its subset and split."""
    file = data_files(config).get(split)
    if file is not None:
        return ("file", str(file.resolve()))
    path, name = config.get("dataset_path"), config.get("dataset_name")
    return ("dataset", str(path), str(name), split)
