"""Grades and verdicts, read from a judge's reply."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tsqa.prompts import CRITERIA
from tsqa.teachers.replies.fields import (
    as_text,
    open_reply,
    read_objects,
)

_SAME = re.compile(r"\W{0,8}(?:(yes|true)|no|false)\b", re.IGNORECASE)
_GRADE = re.compile(r"(?:(?:score|grade): )?[*_ ]{0,4}([1-5])(?:\s?/\s?5)?(?![\d/.,]*\d)")


def parse_judgement(text: str, finish_reason: str) -> Mapping[str, int] | None:
    """Read the grades, 1 to 5, by criterion; None unless every criterion has one, and but one."""
    grades: dict[str, int] = {}
    for key, value in _read_pairs(text, finish_reason):
        criterion = re.sub(r"[^a-z]", "", key.lower())
        match = _GRADE.match(value.strip())
        if criterion in CRITERIA and match:
            grade = int(match[1])
            if grades.setdefault(criterion, grade) != grade:
                return None  # which of two holds, nobody knows
    return grades if len(grades) == len(CRITERIA) else None


def parse_sameness(text: str, finish_reason: str) -> bool | None:
    """Read whether two questions are the same; None where the reply does not say, or says both."""
    pairs = _read_pairs(text, finish_reason)
    said = [value for key, value in pairs if re.sub(r"[^a-z]", "", key.lower()) == "same"]
    said = said or [key for key, _ in pairs[:1]]  # a completion goes on after `Same:`
    found = [match and match[1] is not None for match in map(_SAME.match, said)]
    return found[0] if len({*found}) == 1 else None


def _read_pairs(text: str, finish_reason: str) -> list[tuple[str, str]]:
    """The keys and values of a reply, of its objects or else its lines; none of an unfit one."""
    said, error = open_reply(text, finish_reason)
    if error:
        return []
    pairs = list(_pairs(read_objects(said, finish_reason == "length")))
    if not pairs:
        pairs = [(key, value) for key, _, value in (x.partition(":") for x in said.splitlines())]
    return pairs


def _pairs(value: Any) -> Iterator[tuple[str, str]]:
    """Keys and texts of objects; those of an object that holds them one level deeper too."""
    for item in value:
        for key, inner in item.items():
            yield str(key), as_text(inner)
            if isinstance(inner, dict):
                yield from ((str(k), as_text(v)) for k, v in inner.items())
