"""Every source of the mixture -> rows of tokens on disk.

Promises: documents are concatenated with an end-of-sequence token after each and cut into rows of
`train.sequence_length`; every token has an origin (`<source>.docs.parquet`: id, line, start,
length); the same input gives the same bytes; a source that is done is not done again.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tsqa.artifact import read_numbered_jsonl, write_json
from tsqa.dataset import read_curated
from tsqa.errors import DataError, RecipeError
from tsqa.progress import progress_bar
from tsqa.recipe import SourceSection, needed
from tsqa.stage import StageContext

END_OF_TEXT = "<|endoftext|>"
_BATCH_DOCUMENTS = 512


@dataclass(frozen=True)
class Document:
    line: int
    id: str
    text: str


def run(context: StageContext) -> dict[str, Any]:
    """Make or copy the tokenizer, then tokenize each source; see the module for the files."""
    mixture = needed(context.recipe.mixture, "mixture")
    tokenizer = _tokenizer(context)
    if tokenizer.eos_token_id is None:
        raise DataError("the tokenizer has no end-of-sequence token", "choose one that has")
    dtype = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    length = needed(context.recipe.train, "train").sequence_length
    summaries: dict[str, dict[str, Any]] = {}
    with progress_bar() as bar:
        task = bar.add_task("tokenize", total=len(mixture.sources), note="")
        for name, source in mixture.sources.items():
            done = context.out / f"{name}.json"
            if not done.exists():
                stream = _documents_of(context, source)
                stats = _write_source(context.out / name, stream, tokenizer, dtype, length)
                write_json(done, stats)
            summaries[name] = json.loads(done.read_text(encoding="utf-8"))
            bar.update(task, advance=1, note=f"{name}: {summaries[name]['tokens']:,} tokens")
    for phase in mixture.phases:
        for name, ratio in phase.ratios.items():
            if ratio and not summaries[name]["rows"]:
                raise DataError(
                    f"mixture.sources.{name} holds no text, but a phase draws from it",
                    "give it documents, or set its ratio to 0",
                )
    write_json(
        context.out / "sources.json",
        {
            "sequence_length": length,
            "dtype": np.dtype(dtype).name,
            "vocab_size": len(tokenizer),
            "eos_token_id": tokenizer.eos_token_id,
            "sources": summaries,
        },
    )
    return {
        "vocab_size": len(tokenizer),
        "sources": summaries,
        "tokens": sum(s["tokens"] for s in summaries.values()),
    }


def read_documents(path: Path, field: str) -> Iterator[Document]:
    """Yield the documents of a JSONL or JSONL.gz file; DataError names the broken line."""
    return _documents(path, read_numbered_jsonl(path), field)


def read_synthetic(path: Path, field: str) -> Iterator[Document]:
    """Yield the curated documents of a filter artifact; their line is the row, from 1."""
    return _documents(path, enumerate(read_curated(path, ["id", field]), 1), field)


def train_tokenizer(paths: list[Path], vocab_size: int) -> Any:
    """Byte-level BPE whose digits stand alone, as a transformers tokenizer."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (document.text for path in paths for document in read_documents(path, "text"))
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END_OF_TEXT,
        bos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def _tokenizer(context: StageContext) -> Any:
    from transformers import AutoTokenizer

    recipe = context.recipe
    folder = context.out / "tokenizer"
    if (folder / "tokenizer_config.json").exists():
        return AutoTokenizer.from_pretrained(folder)
    if recipe.tokenizer is not None and recipe.tokenizer.train_on:
        paths = [context.resolve(path) for path in recipe.tokenizer.train_on]
        tokenizer = train_tokenizer(paths, recipe.tokenizer.vocab_size)
    else:
        origin = _tokenizer_origin(context)
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                origin, trust_remote_code=needed(recipe.model, "model").trust_remote_code
            )
        except (OSError, ValueError) as error:
            raise RecipeError(f"tokenizer {origin}: cannot be loaded: {error}") from error
    temporary = context.out / "tokenizer.tmp"
    tokenizer.save_pretrained(temporary)
    temporary.replace(folder)
    return tokenizer


def _tokenizer_origin(context: StageContext) -> str:
    recipe = context.recipe
    if recipe.tokenizer is not None:
        return str(context.resolve(str(recipe.tokenizer.path)))
    if "model" in context.inputs:
        return str(context.inputs["model"].path / "hf")
    return str(needed(recipe.model, "model").path)


def _documents_of(context: StageContext, source: SourceSection) -> Iterator[Document]:
    if source.stage is not None:
        return read_synthetic(context.inputs[source.stage].path, source.text_field)
    return read_documents(context.resolve(str(source.path)), source.text_field)


def _documents(
    path: Path, records: Iterable[tuple[int, dict[str, Any]]], field: str
) -> Iterator[Document]:
    for number, record in records:
        text = record.get(field)
        if not isinstance(text, str):
            raise DataError(
                f"{path}:{number}: no text in the field `{field}`",
                "name the right field in mixture.sources.*.text_field",
            )
        if text.strip():
            yield Document(number, str(record.get("id", "")), text)


def _write_source(
    stem: Path,
    stream: Iterator[Document],
    tokenizer: Any,
    dtype: npt.DTypeLike,
    length: int,
) -> dict[str, Any]:
    """Write `<stem>.bin` and `<stem>.docs.parquet`; return the counts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = dict.fromkeys(("id", "line", "start", "length"), pa.int64())
    schema = pa.schema({**columns, "id": pa.string()})
    eos = tokenizer.eos_token_id
    tokens = documents = 0
    binary = stem.with_name(stem.name + ".bin")
    index = stem.with_name(stem.name + ".docs.parquet")
    with binary.open("wb") as out, pq.ParquetWriter(index, schema) as writer:
        while batch := list(itertools.islice(stream, _BATCH_DOCUMENTS)):
            texts = [document.text for document in batch]
            # A special token written out in a document is text, never that document's end.
            encoded = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)
            pieces = [[*ids, eos] for ids in encoded["input_ids"]]
            lengths = [len(piece) for piece in pieces]
            starts = [tokens + offset for offset in itertools.accumulate([0, *lengths[:-1]])]
            np.fromiter(itertools.chain.from_iterable(pieces), dtype=dtype).tofile(out)
            values = [[d.id for d in batch], [d.line for d in batch], starts, lengths]
            writer.write_table(pa.table(values, schema=schema))
            tokens += sum(lengths)
            documents += len(batch)
        rows = -(-tokens // length)
        np.full(rows * length - tokens, eos, dtype=dtype).tofile(out)
    return {
        "rows": rows,
        "tokens": tokens,
        "padding": rows * length - tokens,
        "documents": documents,
    }
