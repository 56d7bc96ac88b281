"""Several looks at one training: how often a curve shows a difference; prints a table.

    python -m tests.benchmarks.looks --rounds 400

Two arms are scored at six points of their training on 600 documents. A run's score is a random walk
with a standard deviation of 0.7 points at the end (one seed: of none, which its interval does not
cover), what it adds to a document one that ends at 0.5; so neighbouring points are alike. An
effect grows evenly over the training.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from scipy.stats import norm

from eval.statistics.looks import confidence_of_any
from eval.statistics.paired import compare_models
from tests.support.invented_arms import of_scores

LOOKS, DOCUMENTS = 6, 600
_DENSITY = float(norm.pdf(0) / np.sqrt(1.25))


def p_values(seeds: int, noise: float, effect: float, rng: np.random.Generator) -> Iterator[float]:
    """Of the difference at each look; `effect` is that at the last one, both in points."""
    difficulty = rng.normal(0, 1, DOCUMENTS)
    steps = np.sqrt(np.arange(1, LOOKS + 1))
    runs = np.cumsum(rng.normal(0, noise, (2, seeds, LOOKS)), axis=2) / np.sqrt(LOOKS)
    added = np.cumsum(rng.normal(0, 0.5, (2, seeds, DOCUMENTS, LOOKS)), axis=3) / steps
    for look in range(LOOKS):
        sides = []
        for arm in range(2):
            ability = (runs[arm, :, look] + arm * effect * (look + 1) / LOOKS) / 100 / _DENSITY
            right = ability[:, None] - difficulty + added[arm, :, :, look] > 0
            sides.append([{"t": row.astype(float)} for row in right])
        before, after = ([of_scores("x", 0, one).scores for one in side] for side in sides)
        [row, *_] = compare_models(before, after, label="x", bootstrap=400, confidence=0.95, seed=0)
        yield row.delta.p


def found(
    seeds: int, noise: float, effect: float, rounds: int, rng: np.random.Generator
) -> dict[str, float]:
    """Shares of curves that show a difference, by what is asked of them."""
    curves = np.array([list(p_values(seeds, noise, effect, rng)) for _ in range(rounds)])
    corrected = 1 - confidence_of_any(LOOKS, 0.95)
    return {
        "the last point": float(np.mean(curves[:, -1] <= 0.05)),
        "any point": float(np.mean(curves.min(axis=1) <= 0.05)),
        "any point, corrected": float(np.mean(curves.min(axis=1) <= corrected)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    for seeds, noise in ((1, 0.0), (3, 0.7)):
        for effect in (0.0, 5.0):
            shares = found(seeds, noise, effect, rounds, rng)
            shown = ", ".join(f"{name} {value:.3f}" for name, value in shares.items())
            print(f"{seeds} seeds, effect {effect:g}: {shown}", flush=True)


if __name__ == "__main__":
    main()
