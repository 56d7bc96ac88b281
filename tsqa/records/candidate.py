"""A candidate as the filters see it: its question, and the answer most of its votes gave.

Promises: a record that is not of the agreed shape raises ValueError with what is wrong, so that it
can be rejected by name; reading the same record again gives the same candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from tsqa.recipe import AnswerKind
from tsqa.records.votes import classify_answers, count_votes

_SHORT_QUESTION_CHARS = 40


@dataclass(frozen=True, kw_only=True)
class Candidate:
    id: str
    task: str
    question: str
    kind: AnswerKind = "short_text"
    family: str = ""
    capability: str = ""
    language: str = "en"
    context: str = ""
    """The passage the question is about."""
    choices: list[str] = field(default_factory=list)
    tests: str = ""
    """Code that fails unless a code answer is right."""
    parse_error: str = ""
    answer: str = ""
    """Of the first vote that gave the winning answer; empty when no vote is readable."""
    answer_index: int | None = None
    reasoning: str = ""
    knowledge: str = ""
    item_context: str = ""
    """Background that the answer carries, not part of the question."""
    distractors: str = ""
    """Why each wrong option is wrong."""
    winning_vote: str = ""
    agreement: float = 0.0
    """Share of all votes, the unreadable included, that gave the winning answer."""
    is_tie: bool = False
    scores: dict[str, Any] = field(default_factory=dict)
    """What filters measured: similarity to its seeds, the judge's grades, the reward ..."""
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The whole line of candidates.jsonl."""

    @property
    def full_text(self) -> str:
        """All that can end in the document the student reads, in reading order."""
        return "\n".join(self.parts)

    @property
    def parts(self) -> list[str]:
        parts = (
            self.context,
            self.question,
            *self.choices,
            self.answer,
            self.reasoning,
            self.knowledge,
            self.item_context,
            self.distractors,
            self.tests,
        )
        return [part for part in parts if part]

    @property
    def asked(self) -> str:
        """Equal for two candidates that ask the same.

        A short question counts with its options: `Which is a mammal?` alone is none.
        """
        is_short = len(self.question) < _SHORT_QUESTION_CHARS
        options = sorted(self.choices) if is_short else []
        return "\n".join(part for part in (self.context, self.question, *options) if part)


@dataclass(frozen=True)
class Rejection:
    reason: str
    score: float | None = None
    match: str = ""
    """What it collided with: an evaluated document, a seed, an earlier candidate."""


Verdict = tuple[Candidate, Rejection | None]
"""What a filter step says of a candidate; the step may have added to it."""


class VoteRecord(BaseModel):
    """One answer of the teacher; see `Candidate` for the fields that it carries."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    id: str
    answer: str | None
    index: int | None
    reasoning: str
    knowledge: str
    context: str
    distractors: str
    teacher: str


class CandidateRecord(BaseModel):
    """The part of a line of candidates.jsonl that the filters read."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

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
    seed_ids: list[str]
    question: str
    context: str
    choices: list[str]
    tests: str
    parse_error: str
    votes: list[VoteRecord]
    prompts: dict[str, Any]
    sampling: dict[str, Any]
    form: str
    teacher: dict[str, Any]

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        texts = [self.id, self.task, self.question, self.context, self.tests, *self.choices]
        for vote in self.votes:
            texts += [vote.id, vote.answer or "", vote.reasoning, vote.knowledge]
            texts += [vote.context, vote.distractors]
        "".join(texts).encode()  # lone surrogates raise UnicodeEncodeError, a ValueError
        return self

    @model_validator(mode="after")
    def _answers_are_choices(self) -> Self:
        for vote in self.votes if self.choices else []:
            if vote.answer is None:
                continue
            if vote.index is None or not 0 <= vote.index < len(self.choices):
                raise ValueError(f"vote {vote.id}: index {vote.index} is not a choice")
            if vote.answer != self.choices[vote.index]:
                raise ValueError(f"vote {vote.id}: the answer is not choice {vote.index}")
        return self


def read_candidate(record: Mapping[str, Any]) -> Candidate:
    """Take the vote; raise ValueError (pydantic's) when the record has another shape.

    The winner speaks in the words of the first vote that gave it.
    """
    read = CandidateRecord.model_validate(record)
    votes = _deciding(read.votes)
    if read.choices:
        classes = [None if vote.answer is None else f"{vote.index:03}" for vote in votes]
    else:
        classes = classify_answers([vote.answer for vote in votes], read.kind)
    result = count_votes(classes)
    candidate = Candidate(
        id=read.id,
        task=read.task,
        question=read.question,
        kind=read.kind,
        family=read.family,
        capability=read.capability,
        language=read.language,
        context=read.context,
        choices=read.choices,
        tests=read.tests,
        parse_error=read.parse_error,
        is_tie=result.is_tie,
        record=record,
    )
    if result.winner is None:
        return candidate
    return with_winner(candidate, votes[result.winner], result.agreement)


def deciding_votes(record: Mapping[str, Any]) -> list[VoteRecord]:
    """The votes of a readable record that count: where a cascade answered, its votes alone."""
    return _deciding([VoteRecord.model_validate(vote) for vote in record["votes"]])


def with_winner(candidate: Candidate, vote: VoteRecord, agreement: float) -> Candidate:
    """The candidate with the answer of one of its votes, and all that the vote carries."""
    return replace(
        candidate,
        answer=vote.answer or "",
        answer_index=vote.index,
        reasoning=vote.reasoning,
        knowledge=vote.knowledge,
        item_context=vote.context,
        distractors=vote.distractors,
        winning_vote=vote.id,
        agreement=agreement,
    )


def _deciding(votes: list[VoteRecord]) -> list[VoteRecord]:
    return [vote for vote in votes if vote.teacher == "cascade"] or votes
