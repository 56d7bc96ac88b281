"""The JSON files of a tokenize artifact, and its summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt
from typing_extensions import TypedDict

from tsqa.errors import DataError
from tsqa.store.artifact import Artifact
from tsqa.store.own_files import read_own
from tsqa.store.roles import Role, SourceRole

TOKENIZER_FOLDER = "tokenizer"
"""In the artifact of the stage `tokenizer`."""


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


def token_folders(inputs: Mapping[Role, Artifact]) -> list[Path]:
    """The folders that tokenize made, one for each source, of the inputs of training."""
    return [artifact.path for role, artifact in inputs.items() if isinstance(role, SourceRole)]


def read_token_sources(folders: Sequence[Path]) -> TokenSources:
    """What is in several folders of tokens; DataError unless they are of one kind."""
    return join_token_sources({folder: read_sources_file(folder) for folder in folders})


def read_sources_file(folder: Path) -> TokenSources:
    """What is in one folder of tokens."""
    return read_own(folder / "sources.json", TokenSources)


def join_token_sources(found: Mapping[Path, TokenSources]) -> TokenSources:
    """The sources of several folders as one; DataError unless they are of one kind."""
    parts = [*found.values()]
    kinds = {(p["sequence_length"], p["dtype"], p["vocab_size"], p["eos_token_id"]) for p in parts}
    if len(kinds) != 1:
        raise DataError(
            f"{', '.join(map(str, found))}: tokens of different tokenizers or row lengths",
            "tokenize the sources again: tsqa tokenize RECIPE",
        )
    sources = {name: source for part in parts for name, source in part["sources"].items()}
    return {**parts[0], "sources": sources}


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
