"""How large a true difference a row finds in its table: one rule, before a run and after it.

A plan knows by how much a difference varies, and not what its table will take that for. A table
knows what it takes it for, and so the width of its interval, and not by how much it varies.
"""

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

    def deviations(self) -> Floats:
        """Standard deviations that its difference may have, each as likely."""

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
    others = [(one, one.row.widths(one.chance), one.row.deviations()) for one in left]
    others.sort(key=lambda other: float(np.median(other[1])) / other[0].moved)
    widths, deviations = [row.widths(chance)], row.deviations()
    for one, _, _ in others:
        chance = chance + one.passed
        widths.append(row.widths(chance))

    def lacking(delta: float) -> float:
        by_step = [_found(delta, width, deviations) for width in widths]
        total, reached = by_step[0], 1.0
        for number, (one, *known) in enumerate(others, 1):
            reached *= _found(delta * one.moved, *known)
            alike = min(1.0, one.row.stderr / max(row.stderr, 1e-12))
            total += (1 - alike) * reached * (by_step[number] - by_step[number - 1])
            total += alike * (min(reached, by_step[number]) - min(reached, by_step[number - 1]))
        return total - POWER

    most = float(widths[0].max()) + 10 * max(float(deviations.max()), 1e-12)
    return float(brentq(lacking, 0.0, most))


def _found(delta: float, widths: Floats, deviations: Floats) -> float:
    """The chance that an interval of one of these half widths is above 0."""
    distances = (delta - widths[:, None]) / np.maximum(deviations, 1e-12)
    return float(np.mean(ndtr(distances)))
