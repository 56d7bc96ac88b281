"""Every source of the mixture -> rows of tokens on disk.

Promises: a source is rows of `train.sequence_length` tokens, each document closed by an
end-of-sequence token; every token has an origin (`<source>.docs.parquet`: id, file, line, start,
end); the same input gives the same bytes, on any number of processes; what is done is not done
again; `<source>.bin` and `<source>.idx` are also a Megatron dataset.

A document that holds an evaluated one (`eval.tasks`) is left out; what `from: filter` reads has
been through the stricter rules of that stage.

`<source>.dropped.jsonl` names the documents that were left out and why; `<source>.loss` (one bool
a token) is there where only answers bear a loss; `sources.json` says what a reader must know. In
the names of files, `<source>` is written by `file_name`: no source writes outside of its folder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from train.data.megatron import write_index
from train.data.shapes import ShardCounts, SourceCounts
from train.data.shards import DOCUMENTS, Check, Encoder, Shard, beside, stem_of, write_shard
from train.data.sources import SHARD_BYTES, Document, find_pieces, group_pieces, read_documents
from tsqa.console import progress_bar
from tsqa.dataset.answer_shuffle import write_permuted
from tsqa.dataset.files import CURATED
from tsqa.decontaminate.index import EvaluatedIndex
from tsqa.errors import DataError, EngineError, RecipeError
from tsqa.hub.model_folder import vocabulary_size
from tsqa.hub.pins import pinned_folder
from tsqa.recipe import SourceSection, needed, stream_check
from tsqa.seeds.benchmarks import read_evaluated
from tsqa.store.artifact import read_jsonl, write_json
from tsqa.store.process import die_with_parent
from tsqa.store.readers import read_own
from tsqa.store.stage import StageContext

END_OF_TEXT = "<|endoftext|>"
_COPY_BYTES = 8 << 20
_DOCUMENTS_AT_ONCE = 1 << 16
_COUNTED = ("tokens", "loss_tokens", "padding", "documents", "empty", "bad", "dropped")


def run(context: StageContext) -> dict[str, Any]:
    """Make or copy the tokenizer, then tokenize each source; see the module for the files."""
    mixture = needed(context.recipe.mixture, "mixture")
    length = needed(context.recipe.train, "train").sequence_length
    tokenizer = _tokenizer(context)
    if tokenizer.eos_token_id is None:
        raise DataError("the tokenizer has no end-of-sequence token", "choose one that has")
    encoder = Encoder(tokenizer)
    shards = {
        name: _shards_of(context, name, section)
        for name, section in mixture.tokenized.items()
        if not beside(stem_of(context.out, name), ".json").exists()
    }
    todo = [shard for found in shards.values() for shard in found if not shard.done]
    unchecked = [shard for shard in todo if shard.section.stage is None]
    check = _evaluated_check(context) if unchecked else None
    _tokenize(todo, mixture.tokenize_processes, _Worker(encoder, length, check))
    for name, found in shards.items():
        _join(stem_of(context.out, name), found, encoder, length)
    summaries = {
        name: read_own(beside(stem_of(context.out, name), ".json"), SourceCounts)
        for name in mixture.tokenized
    }
    for phase in mixture.phases:
        for name, ratio in phase.ratios.items():
            if ratio and name in summaries and not summaries[name]["rows"]:
                bad = summaries[name]["bad"]
                skipped = f" ({bad:,} bad records were skipped)" if bad else ""
                raise DataError(
                    f"mixture.sources.{name} holds no text{skipped}, but a phase draws from it",
                    "give it documents, name the field that holds them in text_field, or set its "
                    "ratio to 0",
                )
    write_json(
        context.out / "sources.json",
        {
            "sequence_length": length,
            "dtype": encoder.dtype.name,
            "vocab_size": vocabulary_size(tokenizer),
            "eos_token_id": tokenizer.eos_token_id,
            "sources": summaries,
        },
    )
    return {
        "vocab_size": vocabulary_size(tokenizer),
        "sources": summaries,
        "tokens": sum(summary["tokens"] for summary in summaries.values()),
    }


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
    core.train_from_iterator(_texts(paths), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END_OF_TEXT,
        bos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def _texts(paths: Sequence[Path]) -> Iterator[str]:
    for path in paths:
        section = SourceSection(path=str(path))
        for piece in find_pieces(section, path, "tokenizer.train_on"):
            for document in read_documents(piece, section, "tokenizer.train_on"):
                if isinstance(document, Document):
                    yield document.text


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
        except Exception as error:
            raise RecipeError(f"tokenizer {origin}: cannot be loaded: {error}") from error
    temporary = context.out / "tokenizer.tmp"
    tokenizer.save_pretrained(temporary)
    temporary.replace(folder)
    return tokenizer


def _tokenizer_origin(context: StageContext) -> str:
    recipe = context.recipe
    if recipe.tokenizer is not None:
        return pinned_folder(str(context.resolve(str(recipe.tokenizer.path))))
    if "model" in context.inputs:
        return str(context.inputs["model"].path / "hf")
    return pinned_folder(str(needed(recipe.model, "model").path))


def _evaluated_check(context: StageContext) -> Check | None:
    """Finds evaluated documents in texts; None where nothing is evaluated, or nobody asks."""
    section = stream_check(context.recipe)
    if section is None:
        return None
    return EvaluatedCheck(EvaluatedIndex(read_evaluated(context), section))


def _shards_of(context: StageContext, name: str, section: SourceSection) -> list[Shard]:
    """The shards of a source; its folder for them is there afterwards."""
    if section.stage is not None:
        path = context.inputs[section.stage].path / CURATED
        if not path.is_dir():
            raise DataError(f"{path}: no such folder", "build it: tsqa filter RECIPE")
        if section.permute:
            out = stem_of(context.out / "permuted", name)
            path = write_permuted(context.inputs[section.stage].path, out, context.recipe)
    else:
        path = context.resolve(str(section.path))
    folder = stem_of(context.out / "shards", name)
    folder.mkdir(parents=True, exist_ok=True)
    pieces = find_pieces(section, path, f"mixture.sources.{name}")
    return [
        Shard(folder / f"{number:06d}", section, group, f"mixture.sources.{name}")
        for number, group in enumerate(group_pieces(pieces))
    ]


@dataclass(frozen=True)
class EvaluatedCheck:
    """Per text: which evaluated document it holds, and by which rule; None where it holds none."""

    index: EvaluatedIndex

    def __call__(self, texts: Sequence[str]) -> list[str | None]:
        return [
            None if found is None else f"{found.reason} of the evaluated {found.match}"
            for found in self.index.check_texts(texts)
        ]


@dataclass(frozen=True)
class _Worker:
    """What every process needs."""

    encoder: Encoder
    length: int
    check: Check | None

    def write(self, shard: Shard) -> None:
        check = self.check if shard.section.stage is None else None
        write_shard(shard, self.encoder, self.length, check)


_worker: _Worker | None = None
"""Of a child process."""


def _start_child(worker: _Worker, threads: int) -> None:
    global _worker
    die_with_parent()
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    _worker = worker


def _write_in_child(shard: Shard) -> Shard:
    assert _worker is not None
    _worker.write(shard)
    return shard


def _tokenize(shards: Sequence[Shard], processes: int | None, worker: _Worker) -> None:
    """Tokenize shards on several processes, or on this one where little is to be done."""
    cores = len(os.sched_getaffinity(0))
    total = sum(shard.size for shard in shards)
    count = min(processes or cores, len(shards), -(-total // SHARD_BYTES))
    with progress_bar() as bar:
        task = bar.add_task("tokenize", total=len(shards), note="shards")
        if count <= 1:
            for shard in shards:
                worker.write(shard)
                bar.update(task, advance=1)
            return
        # Not forked: torch and tokenizers hold threads.
        pool = ProcessPoolExecutor(
            count, get_context("spawn"), _start_child, (worker, max(1, cores // count))
        )
        try:
            for done in as_completed([pool.submit(_write_in_child, shard) for shard in shards]):
                done.result()
                bar.update(task, advance=1)
        except BrokenProcessPool as error:
            raise EngineError(
                "a process that tokenizes died; the kernel may have ended it for its memory",
                "lower mixture.tokenize_processes and run it again: finished shards are kept",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _join(stem: Path, shards: Sequence[Shard], encoder: Encoder, length: int) -> None:
    """Make one source of its shards, in their order, and remove them."""
    answers_only = shards[0].section.answer_marker is not None if shards else False
    found: list[dict[str, Any]] = [
        {**read_own(beside(shard.stem, ".json"), ShardCounts)} for shard in shards
    ]
    counts = {key: sum(counted[key] for counted in found) for key in _COUNTED}
    written = counts["tokens"] + counts["padding"]
    rows = -(-written // length)
    room = rows * length - written
    counts["padding"] += room
    end = np.full(room, encoder.eos, encoder.dtype).tobytes()
    _concatenate(beside(stem, ".bin"), [beside(shard.stem, ".bin") for shard in shards], end)
    if answers_only:
        parts = [beside(shard.stem, ".loss") for shard in shards]
        _concatenate(beside(stem, ".loss"), parts, bytes(room))
    _join_documents(stem, shards, found)
    write_index(beside(stem, ".idx"), beside(stem, ".docs.parquet"), encoder.dtype)
    write_json(beside(stem, ".json"), {"rows": rows, **counts, "answers_only": answers_only})
    shutil.rmtree(stem.parent / "shards" / stem.name)


def _concatenate(path: Path, parts: Sequence[Path], end: bytes) -> None:
    with path.open("wb") as out:
        for part in parts:
            with part.open("rb") as handle:
                shutil.copyfileobj(handle, out, _COPY_BYTES)
        out.write(end)


def _join_documents(stem: Path, shards: Sequence[Shard], found: Sequence[dict[str, Any]]) -> None:
    """Write the origins, and what was dropped, with places in the whole source and file."""
    start, file, lines = 0, "", 0
    with (
        pq.ParquetWriter(beside(stem, ".docs.parquet"), DOCUMENTS) as writer,
        beside(stem, ".dropped.jsonl").open("w", encoding="utf-8") as dropped,
    ):
        for shard, counted in zip(shards, found, strict=True):
            with pq.ParquetFile(beside(shard.stem, ".docs.parquet")) as documents:
                for batch in documents.iter_batches(_DOCUMENTS_AT_ONCE):
                    continued = pc.equal(batch["file"], pa.scalar(file)).to_numpy(False)
                    moved = {
                        "line": batch["line"].to_numpy() + lines * continued,
                        "start": batch["start"].to_numpy() + start,
                        "end": batch["end"].to_numpy() + start,
                    }
                    columns = [moved.get(name, batch[name]) for name in DOCUMENTS.names]
                    writer.write_batch(pa.record_batch(columns, schema=DOCUMENTS))
            for record in read_jsonl(beside(shard.stem, ".dropped.jsonl")):
                record["line"] += lines if record["file"] == file else 0
                dropped.write(json.dumps(record, ensure_ascii=False) + "\n")
            start += counted["tokens"] + counted["padding"]
            lines = counted["last_lines"] + (lines if counted["last_file"] == file else 0)
            file = counted["last_file"]
