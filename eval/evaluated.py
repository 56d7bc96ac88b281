"""What one evaluate artifact says of a model, down to the score of each document.

Promises: a document that appears twice, or a count that differs from the results' own, is refused.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from eval.harness import DOCUMENTS, RESULTS
from eval.paired import Key, Scored
from tsqa.artifact import Artifact
from tsqa.errors import DataError

BASE = "base"


@dataclass(frozen=True)
class Evaluated:
    """What one evaluate artifact says: a model of one condition, trained under one seed."""

    name: str
    condition: str
    seed: int | None
    """None: not trained by the recipe (the base)."""
    tasks: dict[str, dict[str, Any]]
    macro: float
    scores: dict[str, Scored]


def read(
    name: str, artifact: Artifact, condition: str | None = None, seed: int | None = None
) -> Evaluated:
    """Load one evaluate artifact; a document that appears twice is a DataError."""
    import pyarrow.parquet

    results = json.loads((artifact.path / RESULTS).read_text(encoding="utf-8"))
    path = artifact.path / DOCUMENTS
    grouped = "group" in pyarrow.parquet.read_schema(path).names
    columns = ["task", "doc_id", "doc_hash", "score", *(["group"] if grouped else [])]
    table = pyarrow.parquet.read_table(path, columns=columns).to_pydict()
    groups = table["group"] if grouped else [None] * len(table["task"])
    documents: dict[str, list[tuple[Key, float, str | None]]] = {
        task: [] for task in results["tasks"]
    }
    for task, doc_id, doc_hash, score, group in zip(
        *(table[c] for c in columns[:4]), groups, strict=True
    ):
        value = math.nan if score is None else score
        documents.setdefault(task, []).append(((doc_id, doc_hash), value, group))
    for task, result in results["tasks"].items():
        if len(documents[task]) != result["n"]:
            raise DataError(
                f"{path}: {task}: {len(documents[task])} documents, but {RESULTS} says "
                f"{result['n']}",
                f"delete {artifact.path} and evaluate again",
            )
    return Evaluated(
        name=name,
        condition=condition or name,
        seed=seed,
        tasks=results["tasks"],
        macro=results["macro"],
        scores={t: Scored.of(d, f"{path}: {t}") for t, d in documents.items()},
    )
