"""A line of candidates.jsonl, written by the stage generate and read by all after it.

Guarantees: a line of another shape raises ValueError that says what is wrong; what is read from a
line and written again is the same line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pydantic import JsonValue, TypeAdapter, ValidationError

from tsqa.recipe import AnswerKind
from tsqa.store.jsonl import write_jsonl
from tsqa.store.own_files import damaged


@dataclass(frozen=True)
class PromptRef:
    """The prompt of a role."""

    id: str
    version: int
    sha256: str
    """Of its file and of all that it imports."""


@dataclass(frozen=True)
class TeacherRef:
    """The model that answered."""

    model: str
    """Its path or fingerprint."""
    engine: str
    form: str
    request: dict[str, JsonValue] | None = None
    """The settings of the recipe's `request` that are not the defaults."""
    engine_args: dict[str, JsonValue] | None = None

    @property
    def identity(self) -> str:
        """Equal for one model of the hub, whether it is loaded here (`id@commit`) or served."""
        return re.sub(r"@[0-9a-f]{40}$", "", self.model)


@dataclass(frozen=True)
class Sampling:
    temperature: float
    top_p: float
    max_tokens: int
    thinking_tokens: int | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


@dataclass(frozen=True)
class TokenUse:
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, kw_only=True)
class Vote:
    """One answer of a teacher to the question of a candidate."""

    id: str
    order: list[int] | None
    """The options as they were shown: places in the candidate's `choices`."""
    answer: str | None
    """As text, one of the choices where there are any; None when it cannot be read."""
    index: int | None
    """Into the candidate's `choices`."""
    reasoning: str
    knowledge: str
    context: str
    distractors: str
    dropped: list[str]
    """Explanations left out because they name options by letters."""
    error: str
    """Why there is no answer."""
    text: str
    """The whole reply."""
    teacher: str
    """The role of the model: `teacher`, `solver0` and so on, or `cascade`."""
    weight: float = 1.0
    """What it counts among the votes."""
    trace: str = ""
    """What the model thought before it answered."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The seeds, prompts and teachers behind an item; mappings are by role.

    A solver with its own prompt or sampling has it under its role, the others under `answer`.
    """

    seed_ids: list[str]
    """The seeds shown to the teacher; the last is the one that the item is modelled on."""
    seed_hash: str
    prompts: dict[str, PromptRef]
    sampling: dict[str, Sampling]
    form: str
    """In which the question was asked for."""
    teacher: TeacherRef
    """Who wrote the question; and the answers, unless others did."""
    usage: dict[str, TokenUse]
    cascade: TeacherRef | None = None
    solvers: dict[str, TeacherRef] = field(default_factory=dict)
    """Who answered, where the teacher did not."""
    attributes: dict[str, str] = field(default_factory=dict)
    """What the question was asked to be: name -> value of `generate.attributes`."""
    canaries: list[str] = field(default_factory=list)
    """Those of the seeds that were shown with a canary."""

    def model_of(self, role: str) -> TeacherRef:
        """The model behind a vote."""
        if role == "cascade" and self.cascade is not None:
            return self.cascade
        return self.solvers.get(role, self.teacher)


@dataclass(frozen=True, kw_only=True)
class CandidateRecord(Provenance):
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
    seed_question: str
    question: str
    context: str
    choices: list[str]
    tests: str
    parse_error: str
    """Empty when the question can be used."""
    votes: list[Vote]
    ground: str = ""
    """The passage that those who answer see, where the question is clear without it; and the one
    that is rephrased."""
    rephrasing: str = ""
    """Instead of a question with votes."""

    def __post_init__(self) -> None:
        for vote in self.votes:
            if not 0 < vote.weight < math.inf:
                raise ValueError(f"vote {vote.id}: a weight of {vote.weight}")
        for vote in self.votes if self.choices else []:
            if vote.answer is None:
                continue
            if vote.index is None or not 0 <= vote.index < len(self.choices):
                raise ValueError(f"vote {vote.id}: index {vote.index} is not a choice")
            if vote.answer != self.choices[vote.index]:
                raise ValueError(f"vote {vote.id}: the answer is not choice {vote.index}")

    @property
    def passage(self) -> str:
        """What those who answer are shown with the question."""
        return self.context or self.ground

    @property
    def deciding_votes(self) -> list[Vote]:
        """The votes that count: where a cascade answered, its votes alone."""
        return [vote for vote in self.votes if vote.teacher == "cascade"] or self.votes


@dataclass(frozen=True)
class ReviewEdit:
    """What a person changed in an item."""

    fields: list[str]
    by: str
    when: str
    """UTC."""


@dataclass(frozen=True)
class UnreadableLine:
    """A line of candidates.jsonl that is not a candidate."""

    line: str
    error: str


_RECORD: TypeAdapter[CandidateRecord] = TypeAdapter(CandidateRecord)


def parse_record(line: bytes | str) -> CandidateRecord:
    """Read a line; ValueError when it has another shape."""
    try:
        return _RECORD.validate_json(line, strict=True, extra="forbid")
    except ValidationError as error:
        problems = (
            ".".join(map(str, problem["loc"])) + f": {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        raise ValueError("; ".join(problem.removeprefix(": ") for problem in problems)) from error


def as_json(record: CandidateRecord) -> dict[str, JsonValue]:
    """The record as JSON, as in its line; what has its default is left out."""
    return cast(dict[str, JsonValue], _RECORD.dump_python(record, exclude_defaults=True))


def write_records(path: Path, records: Iterable[CandidateRecord]) -> int:
    """Write candidates.jsonl; return how many there are."""
    return write_jsonl(path, map(as_json, records))


def read_records(path: Path) -> Iterator[CandidateRecord]:
    """The records of a file; DataError where a line is not one."""
    with path.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            try:
                yield parse_record(line)
            except ValueError as error:
                raise damaged(path, f"line {number}: not a candidate: {error}") from error
