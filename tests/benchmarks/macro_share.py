"""How the 5% is shared between macro and task rows: power and false findings; prints a table.

    python -m tests.benchmarks.macro_share --rounds 200 --regimes 0 1

The same simulated tables, corrected by several shares of macro rows (`stats.MACRO_SHARE`): as the
table does it, and with all rows raised by one factor instead of the task rows to what macro rows
leave. Gains are in latent points of score, of one arm if not said, on six tasks of 100 documents.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.compare import comparison
from eval.deltas import DeltaRow
from eval.statistics import joint, stats
from eval.statistics.crossed import Floats
from eval.statistics.stats import Shares
from tests.benchmarks.correction import Regime, simulated
from tests.benchmarks.verdicts import TASKS, table

_SHARES = (0.5, 0.65, 0.8, 0.9)
_SPEND = joint._spend


@dataclass(frozen=True)
class Gains:
    """Of each task, in points, of so many arms."""

    name: str
    points: tuple[float, ...]
    arms: int = 1

    def of(self, arm: int) -> Floats:
        gained: Floats = np.array(self.points)[:, None] * (0 < arm <= self.arms)
        return gained

    def is_in(self, row: DeltaRow) -> bool:
        gained = self.of(int(row.arm[1:]))
        return bool(gained.any() if stats.is_macro(row.task) else gained[int(row.task[1:])])


def all_tasks(points: float, arms: int = 1) -> Gains:
    return Gains(f"all tasks of {arms} arm(s) {points:g}", (points,) * TASKS, arms)


def one_task(points: float) -> Gains:
    return Gains(f"one task {points:g}", (points,) + (0.0,) * (TASKS - 1))


def unequal(times: float) -> Gains:
    """So many times a published arm's: GPQA, MMLU-Pro, code, commonsense; math is stable."""
    gained = tuple(times * one for one in (11.1, 1.8, 1.9, 1.6, 0.0, 0.0))
    return Gains(f"unequal, {times:g} times the published", gained)


def mixed(points: float) -> Gains:
    """No macro average shows it."""
    lost = -0.67 * points
    return Gains(f"two tasks {points:g}, two {lost:.1f}", (points, points, lost, lost, 0.0, 0.0))


NONE = Gains("none", (0.0,) * TASKS)
REGIMES: tuple[tuple[Regime, Sequence[Gains]], ...] = (
    (
        Regime("two arms, three seeds", arms=2, document_sd=0.5),
        (NONE, all_tasks(8), one_task(20), one_task(30), unequal(2), mixed(15)),
    ),
    (
        Regime("four arms, three seeds", document_sd=0.5),
        (NONE, all_tasks(6), all_tasks(6, 3), one_task(14), one_task(18), unequal(2), mixed(12)),
    ),
    (
        Regime("four arms, five seeds", seeds=5, document_sd=0.5),
        (NONE, all_tasks(4), all_tasks(4, 3), one_task(12), unequal(1), mixed(9)),
    ),
)


def _together(chances: Floats, shares: Shares, confidence: float, scatter: float = 0.0) -> Shares:
    """All rows raised by one factor."""
    times = _SPEND(chances, Shares.fixed([*shares.own]), confidence, scatter).own / shares.own
    passed = {row: one * times[row] for row, one in shares.passed.items()}
    return Shares(shares.own * times, passed)


def measure(regime: Regime, gains: Gains, rounds: int) -> list[tuple[str, dict[str, float]]]:
    """By rule: shares of tables with a false finding, and of rows with a gain that are found."""
    rng = np.random.default_rng([0, 7])
    original = comparison._with_verdicts
    found: dict[str, list[list[DeltaRow]]] = {}

    def by_every_rule(*given: object) -> list[DeltaRow]:
        for share in _SHARES:
            for name, spend in (("", _SPEND), (", together", _together)):
                stats.MACRO_SHARE, joint._spend = share, spend
                found.setdefault(f"{share:.0%}{name}", []).append(original(*given))
        return original(*given)

    comparison._with_verdicts = by_every_rule
    for _ in range(rounds):
        table(simulated(regime, gains, rng))
    comparison._with_verdicts = original
    return [(name, _shares(tables, gains)) for name, tables in found.items()]


def _shares(tables: Sequence[Sequence[DeltaRow]], gains: Gains) -> dict[str, float]:
    false = [any(_said(row) and not gains.is_in(row) for row in rows) for rows in tables]
    gained = [row for rows in tables for row in rows if gains.is_in(row)]
    macro = [_said(row) for row in gained if stats.is_macro(row.task)]
    tasks = [row for row in gained if not stats.is_macro(row.task)]
    most = [_said(row) for row in tasks if gains.points[int(row.task[1:])] == max(gains.points)]
    shares = {"false": false, "macro": macro, "tasks": [*map(_said, tasks)], "most": most}
    return {name: float(np.mean(one)) for name, one in shares.items() if one}


def _said(row: DeltaRow) -> bool:
    return row.verdict != stats.UNCHANGED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--regimes", nargs="*", default=range(len(REGIMES)), type=int)
    given = parser.parse_args()
    joint.FLIPS = given.flips
    comparison._detectable = lambda *_: float("nan")
    for regime, every in (REGIMES[number] for number in given.regimes):
        for gains in every:
            print(f"{regime.name}, gain {gains.name}, {given.rounds} tables", flush=True)
            for name, shares in measure(regime, gains, given.rounds):
                shown = ", ".join(f"{what} {share:.3f}" for what, share in shares.items())
                print(f"  {name}: {shown}", flush=True)


if __name__ == "__main__":
    main()
