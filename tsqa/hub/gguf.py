"""A GGUF file: what its header says, and its tokenizer with the splitting that the header names.

Guarantee: transformers passes over the header's `tokenizer.ggml.pre`, which says how text is split
before BPE, and splits as GPT-2 did; so a splitting that is not known here is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tsqa.errors import CheckpointError, RecipeError, first_line

if TYPE_CHECKING:
    from gguf import GGUFReader
    from tokenizers.pre_tokenizers import PreTokenizer
    from transformers import PreTrainedTokenizerBase

_BYTE_PAIRS = "gpt2"
"""`tokenizer.ggml.model` of byte-level BPE."""
_SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding"}


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF says of itself, as far as an import checks it."""

    licence: str
    tokenizer_model: str
    splitting: str
    """`tokenizer.ggml.pre`."""
    tokens: int
    special: dict[str, int]
    """bos, eos, pad -> id, of those that it names."""
    adds_bos: bool | None
    chat_template: str | None
    tensors: dict[str, int]
    """Number of tensors by type, such as Q4_1."""


def read_header(file: Path) -> GgufHeader:
    """Read the header; RecipeError without the package `gguf`, CheckpointError if it is damaged."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise RecipeError(
            f"{file}: reading a GGUF needs the package gguf", "pip install 'tsqa[gguf]'"
        ) from error
    try:
        reader = GGUFReader(file)
        special = {
            name: found
            for name, key in _SPECIAL.items()
            if isinstance(found := _value(reader, f"tokenizer.ggml.{key}_token_id"), int)
        }
        tokens = _value(reader, "tokenizer.ggml.tokens")
        adds_bos = _value(reader, "tokenizer.ggml.add_bos_token")
        template = _value(reader, "tokenizer.chat_template")
        return GgufHeader(
            licence=str(_value(reader, "general.license") or "unknown"),
            tokenizer_model=str(_value(reader, "tokenizer.ggml.model") or ""),
            splitting=str(_value(reader, "tokenizer.ggml.pre") or ""),
            tokens=len(tokens) if isinstance(tokens, list) else 0,
            special=special,
            adds_bos=adds_bos if isinstance(adds_bos, bool) else None,
            chat_template=template if isinstance(template, str) else None,
            tensors=dict(sorted(Counter(t.tensor_type.name for t in reader.tensors).items())),
        )
    except Exception as error:  # of a file that is cut, or none of GGUF
        raise CheckpointError(
            f"{file}: no GGUF that can be read: {first_line(error)}", "download it again"
        ) from error


def load_gguf_tokenizer(file: Path, header: GgufHeader) -> PreTrainedTokenizerBase:
    """The tokenizer of a GGUF, which splits text as its header says."""
    from transformers import AutoTokenizer

    if header.tokenizer_model == _BYTE_PAIRS and header.splitting not in _SPLITTINGS:
        raise CheckpointError(
            f"{file}: its tokenizer splits text as {header.splitting or 'nothing'!r} "
            f"(tokenizer.ggml.pre), which is not known here; known: {', '.join(_SPLITTINGS)}",
            "give the original tokenizer: --tokenizer FOLDER_OR_HUB_ID",
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except Exception as error:
        raise CheckpointError(
            f"{file}: its tokenizer cannot be read: {first_line(error)}",
            "give the original tokenizer: --tokenizer FOLDER_OR_HUB_ID",
        ) from error
    if header.tokenizer_model == _BYTE_PAIRS:
        tokenizer.backend_tokenizer.pre_tokenizer = _SPLITTINGS[header.splitting]()
    if header.adds_bos is not None:
        tokenizer.add_bos_token = header.adds_bos  # transformers passes over it as well
    return tokenizer


def _value(reader: GGUFReader, key: str) -> object:
    field = reader.fields.get(key)
    return None if field is None else field.contents()


def _as_gpt2() -> PreTokenizer:
    from tokenizers.pre_tokenizers import ByteLevel

    return ByteLevel(add_prefix_space=False)


def _by_digit() -> PreTokenizer:
    from tokenizers.pre_tokenizers import Digits, Sequence

    return Sequence([Digits(individual_digits=True), _as_gpt2()])


_SPLITTINGS: dict[str, Callable[[], PreTokenizer]] = {"gpt-2": _as_gpt2, "smollm": _by_digit}
"""`tokenizer.ggml.pre` -> how text is split before BPE."""
