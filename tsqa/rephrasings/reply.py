"""A rephrasing, read from a teacher's reply.

Guarantees: any text gives a result, never an exception; a first line that only announces what comes
("Here is a rewritten version:") and a fence around all are left out, and nothing else is changed;
what cannot be used says why.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tsqa.teachers.replies.fields import CUT, open_reply, prose, repeats
from tsqa.text.forbidden import find_unfit, make_visible
from tsqa.text.normalise import words
from tsqa.text.refusals import REFUSAL, explains_refusal

_SURE = r"(?:sure|certainly|of course|okay|ok|absolutely)(?: thing)?[,:!.][^\n]{0,80}(?<=[:!.])"
_HERE = (
    r"\W{0,4}(?:(?:here(?:['\u2019]s| is| are)|below (?:is|are)|the following (?:is|are)|this is)\b"
    r"[^\n]{0,160}|rewritten(?: (?:passage|version|text|as)[^\n]{0,40})?):\W{0,4}"
)
_PREAMBLE = re.compile(rf"\A\s*(?:{_SURE}[ \t]*\n\s*)?(?:{_HERE}\n\s*)?", re.IGNORECASE)
_FENCED = re.compile(r"\A\s*```[ \t]*\w*[ \t]*\n(.*)\n```\s*\Z", re.DOTALL)
_ACT = re.compile(r"\b(?:rewrite|rephrase|paraphrase|reformulate)\b", re.IGNORECASE)
"""What only this task asks for, as a word that refusals are known by."""
_GRAM = 4
_MOST_REPEATED = 0.5
"""Share of runs of 4 words that an earlier one equals; of real prose below 0.05, of tables 0.2."""


@dataclass(frozen=True)
class ParsedRephrasing:
    text: str
    error: str
    """Empty when the text can be used."""


def parse_rephrasing(text: str, finish_reason: str, passage: str) -> ParsedRephrasing:
    """Read a rephrasing; one that was cut off has lost its end, and is an error."""
    said, error = open_reply(text, finish_reason)
    if error:
        return ParsedRephrasing(make_visible(" ".join(text.split())), error)
    said = _without_frame(said)
    if finish_reason == "length":
        error = CUT
    elif _refuses(said) and not _refuses(passage):
        error = REFUSAL
    elif not any(map(str.isalnum, said)):
        error = "no text"
    elif _is_json(said) and not _is_json(passage):
        error = "JSON in place of a text"
    elif repeats(said) or _repeated_share(said) > _MOST_REPEATED:
        error = "repeats itself"
    if unfit := find_unfit(said):
        return ParsedRephrasing(make_visible(said), unfit)
    return ParsedRephrasing(said, error)


def _is_json(text: str) -> bool:
    if not text.startswith(("{", "[")):
        return False
    try:
        return isinstance(json.loads(text, strict=False), dict | list)
    except (ValueError, RecursionError):
        return False


def _refuses(text: str) -> bool:
    return explains_refusal(_ACT.sub("write", text))


def _without_frame(said: str) -> str:
    bare = _PREAMBLE.sub("", said, count=1)
    fenced = _FENCED.match(bare)
    return prose(fenced[1] if fenced else bare).strip()


def _repeated_share(text: str) -> float:
    found = words(text)
    runs = [tuple(found[place : place + _GRAM]) for place in range(len(found) - _GRAM + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
