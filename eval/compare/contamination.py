"""Contamination status of every evaluated task, and its score on the clean documents.

A task is
  `allowed_leak`  if seeds came from a split that shares documents with its evaluated split;
  `touched`       if something the teacher wrote, or a document of the mixture, holds some of its
                  documents: it was removed before training, as far as the rules find it;
  `clean`         if nothing that was checked holds any;
  `unknown`       if nothing was checked.
`checked` says what was: `candidates` of the teacher, `sources` of the mixture.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from eval.deltas import Contamination
from eval.results import DOCUMENTS, columns_of
from tsqa.curated.files import REJECTED, read_rows
from tsqa.recipe import Recipe, arms_of
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import read_jsonl
from tsqa.store.own_tables import read_own_table
from tsqa.store.roles import BASE, ArmRole, CheckedRole, Role

_STEP = "decontamination"
_MARK = " of the evaluated "
"""Precedes the document in the reason for which a source's document was dropped."""


def contamination(recipe: Recipe, inputs: Mapping[Role, Artifact]) -> dict[str, Contamination]:
    """Task -> its status, touched documents, and per condition the score on the others.

    `inputs` are those of the stage compare: the stages that checked say what was found. A
    `score_clean` is a mean over training seeds; None where it is not known which documents are
    clean, or none is.
    """
    conditions: dict[str, list[Artifact]] = defaultdict(list)
    if BASE in inputs:
        conditions[BASE].append(inputs[BASE])
    for name, arm in arms_of(recipe).items():
        if ArmRole(name) in inputs:
            conditions[arm.condition].append(inputs[ArmRole(name)])
    scores = {name: [_read_scores(a) for a in several] for name, several in conditions.items()}
    checked, touched = _gather(inputs)
    summaries = [artifact.summary for artifact in inputs.values()]
    leaks = [leak for summary in summaries for leak in summary.get("allowed_leaks", [])]
    report: dict[str, Contamination] = {}
    for one in chain.from_iterable(scores.values()):
        for task in one.keys() - report.keys():
            found = touched.get(task, set())
            status = _status(task, checked, found, leaks)
            is_known = status in ("clean", "touched")
            kept = len(_clean(one[task], found))
            report[task] = Contamination(
                status=status,
                checked=checked,
                documents=len(one[task]) - kept if is_known else None,
                n_clean=kept if is_known else None,
                score_clean={
                    name: _mean([_mean(_clean(each.get(task, []), found)) for each in several])
                    if is_known
                    else None
                    for name, several in scores.items()
                },
            )
    return {task: report[task] for task in sorted(report)}


def _gather(inputs: Mapping[Role, Artifact]) -> tuple[list[str], dict[str, set[int]]]:
    """What was checked, and task -> touched documents."""
    checked: dict[str, None] = {}
    touched: dict[str, set[int]] = defaultdict(set)
    for role, artifact in inputs.items():
        stage = role.stage if isinstance(role, CheckedRole) else role
        if stage == "filter":
            checked["candidates"] = None
            found = _matches_of_filter(artifact)
        elif stage == "decontaminate":
            checked["sources"] = None
            found = _matches_of_sources(artifact)
        else:
            continue
        for match in found:
            task, _, number = match.rpartition("-")
            touched[task].add(int(number))
    return list(checked), dict(touched)


@dataclass(frozen=True)
class _Match:
    step: str
    match: str


def _matches_of_filter(artifact: Artifact) -> Iterator[str]:
    """Evaluated documents (`<task>-<doc_id>`) that candidates matched."""
    return (row.match for row in read_rows(artifact.path / REJECTED, _Match) if row.step == _STEP)


def _matches_of_sources(artifact: Artifact) -> Iterator[str]:
    """Evaluated documents that documents of the mixture's sources held."""
    for record in read_jsonl(artifact.path / "dropped.jsonl"):
        yield str(record["reason"]).partition(_MARK)[2]


def _status(
    task: str, checked: Sequence[str], touched: set[int], leaks: Sequence[Mapping[str, str]]
) -> Literal["allowed_leak", "touched", "clean", "unknown"]:
    named = re.compile(rf"(?<![\w-]){re.escape(task)}(?![\w-])")
    if any(task == leak["task"] or named.search(leak["reason"]) for leak in leaks):
        return "allowed_leak"
    if not checked:
        return "unknown"
    return "touched" if touched else "clean"


_Scores = list[tuple[int, str, float]]
"""(doc_id, doc_hash, score) of one task."""


def _read_scores(evaluation: Artifact) -> dict[str, _Scores]:
    columns = columns_of("task", "doc_id", "doc_hash", "score")
    table = read_own_table(evaluation.path / DOCUMENTS, columns).to_pydict()
    scores: dict[str, _Scores] = defaultdict(list)
    for task, *document in zip(*(table[column] for column in columns.names), strict=True):
        scores[task].append((document[0], document[1], document[2]))
    return dict(scores)


def _clean(documents: _Scores, touched: set[int]) -> list[float]:
    """Scores of the documents that are not touched; a copy of a touched one is touched as well."""
    hashes = {doc_hash for doc_id, doc_hash, _ in documents if doc_id in touched}
    return [score for _, doc_hash, score in documents if doc_hash not in hashes]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
