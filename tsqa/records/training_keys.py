"""Keys of all training documents, chosen as a seed or not, for finding copies of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tsqa.errors import DataError
from tsqa.store.own_files import damaged
from tsqa.text.sameness import Hashed

TRAINING_KEYS = "training_keys.jsonl"


@dataclass(frozen=True)
class TrainingKeys:
    """Under which texts a training document is known."""

    id: str
    task: str
    whole: Hashed
    without_options: Hashed
    """An open question made from one with options must meet it too."""

    def line(self) -> str:
        """One line of `training_keys.jsonl`."""
        return json.dumps([self.id, self.task, self.whole, self.without_options]) + "\n"


def read_training_keys(folder: Path) -> Iterator[TrainingKeys]:
    """The keys in the artifact of the seeds stage, in the order of its sources."""
    path = folder / TRAINING_KEYS
    if not path.is_file():
        raise DataError(f"{path}: no such file", "build it again: tsqa seeds RECIPE")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                name, task, whole, without = json.loads(line)
                yield TrainingKeys(name, task, Hashed(*whole), Hashed(*without))
            except (ValueError, TypeError) as error:
                raise damaged(path, f"line {number}: no keys: {error}") from error
