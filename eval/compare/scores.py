"""What one evaluate artifact says of a model, down to the score of each document.

Guarantees: a document that appears twice, or a count that differs from the results' own, is
refused.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from eval.results import DOCUMENTS, RESULTS, Results, TaskResult, columns_of, read_documents
from eval.statistics import stats
from eval.statistics.paired import DocumentKey, Scored, weights_of
from tsqa.store.artifact import Artifact
from tsqa.store.own_files import damaged, read_own


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
    bits: dict[str, Scored] = field(default_factory=dict)
    """Task -> bits per byte of the right answers, of the documents that have them."""
    right_choice: dict[str, Scored] = field(default_factory=dict)
    """Task -> probability of the right one among the choices, of the documents that have some."""
    answers: str = ""
    """A digest of what was answered to each document, right or wrong."""
    run: str = ""
    """The fingerprint of its artifact."""


_Row = tuple[DocumentKey, float, str | None]
Conditions = Mapping[str, Mapping[int, Evaluated]]
"""Condition -> seed -> model, seeds ascending, without the base."""


def read(
    name: str, artifact: Artifact, condition: str | None = None, seed: int | None = None
) -> Evaluated:
    """Load one evaluate artifact; a document that appears twice is a DataError."""
    results = read_own(artifact.path / RESULTS, Results)
    path = artifact.path / DOCUMENTS
    columns = columns_of(
        *("task", "doc_id", "doc_hash", "score", "group"),
        *("bits", "option_bits", "loglikelihoods", "prediction"),
    )
    table = read_documents(path, columns).to_pydict()
    documents: dict[str, list[_Row]] = {task: [] for task in results.tasks}
    bits: dict[str, list[_Row]] = {}
    chosen: dict[str, list[_Row]] = {}
    answers = []
    for task, doc_id, doc_hash, score, group, cost, options, likelihoods, said in zip(
        *(table[c] for c in columns.names), strict=True
    ):
        answers.append((task, doc_id, doc_hash, said, likelihoods))
        value = math.nan if score is None else score
        documents.setdefault(task, []).append(((doc_id, doc_hash), value, group))
        if cost is not None:
            bits.setdefault(task, []).append(((doc_id, doc_hash), cost, group))
            if options and len(options) > 1:
                share = choice_probability(likelihoods[: len(options)], options.index(cost))
                chosen.setdefault(task, []).append(((doc_id, doc_hash), share, group))
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
        bits={t: Scored.of(d, f"{path}: {t}") for t, d in bits.items()},
        right_choice={t: Scored.of(d, f"{path}: {t}") for t, d in chosen.items()},
        answers=hashlib.sha256(repr(sorted(answers, key=lambda a: a[:3])).encode()).hexdigest(),
        run=artifact.fingerprint,
    )


def choice_probability(loglikelihoods: Sequence[float], right: int) -> float:
    """Of the right one among the choices: softmax over the log-likelihoods that score them.

    `norm_correct_prob` of Magnusson et al., DataDecide (2025); Schaeffer et al., Why has predicting
    downstream capabilities of frontier AI models with scale remained elusive? (2024).
    """
    likely = loglikelihoods[right]
    # Beyond 700 nats a float has no exponential, and the share is 0.
    return 1 / math.fsum(math.exp(min(700.0, other - likely)) for other in loglikelihoods)


def scored_by(model: Evaluated, scores: dict[str, Scored], metric: str) -> Evaluated:
    """The model, scored on some tasks by something else; more is better."""
    results = {
        task: replace(
            model.tasks[task],
            metric=metric,
            n=len(one.keys),
            score=float(one.values.mean()),
        )
        for task, one in scores.items()
    }
    macro = math.fsum(one.score for one in results.values()) / len(results)
    return replace(model, tasks=results, scores=scores, macro=macro)


def scored_alike(one: Evaluated, two: Evaluated) -> bool:
    """Whether they have the same tasks, documents and scores."""
    return one.scores.keys() == two.scores.keys() and all(
        scored.keys == two.scores[task].keys
        and np.array_equal(scored.values, two.scores[task].values, equal_nan=True)
        for task, scored in one.scores.items()
    )


def is_copy(one: Evaluated, two: Evaluated) -> bool:
    """Whether they are one model under two seeds of an arm, by what they answer.

    Scores alone do not tell: of few documents, or where most are too hard, two runs often answer
    the same ones rightly. Their wrong answers, and the log-likelihoods of choices, hardly agree.
    """
    if one.condition != two.condition or one.seed in (None, two.seed):
        return False
    values = [scored.values for scored in (*one.scores.values(), *one.bits.values())]
    by_bits = replace(one, scores=one.bits), replace(two, scores=two.bits)
    is_told = any(v.size and np.ptp(v) > 0 for v in values)
    is_alike = scored_alike(one, two) and scored_alike(*by_bits)
    return is_told and is_alike and one.answers == two.answers


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
