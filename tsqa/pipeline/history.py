"""Why a stage runs: how it differs from the artifact that its recipe last used.

`stages.json` in a recipe's folder remembers those artifacts. Where it names none, the finished
artifact of the stage with the fewest differences stands in. `recipe.txt` beside it names the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tsqa.errors import DataError, TsqaError
from tsqa.locks import hold_file
from tsqa.pipeline.node import Node
from tsqa.recipe import load_recipe
from tsqa.recipe.reference import find_key
from tsqa.store.artifact import Difference, Store, differences
from tsqa.store.atomic import write_text
from tsqa.store.jsonl import write_json
from tsqa.store.manifest import Manifest
from tsqa.store.own_files import Stages, read_own
from tsqa.store.roles import CheckedRole, SourceRole, format_role, is_exact, parse_role

_MOST_SHOWN = 6
_LONGEST_VALUE = 60
_SELDOM_SAME = ("benchmarks", "generate", "train", "evaluate")
"""Stages that come out as they were only if all that they read does."""


class History:
    """Label -> fingerprint, in the folder of a recipe."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "stages.json"
        self._file = folder / "recipe.txt"

    def namesake(self, origin: Path) -> Path | None:
        """Another recipe's file that used this folder last, and would still use it."""
        try:
            other = Path(self._file.read_text(encoding="utf-8"))
            there = other.resolve() != origin.resolve()
            return other if there and load_recipe(other).name == self._path.parent.name else None
        except (OSError, ValueError, TsqaError):  # the first run, or the file is gone or changed
            return None

    def note(self, origin: Path) -> None:
        """Remember whose folder this is."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._file, str(origin.resolve()))

    def add(self, fingerprints: Mapping[str, str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with hold_file(self._path):  # `tsqa gc` removes what another run wrote and this one lost
            write_json(self._path, {**self._read(), **fingerprints})

    def why(self, label: str, node: Node, store: Store) -> str:
        """Why a node without an artifact runs."""
        if store.partial_path_of(node.stage, node.fingerprint).is_dir():
            return "continues where it was interrupted"
        previous = self._read().get(label)
        if previous == node.fingerprint:
            return "its artifact was removed"
        finished = [artifact.manifest for artifact in store.finished(node.stage)]
        if not finished:
            return "first time"
        for manifest in finished:
            if manifest.fingerprint == previous:
                return _listed(_reasons(node, manifest))
        nearest = min(finished, key=lambda manifest: len(_reasons(node, manifest)))
        differ = _listed(_reasons(node, nearest))
        return f"first time; differs from {node.stage}/{nearest.fingerprint} by {differ}"

    def hopes(self, label: Callable[[Node], str], node: Node) -> list[str]:
        """The stages whose results, where they come out as they were, leave nothing to run here.

        Empty where something else is a reason to run.
        """
        finished = {a.fingerprint: a.manifest for a in node.store.finished(node.stage)}
        before = finished.get(self._read().get(label(node), ""))
        if before is None or differences(before.config, node.config):
            return []
        hopes = []
        now = node.input_fingerprints
        for role, upstream in node.inputs.items():
            name = format_role(role)
            if before.inputs.get(name) == now[name]:
                continue
            is_finished = upstream.store.path_of(upstream.stage, upstream.fingerprint).is_dir()
            seldom_same = upstream.stage in _SELDOM_SAME
            if is_exact(role) or is_finished:
                return []
            if seldom_same and not self.hopes(label, upstream):
                return []
            hopes.append(label(upstream))
        return hopes if before.inputs.keys() == now.keys() else []

    def _read(self) -> Stages:
        try:
            return read_own(self._path, Stages)
        except DataError:  # it only serves to say what changed, and is written again
            return {}


def _reasons(node: Node, old: Manifest) -> list[str]:
    """How a node differs from an artifact of its stage: its keys, then its inputs."""
    keys = [_shown(node, one) for one in differences(old.config, node.config)]
    before, after = _by_name(old.inputs), _by_name(node.input_fingerprints)
    inputs = [
        f"input {name} {_changed(name, before, after)}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    return keys + inputs


def _changed(name: str, before: Mapping[str, object], after: Mapping[str, object]) -> str:
    if name in before and name in after:
        return "changed"
    return "added" if name in after else "removed"


def _by_name(inputs: Mapping[str, str]) -> dict[str, set[str]]:
    """Role -> fingerprints; numbered ones count by their stage."""
    named: dict[str, set[str]] = {}
    for text, fingerprint in inputs.items():
        match parse_role(text):
            case CheckedRole(stage, _):
                name = stage
            case SourceRole(source):
                name = f"tokens of {source}"
            case _:
                name = text
        named.setdefault(name, set()).add(fingerprint)
    return named


def _shown(node: Node, one: Difference) -> str:
    """`filter.agreement 0.8 -> 0.6`; lists by what they lost and gained."""
    key = _recipe_key(one.key, node.definition.sections)
    if one.key == "exports":
        key = "models along the training (eval.every_tokens)"
    if one.key == "version":
        key = "version of the stage's code"
    before, after = _files_in(one.before), _files_in(one.after)
    if before is not None and after is not None:
        names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
        told = [f"{name} {_changed(name, before, after)}" for name in names]
        return f"{key}: {_cut(told) if told else 'files in another order'}"
    if isinstance(one.before, list) and isinstance(one.after, list):
        lost = [item for item in one.before if item not in one.after]
        gained = [item for item in one.after if item not in one.before]
        parts = [f"without {_cut(lost)}"] if lost else []
        parts += [f"with {_cut(gained)}"] if gained else []
        return f"{key} {' and '.join(parts) or 'in another order'}"
    return f"{key} {_cut(one.before)} -> {_cut(one.after)}"


def _files_in(value: object) -> dict[str, object] | None:
    """Name -> content, where a value is a list of files."""
    found = {}
    for one in value if isinstance(value, list) else ():
        if not (isinstance(one, Mapping) and {"name", "blake3"} <= one.keys()):
            return None
        found[str(one["name"])] = one["blake3"]
    return found or None


def _recipe_key(key: str, sections: Sequence[str]) -> str:
    """A key of a stage's config as the recipe spells it, if it is one of the recipe's."""
    spelled = (f"{section}.{key}" for section in sections)
    return next((one for one in spelled if find_key(one)), key)


def _cut(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _listed(reasons: Sequence[str]) -> str:
    more = len(reasons) - _MOST_SHOWN
    shown = reasons[:_MOST_SHOWN]
    return ", ".join([*shown, f"and {more} more"] if more > 0 else shown)
