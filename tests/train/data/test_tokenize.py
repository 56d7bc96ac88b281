"""Tokenize: rows on disk, origins of tokens, and errors that name file and line."""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.curated_rows import curated_row
from tests.support.generation import make_seed
from tests.support.sealed import invented_artifact
from tests.support.token_context import read_origins, token_context
from train.data.shards import ENDS_EARLY
from train.data.stream import IGNORED, TokenStore, collate
from train.tokens import tokenize
from tsqa.curated.files import DatasetWriter
from tsqa.errors import DataError
from tsqa.recipe import FilterSection, Recipe, SourceSection, needed
from tsqa.store.jsonl import read_jsonl, write_jsonl
from tsqa.store.stage import StageContext

TEXTS = ["one 12 two", "", "three <|endoftext|> four", "Question: 3 + 4? Answer: 7"] * 5


def words_of(context: StageContext) -> Path:
    return context.inputs["tokenizer"].path / "tokenizer"


def context_for(folder: Path, path: Path) -> StageContext:
    return token_context(folder, {"web": {"path": str(path)}}, train_on=path)


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
    tokenizer = AutoTokenizer.from_pretrained(words_of(context))
    tokens = np.fromfile(context.out / "web.bin", np.uint16)
    index = pq.read_table(context.out / "web.docs.parquet").to_pylist()
    assert len(index) == summary["sources"]["web"]["documents"] == 15
    end = 0
    for entry in index:
        assert entry["start"] == end
        end = entry["end"]
        span = tokens[entry["start"] : end]
        assert span[-1] == tokenizer.eos_token_id
        text = TEXTS[int(entry["id"][1:])]
        assert entry["file"] == "web.jsonl.gz"
        assert entry["line"] == int(entry["id"][1:]) + 1
        assert tokenizer.decode(span[:-1]) == text
        assert (span == tokenizer.eos_token_id).sum() == 1
    assert end == summary["sources"]["web"]["tokens"]
    assert len(tokens) % 16 == 0


def synthetic_context(folder: Path, text_field: str = "text") -> StageContext:
    with DatasetWriter(folder / "filter", rows_per_shard=2) as writer:
        for number, text in enumerate(TEXTS):
            writer.curated(curated_row(number, text=text))
    web = folder / "web.jsonl"
    web.write_text('{"text": "fine"}\n')
    base = context_for(folder, web)
    sources = {"synthetic": {"from": "filter", "text_field": text_field}}
    phases = [{"tokens": 16, "ratios": {"synthetic": 1.0}}]
    tree = base.recipe.model_dump(mode="json", by_alias=True)
    tree |= {"mixture": {"sources": sources, "phases": phases}, "filter": {}}
    tree |= {"seeds": {"tasks": ["t"]}, "eval": {"tasks": ["t"]}}
    tree["generate"] = {"teacher": {"model": {"path": "t"}}}
    filtered = invented_artifact(folder / "filter", fingerprint="f", summary={})
    inputs = {**base.inputs, "filter": filtered}
    return replace(base, recipe=Recipe.model_validate(tree), inputs=inputs, part="synthetic")


def test_the_curated_dataset_is_a_source_whose_tokens_lead_back_to_items(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    context = synthetic_context(tmp_path)
    tokenize.run(context)
    tokenizer = AutoTokenizer.from_pretrained(words_of(context))
    tokens = np.fromfile(context.out / "synthetic.bin", np.uint16)
    index = pq.read_table(context.out / "synthetic.docs.parquet").to_pylist()
    shown = [n for n, text in enumerate(TEXTS) if text]
    assert [entry["id"] for entry in index] == [curated_row(n).id for n in shown]
    places = [(f"train-{n // 2:05d}.parquet", n % 2 + 1) for n in shown]
    assert [(entry["file"], entry["line"]) for entry in index] == places
    for entry, number in zip(index, shown, strict=True):
        span = tokens[entry["start"] : entry["end"] - 1]
        assert tokenizer.decode(span) == TEXTS[number]


def test_a_column_that_the_curated_dataset_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train-00000\.parquet:1: no text in the field `body`"):
        tokenize.run(synthetic_context(tmp_path, "body"))


def test_digits_stand_alone(written: tuple[StageContext, dict[str, Any]]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(words_of(written[0]))
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


def test_a_document_with_the_end_token_in_it_is_dropped_and_counted(tmp_path: Path) -> None:
    """A tokenizer whose end of sequence is an ordinary word would cut documents in two."""
    path = tmp_path / "web.jsonl"
    path.write_text('{"text": "one 1"}\n{"text": "b 7"}\n{"text": "two"}\n')
    context = context_for(tmp_path, path)
    words = words_of(context)
    settings = json.loads((words / "tokenizer_config.json").read_text())
    (words / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": "b"}))
    tokenize.run(context)
    assert [row["line"] for row in read_origins(context.out, "web")] == [1, 3]
    (dropped,) = read_jsonl(context.out / "web.dropped.jsonl")
    assert (dropped["line"], dropped["reason"]) == (2, ENDS_EARLY)


def test_the_seeds_themselves_are_a_source_each_traced_to_its_seed(tmp_path: Path) -> None:
    """What the control `seeds_repeated` trains on; the recipe of an ablation makes the source."""
    asked = [make_seed(n, task="t") for n in range(3)]
    passage = replace(asked[0], id="t-p", question="", answer="", context="A passage as it is.")
    for name, rows in (
        ("seeds", [asdict(seed) for seed in (*asked, passage)]),
        ("dropped", [{"id": "t-1", "match": "an evaluated document"}]),
    ):
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / f"{name}.jsonl", rows)
    text = tmp_path / "words.txt"
    text.write_text("Question: What is thing 1? Answer: thing")
    words = token_context(tmp_path, {"s": {"path": str(text)}}, train_on=text)
    mixture = needed(words.recipe.mixture, "mixture")
    source = SourceSection.model_validate({"from": "seeds"})
    changed = {"mixture": mixture.model_copy(update={"sources": {"s": source}})}
    recipe = words.recipe.model_copy(update=changed | {"filter": FilterSection()})
    made = {"seeds": invented_artifact(tmp_path / "seeds")}
    inputs = words.inputs | made | {"guard": invented_artifact(tmp_path / "dropped")}
    context = replace(words, recipe=recipe, inputs=inputs)
    summary = tokenize.run(context)
    assert summary["sources"]["s"]["documents"] == 3
    origins = read_origins(context.out, "s")
    assert [row["id"] for row in origins] == ["t-0", "t-2", "t-p"]
    assert {row["file"] for row in origins} == {"seeds.jsonl"}
