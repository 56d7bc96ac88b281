"""The seed: one document of a training split, the same shape whatever it came from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tsqa.recipe import AnswerKind
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
    question: str
    context: str
    """The passage the question is about."""
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


def read_seed(path: Path, number: int, line: bytes) -> Seed:
    """The seed in a line of `seeds.jsonl`; DataError where it is none."""
    try:
        return Seed(**json.loads(line))
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(path, f"line {number}: no seed: {error}") from error
