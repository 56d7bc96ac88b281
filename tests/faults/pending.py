"""Tries whose fix is still on its way: delete a line with the merge of its fix."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pending:
    pattern: str
    """Of the ids of tries, `class/what/how`."""
    reason: str
    strict: bool = True
    """False: some of the pattern's tries hold already."""


PENDING: tuple[Pending, ...] = ()
