"""The correction of a whole table: false findings, power and coverage; prints a table.

    python -m tests.benchmarks.correction --rounds 400
    python -m tests.benchmarks.correction --rounds 200 --power --regimes 0 4
    python -m tests.benchmarks.correction --bound 0.86

Six tasks of 100 documents; runs, noise and documents as in tests/benchmarks/verdicts.py. `noisy` is
how many times as much the runs of one arm move. Power is that of the rows that have the effect,
false findings are those of the others. `--power` takes the effects that an interval alone finds in
83 to 88% of macro rows, and of task rows.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from eval.compare import comparison
from eval.compare.scores import Evaluated
from eval.deltas import DeltaRow
from eval.statistics import joint, stats
from eval.statistics.crossed import MANY, Floats
from tests.benchmarks.verdicts import DOCUMENTS, TASKS, table
from tests.support.invented_arms import of_scores


@dataclass(frozen=True)
class Regime:
    """Standard deviations of runs, and of a task apart in a run, in points."""

    name: str
    arms: int = 4
    seeds: int = 3
    shared: float = 0.7
    apart: float = 0.0
    noisy: float = 1.0
    document_sd: float = 0.0
    """What training teaches of a document, alike under every seed; latent."""


@dataclass(frozen=True)
class Effect:
    """Of arms against the control."""

    points: float = 0.0
    arms: int | None = None
    """The first ones; None: all."""
    tasks: int = TASKS
    """The first ones."""

    def of(self, arm: int) -> Floats:
        """Per task, tasks x 1; the macro average has one where all tasks have."""
        has = 0 < arm <= (arm if self.arms is None else self.arms)
        return np.where(np.arange(TASKS) < self.tasks, has * self.points, 0.0)[:, None]

    def is_in(self, row: DeltaRow) -> bool:
        moved = self.of(int(row.arm[1:]))
        return bool(moved.any() if stats.is_macro(row.task) else moved[int(row.task[1:])])

    def __str__(self) -> str:
        arms = "all arms" if self.arms is None else f"{self.arms} arm(s)"
        return f"{self.points:.1f} points, {arms}, {self.tasks} tasks"


NONE = Effect()
_BOUND_DRAWS = 400_000
_ALONE, _TRIED = 0.86, 400
"""Share of rows whose interval alone finds an effect, and tables from which it is taken."""
REGIMES = (
    Regime("three seeds"),
    Regime("three seeds, documents repeat", document_sd=0.5),
    Regime("three seeds, noise 4 points", shared=4.0),
    Regime("three seeds, tasks apart by 3 points", apart=3.0),
    Regime("five seeds", seeds=5),
    Regime("two arms, three seeds", arms=2),
    Regime("an arm ten times as noisy", noisy=10.0),
    Regime("the same, tasks apart by 2 points, 20 in that arm", shared=1.0, apart=2.0, noisy=10.0),
    Regime("one seed", seeds=1, shared=0.0),
)


@dataclass(frozen=True)
class Found:
    """Shares: of tables with a false finding, of rows with the effect found, of intervals."""

    false: float
    macro_alone: float
    macro_by_holm: float
    macro_found: float
    tasks_alone: float
    tasks_by_holm: float
    tasks_found: float
    macro_covered: float
    tasks_covered: float


def simulated(regime: Regime, effect: Effect, rng: np.random.Generator) -> list[Evaluated]:
    density = float(norm.pdf(0) / np.sqrt(1.25 + regime.document_sd**2))
    difficulty = rng.normal(0, 1, (TASKS, DOCUMENTS))
    models = []
    for arm in range(regime.arms):
        times = regime.noisy if arm == 1 else 1.0
        taught = rng.normal(0, regime.document_sd, difficulty.shape)
        for seed in range(regime.seeds):
            moved = rng.normal(0, regime.shared) + rng.normal(0, regime.apart, (TASKS, 1))
            ability = (times * moved + effect.of(arm)) / 100 / density
            noise = rng.normal(0, 0.5, difficulty.shape)
            rows = ability - difficulty + taught + noise > 0
            scores = {f"t{k}": row.astype(float) for k, row in enumerate(rows)}
            models.append(of_scores("c" if arm == 0 else f"a{arm}", seed, scores))
    return models


def found_alone(regime: Regime) -> tuple[float, float]:
    """The effects, in points, that so many intervals alone would find: of macro and task rows."""
    rng = np.random.default_rng(1)
    rows = [row for _ in range(_TRIED) for row in table(simulated(regime, NONE, rng)).rows]
    macro, tasks = (
        [row.high - 2 * row.delta for row in rows if stats.is_macro(row.task) == is_macro]
        for is_macro in (True, False)
    )
    return _points(macro), _points(tasks)


def _points(needed: Sequence[float]) -> float:
    return round(100 * float(np.quantile(needed, _ALONE)), 1)


def measure(regime: Regime, effect: Effect, rounds: int, seed: int = 0) -> Found:
    """Coverage is that of the noisy arm, and of what has all of the effect or none."""
    rng = np.random.default_rng(seed)
    false = 0
    rows: list[tuple[DeltaRow, float]] = []
    for _ in range(rounds):
        found = table(simulated(regime, effect, rng)).rows
        false += any(row.verdict != stats.UNCHANGED and not effect.is_in(row) for row in found)
        weights = stats.table_weights([stats.is_macro(row.task) for row in found])
        by_holm = stats.holm([row.p for row in found], stats.Shares.fixed(weights))
        rows += zip(found, by_holm, strict=True)

    def shares(*, is_macro: bool) -> Iterator[float]:
        chosen = [(row, p) for row, p in rows if stats.is_macro(row.task) == is_macro]
        has = [(row, p) for row, p in chosen if effect.is_in(row)] if effect.points else chosen
        yield _share([not row.low <= 0 <= row.high for row, _ in has])
        yield _share([p <= 0.05 for _, p in has])
        yield _share([row.verdict != stats.UNCHANGED for row, _ in has])
        yield _share(
            [
                row.low <= (effect.points / 100 if effect.is_in(row) else 0.0) <= row.high
                for row, _ in chosen
                if (row.arm == "a1" or regime.noisy == 1) and effect.tasks == TASKS
            ]
        )

    macro, tasks = (list(shares(is_macro=is_macro)) for is_macro in (True, False))
    return Found(false / rounds, *macro[:3], *tasks[:3], macro[3], tasks[3])


def bound(alone: float, df: float = MANY, arms: int = 4) -> tuple[float, float]:
    """Share of macro rows that Dunnett's test finds at the full 5%, if intervals find `alone`.

    No task row takes a part of the 5%, arms vary alike, and their variance is known by `df` degrees
    of freedom: one arm with the effect, and all of them, by steps (Dunnett, A multiple comparison
    procedure for comparing several treatments with a control (1955)).
    """
    rng = np.random.default_rng(0)
    z = rng.normal(0, 1, (_BOUND_DRAWS, arms))
    scales = np.sqrt(rng.chisquare(df, (_BOUND_DRAWS, 1)) / df)
    null = (z[:, 1:] - z[:, :1]) / np.sqrt(2)
    sizes = np.abs(null / scales)
    edges = [float(np.quantile(sizes[:, :k].max(1), 0.95)) for k in range(arms - 1, 0, -1)]

    def found(shift: float) -> Floats:
        moved: Floats = np.abs((null + shift) / scales)
        return moved

    effect = brentq(lambda shift: np.mean(found(shift)[:, 0] > edges[-1]) - alone, 0, 30)
    one = float(np.mean(found(effect)[:, 0] > edges[0]))
    ordered = -np.sort(-found(effect), axis=1)
    return one, float(np.mean(np.cumprod(ordered > edges, axis=1)))


def _share(said: Sequence[bool]) -> float:
    return float(np.mean(said)) if said else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--flips", type=int, default=joint.FLIPS)
    parser.add_argument("--regimes", nargs="*", default=range(len(REGIMES)), type=int)
    parser.add_argument("--power", action="store_true")
    parser.add_argument("--one-task", type=float, default=0.0, help="gain of one task of one arm")
    parser.add_argument("--bound", type=float, help="share that intervals alone find")
    given = parser.parse_args()
    if given.bound:
        for name, df in (("known", MANY), ("of three seeds", 6.0), ("of five seeds", 12.0)):
            one, every = bound(given.bound, df)
            print(f"variance {name}: found {one:.1%} of one arm, {every:.1%} of all")
        return
    joint.FLIPS = given.flips
    # No verdict reads it, and it takes a third of the time.
    comparison._detectable = lambda *_: math.nan
    for regime in (REGIMES[number] for number in given.regimes):
        effects = [Effect(given.one_task, arms=1, tasks=1) if given.one_task else NONE]
        if given.power:
            alone = found_alone(regime)
            effects = [Effect(points, arms) for points in alone for arms in (1, None)]
        for effect in effects:
            found = measure(regime, effect, given.rounds, given.seed)
            shown = ", ".join(f"{name} {value:.3f}" for name, value in vars(found).items())
            print(f"{regime.name}, effect {effect}: {shown}", flush=True)


if __name__ == "__main__":
    main()
