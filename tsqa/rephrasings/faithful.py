"""Whether a rephrasing keeps to its passage: its length, numbers and names, and its own words.

Guarantees: the first check that fails is the reason, with what it found as the match; no model is
asked. What it does not see: facts told wrongly with the right numbers and names, names that only
begin sentences, number words of other languages than English.
"""

from __future__ import annotations

import re

from tsqa.recipe import FaithfulnessSection
from tsqa.records.candidate import Candidate, Rejection
from tsqa.records.pointing import points_at_passage
from tsqa.rephrasings.facts import (
    calculated_values,
    find_names,
    find_numbers,
    names_held,
    stated_values,
)
from tsqa.text.normalise import words

_RUN = 8
"""Words in a row that are not found again by chance."""
_OF_ITSELF = re.compile(
    r"\b(?:rewrit(?:e|ten|ing)|rephras\w+|paraphras\w+|let me know|i hope (?:this|that|it)"
    r"|as requested|(?:here(?:['\u2019]s| is| are)|this is|below is) [^.\n]{0,60}"
    r"\b(?:version|faqs?|frequently asked|tutorial|table|summary|conversation|dialogue))\b",
    re.IGNORECASE,
)


def check_faithful(candidate: Candidate, section: FaithfulnessSection) -> Rejection | None:
    """A rephrasing that is too short or long, talks of itself, adds facts, or loses too many."""
    text, passage = candidate.answer, candidate.ground
    ratio = round(len(words(text)) / max(1, len(words(passage))), 3)
    if ratio < section.shortest:
        return Rejection("too short for its passage", ratio)
    if ratio > section.longest:
        return Rejection("too long for its passage", ratio)
    if points_at_passage(text) and not points_at_passage(passage):
        return Rejection("points at a passage that is not shown")
    if (meta := _OF_ITSELF.search(text)) and not _OF_ITSELF.search(passage):
        return Rejection("speaks of itself", match=meta[0])
    return _check_facts(candidate, section.kept)


def check_copied(candidate: Candidate, most: float) -> Rejection | None:
    """A rephrasing of which too much stands in the passage, word for word."""
    share = copied_share(candidate.answer, candidate.ground)
    return Rejection("copy of its passage", round(share, 3)) if share > most else None


def copied_share(text: str, passage: str) -> float:
    """Share of the words of a text that stand in runs of 8 words of the passage."""
    own, other = words(text), words(passage)
    known = {tuple(other[n : n + _RUN]) for n in range(len(other) - _RUN + 1)}
    copied: set[int] = set()
    for place in range(len(own) - _RUN + 1):
        if tuple(own[place : place + _RUN]) in known:
            copied.update(range(place, place + _RUN))
    return len(copied) / max(1, len(own))


def _check_facts(candidate: Candidate, least: float) -> Rejection | None:
    text, passage, language = candidate.answer, candidate.ground, candidate.language
    numbers, names = find_numbers(text), find_names(text, language)
    supported = calculated_values(text, stated_values(passage))
    for value, written in numbers.items():
        if value not in supported:
            return Rejection("number that the passage lacks", match=written)
    held = names_held(passage)
    for folded, written in names.items():
        if folded not in held:
            return Rejection("name that the passage lacks", match=written)
    values, said = stated_values(text), names_held(text)
    facts = [number in values for number in find_numbers(passage)]
    facts += [name in said for name in find_names(passage, language)]
    kept = round(sum(facts) / len(facts), 3) if facts else 1.0
    return Rejection("too little of its passage", kept) if kept < least else None
