"""Time of one whole comparison: 30 tasks x 10 arms x 1,000 documents, 1,000 resamples.

    python -m tests.benchmarks.bootstrap_tables [--seeds 3]

Counts everything after the results are read: pairing, resampling or variance components, p-values,
Holm, macro averages, conclusion.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from eval.compare.comparison import compare
from eval.compare.scores import Evaluated
from eval.results import TaskResult
from eval.statistics.paired import DocumentKey, Scored

TASKS, ARMS, DOCUMENTS, RESAMPLES = 30, 10, 1000, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    seeds = parser.parse_args().seeds
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 1.5, (TASKS, DOCUMENTS))
    keys = [(i, f"{i:016x}") for i in range(DOCUMENTS)]
    models = [
        make_model(arm, seed, difficulty, keys, rng)
        for arm in range(ARMS + 1)
        for seed in range(seeds)
    ]
    started = time.perf_counter()
    deltas = compare(models, control="arm0", bootstrap=RESAMPLES, confidence=0.95, seed=0)
    seconds = time.perf_counter() - started
    print(
        f"{len(deltas.rows)} rows ({TASKS} tasks x {ARMS} arms + macro), {seeds} seed(s), "
        f"{DOCUMENTS} documents, {RESAMPLES} resamples: {seconds:.2f} s"
    )


def make_model(
    arm: int,
    seed: int,
    difficulty: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    keys: list[DocumentKey],
    rng: np.random.Generator,
) -> Evaluated:
    values = (difficulty + 0.05 * arm + rng.normal(0, 0.7, difficulty.shape) > 0).astype(float)
    scores = {f"task{k}": Scored(keys, row) for k, row in enumerate(values)}
    tasks = {
        name: TaskResult("acc", DOCUMENTS, float(s.values.mean()), 0.0, 1, 0, "k", "hf")
        for name, s in scores.items()
    }
    name = f"arm{arm}"
    return Evaluated(f"{name},{seed}", name, seed, tasks, float(values.mean()), scores)


if __name__ == "__main__":
    main()
