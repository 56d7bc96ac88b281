"""One task's score and its documents, read from lm-eval's answer.

Guarantee: the score is the plain mean of the documents' scores, and lm-eval's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NotRequired, TypedDict, cast

from pydantic import JsonValue

from eval.harness.gold import bits_per_byte, right_choice
from eval.harness.groups import group_of, nothing_shared, propose_rule
from eval.harness.metrics import Logged, pick_metric
from eval.results import Document, Part, TaskResult, metric_name
from tsqa.errors import DataError
from tsqa.recipe import ProtocolSection


class Sample(Logged):
    """What lm-eval logs of one document under one filter; each metric is a further key."""

    doc_id: int
    doc: dict[str, object]
    doc_hash: str
    target: object
    arguments: list[tuple[str, object]]
    filtered_resps: list[object]
    """Of a choice: (log-probability, is greedy) each; of generated text: the text."""


RawResult = TypedDict(
    "RawResult",
    {
        "configs": dict[str, dict[str, JsonValue]],
        "samples": dict[str, list[Sample]],
        "results": dict[str, dict[str, float]],
        "versions": dict[str, JsonValue],
        "n-shot": dict[str, JsonValue],
        "gold": NotRequired[dict[int, float]],
    },
)
"""What lm-eval's `simple_evaluate` returns, as far as it is read; by task.

`gold`: doc_id -> bits per byte of the right answer, of generated text."""


def read_result(
    task: str,
    raw: RawResult,
    backend: str,
    protocol: ProtocolSection | None = None,
    rule: str | None = None,
    limit: int | None = None,
) -> Part:
    """Turn lm-eval's answer for one task into its score and documents.

    `rule`: what its documents share, of `eval.groups`. `limit`: of `eval.limit`.
    """
    config = raw["configs"][task]
    kind = str(config.get("output_type", "unknown"))
    samples = raw["samples"].get(task) or []
    if not samples:
        raise DataError(f"eval.tasks: {task} has no documents")
    metric, chosen = pick_metric(task, kind, samples, protocol)
    ordered = sorted((s for s in samples if s["filter"] == chosen), key=lambda s: int(s["doc_id"]))
    delimiter = str(config.get("target_delimiter", " "))
    gold = raw.get("gold", {})
    found = [
        replace(
            _document(task, kind, metric, sample, delimiter, rule),
            **vars(_bits(config, sample, gold.get(sample["doc_id"]))),
        )
        for sample in ordered
    ]
    documents, shared = _mark_groups(found), ""
    if documents[0].group is None:
        if rule is None:
            shared = propose_rule([s["doc"] for s in ordered], [d.question for d in documents])
        else:
            shared = nothing_shared([document.group for document in found], rule, limit)
    n = len(documents)
    score = math.fsum(document.score for document in documents) / n
    reported = raw["results"][task].get(f"{metric},{chosen}")
    if reported is None or abs(float(reported) - score) > 1e-6:
        raise DataError(
            f"eval.tasks: {task}: {metric} is {reported}, but its documents average {score:.6f}",
            "use a task whose metric averages documents; the statistics resample them",
        )
    spread = math.fsum((d.score - score) ** 2 for d in documents) / max(n - 1, 1)
    result = TaskResult(
        metric=metric_name(metric, chosen, (protocol and protocol.samples) or 1),
        n=n,
        score=score,
        stderr=math.sqrt(spread / n),
        version=raw["versions"].get(task),
        num_fewshot=raw["n-shot"].get(task),
        kind=kind,
        backend=backend,
    )
    return Part(result, documents, shared)


def _document(
    task: str, kind: str, metric: str, sample: Sample, delimiter: str, rule: str | None
) -> Document:
    where = f"eval.tasks: {task}: doc_id {sample['doc_id']}"
    try:
        score = float(cast(Mapping[str, float], sample)[metric])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} has no single number under {metric}") from error
    likelihoods = _likelihoods(kind, sample)
    if not math.isfinite(score) or not all(math.isfinite(value) for value in likelihoods):
        raise DataError(f"{where} scores NaN or infinity", "the model has diverged; check its loss")
    if not 0 <= score <= 1:
        raise DataError(
            f"{where} scores {score:g} by {metric}, which is no share from 0 to 1",
            "name another metric in eval.protocols: scores are shown in percent, and averaged over "
            "tasks",
        )
    if kind == "multiple_choice" and not _has_right_choice(sample, delimiter):
        raise DataError(
            f"{where}: its label {sample['target']!r:.40} is none of its "
            f"{len(sample['arguments'])} choices",
            "correct the task's doc_to_target or its data: every model would score 0 on it",
        )
    prompt = str(sample["arguments"][0][0])
    asked = sample["doc"].get("question")
    question = asked if isinstance(asked, str) else prompt
    answer, prediction = _answers(kind, metric, sample)
    return Document(
        task=task,
        doc_id=int(sample["doc_id"]),
        doc_hash=str(sample["doc_hash"]),
        metric=metric,
        score=score,
        question=question,
        answer=answer,
        prediction=prediction,
        loglikelihoods=likelihoods or None,
        group=group_of(sample["doc"], question, rule),
    )


@dataclass(frozen=True)
class _Bits:
    """The fields of `Document` with bits per byte."""

    bits: float | None
    option_bits: list[float] | None = None


def _bits(config: Mapping[str, JsonValue], sample: Sample, gold: float | None) -> _Bits:
    kind, delimiter = str(config.get("output_type")), str(config.get("target_delimiter", " "))
    likelihoods = _likelihoods(kind, sample)
    if not likelihoods:
        return _Bits(gold if gold is not None and math.isfinite(gold) else None)
    asked = [(str(pair[0]), str(pair[1])) for pair in sample["arguments"]][: len(likelihoods)]
    each = [bits_per_byte(one, *pair) for one, pair in zip(likelihoods, asked, strict=False)]
    right = right_choice(sample["target"], [text for _, text in asked], delimiter)
    if kind == "loglikelihood":
        right = 0
    elif config.get("process_results") and len(each) > 1:
        right = None  # it judges by its own rule: truthfulqa_mc2 has several right ones, and says 0
    return _Bits(None if right is None else each[right], each)


def _has_right_choice(sample: Sample, delimiter: str) -> bool:
    """Whether the label of a choice names one; lm-eval only warns, and scores 0."""
    targets = sample["target"] if isinstance(sample["target"], list) else [sample["target"]]
    count = len(sample["arguments"])
    continuations = [str(pair[1]) for pair in sample["arguments"]]
    # With a chat template lm-eval puts no delimiter before a choice.
    choices = {*continuations, *(text.removeprefix(delimiter) for text in continuations)}
    return any(
        0 <= target < count
        if isinstance(target, int)
        else not isinstance(target, str) or target in choices
        for target in targets
    )


def _mark_groups(documents: Sequence[Document]) -> list[Document]:
    """Give each document a group if any two of the task share one; otherwise none has any."""
    shared = [document.group for document in documents if document.group is not None]
    is_grouped = len(set(shared)) < len(shared)
    return [
        replace(d, group=(d.group or f"document {d.doc_id}") if is_grouped else None)
        for d in documents
    ]


def _likelihoods(kind: str, sample: Sample) -> list[float]:
    """The log-probability of each choice, in nats, or of the target; none of generated text."""
    if kind not in ("multiple_choice", "loglikelihood"):
        return []
    responses = cast(list[tuple[float, bool]], sample["filtered_resps"])
    if "acc_mutual_info" in sample["metrics"]:  # asked once more without the prompt
        responses = responses[: len(responses) // 2]
    return [float(response[0]) for response in responses]


def _answers(kind: str, metric: str, sample: Sample) -> tuple[str, str]:
    """The right answer and the model's, as text."""
    target = sample["target"]
    if kind != "multiple_choice":
        answered = sample["filtered_resps"][0]
        # Of several samples the first is shown.
        return str(target), str(answered[0] if isinstance(answered, list) else answered)
    arguments = sample["arguments"]
    # Where the choices are in the context (winogrande), every continuation is the same.
    varying = 1 if len({pair[1] for pair in arguments}) > 1 else 0
    choices = [str(pair[varying]).strip() for pair in arguments]
    scores = _likelihoods(kind, sample)
    if metric == "acc_norm":
        scores = [s / max(len(c), 1) for s, c in zip(scores, choices, strict=False)]
    best = choices[max(range(len(scores)), key=lambda i: scores[i])]
    if isinstance(target, int) and 0 <= target < len(choices):
        return choices[target], best
    return str(target), best
