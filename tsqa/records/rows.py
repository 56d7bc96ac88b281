"""Rows of the curated dataset and of the rejected; the parquet columns are the fields, in order."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import TypeAdapter

from tsqa.recipe import AnswerKind
from tsqa.records.candidate_file import Provenance, ReviewEdit


@dataclass(frozen=True, kw_only=True)
class CuratedRow:
    """An accepted item. Its fields are columns of the published dataset."""

    id: str
    task: str
    family: str
    capability: str
    subject: str
    language: str
    kind: AnswerKind
    licence: str
    dataset: str
    revision: str
    split: str
    seed_id: str
    question: str
    context: str
    choices: list[str]
    answer: str
    """As text, never an option letter."""
    answer_index: int | None
    reasoning: str
    knowledge: str
    item_context: str
    distractors: str
    tests: str
    text: str
    """The document to train on."""
    rendering: str
    """Name of the template of `text`."""
    agreement: float | None
    """Share of the votes for the answer; None of a rephrasing, or of what a reviewer wrote."""
    scores: str
    """JSON: what the filters measured."""
    lineage: str
    """JSON: see `Lineage`."""


@dataclass(frozen=True, kw_only=True)
class RejectedRow:
    id: str
    task: str
    family: str
    capability: str
    kind: str
    question: str
    answer: str
    step: str
    reason: str
    score: float | None
    match: str
    record: str
    """JSON: the whole line of candidates.jsonl."""


@dataclass(frozen=True, kw_only=True)
class Lineage(Provenance):
    """How an accepted item was made."""

    winning_vote: str
    votes: list[str]
    """Ids."""
    permuted_from: str | None = None
    """The item whose answer it takes, in a format-matched control."""
    edit: ReviewEdit | None = None
    """What a reviewer changed."""

    def to_json(self) -> str:
        values = _LINEAGE.dump_python(self, exclude_defaults=True)
        return json.dumps(values, sort_keys=True, ensure_ascii=False)


_LINEAGE: TypeAdapter[Lineage] = TypeAdapter(Lineage)


def read_lineage(text: str) -> Lineage:
    """Read the column `lineage`; ValueError when it has another shape."""
    return _LINEAGE.validate_json(text, strict=True, extra="forbid")
