"""What lm-eval passes over without a word in a user's folder of task YAMLs, as errors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from tsqa.errors import DataError, first_line
from tsqa.store.identity import files_below
from tsqa.tasks.index import TaskEntry


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
