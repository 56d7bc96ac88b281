"""Checks of one candidate by itself: well-formed, of fit length, agreed upon."""

from __future__ import annotations

from tsqa.filters.candidate import Candidate, Rejection
from tsqa.filters.sameness import options_repeat
from tsqa.filters.text import words
from tsqa.filters.votes import is_number


def check_format(candidate: Candidate) -> Rejection | None:
    """A question that could be read, distinct options, at least one answer that could be read."""
    if candidate.parse_error:
        return Rejection(candidate.parse_error)
    if not words(candidate.question):
        return Rejection("empty question")
    rejection = _check_choices(candidate.choices) if candidate.choices else None
    if rejection:
        return rejection
    if not candidate.winning_vote:
        return Rejection("no readable answer")
    if not any(map(str.isalnum, candidate.answer)):
        return Rejection("answer without words")
    if candidate.kind == "number" and not is_number(candidate.answer):
        return Rejection("answer is not a number")
    return None


def check_length(candidate: Candidate, min_words: int, max_words: int) -> Rejection | None:
    """Words of the question, its context and options, and of the answer with all it carries."""
    count = len(words(candidate.full_text))
    if count < min_words:
        return Rejection("too short", float(count))
    return Rejection("too long", float(count)) if count > max_words else None


def check_agreement(candidate: Candidate, share: float) -> Rejection | None:
    """Enough votes for one answer; a tie is no answer.

    Code is not voted on, since right programs differ: its tests decide, in the step `code`.
    """
    if candidate.kind == "code":
        return None
    if candidate.is_tie:
        return Rejection("tie", candidate.agreement)
    if candidate.agreement < share - 1e-9:
        return Rejection("no majority", candidate.agreement)
    return None


def _check_choices(choices: list[str]) -> Rejection | None:
    if len(choices) < 2:
        return Rejection("fewer than two options", float(len(choices)))
    if not all(choice.strip() for choice in choices):
        return Rejection("empty option")
    if options_repeat(choices):
        return Rejection("options repeat")
    return None
