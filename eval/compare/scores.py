"""What one evaluate artifact says of a model, down to the score of each document.

Guarantees: a document that appears twice, or a count that differs from the results' own, is
refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from eval.results import DOCUMENTS, RESULTS, Results, TaskResult, columns_of
from eval.statistics import stats
from eval.statistics.paired import DocumentKey, Scored, weights_of
from tsqa.store.artifact import Artifact
from tsqa.store.own_files import damaged, read_own
from tsqa.store.own_tables import read_own_table


@dataclass(frozen=True)
class Evaluated:
    """What one evaluate artifact says: a model of one condition, trained under one seed."""

    name: str
    condition: str
    seed: int | None
    """None: not trained by the recipe (the base)."""
    tasks: dict[str, TaskResult]
    macro: float
    scores: dict[str, Scored]


Conditions = Mapping[str, Mapping[int, Evaluated]]
"""Condition -> seed -> model, seeds ascending, without the base."""


def read(
    name: str, artifact: Artifact, condition: str | None = None, seed: int | None = None
) -> Evaluated:
    """Load one evaluate artifact; a document that appears twice is a DataError."""
    results = read_own(artifact.path / RESULTS, Results)
    path = artifact.path / DOCUMENTS
    columns = columns_of("task", "doc_id", "doc_hash", "score", "group")
    table = read_own_table(path, columns).to_pydict()
    documents: dict[str, list[tuple[DocumentKey, float, str | None]]] = {
        task: [] for task in results.tasks
    }
    for task, doc_id, doc_hash, score, group in zip(
        *(table[c] for c in columns.names), strict=True
    ):
        value = math.nan if score is None else score
        documents.setdefault(task, []).append(((doc_id, doc_hash), value, group))
    for task, result in results.tasks.items():
        if len(documents[task]) != result.n:
            raise damaged(
                path, f"{task}: {len(documents[task])} documents, but {RESULTS} says {result.n}"
            )
    return Evaluated(
        name=name,
        condition=condition or name,
        seed=seed,
        tasks=results.tasks,
        macro=results.macro,
        scores={t: Scored.of(d, f"{path}: {t}") for t, d in documents.items()},
    )


def weigh_macro(model: Evaluated) -> Evaluated:
    """The model, its macro average weighing tasks by their documents."""
    weights = weights_of({task: one.n for task, one in model.tasks.items()}, True)
    macro = math.fsum(w * model.tasks[task].score for task, w in weights.items())
    return replace(model, macro=macro)


def task_scores(
    model: Evaluated, macros: Mapping[str, Sequence[str]], by_documents: bool
) -> dict[str, float]:
    """Per task and macro average, as its rows in the table are called."""
    scores = {task: model.tasks[task].score for task in sorted(model.tasks)}
    suites = {
        stats.macro_name(name): math.fsum(
            weight * scores[task]
            for task, weight in weights_of(
                {task: model.tasks[task].n for task in tasks}, by_documents
            ).items()
        )
        for name, tasks in macros.items()
        if tasks and set(tasks) <= scores.keys()
    }
    return {**scores, stats.MACRO: model.macro, **suites}
