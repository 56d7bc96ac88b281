"""A candidate as the filters see it: its question, and the answer most of its votes gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tsqa.filters.text import normalise_answer


@dataclass(frozen=True)
class Candidate:
    id: str
    task: str
    question: str
    parse_error: str
    answer: str
    """Of the first vote that gave the winning answer; empty when no vote is readable."""
    explanation: str
    winning_vote: str
    agreement: float
    """Share of all votes, the unreadable included, that gave the winning answer."""
    is_tie: bool
    record: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The document the student reads: the knowledge comes after the answer."""
        lines = [f"Question: {self.question}", f"Answer: {self.answer}"]
        if self.explanation:
            lines.append(f"Because: {self.explanation}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Rejection:
    reason: str
    score: float | None = None
    match: str = ""
    """What it collided with: an evaluated document, a seed, an earlier candidate."""


def read_candidate(record: Mapping[str, Any]) -> Candidate:
    """Take the vote: the most frequent answer, in the words of the first vote that gave it."""
    votes = [vote for vote in record["votes"] if vote["answer"]]
    counts = Counter(normalise_answer(vote["answer"]) for vote in votes)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    winners = [v for v in votes if ranked and normalise_answer(v["answer"]) == ranked[0][0]]
    first: Mapping[str, Any] = winners[0] if winners else {}
    return Candidate(
        id=str(record["id"]),
        task=str(record["task"]),
        question=str(record["question"]),
        parse_error=str(record.get("parse_error") or ""),
        answer=str(first.get("answer", "")),
        explanation=str(first.get("explanation", "")),
        winning_vote=str(first.get("id", "")),
        agreement=len(winners) / len(record["votes"]) if record["votes"] else 0.0,
        is_tie=len(ranked) > 1 and ranked[0][1] == ranked[1][1],
        record=record,
    )
