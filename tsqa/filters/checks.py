"""Checks of one candidate by itself: readable, short enough, agreed upon, not a seed."""

from __future__ import annotations

from collections.abc import Mapping

from tsqa.filters.candidate import Candidate, Rejection
from tsqa.filters.text import normalise, words


def check_format(candidate: Candidate) -> Rejection | None:
    """A question that could be read, with at least one answer that could be read."""
    if candidate.parse_error:
        return Rejection(candidate.parse_error)
    if not words(candidate.question):
        return Rejection("empty question")
    if not candidate.winning_vote:
        return Rejection("no readable answer")
    if not normalise(candidate.answer):
        return Rejection("answer without words")
    return None


def check_length(candidate: Candidate, max_words: int) -> Rejection | None:
    count = len(words(candidate.text))
    return Rejection("too long", float(count)) if count > max_words else None


def check_agreement(candidate: Candidate, share: float) -> Rejection | None:
    """Enough votes for one answer; a tie is no answer."""
    if candidate.is_tie:
        return Rejection("tie", candidate.agreement)
    if candidate.agreement < share - 1e-9:
        return Rejection("no majority", candidate.agreement)
    return None


def check_copy(candidate: Candidate, seeds: Mapping[str, str]) -> Rejection | None:
    """`seeds`: normalised question -> seed id, of every training document, used or not."""
    seed = seeds.get(normalise(candidate.question))
    return Rejection("copy of a seed", 1.0, seed) if seed else None
