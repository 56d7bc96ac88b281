"""A try is one row: a class, what is wrong, how, and the end that it must have.

Guarantees: a try that ends in another exception than TsqaError, or that is accepted without a word,
fails; so does an error that does not name what is at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.faults.pending import PENDING
from tsqa.errors import RecipeError, TsqaError

Rejected = int
"""How many records were left out, each counted in the summary of the stage."""


class End(StrEnum):
    BEFORE = "error before work"
    """Exit 2, or an error that names file or key and the fix, before any stage ran."""
    REJECTED = "counted rejection"
    STAGE = "error of the stage"
    """Resumable: nothing counts as done, and what was there before still is."""
    FINE = "goes through"
    """Odd, but right: a check that is too strict fails here."""


@dataclass(frozen=True)
class Try:
    kind: str
    """recipe, data, model, tokenizer, endpoint, artifact or system."""
    what: str
    """The key, file, format or call that is at fault."""
    how: str
    end: End
    act: Callable[[Path], Rejected]
    """Does it in an empty folder."""
    names: tuple[str, ...] = ()
    """What the error must name."""

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.what}/{self.how}"


def check(attempt: Try, folder: Path) -> None:
    """Act, and assert the end."""
    try:
        rejected = attempt.act(folder)
    except TsqaError as error:
        message = str(error)
        assert attempt.end in (End.BEFORE, End.STAGE), f"refused: {message}"
        missing = [name for name in attempt.names if name not in message]
        assert not missing, f"does not name {missing}: {message}"
        if attempt.end is End.BEFORE and not isinstance(error, RecipeError):
            assert "fix: " in message, f"names no fix: {message}"
        return
    assert attempt.end not in (End.BEFORE, End.STAGE), "accepted without a word"
    assert bool(rejected) is (attempt.end is End.REJECTED), f"{rejected} rejected"


def params(tries: Iterable[Try]) -> list[Any]:
    """The tries for `pytest.mark.parametrize`; those that wait for a fix are xfails."""
    made = []
    for attempt in tries:
        found = [p for p in PENDING if fnmatchcase(attempt.id, p.pattern)]
        marks = [pytest.mark.xfail(strict=p.strict, reason=p.reason) for p in found[:1]]
        made.append(pytest.param(attempt, id=attempt.id, marks=marks))
    return made
