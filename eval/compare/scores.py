"""What one evaluate artifact says of a model, down to the score of each document.

Guarantees: a document that appears twice, or a count that differs from the results' own, is
refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from eval.results import DOCUMENTS, RESULTS, Results, TaskResult, columns_of
from eval.statistics.paired import DocumentKey, Scored
from tsqa.store.artifact import Artifact
from tsqa.store.own_files import damaged, read_own, read_own_table


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
    for task, doc_id, doc_hash, score, group in zip(*(table[c] for c in columns), strict=True):
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
