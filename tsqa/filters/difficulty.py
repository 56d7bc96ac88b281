"""Difficulty as a label: how often each model found the winning answer.

Guarantees: each model counts the same, however many votes it has; what is kept to reach a target
depends on the ids alone, and no more is rejected than the rarest label demands.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction

from pydantic import JsonValue

from tsqa.recipe import DifficultySection
from tsqa.records.candidate import Candidate, Rejection, Verdict
from tsqa.records.votes import classify_answers

_EASY, _HARD = Fraction(3, 4), Fraction(1, 2)
_UNLABELLED = "unlabelled"
"""Code: its votes are programs, which are not compared."""


def label_difficulty(
    candidates: Iterable[Candidate], limits: Mapping[str, int]
) -> Iterator[Verdict]:
    """Adds the scores `difficulty` and `found_by`: model -> share of its votes.

    `limits`: label -> the last place that is kept; a label without one is kept.
    """
    for candidate in candidates:
        shares = found_by(candidate)
        label = label_of(shares)
        measured: dict[str, JsonValue] = {
            "difficulty": label,
            "found_by": {model: round(float(share), 4) for model, share in shares.items()},
        }
        scored = replace(candidate, scores=candidate.scores | measured)
        if _place(candidate) <= limits.get(label, 2**64):
            yield scored, None
        else:
            yield scored, Rejection(f"more {label} items than wanted")


def found_by(candidate: Candidate) -> dict[str, Fraction]:
    """Model -> share of its votes that gave the winning answer; empty of code."""
    record = candidate.record
    if candidate.kind == "code":
        return {}
    if candidate.choices:
        right = [vote.index == candidate.answer_index for vote in record.votes]
    else:
        answers = [candidate.answer, *(vote.answer for vote in record.votes)]
        won, *classes = classify_answers(answers, candidate.kind)
        right = [each == won for each in classes]
    by_model: dict[str, list[bool]] = {}
    for vote, is_right in zip(record.votes, right, strict=True):
        by_model.setdefault(record.model_of(vote.teacher).identity, []).append(is_right)
    return {model: Fraction(sum(found), len(found)) for model, found in by_model.items()}


def label_of(shares: Mapping[str, Fraction]) -> str:
    """easy, medium or hard, by the mean of the models' shares."""
    if not shares:
        return _UNLABELLED
    mean = sum(shares.values()) / len(shares)
    return "easy" if mean >= _EASY else "hard" if mean < _HARD else "medium"


def place_of(candidate: Candidate) -> tuple[str, int]:
    """The label of a candidate, and its place among those of the label."""
    return label_of(found_by(candidate)), _place(candidate)


def find_limits(
    candidates: Iterable[tuple[str, int]], section: DifficultySection
) -> dict[str, int]:
    """The limits with which all candidates, as `place_of` has them, meet the target."""
    if not section.target:
        return {}
    places = {label: array("Q") for label in section.target}
    for label, place in candidates:
        if label in places:
            places[label].append(place)
    total = min(len(places[label]) / share for label, share in section.target.items() if share)
    limits = {}
    for label, share in section.target.items():
        kept = min(len(places[label]), int(total * share + 1e-9))
        limits[label] = sorted(places[label])[kept - 1] if kept else -1
    return limits


def _place(candidate: Candidate) -> int:
    return int.from_bytes(hashlib.sha256(candidate.id.encode()).digest()[:8], "big")
