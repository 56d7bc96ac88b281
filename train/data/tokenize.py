"""Every source of the mixture -> rows of tokens on disk.

Guarantees: a source is rows of `train.sequence_length` tokens, each document closed by an
end-of-sequence token; every token has an origin (`<source>.docs.parquet`: id, file, line, start,
end); the same input gives the same bytes on any number of processes; finished shards are never
tokenized again; `<source>.bin` and `<source>.idx` are also a Megatron dataset.

A document that holds an evaluated one (`eval.tasks`) is left out; sources with `from: filter` have
passed the stricter rules of that stage.

`<source>.dropped.jsonl` names the documents that were left out and why; `<source>.loss` (one bool
per token) exists where only answers bear a loss; `sources.json` is what readers need to know.
`file_name` writes `<source>` in file names: no source writes outside its folder.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.text import Text

from train.data.encoder import TokenEncoder
from train.data.megatron import write_index
from train.data.shards import DOCUMENTS, Check, Shard, stem_of, with_suffix, write_shard
from train.data.sources import SHARD_BYTES, find_pieces, group_pieces, is_saved, unread_files
from train.data.token_files import ShardCounts, SourceCounts, TokenizeSummary, add_counts
from train.data.tokenizer import load_tokenizer
from tsqa.console import console, progress_bar
from tsqa.curated.answer_shuffle import write_permuted
from tsqa.curated.files import CURATED
from tsqa.decontaminate.index import EvaluatedIndex
from tsqa.errors import DataError, EngineError
from tsqa.hub.model_folder import vocabulary_size
from tsqa.recipe import MixtureSection, SourceSection, needed, stream_check
from tsqa.seeds.benchmarks import read_evaluated
from tsqa.store.atomic import fsync
from tsqa.store.jsonl import read_jsonl, write_json
from tsqa.store.own_files import read_own
from tsqa.store.process import die_with_parent
from tsqa.store.stage import StageContext

_MOST_NAMED = 8
_COPY_BYTES = 8 << 20
_DOCUMENTS_AT_ONCE = 1 << 16


def run(context: StageContext) -> TokenizeSummary:
    """Train or copy the tokenizer, then tokenize each source; see the module for the files."""
    mixture = needed(context.recipe.mixture, "mixture")
    length = needed(context.recipe.train, "train").sequence_length
    tokenizer = load_tokenizer(context)
    if tokenizer.eos_token_id is None:
        raise DataError("the tokenizer has no end-of-sequence token", "choose one that has")
    encoder = TokenEncoder(tokenizer)
    shards = {
        name: _shards_of(context, name, section)
        for name, section in mixture.tokenized.items()
        if not with_suffix(stem_of(context.out, name), ".json").exists()
    }
    todo = [shard for found in shards.values() for shard in found if not shard.done]
    unchecked = [shard for shard in todo if shard.section.stage is None]
    check = _evaluated_check(context) if unchecked else None
    _tokenize(todo, mixture.tokenize_processes, _ShardTask(encoder, length, check))
    for name, found in shards.items():
        _join(stem_of(context.out, name), found, encoder, length)
    summaries = {
        name: read_own(with_suffix(stem_of(context.out, name), ".json"), SourceCounts)
        for name in mixture.tokenized
    }
    _refuse_empty(mixture, summaries)
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


def _refuse_empty(mixture: MixtureSection, summaries: Mapping[str, SourceCounts]) -> None:
    """Raise DataError for a source without rows that a phase draws from."""
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


def _evaluated_check(context: StageContext) -> Check | None:
    """The check for evaluated documents; None where nothing is evaluated or the check is off."""
    section = stream_check(context.recipe)
    if section is None:
        return None
    return EvaluatedCheck(EvaluatedIndex(read_evaluated(context), section))


def _shards_of(context: StageContext, name: str, section: SourceSection) -> list[Shard]:
    """The shards of a source; makes the folder for them."""
    if section.stage is not None:
        path = context.inputs[section.stage].path / CURATED
        if not path.is_dir():
            raise DataError(f"{path}: no such folder", "build it: tsqa filter RECIPE")
        if section.permute:
            out = stem_of(context.out / "permuted", name)
            path = write_permuted(context.inputs[section.stage].path, out, context.recipe)
    else:
        path = context.resolve(str(section.path))
        _name_unread(name, path)
    folder = stem_of(context.out / "shards", name)
    folder.mkdir(parents=True, exist_ok=True)
    pieces = find_pieces(section, path, f"mixture.sources.{name}")
    return [
        Shard(folder / f"{number:06d}", section, group, f"mixture.sources.{name}")
        for number, group in enumerate(group_pieces(pieces))
    ]


def _name_unread(source: str, path: Path) -> None:
    """Print which files of a folder are no part of a source: a format that is not read, mostly."""
    if not path.is_dir() or is_saved(path):
        return
    unread = [str(file.relative_to(path)) for file in unread_files(path)]
    if unread:
        shown = ", ".join(unread[:_MOST_NAMED]) + (", ..." if len(unread) > _MOST_NAMED else "")
        text = f" {len(unread):,} files of {path} are not read: {shown}"
        console.print(Text.assemble((f"  {source}:", "yellow"), text))


@dataclass(frozen=True)
class EvaluatedCheck:
    """Per text the evaluated document that it holds, with the rule that found it; None if clean."""

    index: EvaluatedIndex

    def __call__(self, texts: Sequence[str]) -> list[str | None]:
        return [
            None if found is None else f"{found.reason} of the evaluated {found.match}"
            for found in self.index.check_texts(texts)
        ]


@dataclass(frozen=True)
class _ShardTask:
    """How to tokenize a shard; every process gets a copy."""

    encoder: TokenEncoder
    length: int
    check: Check | None

    def write(self, shard: Shard) -> None:
        check = self.check if shard.section.stage is None else None
        write_shard(shard, self.encoder, self.length, check)


_task: _ShardTask | None = None
"""Set in child processes only."""


def _start_child(task: _ShardTask, threads: int) -> None:
    global _task
    die_with_parent()
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    _task = task


def _write_in_child(shard: Shard) -> Shard:
    assert _task is not None
    _task.write(shard)
    return shard


def _tokenize(shards: Sequence[Shard], processes: int | None, task: _ShardTask) -> None:
    """Tokenize shards on several processes; on this one if there is little to do."""
    cores = len(os.sched_getaffinity(0))
    total = sum(shard.size for shard in shards)
    count = min(processes or cores, len(shards), -(-total // SHARD_BYTES))
    with progress_bar() as bar:
        shown = bar.add_task("tokenize", total=len(shards), note="shards")
        if count <= 1:
            for shard in shards:
                task.write(shard)
                bar.update(shown, advance=1)
            return
        # Not forked: torch and tokenizers hold threads.
        pool = ProcessPoolExecutor(
            count, get_context("spawn"), _start_child, (task, max(1, cores // count))
        )
        try:
            for done in as_completed([pool.submit(_write_in_child, shard) for shard in shards]):
                done.result()
                bar.update(shown, advance=1)
        except BrokenProcessPool as error:
            raise EngineError(
                "a process that tokenizes died; the kernel may have ended it for its memory",
                "lower mixture.tokenize_processes and run it again: finished shards are kept",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _join(stem: Path, shards: Sequence[Shard], encoder: TokenEncoder, length: int) -> None:
    """Join the shards of a source in order, and delete them."""
    answers_only = shards[0].section.answer_marker is not None if shards else False
    found = [read_own(with_suffix(shard.stem, ".json"), ShardCounts) for shard in shards]
    counts = add_counts(found)
    written = counts["tokens"] + counts["padding"]
    rows = -(-written // length)
    room = rows * length - written
    counts["padding"] += room
    end = np.full(room, encoder.eos, encoder.dtype).tobytes()
    _concatenate(
        with_suffix(stem, ".bin"), [with_suffix(shard.stem, ".bin") for shard in shards], end
    )
    if answers_only:
        parts = [with_suffix(shard.stem, ".loss") for shard in shards]
        _concatenate(with_suffix(stem, ".loss"), parts, bytes(room))
    _join_documents(stem, shards, found)
    write_index(with_suffix(stem, ".idx"), with_suffix(stem, ".docs.parquet"), encoder.dtype)
    for file in stem.parent.glob(f"{glob.escape(stem.name)}.*"):
        fsync(file)  # before the file that says that they are whole
    write_json(with_suffix(stem, ".json"), {"rows": rows, **counts, "answers_only": answers_only})
    shutil.rmtree(stem.parent / "shards" / stem.name)


def _concatenate(path: Path, parts: Sequence[Path], end: bytes) -> None:
    with path.open("wb") as out:
        for part in parts:
            with part.open("rb") as handle:
                shutil.copyfileobj(handle, out, _COPY_BYTES)
        out.write(end)


def _join_documents(stem: Path, shards: Sequence[Shard], found: Sequence[ShardCounts]) -> None:
    """Write origins and dropped documents; tokens count over the source, lines over the file."""
    # A shard counts tokens and lines from its own beginning. `start` tokens came before it, and
    # `lines` lines of `file`, the file that the shard before ended in, which it may continue.
    start, file, lines = 0, "", 0
    with (
        pq.ParquetWriter(with_suffix(stem, ".docs.parquet"), DOCUMENTS) as writer,
        with_suffix(stem, ".dropped.jsonl").open("w", encoding="utf-8") as dropped,
    ):
        for shard, counted in zip(shards, found, strict=True):
            with pq.ParquetFile(with_suffix(shard.stem, ".docs.parquet")) as documents:
                for batch in documents.iter_batches(_DOCUMENTS_AT_ONCE):
                    continued = pc.equal(batch["file"], pa.scalar(file)).to_numpy(False)
                    moved = {
                        "line": batch["line"].to_numpy() + lines * continued,
                        "start": batch["start"].to_numpy() + start,
                        "end": batch["end"].to_numpy() + start,
                    }
                    columns = [moved.get(name, batch[name]) for name in DOCUMENTS.names]
                    writer.write_batch(pa.record_batch(columns, schema=DOCUMENTS))
            for record in read_jsonl(with_suffix(shard.stem, ".dropped.jsonl")):
                record["line"] += lines if record["file"] == file else 0
                dropped.write(json.dumps(record, ensure_ascii=False) + "\n")
            start += counted["tokens"] + counted["padding"]
            lines = counted["last_lines"] + (lines if counted["last_file"] == file else 0)
            file = counted["last_file"]
