"""Grades, read from a judge's reply."""

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

_GRADE = re.compile(r"(?:(?:score|grade): )?[*_ ]{0,4}([1-5])(?:\s?/\s?5)?(?![\d/.,]*\d)")


def parse_judgement(text: str, finish_reason: str) -> Mapping[str, int] | None:
    """Read the grades, 1 to 5, by criterion; None unless every criterion has one, and but one."""
    said, error = open_reply(text, finish_reason)
    if error:
        return None
    pairs = list(_pairs(read_objects(said, finish_reason == "length")))
    if not pairs:
        pairs = [(key, value) for key, _, value in (x.partition(":") for x in said.splitlines())]
    grades: dict[str, int] = {}
    for key, value in pairs:
        criterion = re.sub(r"[^a-z]", "", key.lower())
        match = _GRADE.match(value.strip())
        if criterion in CRITERIA and match:
            grade = int(match[1])
            if grades.setdefault(criterion, grade) != grade:
                return None  # which of two holds, nobody knows
    return grades if len(grades) == len(CRITERIA) else None


def _pairs(value: Any) -> Iterator[tuple[str, str]]:
    """Keys and texts of objects; those of an object that holds them one level deeper too."""
    for item in value:
        for key, inner in item.items():
            yield str(key), as_text(inner)
            if isinstance(inner, dict):
                yield from ((str(k), as_text(v)) for k, v in inner.items())
