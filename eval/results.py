"""What an evaluation writes: results.json, a row per document in documents.parquet, and its parts.

Guarantee: a record holds the keys of its file in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import FiniteFloat, JsonValue, NonNegativeInt

from tsqa.store.own_tables import read_own_table, schema_of

_LATER = ("bits", "option_bits")
DOCUMENTS, RESULTS = "documents.parquet", "results.json"


@dataclass(frozen=True)
class Document:
    """One evaluated document: its score under the task's primary metric, and what was answered.

    Its fields are the columns of documents.parquet.
    """

    task: str
    doc_id: int
    doc_hash: str
    metric: str
    score: float
    question: str
    answer: str
    prediction: str
    loglikelihoods: list[float] | None = None
    """Of each choice, in nats; None for generated text."""
    group: str | None = None
    """What it shares with other documents of the task, such as a passage."""
    bits: float | None = None
    """Bits per byte of the right answer; None where there is none, or more than one."""
    option_bits: list[float] | None = None
    """The same of each choice."""


@dataclass(frozen=True)
class TaskResult:
    """The score of one task."""

    metric: str
    n: NonNegativeInt
    score: FiniteFloat
    stderr: float
    version: JsonValue
    num_fewshot: JsonValue
    kind: str
    """lm-eval's `output_type`."""
    backend: str


@dataclass(frozen=True)
class Part:
    """One finished task; a file each until the evaluation is whole."""

    result: TaskResult
    documents: list[Document]
    shared_stems: str = ""
    """How many documents share a stem and are in no group, and the rule that finds them."""


@dataclass(frozen=True)
class Results:
    """results.json; `step`, `tokens` and `heldout` only of a trained model."""

    tasks: dict[str, TaskResult]
    groups: dict[str, list[str]]
    """Name in `eval.tasks` -> its tasks."""
    backend: str
    macro: FiniteFloat
    """Mean over the tasks."""
    step: NonNegativeInt | None = None
    tokens: NonNegativeInt | None = None
    heldout: dict[str, float] | None = None
    """Source -> held-out loss in nats."""

    def to_json(self) -> dict[str, JsonValue]:
        """The content of the file, without what is not known."""
        values = asdict(self)
        for name in ("step", "tokens", "heldout"):
            if values[name] is None:
                del values[name]
        return values


@dataclass(frozen=True)
class Exported:
    """exported.json, beside a model that was exported during its training."""

    tokens: NonNegativeInt
    step: NonNegativeInt | None = None
    heldout: dict[str, float] | None = None


def metric_name(metric: str, filter_name: str, samples: int) -> str:
    """What `TaskResult.metric` says: `pass@1,create_test over 32 samples`."""
    name = metric if filter_name == "none" else f"{metric},{filter_name}"
    return name if samples == 1 else f"{name} over {samples} samples"


def read_metric_name(name: str) -> tuple[str, int]:
    """The metric alone, and over how many samples of each document it is a mean."""
    metric, _, over = name.partition(" over ")
    return metric.partition(",")[0], int(over.partition(" ")[0]) if over else 1


def read_documents(path: Path, columns: pa.Schema, tasks: Sequence[str] | None = None) -> pa.Table:
    """Columns of a documents.parquet; those that an earlier version did not write are empty."""
    try:
        there = pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        there = columns.names  # what is wrong with the file is said below
    later = [field for field in columns if field.name in _LATER and field.name not in there]
    kept = pa.schema([field for field in columns if field not in later])
    filters = None if tasks is None else [("task", "in", tasks)]
    table = read_own_table(path, kept, filters=filters)
    for field in later:
        table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(columns.names)


def columns_of(*names: str) -> pa.Schema:
    """Some columns of documents.parquet, with their types."""
    every = schema_of(Document)
    return pa.schema([every.field(name) for name in names])
