"""The answer that a reply gives: of which kind it is, cleaned, and as one of the options.

Promises: nothing here raises on any text; what is in doubt is no answer, and says why.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tsqa.choosing import choose
from tsqa.filters.text import normalise
from tsqa.recipe import AnswerKind
from tsqa.replies import fenced_code, repeats
from tsqa.stated import last_statement

_MAX_SHORT_WORDS = 6
"""A number with its unit, or a name; what is longer is a sentence."""

_CURRENCY = "$\u20ac\u00a3\u00a5"
_NUMBER = re.compile(
    rf"-?[{_CURRENCY}]?\d[\d,]*(?:\.\d+)?(?:/\d+)?(?: ?%)?|\\[dt]?frac\{{[^{{}}]*\}}\{{[^{{}}]*\}}"
)
_BEGINS_AS_NUMBER = re.compile(
    rf"[-+(]?[{_CURRENCY}]?(?:\.?\d|\\?pi\b|\\[a-z]+[\{{\[]|[\u03c0\u221a])"
)
_YES_NO = re.compile(
    r"(?:(?:it|this|that|the (?:statement|answer|claim)) is )?(?P<word>yes|no|true|false)\b",
    re.IGNORECASE,
)
_ABBREVIATION = re.compile(r"[A-Za-z]\.[A-Za-z]\.$")
_TEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\{([^{}]*)\}")
_TEX_INLINE = re.compile(r"\$([^$\s]+)\$(?!\d)|\\\((.+?)\\\)")
_WRAPPERS = (
    ("$$", "$$"), ("$", "$"), (r"\[", r"\]"), (r"\(", r"\)"), ("**", "**"),
    ("*", "*"), ("`", "`"), ('"', '"'), ("'", "'"), ("\u201c", "\u201d"),
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    answer: str | None = None
    """One of the choices where there are any; None when it cannot be read."""
    index: int | None = None
    """Into the choices."""
    error: str = ""
    is_bare: bool = False
    """Of a choice: the text is the option's letter or words, and nothing else."""


def read_answer(text: str, kind: AnswerKind, choices: Sequence[str]) -> Reading:
    """Read what stands where the answer belongs, be it the bare answer or a sentence with it."""
    if repeats(text):
        return Reading(error="repeats itself")
    match kind:
        case "choice" if choices:
            return _choose(text, choices)
        case "number":
            return _read_number(_concluded(text))
        case "boolean":
            return _read_boolean(_concluded(text))
        case "long_text":
            answer = tidy(text)
        case "code":
            answer = read_code(text)
        case _:
            answer = _concluded(text)
    return Reading(answer=answer) if answer else Reading(error="no answer")


def read_code(text: str) -> str:
    """The program in a text: what its longest fence holds, or all of it."""
    block = fenced_code(text)
    return block[0] if block else text.strip("\n")


def boxed_content(text: str) -> str:
    r"""The content of the last whole \boxed{...}."""
    _, marker, rest = text.rpartition(r"\boxed{")
    depth = 1
    for position, character in enumerate(rest if marker else ""):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return rest[:position].strip()
    return ""


def tidy(text: str) -> str:
    """A longer text without the rules, blank lines and torn bold marks that labels leave behind."""
    text = re.sub(r"[ \t]+$", "", text.strip(), flags=re.MULTILINE)
    text = re.sub(r"(?:\n\s*-{3,})+\Z", "", text)
    text = re.sub(r"\n{3,}", "\n\n", text)
    if text.count("**") % 2:
        text = text.removesuffix("**").removeprefix("**")
    return text.strip()


def _choose(text: str, choices: Sequence[str]) -> Reading:
    """The option that a text names, by its letter, by its words, or by both if they agree."""
    chosen = choose(_clean(text), _concluded(text), [_clean(choice) for choice in choices])
    if chosen.index is None:
        return Reading(error=chosen.error)
    return Reading(choices[chosen.index], chosen.index, is_bare=chosen.is_bare)


def _read_number(text: str) -> Reading:
    """A number with its unit as it was written; of a sentence, the only number in it."""
    value = text.replace("\u2212", "-")
    if not re.search(r"[,;]\s|\b(?:or|and)\b", value):  # x = 3 or x = 5
        result = re.split(r"[=\u2248]", value)[-1].strip()
        value = result if any(character.isdigit() for character in result) else value
    if _BEGINS_AS_NUMBER.match(value) and len(value.split()) <= _MAX_SHORT_WORDS:
        return Reading(answer=value)
    numbers = set(_NUMBER.findall(value))
    if len(numbers) == 1:
        return Reading(answer=numbers.pop().rstrip(","))
    return Reading(error="several numbers" if numbers else "not a number")


def _read_boolean(text: str) -> Reading:
    match = _YES_NO.match(text)
    if not match:
        return Reading(error="not yes or no")
    said = set(normalise(text).split()) if len(text.split()) <= 4 else set()
    if said & {"yes", "true"} and said & {"no", "false"}:
        return Reading(error="both yes and no")
    return Reading(answer="yes" if match["word"].lower() in ("yes", "true") else "no")


def _concluded(text: str) -> str:
    """What a text ends up saying: in its last box, after `####`, after `the answer is`, or all."""
    boxed = boxed_content(text)
    if boxed:
        return _clean(boxed)
    text = text.rpartition("####")[2]
    return _clean(last_statement(text) or text)


def _clean(text: str) -> str:
    """A short answer without markdown, LaTeX wrappers, quotes and its final full stop."""
    text = re.sub(r"(?<!\w)\*\*|\*\*(?!\w)", "", text.strip())
    text = _TEX_TEXT.sub(r"\1", text)
    text = _TEX_INLINE.sub(lambda match: match[1] or match[2], text)
    for written, meant in ((r"\$", "$"), (r"\%", "%"), ("{,}", ","), (r"\,", " "), (r"\!", "")):
        text = text.replace(written, meant)
    before = ""
    while text != before:
        before = text
        text = text.strip().removeprefix("= ")
        if len(text.split()) <= _MAX_SHORT_WORDS and not _ABBREVIATION.search(text):
            text = text.removesuffix(".")
        for opening, closing in _WRAPPERS:
            inner = text[len(opening) : -len(closing)]
            if text == f"{opening}{inner}{closing}" and inner and opening not in inner:
                text = inner
    return text.strip()
