"""Evaluations of arms that nobody trained, and their comparison."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from eval.compare.comparison import compare
from eval.compare.scores import Evaluated
from eval.deltas import DeltaTable
from eval.results import TaskResult
from eval.statistics.paired import DocumentKey, Scored


def evaluated(
    name: str, rates: dict[str, float], n: int = 300, *, seed: int | None = None, **changes: Any
) -> Any:
    scores, tasks = {}, {}
    for task, rate in rates.items():
        noise = np.random.default_rng(len(task)).random(n)
        if seed is not None:
            noise = noise + np.random.default_rng([seed, len(name)]).normal(0, 0.02, n)
        values = (noise < rate).astype(float)
        rows = [((i, f"h{i}"), float(v), None) for i, v in enumerate(values)]
        scores[task] = Scored.of(rows, task)
        result = TaskResult(
            metric="acc",
            n=n,
            score=float(values.mean()),
            stderr=0.0,
            version=1.0,
            num_fewshot=0,
            kind="multiple_choice",
            backend="hf",
        )
        tasks[task] = replace(result, **changes)
    macro = float(np.mean([task.score for task in tasks.values()]))
    return Evaluated(name, name, seed, tasks, macro, scores)


def deltas_of(*models: Any, control: str = "c", **options: Any) -> DeltaTable:
    return compare(models, control=control, bootstrap=500, confidence=0.95, seed=0, **options)


def seeded(name: str, rate: float, *seeds: int) -> list[Any]:
    return [evaluated(name, {"day": rate, "unit": 0.3}, seed=seed) for seed in seeds]


def of_scores(condition: str, seed: int, scores: dict[str, np.ndarray[Any, Any]]) -> Evaluated:
    """An arm's evaluation from its scores per document."""
    tasks = {
        name: TaskResult("acc", len(v), float(v.mean()), 0.0, 1, 0, "k", "hf")
        for name, v in scores.items()
    }
    scored = {name: Scored(_keys(name, len(v)), v) for name, v in scores.items()}
    macro = float(np.mean([task.score for task in tasks.values()]))
    return Evaluated(f"{condition},{seed}", condition, seed, tasks, macro, scored)


@cache
def _keys(task: str, documents: int) -> list[DocumentKey]:
    return [(number, f"{task}{number}") for number in range(documents)]
