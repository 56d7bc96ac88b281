"""What the stages of a recipe were when it last ran: `stages.json`, to say what changed since."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tsqa.errors import DataError
from tsqa.pipeline.node import Node
from tsqa.store.artifact import Store, differing_keys
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import Stages, read_own
from tsqa.store.roles import CheckedRole, parse_role


class History:
    """Label -> fingerprint, in the folder of a recipe."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "stages.json"

    def add(self, fingerprints: Mapping[str, str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, {**self._read(), **fingerprints})

    def changes(self, label: str, node: Node, store: Store) -> list[str]:
        """Which keys make a node's artifact differ from the one of the same label before."""
        previous = self._read().get(label)
        if previous is None or previous == node.fingerprint:
            return []
        old = None
        with suppress(DataError):  # a damaged one that is not used any more
            old = store.find(node.stage, previous)
        if old is None:
            return []
        return [
            *differing_keys(old.manifest.config, node.config),
            *differing_keys(
                _comparable(old.manifest.inputs), _comparable(node.input_fingerprints), "input "
            ),
        ]

    def _read(self) -> Stages:
        try:
            return read_own(self._path, Stages)
        except DataError:  # it only serves to say what changed, and is written again
            return {}


def _comparable(inputs: Mapping[str, str]) -> dict[str, str]:
    """Without those that are named by their fingerprints: another one has another name."""
    return {
        role: fingerprint
        for role, fingerprint in inputs.items()
        if not isinstance(parse_role(role), CheckedRole)
    }
