"""What a reviewer sees of an item, and the hash that ties a decision to that text.

Guarantee: equal texts have equal hashes, whether the item is a row, a reject or a candidate.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Protocol

from tsqa.records.candidate import Candidate, read_candidate
from tsqa.records.candidate_file import CandidateRecord, UnreadableLine, parse_record
from tsqa.records.rows import CuratedRow, RejectedRow

ACCEPTED = "accepted"
EDITABLE = (
    "question",
    "choices",
    "answer",
    "reasoning",
    "knowledge",
    "item_context",
    "distractors",
)
"""What a reviewer may change; `choices` has one option a line."""


@dataclass(frozen=True)
class ShownVote:
    by: str
    answer: str
    """Empty where it could not be read."""
    said: str
    """The reasoning, or why there is no answer."""


@dataclass(frozen=True, kw_only=True)
class ReviewItem:
    """An item of a sample; it says nothing of what else the sample holds."""

    id: str
    hash: str
    stratum: int
    """Place in the sample's list of strata."""
    outcome: str
    """`accepted`, or the step that rejected it."""
    reason: str
    match: str
    """What it collided with, where the step compared it with something."""
    task: str
    capability: str
    kind: str
    language: str
    agreement: float | None
    grade: float | None
    """The judge's lowest."""
    passage: str
    question: str
    choices: list[str]
    answer: str
    reasoning: str
    knowledge: str
    item_context: str
    distractors: str
    tests: str
    votes: list[ShownVote]
    lineage: dict[str, str] = field(default_factory=dict)

    @property
    def is_rephrasing(self) -> bool:
        return not self.question

    def value(self, name: str) -> str:
        """A field of `EDITABLE` as text."""
        found = getattr(self, name)
        return "\n".join(found) if isinstance(found, list) else str(found)


class _Texts(Protocol):
    @property
    def question(self) -> str: ...
    @property
    def context(self) -> str: ...
    @property
    def choices(self) -> list[str]: ...
    @property
    def answer(self) -> str: ...
    @property
    def reasoning(self) -> str: ...
    @property
    def knowledge(self) -> str: ...
    @property
    def item_context(self) -> str: ...
    @property
    def distractors(self) -> str: ...
    @property
    def tests(self) -> str: ...


def hash_texts(item: _Texts) -> str:
    """Of all that a reviewer judges."""
    texts = [
        *(item.question, item.context, item.choices, item.answer, item.reasoning),
        *(item.knowledge, item.item_context, item.distractors, item.tests),
    ]
    payload = json.dumps(texts, ensure_ascii=True).encode()
    return hashlib.blake2b(payload, digest_size=12).hexdigest()


def show_accepted(row: CuratedRow, record: CandidateRecord | None, stratum: int) -> ReviewItem:
    """An accepted row, with the votes of its candidate where that is still there."""
    grades = json.loads(row.scores).get("judge")
    return ReviewItem(
        id=row.id,
        hash=hash_texts(row),
        stratum=stratum,
        outcome=ACCEPTED,
        reason="",
        match="",
        task=row.task,
        capability=row.capability,
        kind=row.kind,
        language=row.language,
        agreement=row.agreement,
        grade=min(map(float, grades.values())) if grades else None,
        passage=row.context or (record.ground if record else ""),
        question=row.question,
        choices=row.choices,
        answer=row.answer,
        reasoning=row.reasoning,
        knowledge=row.knowledge,
        item_context=row.item_context,
        distractors=row.distractors,
        tests=row.tests,
        votes=_votes_of(record),
        lineage=_lineage_of(record),
    )


def show_rejected(row: RejectedRow, stratum: int) -> ReviewItem | None:
    """A rejected row; None where there is nothing that a person could read."""
    candidate = read_rejected_candidate(row)
    if candidate is None:
        return None
    record = candidate.record
    # The step `judge` rejects by the lowest grade, which is all that the row keeps.
    grade = row.score if row.step == "judge" else None
    return ReviewItem(
        id=row.id,
        hash=hash_texts(candidate),
        stratum=stratum,
        outcome=row.step,
        reason=row.reason,
        match=row.match,
        task=row.task,
        capability=row.capability,
        kind=row.kind,
        language=record.language,
        agreement=candidate.voted,
        grade=grade,
        passage=record.passage,
        question=candidate.question,
        choices=candidate.choices,
        answer=candidate.answer,
        reasoning=candidate.reasoning,
        knowledge=candidate.knowledge,
        item_context=candidate.item_context,
        distractors=candidate.distractors,
        tests=candidate.tests,
        votes=_votes_of(record),
        lineage=_lineage_of(record),
    )


def read_rejected_candidate(row: RejectedRow) -> Candidate | None:
    """The candidate behind a reject; None where it has no question or no answer."""
    try:
        candidate = read_candidate(parse_record(row.record))
    except ValueError:
        return None
    is_whole = candidate.answer and (candidate.question or candidate.is_rephrasing)
    is_readable = not candidate.parse_error and not isinstance(candidate.source, UnreadableLine)
    return candidate if is_whole and is_readable else None


def _votes_of(record: CandidateRecord | None) -> list[ShownVote]:
    votes = record.votes if record else []
    return [ShownVote(v.teacher, v.answer or "", v.reasoning or v.error) for v in votes]


def _lineage_of(record: CandidateRecord | None) -> dict[str, str]:
    if record is None:
        return {}
    shown = {
        "seed": record.seed_id,
        "seed's question": record.seed_question,
        "dataset": " ".join(filter(None, (record.dataset, record.revision, record.split))),
        "licence": record.licence,
        "teacher": record.teacher.model,
        "prompts": ", ".join(f"{role}: {ref.id}" for role, ref in record.prompts.items()),
        "asked to be": ", ".join(f"{name} {value}" for name, value in record.attributes.items()),
    }
    return {name: value for name, value in shown.items() if value}
