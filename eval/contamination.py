"""Contamination status of every evaluated task, and its score on the clean documents.

A task is
  `allowed_leak`  where a training split that is or shares its evaluated split was seeded from;
  `touched`       where the teacher wrote something that matches its documents: the filter removed
                  it, but the skill to write it is in the teacher;
  `clean`         where the filter checked every candidate and found none;
  `unknown`       where no filter ran.
Only what the teacher wrote is checked: the other sources of the mixture are not.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from eval.harness import DOCUMENTS
from tsqa.artifact import Artifact
from tsqa.dataset import read_rejected
from tsqa.recipe import Recipe, arms_of

FILTER_ROLE = "filter"
_STEP = "decontamination"


def contamination(recipe: Recipe, inputs: Mapping[str, Artifact]) -> dict[str, dict[str, Any]]:
    """Task -> status, touched documents, and per condition the score on the others.

    `inputs` are those of the stage compare. A `score_clean` is a mean over training seeds; it is
    None where no document is clean, or which are is not known.
    """
    conditions: dict[str, list[Artifact]] = defaultdict(list)
    if "base" in inputs:
        conditions["base"].append(inputs["base"])
    for name, arm in arms_of(recipe).items():
        if f"arm:{name}" in inputs:
            conditions[arm.condition].append(inputs[f"arm:{name}"])
    found = inputs.get(FILTER_ROLE)
    touched = touched_documents(found) if found else {}
    scores = {name: [_read_scores(a) for a in several] for name, several in conditions.items()}
    tasks = dict.fromkeys(task for several in scores.values() for one in several for task in one)
    report = {}
    for task in tasks:
        status = _status(task, found, touched)
        clean = {
            name: [_clean(one.get(task, []), touched.get(task, set())) for one in several]
            for name, several in scores.items()
        }
        counts = {len(kept) for several in clean.values() for kept in several}
        documents = {len(one.get(task, [])) for several in scores.values() for one in several}
        is_known = status in ("clean", "touched")
        report[task] = {
            "status": status,
            "documents": max(documents) - min(counts) if is_known else None,
            "n_clean": min(counts) if is_known else None,
            "score_clean": {
                name: _mean([_mean(kept) for kept in several]) if is_known else None
                for name, several in clean.items()
            },
        }
    return report


def touched_documents(filtered: Artifact) -> dict[str, set[int]]:
    """Task -> documents that a candidate matched, as the filter's decontamination names them."""
    touched: dict[str, set[int]] = defaultdict(set)
    for row in read_rejected(filtered.path, ["step", "match"]):
        if row["step"] == _STEP:
            task, _, number = str(row["match"]).rpartition("-")
            touched[task].add(int(number))
    return dict(touched)


def _status(task: str, filtered: Artifact | None, touched: Mapping[str, set[int]]) -> str:
    if filtered is None:
        return "unknown"
    for leak in filtered.summary.get("allowed_leaks", []):
        if task == leak["task"] or re.search(rf"\b{re.escape(task)}\b", leak["reason"]):
            return "allowed_leak"
    return "touched" if touched.get(task) else "clean"


_Scores = list[tuple[int, str, float]]
"""(doc_id, doc_hash, score) of one task."""


def _read_scores(evaluation: Artifact) -> dict[str, _Scores]:
    import pyarrow.parquet

    columns = ["task", "doc_id", "doc_hash", "score"]
    table = pyarrow.parquet.read_table(evaluation.path / DOCUMENTS, columns=columns).to_pydict()
    scores: dict[str, _Scores] = defaultdict(list)
    for task, *document in zip(*(table[column] for column in columns), strict=True):
        scores[task].append((document[0], document[1], document[2]))
    return dict(scores)


def _clean(documents: _Scores, touched: set[int]) -> list[float]:
    """Scores of the documents that are not touched; a copy of a touched one is touched as well."""
    hashes = {doc_hash for doc_id, doc_hash, _ in documents if doc_id in touched}
    return [score for _, doc_hash, score in documents if doc_hash not in hashes]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
