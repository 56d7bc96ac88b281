"""How large a true difference a row finds in its table: one rule, before a run and after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from eval.statistics.crossed import Floats

POWER = 0.8
Chance = TypeVar("Chance", float, Floats)
"""Of a false finding, that a row is allowed; a plan has one for each rule that a table may use."""
_Allowed = TypeVar("_Allowed", float, Floats, contravariant=True)


class TestedRow(Protocol[_Allowed]):
    """A row that may have an effect."""

    @property
    def stderr(self) -> float:
        """Of its difference."""

    def widths(self, chance: _Allowed) -> Floats:
        """Half widths that its interval at 1 - `chance` may have, each as likely."""


@dataclass(frozen=True)
class Left(Generic[Chance]):
    """What another row leaves, once it is found, to the row that has the effect."""

    row: TestedRow[Chance]
    chance: Chance
    """At which that row is tested."""
    moved: float
    """Its difference where that of the row with the effect is 1; above 0."""
    passed: Chance


def detectable(row: TestedRow[Chance], chance: Chance, left: Sequence[Left[Chance]] = ()) -> float:
    """The true difference that the row finds with a probability of `POWER`; a share.

    It is found at its own `chance`, or at that and what other rows leave it: first the one that is
    found most easily. Of a mean that a row is part of, both go together by the ratio of their
    standard errors: exactly so where nothing is shared, or all.
    """
    others = [(one, one.row.widths(one.chance)) for one in left]
    others.sort(key=lambda pair: float(np.median(pair[1])) / pair[0].moved)
    widths = [row.widths(chance)]
    for one, _ in others:
        chance = chance + one.passed
        widths.append(row.widths(chance))

    spread = max(row.stderr, 1e-12)

    def lacking(delta: float) -> float:
        by_step = [_found(delta, spread, width) for width in widths]
        total, reached = by_step[0], 1.0
        for number, (one, width) in enumerate(others, 1):
            reached *= _found(delta * one.moved, one.row.stderr, width)
            alike = min(1.0, one.row.stderr / spread)
            total += (1 - alike) * reached * (by_step[number] - by_step[number - 1])
            total += alike * (min(reached, by_step[number]) - min(reached, by_step[number - 1]))
        return total - POWER

    return float(brentq(lacking, 0.0, float(widths[0].max()) + 10 * spread))


def _found(delta: float, stderr: float, widths: Floats) -> float:
    """The chance that an interval of one of these half widths is above 0."""
    return float(np.mean(ndtr((delta - widths) / max(stderr, 1e-12))))
