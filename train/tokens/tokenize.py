"""The stage `tokenize`: a source of the mixture -> rows of tokens on disk.

Guarantees: a source is rows of `train.sequence_length` tokens, each document closed by an
end-of-sequence token; every token has an origin (`<source>.docs.parquet`: id, file, line, start,
end); the same input gives the same bytes on any number of processes; finished shards are never
tokenized again; `<source>.bin` and `<source>.idx` are also a Megatron dataset.

A document that holds an evaluated one is left out: the stage `decontaminate` names them. Sources
with `from: filter` have passed the stricter rules of that stage.

`<source>.dropped.jsonl` names the documents that were left out and why; `<source>.loss` (one bool
per token) exists where only answers bear a loss; `sources.json` is what readers need to know.
`file_name` writes `<source>` in file names: no source writes outside its folder.
"""

from __future__ import annotations

import glob
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from train.data.definition import is_checked
from train.data.encoder import TokenEncoder
from train.data.megatron import write_index
from train.data.shards import DOCUMENTS, Check, Shard, stem_of, with_suffix, write_shard
from train.data.token_files import (
    TOKENIZER_FOLDER,
    ShardCounts,
    SourceCounts,
    TokenizeSummary,
    add_counts,
)
from train.tokens.decontaminate import DroppedCheck, read_dropped
from train.tokens.shard_work import shards_of, work_on_shards
from tsqa.errors import DataError
from tsqa.hub.model_folder import vocabulary_size
from tsqa.recipe import MixtureSection, needed
from tsqa.store.atomic import fsync
from tsqa.store.jsonl import read_jsonl, write_json
from tsqa.store.own_files import read_own
from tsqa.store.stage import StageContext

_COPY_BYTES = 8 << 20
_DOCUMENTS_AT_ONCE = 1 << 16


def run(context: StageContext) -> TokenizeSummary:
    """Tokenize the source `context.part`; see the module for the files."""
    from transformers import AutoTokenizer

    mixture, name = needed(context.recipe.mixture, "mixture"), context.part
    length = needed(context.recipe.train, "train").sequence_length
    folder = context.inputs["tokenizer"].path / TOKENIZER_FOLDER
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = TokenEncoder(tokenizer)
    counts = with_suffix(stem_of(context.out, name), ".json")
    if not counts.exists():
        shards = shards_of(context, name)
        check = _dropped_check(context)
        task = _ShardTask(encoder, length, check)
        work_on_shards(shards, mixture.tokenize_processes, task, cluster=mixture.tokenize_cluster)
        _join(stem_of(context.out, name), shards, encoder, length)
    summary = read_own(counts, SourceCounts)
    _refuse_empty(mixture, name, summary)
    write_json(
        context.out / "sources.json",
        {
            "sequence_length": length,
            "dtype": encoder.dtype.name,
            "vocab_size": vocabulary_size(tokenizer),
            "eos_token_id": tokenizer.eos_token_id,
            "sources": {name: summary},
        },
    )
    return {
        "vocab_size": vocabulary_size(tokenizer),
        "sources": {name: summary},
        "tokens": summary["tokens"],
    }


def _refuse_empty(mixture: MixtureSection, name: str, summary: SourceCounts) -> None:
    """Raise DataError for a source without rows that a phase draws from."""
    if summary["rows"] or name not in mixture.drawn:
        return
    skipped = f" ({summary['bad']:,} bad records were skipped)" if summary["bad"] else ""
    raise DataError(
        f"mixture.sources.{name} holds no text{skipped}, but a phase draws from it",
        "give it documents, name the field that holds them in text_field, or set its ratio to 0",
    )


def _dropped_check(context: StageContext) -> Check | None:
    """Finds the documents that `decontaminate` found; None where the recipe has no such check."""
    if not is_checked(context.recipe, context.part):
        return None
    return DroppedCheck(read_dropped(context.inputs["decontaminate"].path))


@dataclass(frozen=True)
class _ShardTask:
    """How to tokenize a shard; every process gets a copy."""

    encoder: TokenEncoder
    length: int
    check: Check | None

    def write(self, shard: Shard) -> None:
        write_shard(shard, self.encoder, self.length, self.check)


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
