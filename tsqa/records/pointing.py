"""Texts that point at a passage, and so are not clear without it."""

from __future__ import annotations

import re

_TEXTS = "passage|text|article|paragraph|excerpt|document|section"
_VOICES = "author|narrator|writer|speaker"
_POINTS = re.compile(
    rf"\b(?:the|this|that|given|above|following) (?:\w+ )?"
    rf"(?:(?:{_TEXTS})s?|(?:{_VOICES})s?(?! of\b))\b"
    r"|\b(?:mentioned|described|stated|listed|discussed|quoted) (?:above|here|in (?:the|this))\b"
    r"|\baccording to (?:the|this)\b",
    re.IGNORECASE,
)


def points_at_passage(text: str) -> bool:
    """Whether it says `the passage`, `mentioned above` and the like; not `the author of Emma`."""
    return bool(_POINTS.search(text))
