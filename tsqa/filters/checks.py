"""Checks of a single candidate: well-formed, neither too short nor too long, agreed upon."""

from __future__ import annotations

from tsqa.records.canaries import CanaryIndex
from tsqa.records.candidate import Candidate, Rejection
from tsqa.records.pointing import points_at_passage
from tsqa.records.votes import is_number
from tsqa.teachers.replies.fields import CUT_THOUGHTS
from tsqa.text.forbidden import find_unfit
from tsqa.text.normalise import words
from tsqa.text.refusals import REFUSAL, asks_nothing, explains_refusal, offers_none, refuses
from tsqa.text.sameness import options_repeat


def check_refusal(candidate: Candidate) -> Rejection | None:
    """A teacher that refuses to ask or to answer, or that writes a refusal as the answer."""
    if candidate.parse_error:
        return Rejection(REFUSAL) if candidate.parse_error == REFUSAL else None
    if asks_nothing(candidate.question, candidate.choices):
        return Rejection(REFUSAL)
    if not candidate.winning_vote:
        errors = [vote.error for vote in candidate.record.votes]
        return Rejection(REFUSAL) if 2 * errors.count(REFUSAL) > len(errors) else None
    if candidate.kind == "code":
        return None
    is_option = bool(candidate.choices)
    is_refused = not is_option and refuses(candidate.answer, candidate.question)
    if offers_none(candidate.choices):
        return None
    explained = (explains_refusal(text, candidate.question) for text in candidate.explanations)
    return Rejection(REFUSAL) if is_refused or any(explained) else None


def check_format(candidate: Candidate) -> Rejection | None:
    """A question that could be read, distinct options, at least one answer that could be read."""
    if candidate.parse_error:
        return Rejection(candidate.parse_error)
    if candidate.is_rephrasing:
        unfit = _find_unfit(candidate)
        return Rejection(unfit) if unfit else None
    if not words(candidate.question):
        return Rejection("empty question")
    rejection = _check_choices(candidate.choices) if candidate.choices else None
    if rejection:
        return rejection
    if candidate.ground and points_at_passage(candidate.question):
        return Rejection("points at a passage that is not shown")
    if not candidate.winning_vote:
        errors = {vote.error for vote in candidate.record.votes}
        return Rejection(CUT_THOUGHTS if errors == {CUT_THOUGHTS} else "no readable answer")
    if not any(map(str.isalnum, candidate.answer)):
        return Rejection("answer without words")
    unfit = _find_unfit(candidate)
    if unfit:
        return Rejection(unfit)
    if candidate.kind == "number" and not is_number(candidate.answer):
        return Rejection("answer is not a number")
    return None


def check_length(candidate: Candidate, min_words: int, max_words: int) -> Rejection | None:
    """Counts the words of question, context, options, answer and explanations."""
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


def check_models(candidate: Candidate, least: int) -> Rejection | None:
    """Enough models whose own most frequent answer won; code is not voted on."""
    if candidate.kind == "code" or candidate.models >= least:
        return None
    return Rejection("too few models agree", float(candidate.models))


def check_canary(candidate: Candidate, index: CanaryIndex) -> Rejection | None:
    """No part of an item repeats a canary; the match is its seed."""
    found = index.find(candidate.parts)
    return Rejection("repeats a canary", match=found[0]) if found else None


def _find_unfit(candidate: Candidate) -> str:
    """What no text of an item may hold, such as the marks of a chat template."""
    is_code = candidate.kind == "code"
    programs = [candidate.tests, candidate.answer] if is_code else []
    prose = [
        *(candidate.question, candidate.context, *candidate.choices),
        *([] if is_code else [candidate.answer]),
        *candidate.explanations,
    ]
    found = [find_unfit(text) for text in prose]
    found += [find_unfit(text, is_code=True) for text in programs]
    return next(filter(None, found), "")


def _check_choices(choices: list[str]) -> Rejection | None:
    if len(choices) < 2:
        return Rejection("fewer than two options", float(len(choices)))
    if not all(choice.strip() for choice in choices):
        return Rejection("empty option")
    if options_repeat(choices):
        return Rejection("options repeat")
    return None
