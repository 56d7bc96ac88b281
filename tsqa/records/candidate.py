"""A candidate as the filters see it: its question, and the answer of most of its votes.

Guarantees: the same record always gives the same candidate.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from pydantic import JsonValue

from tsqa.recipe import AnswerKind
from tsqa.records.candidate_file import CandidateRecord, ReviewEdit, UnreadableLine, Vote
from tsqa.records.pointing import points_at_passage
from tsqa.records.seed import Seed
from tsqa.records.votes import agreeing_models, as_most_say, classify_answers, count_votes
from tsqa.text.normalise import first_words
from tsqa.text.refusals import explains_refusal

_SHORT_QUESTION_CHARS = 40
_HEAD_WORDS = 12
"""Of a document's passage, enough to tell it from others and too few to hide a question."""


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
    ground: str = ""
    """The passage behind a rephrasing, or a question that is clear without it; never in a
    document."""
    is_of_document: bool = False
    """Whether its context or ground is a seed's, word for word."""
    is_rephrasing: bool = False
    """Whether it tells its ground again, as `answer`, and has no question."""
    choices: list[str] = field(default_factory=list)
    tests: str = ""
    """Code that fails unless a code answer is right."""
    parse_error: str = ""
    answer: str = ""
    """Of the first vote for the winning answer, empty when no vote is readable; or a rephrasing."""
    answer_index: int | None = None
    reasoning: str = ""
    knowledge: str = ""
    item_context: str = ""
    """Background that the answer carries, not part of the question."""
    distractors: str = ""
    """Why each wrong option is wrong."""
    winning_vote: str = ""
    agreement: float = 0.0
    """Share of the winning answer in the weight of all votes, the unreadable included."""
    is_tie: bool = False
    models: int = 0
    """Models whose own most frequent answer is the winning one."""
    trace: str = ""
    """What the model of the winning vote thought, where `shows_trace`."""
    shows_trace: bool = False
    """Whether a document may show it."""
    scores: dict[str, JsonValue] = field(default_factory=dict)
    """What filters measured: similarity to its seeds, the judge's grades, the reward ..."""
    edit: ReviewEdit | None = None
    """What a reviewer changed in it."""
    source: CandidateRecord | UnreadableLine | None = field(default=None, repr=False)
    """The line of candidates.jsonl behind it."""

    @property
    def record(self) -> CandidateRecord:
        """The record behind a readable candidate; the step `format` rejects all others."""
        assert isinstance(self.source, CandidateRecord), self.id
        return self.source

    @property
    def attributes(self) -> dict[str, str]:
        """What its question was asked to be."""
        return self.source.attributes if isinstance(self.source, CandidateRecord) else {}

    @property
    def voted(self) -> float | None:
        """Its agreement; None of an answer that no vote gave: a rephrasing, or a reviewer's own."""
        is_own = self.edit is not None and "answer" in self.edit.fields
        return None if self.is_rephrasing or is_own else self.agreement

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
            *self.explanations,
            self.trace,
            self.tests,
        )
        return [part for part in parts if part]

    @property
    def explanations(self) -> tuple[str, str, str, str]:
        """What the answer carries besides itself."""
        return self.reasoning, self.knowledge, self.item_context, self.distractors

    @property
    def asked(self) -> str:
        """Equal for two candidates that ask the same.

        A short question counts with its options: `Which is a mammal?` alone asks nothing. Two
        rephrasings ask the same where they say the same.
        """
        if self.is_rephrasing:
            return self.answer
        is_short = len(self.question) < _SHORT_QUESTION_CHARS
        options = sorted(self.choices) if is_short else []
        context = self.context
        if self.is_of_document:  # whole, it would make all questions about it near duplicates
            context = first_words(context, _HEAD_WORDS)
        return "\n".join(part for part in (context, self.question, *options) if part)


@dataclass(frozen=True)
class Rejection:
    reason: str
    score: float | None = None
    match: str = ""
    """What it collided with: an evaluated document, a seed, an earlier candidate."""


Verdict = tuple[Candidate, Rejection | None]
"""What a filter step says of a candidate; the step may have added to it."""


def read_candidate(record: CandidateRecord, shows_trace: bool = False) -> Candidate:
    """Count the votes of a record; the first vote for the winning answer gives its words."""
    votes = record.deciding_votes
    if record.choices:
        classes = [None if vote.answer is None else f"{vote.index:03}" for vote in votes]
    else:
        classes = classify_answers([vote.answer for vote in votes], record.kind)
    weights = [vote.weight for vote in votes]
    result = count_votes(classes, weights)
    candidate = Candidate(
        id=record.id,
        task=record.task,
        question=record.question,
        kind=record.kind,
        family=record.family,
        capability=record.capability,
        language=record.language,
        context=record.context,
        ground=record.ground,
        is_of_document=not record.prompts.keys().isdisjoint(("passage", "rephrase")),
        is_rephrasing="rephrase" in record.prompts,
        answer=record.rephrasing,
        choices=record.choices,
        tests=record.tests,
        parse_error=record.parse_error,
        is_tie=result.is_tie,
        shows_trace=shows_trace,
        source=record,
    )
    if result.winner is None:
        return candidate
    models = [record.model_of(vote.teacher).identity for vote in votes]
    candidate = replace(candidate, models=agreeing_models(classes, models, classes[result.winner]))
    answers = [vote.answer for vote in votes]
    is_number = record.kind == "number"
    said = as_most_say(answers, classes, result.winner, weights) if is_number else result.winner
    return with_winner(candidate, votes[said], result.agreement)


def seed_as_candidate(seed: Seed) -> Candidate:
    """A seed with a question, to be compared or rendered as what is made from seeds."""
    return Candidate(
        id=seed.id,
        task=seed.task,
        kind=seed.kind,
        question=seed.question,
        context=seed.context,
        choices=seed.choices,
        answer=seed.answer,
        answer_index=seed.answer_index,
        reasoning=seed.explanation,
        tests=seed.tests,
    )


def with_winner(candidate: Candidate, vote: Vote, agreement: float) -> Candidate:
    """The candidate with the answer of one of its votes, and all that the vote carries.

    Where its document has no passage, without the explanations that point at one.
    """
    shown = partial(_shown_without, candidate.question) if candidate.ground else str
    return replace(
        candidate,
        answer=vote.answer or "",
        answer_index=vote.index,
        reasoning=shown(vote.reasoning),
        knowledge=shown(vote.knowledge),
        item_context=shown(vote.context),
        distractors=shown(vote.distractors),
        trace=shown(vote.trace) if candidate.shows_trace else "",
        winning_vote=vote.id,
        agreement=agreement,
    )


def _shown_without(question: str, text: str) -> str:
    """An explanation that is to be read without the passage; what refuses stays to be rejected."""
    return "" if points_at_passage(text) and not explains_refusal(text, question) else text
