"""The right answers of the toy tasks, which the data stage leaves in its artifact.

Guarantee: a task of the same name with other training documents is not taken for the toy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tsqa.store.digests import DIGESTS
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import read_own
from tsqa.tasks.toy_families import true_answer

_FILE = "oracle.json"


@dataclass(frozen=True)
class Oracle:
    """Task -> revision of its training documents, as a seed states it."""

    revisions: Mapping[str, str]

    def knows(self, task: str, revision: str) -> bool:
        """Whether the right answers to questions made from this training split are known."""
        return self.revisions.get(task) == revision

    def answer(self, task: str, question: str) -> str | None:
        """The right answer; None where the question is not well-formed."""
        return true_answer(task, question)


def revision_of(training_file: Path) -> str:
    """The revision that seeds of a single local file state."""
    return DIGESTS.of(training_file)[:12]


def write_oracle(folder: Path, training_files: Mapping[str, Path]) -> None:
    """Leave the oracle of these tasks in the artifact of the data stage."""
    write_json(folder / _FILE, {task: revision_of(file) for task, file in training_files.items()})


def read_oracle(folder: Path) -> Oracle:
    """The oracle in the artifact of the data stage."""
    return Oracle(read_own(folder / _FILE, dict[str, str]))
