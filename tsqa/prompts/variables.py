"""The variables of a template, by role; and invented items that try a template as it loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, get_args

from tsqa.recipe import AnswerKind, Enrichment
from tsqa.records.seed import Seed

Asking = Literal["question", "passage", "rephrase"]
"""What a writer is asked for."""
Role = Literal[Asking, "answer", "judge", "leak", "document"]


@dataclass(frozen=True)
class QuestionVariables:
    shots: Sequence[Seed]
    """The last is the one that the new question is to be modelled on."""
    kind: AnswerKind
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What `generate.attributes` drew for the new question."""


@dataclass(frozen=True)
class PassageVariables:
    """Of a question about a passage."""

    passage: str
    kind: AnswerKind


@dataclass(frozen=True)
class RephraseVariables:
    """Of a passage to be told again."""

    passage: str


@dataclass(frozen=True, kw_only=True)
class AnswerVariables:
    question: str
    context: str
    choices: Sequence[str]
    shots: Sequence[Seed]
    kind: AnswerKind
    enrichment: Sequence[Enrichment]
    """What the teacher writes besides the answer."""


@dataclass(frozen=True, kw_only=True)
class JudgeVariables:
    question: str
    context: str
    choices: Sequence[str]
    answer: str
    reasoning: str


@dataclass(frozen=True, kw_only=True)
class LeakVariables:
    """Of an item beside an evaluated document that is much like it."""

    question: str
    context: str
    choices: Sequence[str]
    answer: str
    known_question: str
    known_context: str
    known_choices: Sequence[str]
    known_answer: str


@dataclass(frozen=True, kw_only=True)
class DocumentVariables:
    question: str
    context: str
    choices: Sequence[str]
    answer: str
    answer_index: int | None
    kind: AnswerKind
    reasoning: str
    knowledge: str
    item_context: str
    distractors: str
    trace: str
    """What the teacher thought before it answered."""


_Variables = (
    QuestionVariables
    | PassageVariables
    | RephraseVariables
    | AnswerVariables
    | JudgeVariables
    | LeakVariables
    | DocumentVariables
)
_BY_ROLE: dict[Role, type[_Variables]] = {
    "question": QuestionVariables,
    "passage": PassageVariables,
    "rephrase": RephraseVariables,
    "answer": AnswerVariables,
    "judge": JudgeVariables,
    "leak": LeakVariables,
    "document": DocumentVariables,
}


def names_of(role: Role) -> list[str]:
    """The variables of a role's templates."""
    return [each.name for each in fields(_BY_ROLE[role])]


def sample(role: Role, kind: AnswerKind, full: bool) -> dict[str, object]:
    """Invented variables of a role; `full` fills every field, otherwise few are filled."""
    return asdict(_invent(role, kind, full))


def _invent(role: Role, kind: AnswerKind, full: bool) -> _Variables:
    text = "made up" if full else ""
    choices = ["one", "two", "three"] if kind == "choice" else []
    index = 0 if choices else None
    seed = _invented_seed(kind, text, choices)
    shots = [seed, seed] if full else [seed]
    match role:
        case "question":
            names = ("persona", "difficulty", "subtopic", "opening", "other") if full else ()
            return QuestionVariables(shots, kind, dict.fromkeys(names, text))
        case "passage":
            return PassageVariables("made up", kind)
        case "rephrase":
            return RephraseVariables("made up")
        case "answer":
            return AnswerVariables(
                question="Which?",
                context=text,
                choices=choices,
                shots=shots,
                kind=kind,
                enrichment=list(get_args(Enrichment)) if full else [],
            )
        case "judge":
            return JudgeVariables(
                question="Which?", context=text, choices=choices, answer="one", reasoning=text
            )
        case "leak":
            return LeakVariables(
                question="Which?",
                context=text,
                choices=choices,
                answer="one",
                known_question="Which one?",
                known_context=text,
                known_choices=choices,
                known_answer="two",
            )
        case "document":
            return DocumentVariables(
                question="Which?",
                context=text,
                choices=choices,
                answer="one",
                answer_index=index,
                kind=kind,
                reasoning=text,
                knowledge=text,
                item_context=text,
                distractors=text,
                trace=text,
            )


def _invented_seed(kind: AnswerKind, text: str, choices: list[str]) -> Seed:
    return Seed(
        id="task-0",
        task="task",
        family="task",
        capability=text,
        subject=text,
        language="en",
        kind=kind,
        question="Which?",
        context=text,
        choices=choices,
        answer_index=0 if choices else None,
        answer="one",
        explanation=text,
        tests=text,
        dataset="json",
        revision=text,
        split="train",
        licence=text,
        doc_id=0,
        content_hash="0",
    )
