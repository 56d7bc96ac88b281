"""A match shown within its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tsqa.text.normalise import WORD, compose

_AROUND = 300
_LONGEST = 1200
_CUT = " [...] "


@dataclass(frozen=True)
class Marked:
    """A text as it was compared, around a match."""

    before: str
    match: str
    after: str


def mark(text: str, run: Sequence[str]) -> Marked:
    """Mark a run of words in a text that is written as the documents are."""
    composed = compose(text)
    spans, found = [], []
    for match in WORD.finditer(composed):
        spans.append(match.span())
        found.append(match[0].casefold())
    for place in range(len(found) - len(run) + 1):
        if found[place : place + len(run)] == list(run):
            start, end = spans[place][0], spans[place + len(run) - 1][1]
            return Marked(
                _end_of(composed[:start]), _middle(composed[start:end]), _begin(composed[end:])
            )
    return Marked("", _middle(" ".join(run)), "")


def _end_of(text: str) -> str:
    return text if len(text) <= _AROUND else _CUT.lstrip() + text[-_AROUND:]


def _begin(text: str) -> str:
    return text if len(text) <= _AROUND else text[:_AROUND] + _CUT.rstrip()


def _middle(text: str) -> str:
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else text[:half] + _CUT + text[-half:]
