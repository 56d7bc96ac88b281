"""Tokenize: rows on disk, origins of tokens, and errors that name file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from train import tokenize
from train.stream import IGNORED, TokenStore, collate
from tsqa.errors import DataError
from tsqa.recipe import Recipe
from tsqa.stage import StageContext
from tsqa.tracking import Tracker

TEXTS = ["one 12 two", "", "three <|endoftext|> four", "Question: 3 + 4? Answer: 7"] * 5


def context_for(folder: Path, path: Path) -> StageContext:
    recipe = Recipe.model_validate(
        {
            "name": "t",
            "model": {"config": {"model_type": "nemotron"}},
            "tokenizer": {"train_on": [str(path)], "vocab_size": 300},
            "mixture": {
                "sources": {"web": {"path": str(path)}},
                "phases": [{"tokens": 16, "ratios": {"web": 1.0}}],
            },
            "train": {"sequence_length": 16, "global_batch_tokens": 16, "lr": 1e-3},
            "tracking": {"mode": "disabled"},
        }
    )
    out = folder / "out"
    out.mkdir()
    return StageContext(recipe, {}, out, Tracker.silent())


@pytest.fixture
def written(tmp_path: Path) -> tuple[StageContext, dict[str, Any]]:
    path = tmp_path / "web.jsonl.gz"
    with gzip.open(path, "wt") as handle:
        handle.writelines(json.dumps({"id": f"d{n}", "text": t}) + "\n"
                          for n, t in enumerate(TEXTS))  # fmt: skip
    context = context_for(tmp_path, path)
    return context, tokenize.run(context)


def test_every_token_has_an_origin(written: tuple[StageContext, dict[str, Any]]) -> None:
    from transformers import AutoTokenizer

    context, summary = written
    tokenizer = AutoTokenizer.from_pretrained(context.out / "tokenizer")
    tokens = np.fromfile(context.out / "web.bin", np.uint16)
    index = pq.read_table(context.out / "web.docs.parquet").to_pylist()
    assert len(index) == summary["sources"]["web"]["documents"] == 15
    end = 0
    for entry in index:
        assert entry["start"] == end
        end += entry["length"]
        span = tokens[entry["start"] : end]
        assert span[-1] == tokenizer.eos_token_id
        text = TEXTS[int(entry["id"][1:])]
        assert entry["line"] == int(entry["id"][1:]) + 1
        assert tokenizer.decode(span[:-1]) == text
        assert (span == tokenizer.eos_token_id).sum() == 1
    assert end == summary["sources"]["web"]["tokens"]
    assert len(tokens) % 16 == 0


def test_digits_stand_alone(written: tuple[StageContext, dict[str, Any]]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(written[0].out / "tokenizer")
    assert tokenizer.tokenize("4712") == ["4", "7", "1", "2"]


def test_a_rerun_after_a_kill_writes_the_same_bytes(
    written: tuple[StageContext, dict[str, Any]],
) -> None:
    context, _ = written
    before = (context.out / "web.bin").read_bytes()
    (context.out / "web.json").unlink()
    (context.out / "web.bin").write_bytes(before[:7])
    tokenize.run(context)
    assert (context.out / "web.bin").read_bytes() == before


def test_no_target_crosses_a_document_and_padding_is_no_target(
    written: tuple[StageContext, dict[str, Any]],
) -> None:
    store = TokenStore(written[0].out)
    rows = [store.row("web", n) for n in range(store.rows["web"])]
    batch = collate(rows, [0] * len(rows), store.eos)
    same = batch.documents[:, 1:] == batch.documents[:, :-1]
    valid = batch.targets[:, :-1] != IGNORED
    assert (valid == same).all()
    assert (batch.targets[:, :-1][valid] == batch.tokens[:, 1:][valid]).all()
    restarts = batch.positions[:, 1:] == 0
    assert (restarts == ~same).all()
    assert (batch.positions[:, 0] == 0).all()


@pytest.mark.parametrize(
    ("line", "problem"),
    [("{broken", "not JSON"), ('{"body": "x"}', "no text in the field `text`")],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "web.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(DataError, match=rf"web\.jsonl:2: {problem}"):
        tokenize.run(context_for(tmp_path, path))


def test_a_source_without_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "web.jsonl"
    path.write_text('{"text": " "}\n')
    with pytest.raises(DataError, match=r"sources\.web holds no text"):
        tokenize.run(context_for(tmp_path, path))
