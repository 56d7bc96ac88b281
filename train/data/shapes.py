"""What is in the files that tokenize and train write, as far as their readers rely on it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt
from typing_extensions import TypedDict


class SourceRows(TypedDict):
    """One source as rows of tokens, as far as training needs it."""

    rows: NonNegativeInt
    padding: NonNegativeInt
    answers_only: bool


class SourceCounts(SourceRows):
    """`<source>.json`."""

    tokens: NonNegativeInt
    bad: NonNegativeInt


class ShardCounts(TypedDict):
    """Beside a shard that is finished."""

    tokens: NonNegativeInt
    loss_tokens: NonNegativeInt
    padding: NonNegativeInt
    documents: NonNegativeInt
    empty: NonNegativeInt
    dropped: NonNegativeInt
    bad: NonNegativeInt
    last_file: str
    last_lines: NonNegativeInt


class TokenSources(TypedDict):
    """sources.json."""

    sequence_length: PositiveInt
    dtype: Literal["uint16", "int32", "uint32"]
    vocab_size: PositiveInt
    eos_token_id: NonNegativeInt
    sources: dict[str, SourceRows]


class FileMark(TypedDict):
    bytes: NonNegativeInt
    sha256: str


class CheckpointManifest(TypedDict):
    """checkpoint.json."""

    step: NonNegativeInt
    plan: Any
    processes: PositiveInt
    state: dict[str, Any]
    files: dict[str, FileMark]
