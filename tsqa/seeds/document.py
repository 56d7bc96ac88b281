"""One document of any source -> one Seed, or the reason why it cannot be one.

Guarantees: a seed has a question, an answer as text (never an option letter) and, for `choice`, at
least two distinct options of which the answer is one; whatever is wrong with a document ends as
an `Unusable` with a reason, never as a guess.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tsqa.recipe import AnswerKind
from tsqa.records.seed import Seed
from tsqa.seeds.prompt_fields import (
    BLANK,
    are_letters,
    cloze,
    letter_index,
    split_answer,
    split_options,
    split_prompt,
    tidy,
)
from tsqa.text.forbidden import find_unfit
from tsqa.text.latex import has_remains
from tsqa.text.normalise import normalise, seen
from tsqa.text.numbers import parse_number
from tsqa.text.sameness import (
    Hashed,
    answer_key,
    case_of,
    hash_key,
    option_key,
    question_key,
    words_of,
)
from tsqa.text.signs import tokens

MAX_CHARS = 100_000
"""Of question, context, options and answer together; no teacher's prompt holds more."""
_LONG_ANSWER_CHARS = 200
_EXPLANATION_FIELDS = ("explanation", "rationale", "support", "solution")
_SUBJECT_FIELDS = ("subject", "subject_name", "topic", "topic_name", "category")
BOOLEAN_PAIRS = ({"yes", "no"}, {"true", "false"})
_LETTERED = re.compile(r"(?:^|\s)\(?A[).:]\s")
_LETTERS_ONLY = "the options are letters without their texts"
_BROKEN = re.compile("[\x00\ud800-\udfff\ufffd]")
_CONTROL = re.compile("[\x01-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")


class Unusable(Exception):
    """A document that cannot be a seed; `reason` is counted, `detail` says what was found."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Rejected:
    """A document that is no seed."""

    id: str
    task: str
    doc_id: int
    reason: str
    detail: str
    question: str = ""
    """Its beginning, where it could be read."""


@dataclass(frozen=True)
class Origin:
    """What all documents of one source share."""

    task: str
    family: str
    capability: str
    subject: str
    language: str
    dataset: str
    revision: str
    split: str
    licence: str


@dataclass(frozen=True)
class RawDocument:
    """A document as read, before it is checked."""

    question: str
    context: str
    choices: list[str]
    index: int | None
    answer: str
    explanation: str = ""
    tests: str = ""
    subject: str = ""
    kind: AnswerKind | None = None
    """None: inferred from the document."""


def read_rendering(
    text: object, target: object, choices: Sequence[object] | None, document: Mapping[str, object]
) -> RawDocument:
    """Read what an lm-eval task rendered: `text` is an index where the choices are contexts.

    `target` is an index, a text, or a list of right ones; the first right one is the answer.
    """
    shown = [_as_text(choice, "option") for choice in choices or []]
    if choices is not None and not shown:
        raise Unusable("empty choices")
    if isinstance(text, int) and not isinstance(text, bool):
        question, shown = cloze([f"{choice} {target}" for choice in shown])
        context, target = "", text
    elif not str(text).strip() and len(shown) > 1:
        question, shown = cloze(shown)
        context = ""
    else:
        # Some templates hold a backslash and an n for a line break; LaTeX is lower case after it.
        text = re.sub(r"\\n(?![a-z])", "\n", str(text))
        rest, shown, target = _with_option_texts(text, shown, target)
        context, question = split_prompt(rest, document, had_options=rest != text)
    shown = [tidy(choice) for choice in shown]
    if len(shown) == 2:
        stem, pair = cloze(shown)
        if stem.endswith(BLANK) and {one.casefold() for one in pair} in BOOLEAN_PAIRS:
            question, shown = f"{question}\n{stem.removesuffix(BLANK).strip()}".strip(), pair
    explanation = ""
    if shown:
        shown, index = _right_choice(shown, target)
        answer = shown[index] if index is not None else tidy(_first(target, shown))
        shown = shown if index is not None else []
    else:
        index = None
        answer, explanation = read_target(_as_text(_first(target, []), "answer"))
    lowered = {key.casefold(): value for key, value in document.items()}
    for field in _EXPLANATION_FIELDS:
        value = lowered.get(field)
        if not explanation and isinstance(value, str) and tidy(value) not in (context, answer):
            explanation = tidy(value)
    subject = next((v for f in _SUBJECT_FIELDS if isinstance(v := lowered.get(f), str)), "")
    return RawDocument(question, context, shown, index, answer, explanation, subject=subject)


def read_target(target: str) -> tuple[str, str]:
    """Split a target into (answer, explanation), see `split_answer`; raise Unusable."""
    try:
        return split_answer(target)
    except ValueError as error:
        raise Unusable(str(error), target[:80]) from error


def make_seed(reading: RawDocument, origin: Origin, identifier: str, number: int) -> Seed:
    """Check a reading and make the seed of it; raise Unusable."""
    parts = (reading.question, reading.context, *reading.choices, reading.answer)
    _refuse_unfit(parts, (reading.explanation,), reading.tests)
    if not re.search(r"\w", reading.question):
        raise Unusable("empty question")
    if not reading.answer.strip():
        raise Unusable("empty answer")
    _check_choices(reading)
    kind = _kind(reading)
    return _seed(reading, origin, identifier, number, kind)


def make_passage(
    passage: str, kind: AnswerKind, origin: Origin, identifier: str, number: int
) -> Seed:
    """A seed without a question, of which new ones are to have answers of a kind; or Unusable."""
    _refuse_unfit((passage,))
    if unfit := find_unfit(passage):
        raise Unusable(unfit, passage[:80])
    reading = RawDocument("", passage, [], None, "")
    return _seed(reading, origin, identifier, number, kind)


def _refuse_unfit(parts: Sequence[str], explanations: Sequence[str] = (), tests: str = "") -> None:
    if sum(map(len, parts)) > MAX_CHARS:
        raise Unusable("too long", f"{sum(map(len, parts)):,} characters, at most {MAX_CHARS:,}")
    if any(_BROKEN.search(part) for part in (*parts, *explanations, tests)):
        raise Unusable("broken unicode", "a lone surrogate, NUL or replacement character")
    if any(_CONTROL.search(one) or has_remains(one) for one in (*parts, *explanations)):
        raise Unusable("control character", "such as a tab in place of the \\t of \\times")


def make_evaluated(reading: RawDocument, origin: Origin, identifier: str, number: int) -> Seed:
    """Make a seed without checks: decontamination must know every evaluated document."""
    try:
        kind = _kind(reading)
    except Unusable:
        kind = "short_text"
    return _seed(reading, origin, identifier, number, kind)


def content_key(context: str, question: str, choices: Sequence[str]) -> Hashed:
    """Make one key for a document, whatever its case, punctuation or option order.

    Signs count, and case where it is all that differs: see `tsqa.text.sameness`. The options
    count only where the question is short: `Which is a mammal?` alone is no document.
    """
    bare, case = " ".join([*tokens(context), *tokens(question)]), case_of(question)
    parts = [bare]
    if len(bare) < _SHORT_QUESTION_CHARS and len(words_of(bare)) < _SHORT_QUESTION_WORDS:
        parts += option_key(choices)
        case = f"{case} {case_of(' '.join(sorted(choices, key=str.casefold)))}".strip()
    return hash_key(parts, case)


_SHORT_QUESTION_WORDS = 8
_SHORT_QUESTION_CHARS = 60
"""For languages written without spaces."""


def _seed(
    reading: RawDocument, origin: Origin, identifier: str, number: int, kind: AnswerKind
) -> Seed:
    # Plain tuples: the name of a class must not decide a hash that is kept.
    asked = [tuple(question_key(text)) for text in (reading.context, reading.question)]
    key = [*asked, answer_key(reading.answer)]
    digest = hashlib.sha256(repr(key).encode("utf-8", "replace")).hexdigest()[:16]
    return Seed(
        id=identifier,
        task=origin.task,
        family=origin.family,
        capability=origin.capability,
        subject=reading.subject or origin.subject,
        language=origin.language,
        kind=kind,
        question=reading.question,
        context=reading.context,
        choices=reading.choices if kind == "choice" else [],
        answer_index=reading.index if kind == "choice" else None,
        answer=reading.answer,
        explanation=reading.explanation,
        tests=reading.tests,
        dataset=origin.dataset,
        revision=origin.revision,
        split=origin.split,
        licence=origin.licence,
        doc_id=number,
        content_hash=digest,
    )


def _kind(reading: RawDocument) -> AnswerKind:
    """The kind the source states, checked, or the one that the answer shows."""
    answer = reading.answer.strip().casefold().rstrip(".")
    is_boolean = any(answer in pair for pair in BOOLEAN_PAIRS)
    is_number = parse_number(reading.answer) is not None
    if reading.kind == "number" and not is_number:
        raise Unusable("mixed types", f"{reading.answer!r:.60} is no number")
    if reading.kind == "boolean" and not is_boolean:
        raise Unusable("mixed types", f"{reading.answer!r:.60} is neither yes/no nor true/false")
    if reading.kind is not None:
        return reading.kind
    if reading.tests:
        return "code"
    if reading.choices:
        pair = {choice.casefold().rstrip(".") for choice in reading.choices}
        return "boolean" if pair in BOOLEAN_PAIRS else "choice"
    if is_boolean:
        return "boolean"
    if is_number:
        return "number"
    return "long_text" if len(reading.answer) > _LONG_ANSWER_CHARS else "short_text"


def _check_choices(reading: RawDocument) -> None:
    if reading.kind == "choice" and not reading.choices:
        raise Unusable("empty choices")
    if not reading.choices:
        if letter_index(reading.answer) is not None and _LETTERED.search(reading.question):
            raise Unusable(_LETTERS_ONLY, reading.answer)
        return
    if len(reading.choices) < 2:
        raise Unusable("fewer than two choices", repr(reading.choices)[:60])
    if any(not choice.strip() for choice in reading.choices):
        raise Unusable("an empty choice", repr(reading.choices)[:60])
    if len({seen(one) for one in reading.choices}) < len(reading.choices):
        raise Unusable("two choices are the same", repr(reading.choices)[:60])
    if are_letters(reading.choices):
        raise Unusable(_LETTERS_ONLY, repr(reading.choices)[:60])


def _with_option_texts(
    text: str, choices: list[str], target: object
) -> tuple[str, list[str], object]:
    """(text, choices, target) with lettered options in the text turned into choices."""
    rest, options = split_options(text)
    if not options:
        return text, choices, target
    if [normalise(o) for o in options] == [normalise(c) for c in choices]:
        return rest, choices, target
    if choices and are_letters(choices) and len(options) >= len(choices):
        if isinstance(target, str) and letter_index(target) is not None:
            target = letter_index(target)
        return rest, options[: len(choices)], target
    if not choices and isinstance(target, str):
        # Some tasks name the option by its position, which a filter of theirs reads off a letter.
        bare = target.strip()
        index = int(bare) if bare.isdecimal() and bare not in options else letter_index(target)
        if index is not None and index < len(options):
            return rest, options, index
    return text, choices, target


def _right_choice(choices: list[str], target: object) -> tuple[list[str], int | None]:
    """(the choices with one right, its index); no index when every choice is right."""
    targets = target if isinstance(target, (list, tuple)) else [target]
    if not targets:
        raise Unusable("no right answer", "the list of targets is empty")
    indices = sorted({_choice_index(choices, one) for one in targets})
    if isinstance(target, (list, tuple)) and len(indices) == len(choices):
        return choices, None
    first, *others = indices
    kept = [choice for number, choice in enumerate(choices) if number not in others]
    return kept, first


def _choice_index(choices: Sequence[str], target: object) -> int:
    target = target.item() if hasattr(target, "item") else target  # numpy's own integers
    if isinstance(target, float) and target.is_integer():
        target = int(target)
    if isinstance(target, int):
        if not 0 <= target < len(choices):
            raise Unusable("answer index out of range", f"{int(target)} of {len(choices)} choices")
        return int(target)
    text = tidy(_as_text(target, "answer"))
    if text in choices:
        return choices.index(text)
    raise Unusable("the answer is none of the choices", f"{text!r:.60}")


def _first(target: object, choices: Sequence[str]) -> Any:
    """The first right answer, as text where it is an index."""
    if isinstance(target, (list, tuple)):
        usable = [one for one in target if str(one).strip()]
        if not usable:
            raise Unusable("empty answer", "the list of targets is empty")
        target = usable[0]
    return choices[_choice_index(choices, target)] if choices else target


def _as_text(value: object, what: str) -> str:
    """Text and numbers as text; anything else is a type the task should not have rendered."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    raise Unusable("mixed types", f"the {what} is {type(value).__name__}, not text")
