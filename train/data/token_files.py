"""The JSON files of a tokenize artifact, and its summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt
from typing_extensions import TypedDict

from tsqa.store.own_files import read_own


class Counts(TypedDict):
    """Tokens, and what became of the documents."""

    tokens: NonNegativeInt
    """Padding excluded."""
    loss_tokens: NonNegativeInt
    padding: NonNegativeInt
    documents: NonNegativeInt
    empty: NonNegativeInt
    bad: NonNegativeInt
    """Records that hold no text, where the recipe skips these."""
    dropped: NonNegativeInt
    """Contaminated, or longer than a row."""


class ShardCounts(Counts):
    """`.json` of a finished shard."""

    last_file: str
    last_lines: NonNegativeInt
    """Lines of the last file that this shard read."""


class SourceRows(TypedDict):
    """What training needs to know of one source."""

    rows: NonNegativeInt
    padding: NonNegativeInt
    answers_only: bool


class SourceCounts(Counts):
    """`<source>.json`."""

    rows: NonNegativeInt
    answers_only: bool


class TokenSources(TypedDict):
    """`sources.json`."""

    sequence_length: PositiveInt
    dtype: Literal["uint16", "int32", "uint32"]
    vocab_size: PositiveInt
    eos_token_id: NonNegativeInt
    sources: dict[str, SourceRows]


class TokenizeSummary(TypedDict):
    """The summary in the manifest of tokenize."""

    vocab_size: int
    sources: dict[str, SourceCounts]
    tokens: int


def read_rows(tokens: Path) -> dict[str, int]:
    """Source -> its rows, from the folder that tokenize made."""
    sources = read_own(tokens / "sources.json", TokenSources)["sources"]
    return {name: source["rows"] for name, source in sources.items()}


def add_counts(parts: Sequence[Counts]) -> Counts:
    """Add up counts, key by key."""
    return {
        "tokens": sum(part["tokens"] for part in parts),
        "loss_tokens": sum(part["loss_tokens"] for part in parts),
        "padding": sum(part["padding"] for part in parts),
        "documents": sum(part["documents"] for part in parts),
        "empty": sum(part["empty"] for part in parts),
        "bad": sum(part["bad"] for part in parts),
        "dropped": sum(part["dropped"] for part in parts),
    }
