"""What reviewers decided: one append-only file for each, so that nobody reads another's.

Guarantees: a decision is on the disk before it is confirmed, and a kill loses none that was; the
last decision of a reviewer on an item counts, by the time when it was made and not when it was
read from a file; one on another text than the item's is never used.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from tsqa.errors import DataError
from tsqa.names import file_name
from tsqa.review.items import EDITABLE, ReviewItem
from tsqa.store.atomic import fsync
from tsqa.store.jsonl import drop_torn_tail
from tsqa.store.own_files import damaged
from tsqa.text.forbidden import find_unfit

FOLDER = "decisions"
REASONS = (
    "wrong answer",
    "unclear question",
    "several right answers",
    "not in the passage",
    "wrong reasoning",
    "badly written",
    "repeats another",
    "harmful or private",
)
_LONGEST = 100_000
_LONGEST_NAME = 60
TIME = "%Y-%m-%dT%H:%M:%SZ"
"""Sorts as text."""
Choice = Literal["accept", "reject", "edit", "skip"]


@dataclass(frozen=True, kw_only=True)
class ReviewDecision:
    item: str
    hash: str
    """Of the texts that were looked at."""
    reviewer: str
    choice: Choice
    reason: str = ""
    edits: dict[str, str] = field(default_factory=dict)
    """Field -> its new text."""
    when: str
    """When it was made, UTC, in `TIME`; of one from a file without times, when that was read."""


_DECISION: TypeAdapter[ReviewDecision] = TypeAdapter(ReviewDecision)


@dataclass(frozen=True)
class ReviewVerdict:
    """What the reviewers of an item say together: at least half of them decide against it."""

    is_fit: bool
    """As it is; neither rejected nor in need of an edit."""
    is_kept: bool
    edit: ReviewDecision | None
    """The last one, of an item that is kept."""
    reasons: list[str]


class Log:
    """Appends the decisions of reviewers, each at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        for path in self._folder.glob("*.jsonl"):
            drop_torn_tail(path)

    def add(self, decision: ReviewDecision) -> None:
        path = self._folder / f"{file_name(decision.reviewer)}.jsonl"
        line = (json.dumps(asdict(decision), ensure_ascii=True, sort_keys=True) + "\n").encode()
        with self._lock:
            is_new = not path.exists()
            with path.open("ab", buffering=0) as handle:
                size = handle.tell()
                try:
                    if handle.write(line) < len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(handle.fileno())
                except OSError:  # a full disk: the next line is not to follow half a one
                    os.truncate(path, size)
                    raise
            if is_new:
                fsync(self._folder)


def read_decisions(folder: Path) -> list[ReviewDecision]:
    """The last decision of each reviewer on each text of an item, skips left out, sorted."""
    return [decision for decision in read_last(folder) if decision.choice != "skip"]


def read_last(folder: Path) -> list[ReviewDecision]:
    """The same with skips."""
    history = read_history(folder)
    return [history[key][-1] for key in sorted(history)]


def read_history(folder: Path) -> dict[tuple[str, str, str], list[ReviewDecision]]:
    """(id, hash, reviewer) -> all decisions by their times; of one second, as they were written."""
    found: dict[tuple[str, str, str], list[ReviewDecision]] = defaultdict(list)
    for path in sorted((folder / FOLDER).glob("*.jsonl")):
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):  # a kill while it was written: never confirmed
                    break
                try:
                    decision = _DECISION.validate_json(line, strict=True, extra="forbid")
                except ValueError as error:
                    raise damaged(path, f"line {number}: no decision: {error}") from error
                found[decision.item, decision.hash, decision.reviewer].append(decision)
    for decisions in found.values():
        decisions.sort(key=lambda decision: decision.when)
    return dict(found)


def time_after(before: ReviewDecision | None) -> str:
    """Now, and never before the decision that is replaced, though a clock may be set back."""
    return max(datetime.now(UTC).strftime(TIME), before.when if before else "")


def by_item(decisions: Iterable[ReviewDecision]) -> dict[tuple[str, str], list[ReviewDecision]]:
    """(id, hash) -> its decisions."""
    found: dict[tuple[str, str], list[ReviewDecision]] = defaultdict(list)
    for decision in decisions:
        found[decision.item, decision.hash].append(decision)
    return dict(found)


def settle(decisions: Sequence[ReviewDecision]) -> ReviewVerdict:
    """What several reviewers say together; a tie is against the item."""
    rejects = [decision for decision in decisions if decision.choice == "reject"]
    edits = [decision for decision in decisions if decision.choice == "edit"]
    is_kept = 2 * len(rejects) < len(decisions)
    return ReviewVerdict(
        is_fit=2 * (len(rejects) + len(edits)) < len(decisions),
        is_kept=is_kept,
        edit=max(edits, key=lambda e: (e.when, e.reviewer)) if is_kept and edits else None,
        reasons=[decision.reason for decision in rejects if decision.reason],
    )


def make_decision(
    item: ReviewItem,
    reviewer: str,
    choice: str,
    reason: str = "",
    edits: Mapping[str, str] | None = None,
    when: str = "",
) -> ReviewDecision:
    """A decision on an item; DataError where it says what cannot be."""
    if choice not in ("accept", "reject", "edit", "skip"):
        raise DataError(f"{item.id}: {choice!r} is no decision", "accept, reject, edit or skip")
    check_reviewer(reviewer)
    if choice == "reject" and not reason.strip():
        raise DataError(f"{item.id}: rejected without a reason", f"such as {REASONS[0]!r}")
    changed = {n: v for n, v in (edits or {}).items() if n not in EDITABLE or v != item.value(n)}
    if choice != "edit":
        changed = {}
    elif problem := _edit_problem(item, changed):
        raise DataError(f"{item.id}: {problem}", "correct the edit, or reject the item")
    return ReviewDecision(
        item=item.id,
        hash=item.hash,
        reviewer=reviewer,
        choice=choice,  # type: ignore[arg-type]
        reason=" ".join(reason.split())[:_LONGEST],
        edits=changed,
        when=when or time_after(None),
    )


def check_reviewer(name: str) -> None:
    """Refuse a name that is empty, long or not printable."""
    if not name.strip() or name != name.strip() or len(name) > _LONGEST_NAME:
        raise DataError(f"reviewer {name!r:.80}: give a name of 1 to {_LONGEST_NAME} characters")
    if not name.isprintable():
        raise DataError(f"reviewer {name!r}: holds what cannot be printed")


def check_known(name: str, others: Iterable[str]) -> None:
    """Refuse a new name that is another's but for its case: one person would count as two."""
    known = {*others}
    for other in sorted(known) if name not in known else ():
        if other.casefold() == name.casefold():
            raise DataError(f"reviewer {name!r}: there is {other!r}", "write the name alike")


def edited_choices(text: str) -> list[str]:
    """The options of an edit, one a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _edit_problem(item: ReviewItem, edits: Mapping[str, str]) -> str:
    """Why an edit cannot be applied; empty where it can."""
    if not edits:
        return "an edit that changes nothing"
    if item.kind == "code" and {"answer", "question"} & edits.keys():
        return "code is verified by its tests, which do not run again"
    for name, value in edits.items():
        if name not in EDITABLE:
            return f"{name!r} cannot be edited"
        if not isinstance(value, str) or len(value) > _LONGEST:
            return f"{name}: not a text of at most {_LONGEST:,} characters"
        if unfit := find_unfit(value):
            return f"{name}: {unfit}"
        if not value.strip() and name in ("question", "choices", "answer"):
            return f"{name}: empty"
    if item.is_rephrasing:
        return "" if edits.keys() == {"answer"} else "of a rephrasing only its text can be edited"
    if item.choices:
        given = edits.get("choices", item.value("choices"))
        choices = edited_choices(given)
        if len(choices) < 2 or len({choice.casefold() for choice in choices}) < len(choices):
            return "give two options or more, each once"
        if edits.get("answer", item.answer).strip() not in choices:
            return "the answer is none of the options"
    elif "choices" in edits:
        return "the item has no options"
    return ""
