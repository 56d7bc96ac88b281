"""The correction of a whole table: false findings, power and coverage; prints a table.

    python -m tests.benchmarks.correction --rounds 400

Six tasks of 100 documents; runs, noise and documents as in tests/benchmarks/verdicts.py. `noisy` is
how many times as much the runs of one arm move. Power is
that of all rows; all arms have the effect.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from eval.compare.scores import Evaluated
from eval.deltas import DeltaRow
from eval.statistics import joint, stats
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
    """Shares: of tables with a finding, rows found (alone, by Holm), intervals that hold."""

    tables: float
    macro: float
    tasks: float
    macro_alone: float
    tasks_alone: float
    macro_bounded: float
    tasks_bounded: float
    macro_covered: float
    tasks_covered: float


def simulated(regime: Regime, effect: float, rng: np.random.Generator) -> list[Evaluated]:
    density = float(norm.pdf(0) / np.sqrt(1.25 + regime.document_sd**2))
    difficulty = rng.normal(0, 1, (TASKS, DOCUMENTS))
    models = []
    for arm in range(regime.arms):
        times = regime.noisy if arm == 1 else 1.0
        taught = rng.normal(0, regime.document_sd, difficulty.shape)
        for seed in range(regime.seeds):
            moved = rng.normal(0, regime.shared) + rng.normal(0, regime.apart, (TASKS, 1))
            ability = (times * moved + (effect if arm else 0.0)) / 100 / density
            noise = rng.normal(0, 0.5, difficulty.shape)
            rows = ability - difficulty + taught + noise > 0
            scores = {f"t{k}": row.astype(float) for k, row in enumerate(rows)}
            models.append(of_scores("c" if arm == 0 else f"a{arm}", seed, scores))
    return models


def measure(regime: Regime, effect: float, rounds: int, seed: int = 0) -> Found:
    """`effect` of all arms against the control, in points; coverage is that of the noisy arm."""
    rng = np.random.default_rng(seed)
    tables = 0
    rows: list[tuple[DeltaRow, float]] = []
    for _ in range(rounds):
        found = table(simulated(regime, effect, rng)).rows
        tables += any(row.verdict != stats.UNCHANGED for row in found)
        weights = stats.table_weights([stats.is_macro(row.task) for row in found])
        rows += zip(found, stats.holm([row.p for row in found], weights), strict=True)
    macro = [pair for pair in rows if stats.is_macro(pair[0].task)]
    tasks = [pair for pair in rows if not stats.is_macro(pair[0].task)]

    def share(chosen: Sequence[tuple[DeltaRow, float]]) -> tuple[float, float, float, float]:
        own = [row for row, _ in chosen if row.arm == "a1" or regime.noisy == 1]
        return (
            float(np.mean([row.verdict != stats.UNCHANGED for row, _ in chosen])),
            float(np.mean([not row.low <= 0 <= row.high for row, _ in chosen])),
            float(np.mean([holm <= 0.05 for _, holm in chosen])),
            float(np.mean([row.low <= effect / 100 <= row.high for row in own])),
        )

    one, two = share(macro), share(tasks)
    pairs = [value for pair in zip(one, two, strict=True) for value in pair]
    return Found(tables / rounds, *pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--flips", type=int, default=joint.FLIPS)
    parser.add_argument("--regimes", nargs="*", default=range(len(REGIMES)), type=int)
    parser.add_argument("--effects", nargs="*", default=[0.0, 6.0, 14.0], type=float)
    given = parser.parse_args()
    joint.FLIPS = given.flips
    for regime in (REGIMES[number] for number in given.regimes):
        for effect in given.effects:
            found = measure(regime, effect, given.rounds)
            shown = ", ".join(f"{name} {value:.3f}" for name, value in vars(found).items())
            print(f"{regime.name}, effect {effect:g}: {shown}", flush=True)


if __name__ == "__main__":
    main()
