"""The context of a tokenize stage, and readers of what it writes."""

from __future__ import annotations

import itertools
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tests.support.sealed import invented_artifact
from train.data import tokenizer as train_tokenizer_stage
from train.tokens import tokenize
from tsqa.recipe import Recipe, needed
from tsqa.store.artifact import Artifact
from tsqa.store.roles import Role
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker


def token_context(
    folder: Path,
    sources: dict[str, dict[str, Any]],
    *,
    train_on: Path,
    length: int = 16,
    processes: int = 1,
    tokenizer: Path | None = None,
) -> StageContext:
    """Of the first source; one phase draws from all alike. The output goes to `folder / "out"`.

    `tokenizer`: the folder of a tokenizer artifact; None: one is trained.
    """
    share = 10_000 // len(sources)
    ratios = dict.fromkeys(sources, share / 10_000)
    ratios[next(iter(ratios))] += (10_000 - share * len(sources)) / 10_000
    recipe = Recipe.model_validate(
        {
            "name": "t",
            "model": {"config": {"model_type": "nemotron"}},
            "tokenizer": {"train_on": [str(train_on)], "vocab_size": 300},
            "mixture": {
                "sources": sources,
                "phases": [{"tokens": length, "ratios": ratios}],
                "tokenize_processes": processes,
            },
            "train": {"sequence_length": length, "global_batch_tokens": length, "lr": 1e-3},
            "tracking": {"mode": "disabled"},
        }
    )
    out = folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    if tokenizer is None:
        tokenizer = folder / "words"
        tokenizer.mkdir()
        train_tokenizer_stage.run(StageContext(recipe, {}, tokenizer, Tracker.silent()))
    inputs: dict[Role, Artifact] = {"tokenizer": invented_artifact(tokenizer)}
    return StageContext(recipe, inputs, out, Tracker.silent(), part=next(iter(sources)))


def tokenize_all(context: StageContext) -> list[StageContext]:
    """Tokenize every source of the mixture, each into a folder of its own below `out`."""
    contexts = []
    for number, name in enumerate(needed(context.recipe.mixture, "mixture").sources):
        out = context.out / str(number)
        out.mkdir()
        contexts.append(replace(context, part=name, out=out))
        tokenize.run(contexts[-1])
    return contexts


def read_origins(out: Path, source: str) -> list[dict[str, Any]]:
    """The rows of `<source>.docs.parquet`."""
    found: list[dict[str, Any]] = pq.read_table(out / f"{source}.docs.parquet").to_pylist()
    return found


def read_megatron(prefix: Path) -> list[npt.NDArray[Any]]:
    """The documents of `<prefix>.bin`, found by `<prefix>.idx` alone.

    Written from the description in Megatron-LM's megatron/core/datasets/readme.md and the field
    widths in indexed_dataset.py, not from this project's writer.
    """
    raw = prefix.with_name(prefix.name + ".idx").read_bytes()
    assert raw[:9] == b"MMIDIDX\0\0"
    (version,) = struct.unpack_from("<Q", raw, 9)
    (code,) = struct.unpack_from("<B", raw, 17)
    sequences, documents = struct.unpack_from("<QQ", raw, 18)
    names = ["uint8", "int8", "int16", "int32", "int64", "float64", "float32", "uint16"]
    dtype = np.dtype(names[code - 1])
    lengths = np.frombuffer(raw, np.int32, sequences, 34)
    pointers = np.frombuffer(raw, np.int64, sequences, 34 + lengths.nbytes)
    offset = 34 + lengths.nbytes + pointers.nbytes
    bounds = np.frombuffer(raw, np.int64, documents, offset)
    assert version == 1
    assert len(raw) == offset + bounds.nbytes
    tokens = prefix.with_name(prefix.name + ".bin").read_bytes()
    found = [
        np.frombuffer(tokens, dtype, length, pointer)
        for length, pointer in zip(lengths, pointers, strict=True)
    ]
    return [np.concatenate(found[a:b]) for a, b in itertools.pairwise(bounds)]
