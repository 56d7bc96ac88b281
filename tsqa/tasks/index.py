"""Every task, group and tag by its name, as lm-eval indexes them; no data and no code of theirs.

Guarantees: lm-eval makes the index; the one of its own tasks, 14,000 files that take it 12 s, is
kept for this user until lm-eval's version or any of these files changes; what it passes over in a
user's folder without a word is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tsqa.console import console
from tsqa.errors import DataError, EngineError, first_line
from tsqa.store.identity import files_below
from tsqa.user_cache import keep, recall, state_of_files

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

_FORMAT = 2
"""Of the kept text; to be raised when `_write` changes."""
Kind = Literal["TASK", "PY_TASK", "GROUP", "TAG"]
_Head = tuple[str, Kind, str | None, list[str]]
"""Name, kind, path of the YAML below the folder, tags."""


@dataclass(frozen=True)
class TaskEntry:
    """A task, a group or a tag."""

    name: str
    kind: Kind
    tags: frozenset[str]
    """Of a tag: its members."""
    _yaml: str | Path | None
    _config: str | dict[str, Any]

    @property
    def yaml(self) -> Path | None:
        """Its file; None for a tag, which has none."""
        return Path(self._yaml) if self._yaml else None

    @property
    def config(self) -> dict[str, Any]:
        """Its YAML with the includes resolved, and `!function` as text; empty for a tag."""
        return dict(json.loads(self._config) if isinstance(self._config, str) else self._config)


def read_index(include: Path | None) -> dict[str, TaskEntry]:
    """The index of a folder of YAMLs, or of lm-eval's own tasks."""
    return _read_own() if include is None else _ask_lm_eval(include)


def make_manager(index: Mapping[str, TaskEntry]) -> TaskManager:
    """lm-eval's own object to load these tasks with."""
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Entry, Kind

    from tsqa.tasks.patches import index_known

    entries = {
        name: Entry(name, Kind[one.kind], one.yaml, one.config or None, set(one.tags))
        for name, one in index.items()
    }
    with index_known(entries):
        return TaskManager()


class OwnFolder:
    """A folder and what lm-eval found in it; None, lm-eval's own, is taken as it is."""

    def __init__(self, folder: Path | None, index: Mapping[str, TaskEntry]) -> None:
        self._folder = folder
        self._index = index

    def refuse_ambiguous(self) -> None:
        """lm-eval takes the first of two tasks with one name, and a tag for a task or vice versa.

        Raises DataError.
        """
        if self._folder is None:
            return
        for file, reason in self._passed_over.items():
            if reason.startswith("defines"):
                raise DataError(f"{file}: {reason}", "give each task, group and tag its own name")
        for name, entry in self._index.items():
            tags = entry.config.get("tag") or []
            # lm-eval adds the members of a tag to whatever has its name.
            added = entry.tags - ({tags} if isinstance(tags, str) else set(tags))
            if entry.yaml is not None and added:
                raise DataError(
                    f"{entry.yaml}: defines {name!r}, which is a tag, too",
                    "give each task, group and tag its own name",
                )

    def refuse_passed_over(self, tag: str) -> None:
        """A file that could not be read may be of any tag."""
        for file, reason in self._passed_over.items():
            raise DataError(f"{file}: {reason}: it may belong to the tag {tag!r}", "correct it")

    def unread(self) -> str:
        """Which files hold no task that can be read, for an error; nothing where all do."""
        if self._folder is None:
            return ""
        read = {entry.yaml for entry in self._index.values()}
        names = [file.name for file in sorted(self._folder.rglob("*.yaml")) if file not in read]
        return f" (without a task that can be read: {', '.join(names[:8])})" if names else ""

    @cached_property
    def _passed_over(self) -> dict[Path, str]:
        """Files in which lm-eval finds no task, and why."""
        if self._folder is None:
            return {}
        from lm_eval.tasks._yaml_loader import load_yaml

        read = {entry.yaml.resolve() for entry in self._index.values() if entry.yaml}
        found = {}
        for file in files_below(self._folder):
            if file.suffix != ".yaml" or file.resolve() in read:
                continue
            try:
                config = load_yaml(file, resolve_func=False)
            except Exception as error:  # noqa: BLE001 - as lm-eval catches it
                found[file] = f"cannot be read: {first_line(error)}"
                continue
            name = config.get("group") or config.get("task")
            if isinstance(name, str):  # else it is for others to include
                found[file] = self._why_unread(self._folder, file, name)
        return found

    def _why_unread(self, folder: Path, file: Path, name: str) -> str:
        other = self._index.get(name)
        if other is not None and other.yaml is None:
            return f"defines {name!r}, which is a tag, too"
        if other is not None:
            return f"defines {name!r}, as does {other.yaml}"
        below = [folder in parent.parents for parent in file.parents]
        if any(parent.is_symlink() for parent in file.parents[: sum(below)]):
            return "is below a link to a folder, which lm-eval does not follow"
        return "holds no task that lm-eval can read"


@cache
def state_of_own_tasks() -> str:
    """What decides lm-eval's own tasks: its version, and the state of their files."""
    return f"{_FORMAT} lm_eval {version('lm_eval')} {state_of_files(_own_folder())}"


def _read_own() -> dict[str, TaskEntry]:
    folder, state = _own_folder(), state_of_own_tasks()
    name = f"lm-eval-tasks-{version('lm_eval')}"
    kept = recall(name, state)
    if kept is not None:
        return {entry.name: entry for entry in _read(kept, folder)}
    console.print("  indexing lm-eval's own tasks, once for this version (12 s)", style="dim")
    index = _ask_lm_eval(folder)
    text = _write(index.values(), folder)
    if {entry.name: entry.config for entry in _read(text, folder)} == {
        entry.name: entry.config for entry in index.values()
    }:
        keep(name, state, text)
    return index


def _write(entries: Iterable[TaskEntry], folder: Path) -> str:
    """A line of all names and one for each configuration, which is read when it is needed."""
    heads: list[_Head] = []
    configs = []
    for entry in entries:
        yaml = None if entry.yaml is None else str(entry.yaml.relative_to(folder))
        heads.append((entry.name, entry.kind, yaml, sorted(entry.tags)))
        configs.append(json.dumps(entry.config, default=str))
    return "\n".join([json.dumps(heads), *configs])


def _read(text: str, folder: Path) -> Iterator[TaskEntry]:
    first, *configs = text.split("\n")
    heads: list[_Head] = json.loads(first)
    for (name, kind, yaml, tags), config in zip(heads, configs, strict=True):
        yield TaskEntry(name, kind, frozenset(tags), yaml and f"{folder}/{yaml}", config)


def _ask_lm_eval(folder: Path) -> dict[str, TaskEntry]:
    from lm_eval.tasks._index import TaskIndex

    return {
        name: TaskEntry(
            name, entry.kind.name, frozenset(entry.tags), entry.yaml_path, entry.cfg or {}
        )
        for name, entry in TaskIndex.build([folder]).items()
    }


def _own_folder() -> Path:
    spec = find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise EngineError("lm-eval is not installed", "pip install lm-eval, or `make setup`")
    return Path(spec.origin).parent / "tasks"
