"""Bits per byte of the right answer: what it costs the model, which moves before accuracy does.

Guarantees: of generated text the answer that the task states is scored in the place of the model's,
as the whole continuation of the prompt; a document without one single such answer has no bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from lm_eval.api.model import LM

LONGEST = 500
"""Bytes of a stated answer that is scored; no model's window is shorter in tokens."""


class AskedSample(TypedDict):
    """What lm-eval logs of one document, as far as its right answer depends on it."""

    doc_id: int
    target: object
    arguments: list[tuple[str, object]]
    metrics: list[str]


def stated_answers(samples: Sequence[AskedSample], delimiter: str) -> dict[int, tuple[str, str]]:
    """doc_id -> prompt and right answer, of generated text that is compared with one answer."""
    found = {}
    for sample in samples:
        target = sample["target"]
        if isinstance(target, list) and len(target) == 1:
            (target,) = target
        if "exact_match" not in sample["metrics"] or not isinstance(target, str | int):
            continue
        prompt, answer = str(sample["arguments"][0][0]), str(target)
        if prompt and answer.strip() and len(answer.encode()) <= LONGEST:
            before = "" if prompt[-1:].isspace() or answer[0].isspace() else delimiter
            found[sample["doc_id"]] = prompt, before + answer
    return found


def score_answers(model: LM, task: str, answers: dict[int, tuple[str, str]]) -> dict[int, float]:
    """doc_id -> bits per byte."""
    from lm_eval.api.instance import Instance

    requests = [
        Instance("loglikelihood", {}, pair, 0, (task, doc_id, 1))
        for doc_id, pair in answers.items()
    ]
    replies = model.loglikelihood(requests) if requests else []
    return {
        doc_id: bits_per_byte(float(reply[0]), *pair)
        for (doc_id, pair), reply in zip(answers.items(), replies, strict=True)
    }


def bits_per_byte(loglikelihood: float, prompt: str, continuation: str) -> float:
    """Of a continuation with the space before it, which lm-eval takes from a prompt's end too."""
    scored = prompt[len(prompt.rstrip()) :] + continuation
    return -loglikelihood / math.log(2) / max(1, len(scored.encode()))


def right_choice(target: object, continuations: Sequence[str], delimiter: str) -> int | None:
    """The number of the one right choice; None where there are several, or none can be told."""
    if isinstance(target, list) and len(target) == 1:
        (target,) = target
    if isinstance(target, int):
        return target if 0 <= target < len(continuations) else None
    if not isinstance(target, str):
        return None
    same = [
        n for n, text in enumerate(continuations) if target in (text, text.removeprefix(delimiter))
    ]
    return same[0] if len(same) == 1 else None
