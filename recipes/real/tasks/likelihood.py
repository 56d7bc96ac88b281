"""How likely the right answer is, which moves long before accuracy does."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def per_byte(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """The geometric mean of the probability of each byte of the answer: 2 ** -(bits per byte)."""
    ((loglikelihood, _),) = results
    choices = doc["choices"]
    answer = choices["text"][choices["label"].index(doc["answerKey"].strip())]
    return {"prob_per_byte": math.exp(loglikelihood / len(f" {answer}".encode()))}
