"""What is in the files that evaluate and compare write, as far as their readers rely on it."""

from __future__ import annotations

from typing import Any, NotRequired

import pyarrow as pa
from pydantic import FiniteFloat, NonNegativeInt
from typing_extensions import TypedDict

from tsqa.store.own_files import Object

DOCUMENT_TYPES: dict[str, pa.DataType] = {
    "task": pa.string(),
    "doc_id": pa.int64(),
    "doc_hash": pa.string(),
    "metric": pa.string(),
    "score": pa.float64(),
    "question": pa.string(),
    "answer": pa.string(),
    "prediction": pa.string(),
    "loglikelihoods": pa.list_(pa.float64()),
    "group": pa.string(),
}
"""The columns of documents.parquet."""


class TaskResult(TypedDict):
    metric: str
    n: NonNegativeInt
    score: FiniteFloat
    version: Any
    num_fewshot: Any
    kind: str


class Results(TypedDict):
    """results.json; `tokens` and `heldout` only of a trained model."""

    tasks: dict[str, TaskResult]
    macro: FiniteFloat
    groups: NotRequired[dict[str, list[str]]]
    backend: NotRequired[str]
    tokens: NotRequired[NonNegativeInt]
    heldout: NotRequired[dict[str, float]]


class Part(TypedDict):
    """A finished task of an evaluation that is not yet whole."""

    result: Object
    documents: list[Object]


class Exported(TypedDict):
    """exported.json beside a model that was exported along its training."""

    tokens: NonNegativeInt
    heldout: NotRequired[dict[str, float]]


class Row(TypedDict):
    comparison: str
    arm: str
    against: str
    task: str
    delta: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    verdict: str


class Deltas(TypedDict):
    """deltas.json."""

    control: str
    arms: list[str]
    has_base: bool
    comparisons: list[str]
    tasks: dict[str, Object]
    scores: dict[str, dict[str, float]]
    rows: list[Row]
    gaps: dict[str, dict[str, str]]
    caveat: str
    conclusion: str


def columns_of(*names: str) -> dict[str, pa.DataType]:
    """Some columns of documents.parquet, with their types."""
    return {name: DOCUMENT_TYPES[name] for name in names}
