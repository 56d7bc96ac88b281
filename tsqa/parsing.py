"""What a teacher wrote, read back: questions, answers and judgements.

Three shapes are read, in this order: a JSON object, fields with labels (plain or markdown), and
bare text as it continues a few-shot prompt.

Promises: any text gives a result, never an exception; nothing is invented: a field that is not
there stays empty, and what cannot be read says why. A text cut at max_tokens loses the field that
the cut went through, and only that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tsqa.answers import STATED, boxed_content, name_options, read_answer, read_code, tidy
from tsqa.filters.sameness import options_repeat
from tsqa.filters.text import normalise_answer
from tsqa.prompts import CRITERIA
from tsqa.recipe import AnswerKind
from tsqa.replies import (
    CUT,
    as_text,
    fenced_code,
    field_of,
    open_reply,
    read_objects,
    repeats,
    split_labels,
    split_options,
)

MIN_CHOICES, MAX_CHOICES = 2, 10
_MAX_BARE_WORDS = 30
"""A first line without a label that is longer than this is prose, not an answer."""
_EXTRAS = ("reasoning", "knowledge", "context", "distractors")

_OPENER = re.compile(
    r"\s*(?:sure|certainly|of course|okay|absolutely|great|here(?:'s| is| are))\b[^\n]*[:!.]\n",
    re.IGNORECASE,
)
_MARK_OF_RIGHT = re.compile(
    r"(?:\((?:correct|correct answer|right answer)\)|[\u2713\u2714\u2705])$", re.IGNORECASE
)
_GRADE = re.compile(r"(?:(?:score|grade): )?[*_ ]{0,4}([1-5])(?:\s?/\s?5)?(?![\d/.,]*\d)")


@dataclass(frozen=True)
class ParsedQuestion:
    question: str
    context: str
    choices: list[str]
    tests: str
    error: str
    """Empty when the question can be used."""


@dataclass(frozen=True)
class ParsedAnswer:
    answer: str | None = None
    """As text, one of the choices where there are any; None when it cannot be read."""
    index: int | None = None
    """Into the choices as they were shown."""
    reasoning: str = ""
    knowledge: str = ""
    context: str = ""
    distractors: str = ""
    error: str = ""


def parse_question(
    text: str, finish_reason: str, kind: AnswerKind, form: str, has_context: bool
) -> ParsedQuestion:
    """Read a new question; in the completion form the text goes on where the prompt ended."""
    is_cut = finish_reason == "length"
    said, error = open_reply(text, finish_reason)
    if error:
        return ParsedQuestion(" ".join(text.split()), "", [], "", error)
    objects = _known_objects(said, is_cut, kind, ("question", "passage", "choices", "tests"))
    fields = objects[0] if objects else _labelled_question(said, is_cut, form, has_context)
    question = as_text(fields.get("question"))
    choices: list[str] = []
    if kind == "choice":
        stem, written = split_options(question)
        choices = _read_options(fields.get("choices")) or _read_options(written)
        if written and len(written) == len(choices):
            question = stem
    parsed = ParsedQuestion(
        question=tidy(question),
        context=tidy(as_text(fields.get("passage") or fields.get("context"))),
        choices=choices,
        tests=read_code(as_text(fields.get("tests"))) if kind == "code" else "",
        error="",
    )
    error = _problem_of(parsed, kind, has_context)
    if not error and not objects and re.search(r"\b(?:Answer|Question):", parsed.question):
        error = "runs into the next field"
    if is_cut and error.startswith("no "):
        error = CUT
    return replace(parsed, error=error)


def parse_answer(
    text: str, finish_reason: str, kind: AnswerKind, choices: Sequence[str]
) -> ParsedAnswer:
    """Read an answer and what explains it; `choices` in the order in which they were shown."""
    is_cut = finish_reason == "length"
    said, error = open_reply(text, finish_reason)
    if error:
        return ParsedAnswer(error=error)
    objects = _known_objects(said, is_cut, kind, ("answer", "final", *_EXTRAS))
    if objects:
        fields = _merged(objects)
    elif kind == "code":
        fields = _coded_answer(said, is_cut)
    else:
        fields = _labelled_answer(said, is_cut, kind, choices)
    given = [text for text in fields.get("final") or fields.get("answer") or [] if text.strip()]
    readings = [read_answer(text, kind, choices) for text in given]
    readable = [reading for reading in readings if not reading.error]
    if not readable:
        missing = CUT if is_cut else "no answer"
        return ParsedAnswer(error=readings[0].error if readings else missing)
    if len({(r.index, normalise_answer(r.answer or "")) for r in readable}) > 1:
        return ParsedAnswer(error="answers contradict each other")
    extras = {name: "\n".join(filter(None, map(tidy, fields.get(name, [])))) for name in _EXTRAS}
    if kind == "choice":
        extras = {name: name_options(value, choices) for name, value in extras.items()}
    kept = {name: "" if repeats(value) else value for name, value in extras.items()}
    return ParsedAnswer(readable[0].answer, readable[0].index, **kept)


def parse_judgement(text: str, finish_reason: str) -> Mapping[str, int] | None:
    """Grades from 1 to 5, by criterion; None unless every criterion has one."""
    said, error = open_reply(text, finish_reason)
    if error:
        return None
    pairs = list(_pairs(read_objects(said, finish_reason == "length")))
    if not pairs:
        pairs = [(key, value) for key, _, value in (x.partition(":") for x in said.splitlines())]
    grades = {}
    for key, value in pairs:
        criterion = re.sub(r"[^a-z]", "", key.lower())
        match = _GRADE.match(value.strip())
        if criterion in CRITERIA and match:
            grades[criterion] = int(match[1])
    return grades if len(grades) == len(CRITERIA) else None


def _pairs(value: Any) -> Iterator[tuple[str, str]]:
    """Keys and texts of objects; those of an object that holds them one level deeper too."""
    for item in value:
        for key, inner in item.items():
            yield str(key), as_text(inner)
            if isinstance(inner, dict):
                yield from ((str(k), as_text(v)) for k, v in inner.items())


def _known_objects(
    text: str, is_cut: bool, kind: AnswerKind, known: Sequence[str]
) -> list[dict[str, Any]]:
    """The JSON objects with a known field, keyed by field."""
    if kind == "code" and "```json" not in text and not text.lstrip().startswith(("{", "[")):
        return []  # the braces are the program's
    objects = []
    for item in read_objects(text, is_cut, is_code=kind == "code"):
        fields = {field_of(str(key)): value for key, value in item.items()}
        # An object that the cut left empty is still where the fields were to be.
        if any(name in fields for name in known) or (is_cut and not fields):
            objects.append(fields)
    return objects


def _merged(objects: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for item in objects:
        for name, value in item.items():
            fields.setdefault(name, []).append(as_text(value))
    return fields


def _labelled_question(text: str, is_cut: bool, form: str, has_context: bool) -> dict[str, str]:
    lead, pieces = split_labels(text)
    names = {name for name, _ in pieces}
    if form == "chat":
        lead = _OPENER.sub("", lead, count=1)
    if lead.strip():
        if form == "completion":
            pieces.insert(0, ("context" if has_context else "question", lead))
        elif "question" not in names:
            pieces.insert(0, ("question", lead))
        elif has_context and not names & {"context", "passage"}:
            pieces.insert(0, ("context", lead))
    fields: dict[str, str] = {}
    for name, value in pieces:
        if name in fields or name not in ("question", "passage", "context", "choices", "tests"):
            return fields  # what follows is its answer, or the next question
        fields[name] = value
    if is_cut and fields:
        fields.popitem()
    return fields


def _problem_of(parsed: ParsedQuestion, kind: AnswerKind, has_context: bool) -> str:
    """Why a question cannot be used; begins with `no` where a field is missing."""
    if not any(character.isalnum() for character in parsed.question):
        return "no question"
    if repeats(parsed.question) or repeats(parsed.context):
        return "repeats itself"
    if has_context and not parsed.context:
        return "no passage"
    if kind == "code" and not parsed.tests:
        return "no tests"
    if kind == "choice":
        count = len(parsed.choices)
        if count == 0:
            return "no options"
        if not MIN_CHOICES <= count <= MAX_CHOICES:
            return f"{count} options, not {MIN_CHOICES} to {MAX_CHOICES}"
        if not all(parsed.choices):
            return "an empty option"
        if options_repeat(parsed.choices):
            return "two options are equal"
    return ""


def _read_options(value: Any) -> list[str]:
    """Options as texts, without letters, bullets and marks of the right one."""
    if isinstance(value, str):
        _, options = split_options(value)
        separator = "\n" if "\n" in value.strip() else ";"
        value = options or [line for line in value.split(separator) if line.strip()]
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return []
    texts = [" ".join(_option_text(option).split()) for option in value]
    _, stripped = split_options("\n".join(texts))
    texts = stripped if len(stripped) == len(texts) else texts
    return [_MARK_OF_RIGHT.sub("", tidy(text.strip().removeprefix("- "))).strip() for text in texts]


def _option_text(option: Any) -> str:
    """Of an option written as an object, such as {label: A, text: Paris}, its longest value."""
    if isinstance(option, dict):
        return max(map(as_text, option.values()), key=len, default="")
    return as_text(option)


def _labelled_answer(
    text: str, is_cut: bool, kind: AnswerKind, choices: Sequence[str]
) -> dict[str, list[str]]:
    lead, pieces = split_labels(text)
    lead = _OPENER.sub("", lead, count=1)
    is_begun = bool(lead.strip())
    for number, (name, _) in enumerate(pieces):
        if name in ("question", "passage") and is_begun:
            # A runaway text goes on with the next item; the one that was asked for is whole.
            pieces, is_cut = pieces[:number], False
            break
        is_begun = is_begun or name in ("answer", "final")
    fields: dict[str, list[str]] = {}
    has_answer = any(name in ("answer", "final") for name, _ in pieces)
    if lead.strip():
        pieces.insert(0, ("reasoning" if has_answer else "bare", lead))
    for number, (name, value) in enumerate(pieces, 1):
        is_torn = is_cut and number == len(pieces)
        if name == "bare":
            answer, rest = _bare_answer(value, is_torn, kind, choices)
        elif name in ("answer", "final"):
            answer, rest = _first_line(value, is_torn, kind)
        else:
            answer, rest = "", ""
            if not is_torn:
                fields.setdefault(name, []).append(value)
        if answer:
            fields.setdefault("final" if name == "final" else "answer", []).append(answer)
        if rest and not is_torn:
            fields.setdefault("reasoning", []).append(rest)
    return fields


def _first_line(value: str, is_torn: bool, kind: AnswerKind) -> tuple[str, str]:
    """(answer, what follows it) of a labelled answer; nothing where the cut went through it."""
    boxed = boxed_content(value)
    if kind == "long_text" or boxed:
        return ("", "") if is_torn and not boxed else (value, "")
    line, newline, rest = value.strip().partition("\n")
    return ("", "") if is_torn and not newline else (line, rest.strip())


def _bare_answer(
    text: str, is_torn: bool, kind: AnswerKind, choices: Sequence[str]
) -> tuple[str, str]:
    """(answer, explanation) of a text without labels: marked in it, or on its first line."""
    if kind == "long_text":
        return ("", "") if is_torn else (text, "")
    working, marker, final = text.rpartition("####")
    if marker:
        answer, rest = _first_line(final, is_torn, kind)
        return answer, rest or working.strip()
    if boxed_content(text):
        return text, _working(text)
    first, newline, rest = text.strip().partition("\n")
    if is_torn:
        return (first, "") if newline and len(first.split()) <= _MAX_BARE_WORDS else ("", "")
    stated = [line for line in text.splitlines() if STATED.search(line)]
    if stated:
        return stated[-1], _working(text)
    if kind in ("choice", "number", "boolean"):
        lines = [line for line in text.splitlines() if line.strip()]
        for line in (lines[0], lines[-1]):
            if not read_answer(line, kind, choices).error:
                return line, "\n".join(other for other in lines if other != line)
    return (first, rest.strip()) if len(first.split()) <= _MAX_BARE_WORDS else ("", "")


def _working(text: str) -> str:
    """A text that holds its answer, unless it is a single sentence: that explains nothing."""
    return text if re.search(r"[.!?]\s+\S|\S\s*\n\s*\w", text) else ""


def _coded_answer(text: str, is_cut: bool) -> dict[str, list[str]]:
    """A program in a fence, or bare; labels count only outside of fences."""
    lead, pieces = split_labels(text)
    marked = next((value for name, value in pieces if name == "answer"), "")
    block = fenced_code(marked) or fenced_code(text)
    if block is None:
        program = re.split(r"^Question:", text, flags=re.MULTILINE)[0]
        program = re.sub(r"\A\s*\**Answer:\**", "", program)
        return {} if is_cut else {"answer": [program]}
    program, is_closed = block
    if is_cut and not is_closed:
        return {}
    explanation = _OPENER.sub("", lead.partition("```")[0], count=1)
    fields = {"answer": [program], "reasoning": [explanation]}
    for name, value in pieces:
        if name in _EXTRAS:
            fields.setdefault(name, []).append(value)
    return fields
