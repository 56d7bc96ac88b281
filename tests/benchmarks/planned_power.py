"""Whether the dry run's effect is found in the table as often as it says; prints a table.

    python -m tests.benchmarks.planned_power --rounds 200

Four arms, six tasks of 100 documents, noise as in tests/benchmarks/correction.py, of which half
repeats in every seed. The planned effect is given to one task of one arm, then to all tasks of one
arm; found is the row that has it. `by Holm` is the effect that his first step would ask for.
"""

from __future__ import annotations

import argparse

import numpy as np

from eval.compare.scores import Evaluated
from eval.statistics import stats
from eval.statistics.planned_rows import PlannedTable, planned_mde
from tests.benchmarks.correction import Regime, simulated
from tests.benchmarks.verdicts import TASKS, table
from tests.support.invented_arms import of_scores


def planned(regime: Regime, models: list[Evaluated]) -> PlannedTable:
    """By the noise of these models, as an earlier run would show it."""
    first, other = (next(m for m in models if m.condition == name) for name in ("c", "a1"))
    tasks = {task: len(one.keys) for task, one in first.scores.items()}
    shares = {t: float(np.var(other.scores[t].values - first.scores[t].values)) for t in tasks}
    return PlannedTable(
        documents=tasks,
        shares=dict.fromkeys(tasks, float(np.mean([*shares.values()]))),
        samples={task: task for task in tasks},
        averages=[[*tasks]],
        seeds=regime.seeds,
        arms=regime.arms,
        has_base=False,
        seed_sd=2**0.5 * regime.shared / 100,
        by_documents=False,
        may_split=False,
        confidence=0.95,
    )


def moved(models: list[Evaluated], effect: float, tasks: int, rng: np.random.Generator) -> None:
    """Documents of a1 that it failed and now answers, or the reverse, on its first tasks."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="*", default=[3, 5])
    given = parser.parse_args()
    for seeds in given.seeds:
        regime = Regime("", seeds=seeds, document_sd=0.5)
        rng = np.random.default_rng(seeds)
        plan = planned(regime, simulated(regime, 0.0, rng))
        for tasks, row in ((1, "t0"), (TASKS, stats.MACRO)):
            sizes = {task: n for task, n in plan.documents.items() if n}
            estimate = plan.estimate([*sizes][:tasks], sizes)
            effect = planned_mde(estimate, plan.level(is_macro=tasks > 1))
            half = 0.05 / 2 / plan.comparisons / (1 if tasks > 1 else TASKS)
            found = told = 0.0
            for _ in range(given.rounds):
                models = simulated(regime, 0.0, rng)
                moved(models, effect, tasks, rng)
                rows = table(models).rows
                (own,) = (one for one in rows if one.arm == "a1" and one.task == row)
                found += own.verdict == stats.BETTER
                told += own.mde
            print(
                f"{seeds} seeds, {row}: planned {100 * effect:.1f} points (by Holm "
                f"{100 * planned_mde(estimate, 1 - half):.1f}), found in "
                f"{found / given.rounds:.1%} of {given.rounds}; "
                f"the tables say {100 * told / given.rounds:.1f} points",
                flush=True,
            )


if __name__ == "__main__":
    main()
