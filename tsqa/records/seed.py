"""The seed: one document of a training split, in the same shape whatever its source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from tsqa.errors import DataError
from tsqa.recipe import AnswerKind
from tsqa.store.jsonl import JsonlIndex
from tsqa.store.own_files import damaged


@dataclass(frozen=True)
class Seed:
    """The question as text, the answer as text; `""` where a document has no such field."""

    id: str
    """Unique in the recipe: task name and document id."""
    task: str
    family: str
    capability: str
    subject: str
    language: str
    """ISO 639-1."""
    kind: AnswerKind
    """That of its answer; of a passage, that of the answers to ask for."""
    question: str
    """Empty where the seed is a passage of a document."""
    context: str
    """The passage the question is about, or the seed itself."""
    choices: list[str]
    answer_index: int | None
    answer: str
    """As text, never an option letter."""
    explanation: str
    tests: str
    """Code that fails unless a code answer is right."""
    dataset: str
    revision: str
    split: str
    licence: str
    """Empty when the source does not say."""
    doc_id: int
    content_hash: str
    """sha256 of normalised context, question and answer, 16 hex digits."""

    @property
    def is_passage(self) -> bool:
        """Whether it has no question, but is the text about which to ask one."""
        return not self.question


def read_seed(path: Path, number: int, line: bytes) -> Seed:
    """The seed in a line of `seeds.jsonl`; DataError where it is none."""
    try:
        return Seed(**json.loads(line))
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(path, f"line {number}: no seed: {error}") from error


def read_seeds(path: Path) -> Iterator[Seed]:
    """The seeds of a file such as `seeds.jsonl`, in order."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            yield read_seed(path, number, line)


class SeedIndex:
    """Finds seeds of a seeds.jsonl by id; a context manager, since it keeps the file open.

    A copy in another process opens the file again.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DataError(f"{path}: no such file", "build it again: tsqa seeds RECIPE")
        self._path = path
        self._seeds = JsonlIndex(path)
        self.find = lru_cache(maxsize=1024)(self._find)
        """The seed of an id, or None. Candidates of one seed stand together, so few are read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._seeds.close()

    def __reduce__(self) -> tuple[type[SeedIndex], tuple[Path]]:
        return SeedIndex, (self._path,)

    def _find(self, seed_id: str) -> Seed | None:
        record = self._seeds.find(seed_id)
        try:
            return Seed(**record) if record else None
        except TypeError as error:
            raise damaged(self._path, f"{seed_id}: no seed: {error}") from error
