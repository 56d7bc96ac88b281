"""What was measured here of a teacher's requests: by a preview, or by finished artifacts.

Guarantees: a measurement counts only where everything that decides the lengths is the same: model,
prompts, sampling, enrichment; `preview.json` in a recipe's folder holds the last preview.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev

from tsqa.errors import DataError
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.records.summaries import LedgerRow, read_ledger
from tsqa.store.artifact import Artifact
from tsqa.store.digests import hash_bytes
from tsqa.store.identity import Json
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import read_own
from tsqa.teachers.config import is_teacher

_LEAST_SPREAD = 0.1
"""Of a mean, whatever was measured: other seeds are other texts."""
_SIZES = ("per_seed", "votes", "seed", "version")
"""Keys of a generate config that decide how many requests there are, not how long."""


@dataclass(frozen=True)
class Range:
    """What a number is expected to be, from its least to its most."""

    low: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)

    def __mul__(self, factor: Range | float) -> Range:
        other = factor if isinstance(factor, Range) else Range(factor, factor)
        return Range(self.low * other.low, self.high * other.high)


@dataclass(frozen=True)
class RoleUse:
    """What a preview asked of one model."""

    prompt_tokens: list[int]
    """Of each request."""
    output_tokens: list[int]
    seconds: float


@dataclass(frozen=True)
class PreviewRecord:
    """`preview.json`: stage -> the key of its texts; `stage:role` -> what a model was asked."""

    items: int
    readable: int
    """Items whose question could be read."""
    keys: dict[str, str]
    uses: dict[str, RoleUse] = field(default_factory=dict)
    reached: dict[str, int] = field(default_factory=dict)
    """Filter step -> items that reached it."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of a request to a model, and how fast it answered."""

    prompt: Range
    output: Range
    seconds_per_token: Range | None
    """Of prompt and output together."""
    basis: str
    per_item: Range | None = None
    """Requests for each item of the stage."""


def record_path(pipeline: Pipeline) -> Path:
    return pipeline.folder / "preview.json"


def write_record(pipeline: Pipeline, record: PreviewRecord) -> None:
    path = record_path(pipeline)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(record))


def read_record(pipeline: Pipeline) -> PreviewRecord | None:
    """The last preview; None where there is none, or one that cannot be read."""
    try:
        return read_own(record_path(pipeline), PreviewRecord)
    except DataError:
        return None


def texts_key(config: Mapping[str, Json], inputs: Mapping[str, str]) -> str:
    """The hash of what decides the lengths of a stage's texts."""
    told = {name: value for name, value in config.items() if name not in _SIZES}
    models = {r: f for r, f in inputs.items() if is_teacher(r)}
    return hash_bytes(json.dumps([told, models], sort_keys=True).encode())[:16]


def key_of(node: Node) -> str:
    return texts_key(node.config, node.input_fingerprints)


def lengths_of(pipeline: Pipeline, node: Node, role: str, at_once: int) -> Lengths | None:
    """What was measured of a role of a stage: the larger of a preview and finished artifacts.

    `at_once`: requests that the engine would serve at once, which a preview does not reach.
    """
    key = key_of(node)
    rows = [
        (row, int(made.summary.get("candidates", 0)))
        for made in pipeline.store.finished(node.stage)
        if texts_key(made.manifest.config, made.manifest.inputs) == key
        for row in _ledger(made)
        if row.teacher == role and row.requests
    ]
    if rows:
        row, items = max(rows, key=lambda each: each[0].requests)
        spread = Range(1 - _LEAST_SPREAD, 1 + _LEAST_SPREAD)
        tokens = max(1, row.prompt_tokens + row.output_tokens)
        return Lengths(
            spread * (row.prompt_tokens / row.requests),
            spread * (row.output_tokens / row.requests),
            Range(0.8, 1.25) * (row.engine_seconds / tokens),
            f"measured here on {row.requests:,} requests",
            spread * (row.requests / items) if items else None,
        )
    record = read_record(pipeline)
    if record is None or record.keys.get(node.stage) != key:
        return None
    use = record.uses.get(f"{node.stage}:{role}")
    if use is None:
        return None
    requests = len(use.output_tokens)
    tokens = max(1, sum(use.prompt_tokens) + sum(use.output_tokens))
    slowest = use.seconds / tokens
    return Lengths(
        _around(use.prompt_tokens, record.items),
        _around(use.output_tokens, record.items),
        Range(slowest / max(1.0, at_once / requests), slowest),
        f"measured here on {record.items} items of a preview",
        Range(0.5, 2) * (requests / record.items),
    )


def _around(values: Sequence[int], items: int) -> Range:
    """The mean and two standard errors; the requests of one item are alike, and count as one."""
    middle = mean(values)
    error = 2 * stdev(values) / math.sqrt(items) if len(values) > 1 else middle
    error = max(error, _LEAST_SPREAD * middle)
    return Range(max(0.0, middle - error), middle + error)


def _ledger(made: Artifact) -> list[LedgerRow]:
    try:
        return read_ledger(made.summary)
    except TypeError:  # of an older version, or of a test
        return []
