"""A new question, read from a teacher's reply.

Three shapes are read, in this order: a JSON object, fields with labels (plain or markdown), and
bare text as it continues a few-shot prompt.

Guarantees: any text gives a result, never an exception; nothing is invented: a field that is not
there stays empty, and what cannot be read says why. A text cut at max_tokens loses the field that
the cut went through, and only that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tsqa.recipe import AnswerKind
from tsqa.teachers.replies.answer import read_answer, read_code, tidy
from tsqa.teachers.replies.choice import is_named
from tsqa.teachers.replies.fields import (
    CUT,
    OPENER,
    SECOND_OPTION,
    SHORT_ANSWER,
    SHORT_QUESTION,
    as_text,
    is_other_object,
    known_objects,
    open_reply,
    prose,
    repeats,
    split_labels,
    unnested,
)
from tsqa.teachers.replies.judgement_reply import OFFERED
from tsqa.teachers.replies.option_references import names_others
from tsqa.teachers.replies.options import Options, are_letters, read_options, split_options
from tsqa.teachers.replies.stated_answer import last_statement
from tsqa.text.forbidden import find_unfit, make_visible
from tsqa.text.normalise import normalise
from tsqa.text.quantities import read_quantity
from tsqa.text.refusals import (
    REFUSAL,
    asks_nothing,
)
from tsqa.text.sameness import options_repeat

MIN_CHOICES, MAX_CHOICES = 2, 10
_LEFT_OUT = re.compile(r"(?:\. ?){2,}|\u2026+|_{2,}")
"""An option that only shows where one would stand; a single mark may be one."""


_RUNS_ON = re.compile(r"\b(?:Answer|Question):")
_ANSWER_LINE = re.compile(r"^\W{0,4}Answer\W{0,4}:\W{0,4}[^\W_]", re.MULTILINE | re.IGNORECASE)


_ENDS_TALKING = re.compile(
    r"\n\s*(?:---\s*)?(?:let me know if\b|feel free to (?:ask|let)\b|(?:i )?hope (?:this|that"
    r"|it) (?:helps|works|meets)\b"
    r"|would you like (?:me to|another (?:question|one|example|problem)|a hint)\b|(?:is there"
    r"|do you need) anything else\b"
    r"|this question (?:tests|requires|is designed|assesses|keeps|follows)\b)[^\n]*\Z",
    re.IGNORECASE,
)
_OPENER = re.compile(
    r"\A(?:sure|certainly|of course|okay|great|absolutely)[,!] here(?:'s| is)"
    r"[^?:.!\n]{0,60}[:.!]\s+",
    re.IGNORECASE,
)
_ABOUT_IT = re.compile(
    r"(?:\n\W{0,4}(?:difficulty|topic|subject|grade|skill|category)(?: level)?\W{0,4}:"
    r"[^\n]{0,60})+\Z",
    re.IGNORECASE,
)
"""What a teacher notes below a question."""
_TOLD = re.compile(
    r"(?:\?[\s*_]*[(=]?|[.!]\s*[*_]{0,2}\()\s*(?P<said>[^()?\s]+(?: [^()?\s]+){0,2})\)?[\s.*_]*\Z"
)
"""`What is 3 + 4? 7`, `Is a whale a fish? (No)`."""
_ANSWER_BEHIND = re.compile(
    rf"[?.]\W{{0,4}}(?:correct |right )?answer\W{{0,3}}:(?!\W*{OFFERED})\W{{0,4}}[^\W_]",
    re.IGNORECASE,
)
_RULED = re.compile(r"\A-{3,}\s*\n\s*(?=\S)")
_IN_BOLD = re.compile(r"\*\*(?P<inner>[^*\s](?:[^*]*[^*\s])?)\*\*")
_QUOTED = re.compile(r"[\"\u201c\u201e](?P<inner>[^\"\u201c\u201d]+)[\"\u201d\u201c]")
_SAID_OUT = re.compile(
    r"[?\uff1f][\s*_]*(?:\((?:[A-Z][\w.'\u2019-]*|of|the|von|van|de|da)"
    r"(?: (?:[A-Z][\w.'\u2019-]*|of|the|von|van|de|da)){0,5}\)"
    r"|\n\s*(?P<mark>\*\*|__|\*|_)(?!\s)[^*_\n]{1,60}(?P=mark)"
    r"|\s(?:It|That)(?: is|'s) [^.!?\n]{1,40})[.!]?\s*\Z"
)
"""Of short answers: `Who wrote Faust? (Johann Wolfgang von Goethe)`, `*Goethe*`, `It is Goethe.`"""
_WORKED = re.compile(
    r"\d(?: ?[A-Za-z]{1,6})? ?(?:[-+*/\u00d7\u00f7\u00b7]|\\times|\\div) ?[$\u20ac\u00a3]?\d"
    r"[^\n=]{0,60}= ?\W?\d"
)
"""Steps behind a question, towards its answer."""
_CHOOSES = re.compile(
    r"\b(?:answer with|choose|pick|select) (?:option )?\(?[A-J]\)?[.!]?\s*\Z", re.I
)
_ASKS_NUMBER = re.compile(
    r"(?:^|(?<=[.?!])\s+)(?:and )?(?:how (?:many|much|long|far|old)|what is)\b[^.?!]*\?", re.I
)
_QUIZ = re.compile(r"(?<!\W)[^\w?:\uff1f]*[?:\uff1f]\W*\n\W{0,4}A[.):][^\n]*\n+\W{0,4}B[.):]")
"""A question with its options; it starts where a word ends, so that many signs are read once."""
_OF_FORM = re.compile(
    r"\b(?:forms?|simpl\w+|decimals?|fractions?|percent\w*|notations?|convert\w*|express\w*|writ\w+"
    r"|round\w*|significant|equivalent|reduced?|lowest terms|improper|mixed)\b",
    re.IGNORECASE,
)
"""What asks how a number is written, of which options may be equal in value."""
_FIRST = re.compile(r"\A\(?1[.)]\s+(?=\S)(?!.*(?<!\w)2[.)]\s)", re.DOTALL)
"""The number of a question that no other follows."""
_ITEM = re.compile(r"\s*\W{0,2}(?:\d{1,2}[.)]|Q ?\d{1,2}[.:)]|[-*\u2022])\s.*[?\uff1f]\W{0,2}")


@dataclass(frozen=True)
class ParsedQuestion:
    question: str
    context: str
    choices: list[str]
    tests: str
    error: str
    """Empty when the question can be used."""


def parse_question(
    text: str, finish_reason: str, kind: AnswerKind, form: str, has_context: bool
) -> ParsedQuestion:
    """Read a new question; in the completion form the text goes on where the prompt ended."""
    is_cut = finish_reason == "length"
    said, error = open_reply(text, finish_reason)
    if error:
        return ParsedQuestion(make_visible(" ".join(text.split())), "", [], "", error)
    objects = known_objects(said, is_cut, kind, ("question", "passage", "choices", "tests"))
    fields: Mapping[str, Any] = {}
    if objects:
        fields = {name: values[-1] for name, values in objects[0].items()}
    elif not is_other_object(said, kind):
        fields = _labelled_question(said, is_cut, form, has_context)
    fields = unnested(fields)
    question = as_text(fields.get("question"))
    options = Options([])
    if kind == "choice":
        question, options = _split_choice(question, fields.get("choices"))
    parsed = ParsedQuestion(
        question=_undressed(tidy(prose(question))),
        context=tidy(prose(as_text(fields.get("passage") or fields.get("context")))),
        choices=[prose(text) for text in options.texts],
        tests=read_code(as_text(fields.get("tests"))).strip("\n") if kind == "code" else "",
        error="",
    )
    texts = [parsed.question, parsed.context, *parsed.choices]
    unfit = next(filter(None, map(find_unfit, texts)), "") or find_unfit(parsed.tests, is_code=True)
    error = _problem_of(parsed, kind, has_context) or options.error
    if unfit or asks_nothing(parsed.question, parsed.choices):
        error = unfit or REFUSAL
    if not error:
        error = _runs_on(parsed.question, kind, parsed.choices, is_field=bool(objects))
    if is_cut and error.startswith("no "):
        error = CUT
    return _visible(replace(parsed, error=error)) if unfit else replace(parsed, error=error)


def _undressed(text: str) -> str:
    """A question without what an assistant says to whoever asked, quotes or a block's marks."""
    text = _ABOUT_IT.sub("", _ENDS_TALKING.sub("", _OPENER.sub("", text)).rstrip())
    text = _FIRST.sub("", _RULED.sub("", text))
    lines = text.split("\n")
    if all(line.startswith(">") for line in lines if line):
        text = "\n".join(line.removeprefix(">").strip() for line in lines)
    quoted = _QUOTED.fullmatch(text) or _IN_BOLD.fullmatch(text)
    return quoted["inner"] if quoted else text


def _visible(parsed: ParsedQuestion) -> ParsedQuestion:
    """A question that is kept only to be shown, without what no file should hold."""
    return replace(
        parsed,
        question=make_visible(parsed.question),
        context=make_visible(parsed.context),
        choices=list(map(make_visible, parsed.choices)),
        tests=make_visible(parsed.tests),
    )


def _labelled_question(text: str, is_cut: bool, form: str, has_context: bool) -> dict[str, str]:
    begun = SHORT_QUESTION.match(text.lstrip())
    if begun and not SECOND_OPTION.search(text):
        text = SHORT_ANSWER.sub("Answer:", text, count=1)
    text = SHORT_QUESTION.sub("Question:", text, count=1) if begun else text
    lead, pieces = split_labels(text)
    names = {name for name, _ in pieces}
    if form == "chat":
        lead = OPENER.sub("", lead, count=1)
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
            return fields  # the rest is its answer, or the next question
        fields[name] = value
    if is_cut and fields:
        fields.popitem()
    return fields


def _problem_of(parsed: ParsedQuestion, kind: AnswerKind, has_context: bool) -> str:
    """Why a question cannot be used; begins with `no` where a field is missing."""
    if sum(map(str.isalnum, parsed.question)) < 2:
        return "no question"
    asked = [line for line in parsed.question.split("\n") if line.strip()]
    items = [line for line in asked if _ITEM.fullmatch(line)]
    is_counted = len(items) > 1 and (items[0] is asked[0] or len(items) == len(asked))
    asks_twice = kind == "number" and len(_ASKS_NUMBER.findall(parsed.question)) > 1
    quiz = _QUIZ.search(parsed.question) if kind == "choice" else None
    is_followed = quiz is not None and bool(re.search("[?\uff1f]", parsed.question[quiz.end() :]))
    if is_counted or asks_twice or is_followed:
        return "several questions"
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
        if any(not text or _LEFT_OUT.fullmatch(text) for text in parsed.choices):
            return "an empty option"
        if options_repeat(parsed.choices) or _are_equal(parsed.choices, parsed.question):
            return "two options are equal"
        if names_others(parsed.choices, f"{parsed.context}\n{parsed.question}"):
            return "an option names other options"
    return ""


def _are_equal(choices: list[str], question: str) -> bool:
    """Whether two options are one value, as 0.5 and 1/2 are, and their form is not asked for."""
    found = [quantity for one in choices if (quantity := read_quantity(one))]
    values = {(quantity.value, quantity.unit) for quantity in found}
    return len(values) < len(found) and not _OF_FORM.search(question)


def _runs_on(question: str, kind: AnswerKind, choices: list[str], *, is_field: bool) -> str:
    """Why a question holds more than itself, such as its answer; `is_field`: of a JSON object."""
    if (_ANSWER_LINE if is_field else _RUNS_ON).search(question) or _ANSWER_BEHIND.search(question):
        return "runs into the next field"
    asked, mark, after = question.rpartition("?")
    told = _TOLD.search(question)
    named = told["said"].rpartition("=")[0].split()[-1:] if told else []
    if told and named and named[0] not in question[: told.start()].split():
        told = None  # `(g = 9.8)`, a constant to use
    stated = [told["said"] if told else "", last_statement(after) if mark and asked else ""]
    is_told = kind in ("choice", "number", "boolean") and any(
        one and not read_answer(one, kind, choices).error for one in stated
    )
    if kind == "short_text":
        is_told = bool(_SAID_OUT.search(question))
    if kind == "number":
        is_told |= bool(_WORKED.search(after))
    if kind == "choice":
        worded = [n for n, one in enumerate(choices) if re.search(r"[^\W\d_]{3}", one)]
        named = [n for n in worded if is_named(n, after, choices)]
        is_told |= bool(_CHOOSES.search(question)) or (bool(asked) and len(named) == 1)
    return "states its answer" if is_told else ""


def _split_choice(question: str, given: object) -> tuple[str, Options]:
    """(the question without its options, the options): those of the field, or those within it.

    Where the field has options, those lettered in the question are part of it, unless they are the
    same again.
    """
    stem, written = split_options(question)
    within, beside = read_options(written), read_options(given)
    are_bare = are_letters(beside.texts)
    if not beside.texts or (are_bare and len(written) == len(beside.texts)):
        return (stem, within) if written else (question, beside)
    if are_bare:
        return question, replace(beside, error="the options are letters without their texts")
    again = {normalise(text) or text for text in within.texts}
    listed = {normalise(text) or text for text in beside.texts}
    if again and again == listed:
        return stem, beside
    if 2 * len(again & listed) > len(listed):
        return question, replace(beside, error="options unlike those in the question")
    return question, beside
