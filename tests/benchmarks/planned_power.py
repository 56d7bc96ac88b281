"""Whether the dry run's effect is found in the table as often as it says; prints a table.

    python -m tests.benchmarks.planned_power --rounds 200

Six tasks of 100 documents, noise as in tests/benchmarks/correction.py. The plan knows it as a
dry run does from the last table, here from tables of so many seeds that little of it is left
unknown. The planned effect is given to one task of one arm, then to all tasks of
one arm; found is the row that has it. Then each table is given its own.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import median

import numpy as np

from eval.compare import comparison
from eval.compare.scores import Evaluated
from eval.deltas import DeltaRow
from eval.statistics import joint, planned, stats
from eval.statistics.paired import Tested
from eval.statistics.planned_rows import PlannedTable
from eval.statistics.stats import Shares
from tests.benchmarks.correction import NONE, Regime, simulated
from tests.benchmarks.verdicts import DOCUMENTS, TASKS, table
from tests.support.invented_arms import of_scores

REGIMES = (
    Regime("three seeds", document_sd=0.5),
    Regime("five seeds", seeds=5, document_sd=0.5),
    Regime("three seeds, noise 4 points", shared=4.0, document_sd=0.5),
    Regime("three seeds, tasks apart by 3 points", apart=3.0, document_sd=0.5),
    Regime("two arms, three seeds", arms=2, document_sd=0.5),
    Regime("eight arms, three seeds", arms=8, document_sd=0.5),
)


_DETECTABLE = comparison._detectable


def planned_by(regime: Regime, earlier: int, rng: np.random.Generator) -> PlannedTable:
    """By the noise of so many earlier tables, each of 100 seeds."""
    many = replace(regime, seeds=100)
    noise = [planned._noise_of(table(simulated(many, NONE, rng)), {}) for _ in range(earlier)]
    share = float(np.mean([own for one in noise for own in one.shares.values()]))
    tasks = [f"t{number}" for number in range(TASKS)]
    repeats = [one.repeated * np.mean([*one.shares.values()]) for one in noise]
    return PlannedTable(
        documents=dict.fromkeys(tasks, DOCUMENTS),
        shares=dict.fromkeys(tasks, share),
        samples={task: task for task in tasks},
        averages=[tasks],
        seeds=regime.seeds,
        arms=regime.arms,
        has_base=False,
        repeated=float(np.mean(repeats)) / share,
        seed_sd=float(np.sqrt(np.mean([(one.seed_sd or 0.0) ** 2 for one in noise]))),
        by_documents=False,
        may_split=False,
        confidence=0.95,
    )


def moved(models: list[Evaluated], effect: float, tasks: int, rng: np.random.Generator) -> None:
    """Documents of a1 that it failed and now answers, on its first tasks."""
    for number, model in enumerate(models):
        if model.condition != "a1":
            continue
        scores = {task: one.values.copy() for task, one in model.scores.items()}
        for task in [*scores][:tasks]:
            failed = np.flatnonzero(scores[task] == 0)
            gain = effect * len(scores[task])
            count = int(gain) + (rng.random() < gain % 1)
            scores[task][rng.permutation(failed)[:count]] = 1
        models[number] = of_scores("a1", model.seed or 0, scores)


def _detectable_of(
    task: str, number: int, rows: Sequence[Tested], shares: Shares, allowed: float
) -> float:
    """Of this task's rows alone: it takes a third of the time."""
    is_asked = rows[number].delta.task == task
    return _DETECTABLE(number, rows, shares, allowed) if is_asked else math.nan


def found_of(
    regime: Regime,
    effect: float | None,
    rounds: int,
    tasks: int,
    row: str,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """In which share of tables the row finds it, and what they say it would (their median).

    None: each table's own, which it says before it has one.
    """
    found, told = 0, list[float]()
    for _ in range(rounds):
        models = simulated(regime, NONE, rng)
        before = _row_of(models, row).mde if effect is None else effect
        moved(models, before, tasks, rng)
        after = _row_of(models, row)
        found += after.verdict == stats.BETTER
        told.append(before if effect is None else after.mde)
    return found / rounds, median(told)


def _row_of(models: list[Evaluated], row: str) -> DeltaRow:
    (shown,) = (one for one in table(models).rows if one.arm == "a1" and one.task == row)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--earlier", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--flips", type=int, default=joint.FLIPS)
    parser.add_argument("--regimes", nargs="*", default=range(len(REGIMES)), type=int)
    given = parser.parse_args()
    joint.FLIPS = given.flips
    for number in given.regimes:
        regime, rng = REGIMES[number], np.random.default_rng([number, given.seed])
        plan = planned_by(regime, given.earlier, rng)
        for tasks, row in ((1, "t0"), (TASKS, stats.MACRO)):
            sizes = {task: n for task, n in plan.documents.items() if n}
            effect = plan.detectable([*sizes][:tasks], sizes, is_macro=tasks > 1)
            comparison._detectable = partial(_detectable_of, row)
            found, told = found_of(regime, effect, given.rounds, tasks, row, rng)
            own, said = found_of(regime, None, given.rounds, tasks, row, rng)
            print(
                f"{regime.name}, {row}: planned {100 * effect:.1f} points, found in {found:.1%} of "
                f"{given.rounds}, which say {100 * told:.1f} points (median); what each table says "
                f"before ({100 * said:.1f}) in {own:.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
