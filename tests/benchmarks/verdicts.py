"""Words and intervals where seeds are few; the best of several arms; gaps of a fit.

    python -m tests.benchmarks.verdicts --rounds 400

No arm has an effect, unless a table says so. Each run's scores move by a normal noise of so many
points on the macro average, alike on all six tasks of 100 documents; a document is answered
when ability - difficulty + noise of run and document > 0.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from eval.compare.comparison import compare
from eval.compare.scores import Evaluated
from eval.deltas import DeltaTable
from eval.statistics import fit, stats
from tests.support.invented_arms import of_scores

TASKS, DOCUMENTS = 6, 100
_DOCUMENT_SD = 0.5
_DENSITY = float(norm.pdf(0) / np.sqrt(1 + _DOCUMENT_SD**2))
"""Change of the score with the ability, where half of the documents are answered."""
GEOMETRIC = [0.0, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.4]


def simulated(
    seeds: Mapping[str, Sequence[int]],
    noise: float,
    rng: np.random.Generator,
    effect: float = 0.0,
    documents: int = DOCUMENTS,
) -> list[Evaluated]:
    """An evaluation of each arm under its seeds; `effect` is that of all arms but `c`; shares."""
    difficulty = rng.normal(0, 1, (TASKS, documents))
    models = []
    for arm, own in seeds.items():
        for seed in own:
            ability = (rng.normal(0, noise) + (effect if arm != "c" else 0)) / _DENSITY
            latent = ability - difficulty + rng.normal(0, _DOCUMENT_SD, difficulty.shape)
            scores = {f"t{k}": (row > 0).astype(float) for k, row in enumerate(latent)}
            models.append(of_scores(arm, seed, scores))
    return models


def table(models: Sequence[Evaluated], **options: float) -> DeltaTable:
    return compare(models, control="c", bootstrap=400, confidence=0.95, seed=0, **options)  # type: ignore[arg-type]


def lost_seeds(
    loser: str, kept: int, noise: float, rounds: int, rng: np.random.Generator
) -> dict[str, float]:
    """Four arms and three seeds, of which `loser` kept so many."""
    seeds = {arm: range(kept) if arm == loser else range(3) for arm in "cxyz"}
    false = covered = rows = 0
    width = 0.0
    for _ in range(rounds):
        found = table(simulated(seeds, noise, rng))
        false += any(stats.is_verdict(row.verdict) for row in found.rows)
        hit = [r for r in found.rows if r.task == stats.MACRO and loser in (r.arm, r.against)]
        covered += sum(row.low <= 0 <= row.high for row in hit)
        width += sum(row.high - row.low for row in hit)
        rows += len(hit)
    return {
        "tables with a false finding": false / rounds,
        "coverage of its macro rows": covered / rows,
        "their width, points": 100 * width / rows,
    }


def one_seed(
    noise: float, stated: float | None, rounds: int, rng: np.random.Generator
) -> dict[str, float]:
    """Three arms, one seed."""
    verdicts = differing = 0
    options = {} if stated is None else {"seed_spread": stated}
    for _ in range(rounds):
        rows = table(simulated({arm: [0] for arm in "cxy"}, noise, rng), **options).rows
        verdicts += any(stats.is_verdict(row.verdict) for row in rows)
        differing += any(row.verdict == stats.DIFFERS for row in rows)
    return {"better or worse": verdicts / rounds, stats.DIFFERS: differing / rounds}


def best_of(arms: int, noise: float, rounds: int, rng: np.random.Generator) -> dict[str, float]:
    """Arms that all gain 3 points, three seeds: how much too high the best one is, in points."""
    effect, naive, shrunk = 0.03, [], []
    names = [f"a{number}" for number in range(arms)]
    for _ in range(rounds):
        seeds = {name: range(3) for name in ("c", *names)}
        found = table(simulated(seeds, noise, rng, effect))
        best = max(row.delta for row in found.rows if row.task == stats.MACRO)
        told = re.search(r"mean of the arms ([-+.0-9]+) instead", found.caveat)
        naive.append(100 * (best - effect))
        shrunk.append((float(told[1]) if told else 100 * best) - 100 * effect)
    return {"best delta": float(np.mean(naive)), "shrunk": float(np.mean(shrunk))}


def collapse(ratios: Sequence[float], rounds: int, rng: np.random.Generator) -> dict[str, float]:
    """A curve whose optimum lies in its widest inner gap, where the score collapses."""
    x = np.array(ratios)
    gap = int(np.argmax(np.diff(x)))
    low, high = x[gap], x[gap + 1]
    peak = (low + high) / 2
    recommended = named = 0
    for _ in range(rounds):
        scores = 0.4 - 0.5 * (x - peak) ** 2 / (x[-1] - x[0]) ** 2 + rng.normal(0, 0.005, len(x))
        covariance = np.eye(len(x)) * 0.005**2
        found = fit.fit_ratios(ratios, scores, covariance, confidence=0.95, seed=0)
        inside = found.best is not None and low < found.best.ratio < high
        recommended += inside and found.recommendation.startswith("Best")
        named += "nothing was measured; measure" in found.recommendation
    return {"recommended inside it": recommended / rounds, "asks to measure": named / rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    console = Console(width=120)
    _show(
        console,
        "Four arms, three seeds planned, run noise 4 points",
        {
            f"{'the control' if loser == 'c' else 'an arm'} kept {kept} of 3": lost_seeds(
                loser, kept, 0.04, rounds, rng
            )
            for loser in "xc"
            for kept in (1, 2, 3)
        },
    )
    rows = {}
    for noise in (0.4, 0.7, 1.5, 2.8):
        for stated in (None, noise):
            name = f"run noise {noise:g}" + (", eval.seed_spread states it" if stated else "")
            given = None if stated is None else stated / 100
            rows[name] = one_seed(noise / 100, given, rounds, rng)
    _show(console, "Three arms, one seed: share of tables with such a word", rows)
    _show(
        console,
        "The best of arms that all gain 3 points: too high by",
        {
            f"{arms} arms, run noise {noise:g}": best_of(arms, noise / 100, rounds // 4, rng)
            for arms in (4, 8)
            for noise in (0.7, 1.5)
        },
    )
    _show(
        console,
        "A collapse between two measured ratios",
        {"geometric grid": collapse(GEOMETRIC, rounds, rng)},
    )


def _show(console: Console, title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    shown = Table(title=title, title_justify="left")
    for column in ("", *next(iter(rows.values()))):
        shown.add_column(column, justify="right" if column else "left")
    for name, values in rows.items():
        shown.add_row(name, *(f"{value:.3f}" for value in values.values()))
    console.print(shown)


if __name__ == "__main__":
    main()
