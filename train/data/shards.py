"""One shard of a source -> its tokens, in one process.

Guarantees: a shard is finished when its `.json` exists, and is never tokenized twice; memory does
not grow with the shard; every token belongs to a document whose file, line and id are in
`.docs.parquet`.

Files of a shard: `.bin` tokens, `.docs.parquet`, `.dropped.jsonl`, `.json` counts; `.loss` (one
bool per token) where only answers bear a loss.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from train.data.encoder import TokenEncoder
from train.data.megatron import Tokens
from train.data.packing import best_fit
from train.data.sources import BadRecord, Piece, SourceDocument, read_documents
from train.data.token_files import Counts, ShardCounts
from tsqa.errors import DataError
from tsqa.recipe import SourceSection, file_name
from tsqa.store.jsonl import write_json

Check = Callable[[Sequence[str]], Sequence[str | None]]
"""Per text the reason to drop it, or None. Picklable: every process gets a copy."""

DOCUMENTS = pa.schema(
    [("id", pa.string()), ("file", pa.string())]
    + [(name, pa.int64()) for name in ("line", "start", "end")]
)
"""Origins: `start` and `end` are tokens of the .bin."""
EMPTY = "without a token"
TOO_LONG = "longer than a row"
ENDS_EARLY = "holds the end-of-sequence token"
"""A tokenizer whose end is an ordinary word: the document would be cut in two, unseen."""
_BATCH_DOCUMENTS = 512
_BATCH_CHARACTERS = 1 << 20
_WINDOW_TOKENS = 4 << 20
"""Tokens among which whole documents are fitted into rows."""


@dataclass(frozen=True)
class Shard:
    """Pieces of a source's files that one process tokenizes at once."""

    stem: Path
    """The path of its files without suffix."""
    section: SourceSection
    pieces: tuple[Piece, ...]
    key: str
    """Recipe key of the source, for messages."""

    @property
    def size(self) -> int:
        return sum(piece.size for piece in self.pieces)

    @property
    def done(self) -> bool:
        return with_suffix(self.stem, ".json").exists()


def stem_of(folder: Path, source: str) -> Path:
    """Return the path of a source's files without suffix; in that folder, whatever its name."""
    return folder / file_name(source)


def with_suffix(stem: Path, suffix: str) -> Path:
    """Return the file of a shard or source with that suffix (its name may hold dots)."""
    return stem.with_name(stem.name + suffix)


def write_shard(shard: Shard, encoder: TokenEncoder, length: int, check: Check | None) -> None:
    """Tokenize a shard into its files; `length` is the tokens per row."""
    with contextlib.ExitStack() as files:
        writer = _ShardWriter(shard, encoder, length, check, files)
        for piece in shard.pieces:
            writer.add(piece)
        counts = writer.finish()
    write_json(with_suffix(shard.stem, ".json"), counts)


def problem_of(
    tokens: Tokens, encoder: TokenEncoder, section: SourceSection, length: int
) -> str | None:
    """Why a document of these tokens is left out of a source; None where it is not."""
    if len(tokens) == len(encoder.begin) + 1:
        return EMPTY
    if encoder.eos in tokens[:-1]:
        return ENDS_EARLY
    return TOO_LONG if section.packing == "whole" and len(tokens) > length else None


@dataclass(frozen=True, slots=True)
class _Encoded:
    document: SourceDocument
    line: int
    """Line in the file, counted from where the shard begins in it."""
    tokens: Tokens
    first_loss: int
    """The first token that bears a loss."""


class _ShardWriter:
    """Documents -> tokens -> rows -> the files of a shard."""

    def __init__(
        self,
        shard: Shard,
        encoder: TokenEncoder,
        length: int,
        check: Check | None,
        files: contextlib.ExitStack,
    ) -> None:
        self._section, self._key, self._encoder = shard.section, shard.key, encoder
        self._length, self._check = length, check
        suffixes = [".bin", ".docs.parquet", ".dropped.jsonl"]
        suffixes += [".loss"] if shard.section.answer_marker else []
        self._handles = {
            suffix: files.enter_context(with_suffix(shard.stem, suffix).open("wb"))
            for suffix in suffixes
        }
        self._index = files.enter_context(
            pq.ParquetWriter(self._handles[".docs.parquet"], DOCUMENTS)
        )
        self._held: list[_Encoded] = []
        self._held_tokens = 0
        self._written = 0
        """Tokens in the .bin, padding included."""
        self._file, self._lines = "", 0
        self._counts: Counts = {
            "tokens": 0, "loss_tokens": 0, "padding": 0,
            "documents": 0, "empty": 0, "bad": 0, "dropped": 0,
        }  # fmt: skip

    def add(self, piece: Piece) -> None:
        """Tokenize the documents of a piece; those that share rows are held back."""
        if piece.file != self._file:
            self._file, self._lines = piece.file, 0
        before = self._lines
        for documents in in_batches(self._with_text(piece)):
            for encoded in self._encode(self._allowed(documents, before), before):
                problem = problem_of(encoded.tokens, self._encoder, self._section, self._length)
                if problem == EMPTY:
                    self._counts["empty"] += 1
                elif problem is not None:
                    self._drop(encoded.document, encoded.line, problem)
                else:
                    self._held.append(encoded)
                    self._held_tokens += len(encoded.tokens)
            if self._section.packing == "split" or self._held_tokens >= _WINDOW_TOKENS:
                self._flush()

    def finish(self) -> ShardCounts:
        """Write the documents held back and sync the files; return the counts of the shard."""
        self._flush()
        self._index.close()
        for handle in self._handles.values():
            handle.flush()
            os.fsync(handle.fileno())
        return {**self._counts, "last_file": self._file, "last_lines": self._lines}

    def _with_text(self, piece: Piece) -> Iterator[SourceDocument]:
        before = self._lines
        for document in read_documents(piece, self._section, self._key):
            self._lines += 1
            if document is None:
                self._counts["empty"] += 1
            elif isinstance(document, BadRecord):
                self._counts["bad"] += 1
                self._note(document.file, before + document.line, "", document.reason)
            else:
                yield document

    def _allowed(self, documents: list[SourceDocument], before: int) -> list[SourceDocument]:
        if self._check is None:
            return documents
        reasons = self._check([document.text for document in documents])
        allowed = []
        for document, reason in zip(documents, reasons, strict=True):
            if reason is None:
                allowed.append(document)
            else:
                self._drop(document, before + document.line, reason)
        return allowed

    def _drop(self, document: SourceDocument, line: int, reason: str) -> None:
        self._counts["dropped"] += 1
        self._note(document.file, line, document.id, reason)

    def _note(self, file: str, line: int, identifier: str, reason: str) -> None:
        record = {"file": file, "line": line, "id": identifier, "reason": reason}
        self._handles[".dropped.jsonl"].write(json.dumps(record).encode() + b"\n")

    def _encode(self, documents: list[SourceDocument], before: int) -> Iterable[_Encoded]:
        texts = [document.text for document in documents]
        lines = [before + document.line for document in documents]
        if self._section.answer_marker is None:
            tokens = self._encoder.encode(texts)
            return map(_Encoded, documents, lines, tokens, [0] * len(documents))
        begins = [self._answer_begin(document) for document in documents]
        pairs = self._encoder.encode_answers(texts, begins)
        return map(_Encoded, documents, lines, *zip(*pairs, strict=True)) if pairs else []

    def _answer_begin(self, document: SourceDocument) -> int:
        marker = str(self._section.answer_marker)
        found = document.text.find(marker)
        if found < 0:
            raise DataError(
                f"{document.file}: {document.id or 'a document'}: no `{marker}` in "
                f"{document.text[:60]!r}",
                "correct mixture.sources.*.answer_marker, or leave it out",
            )
        return found + len(marker)

    def _flush(self) -> None:
        """Write the documents held back: one after the other, or as rows of whole ones."""
        if not self._held:
            return
        whole = self._section.packing == "whole"
        lengths = [len(encoded.tokens) for encoded in self._held]
        rows = best_fit(lengths, self._length) if whole else [list(range(len(lengths)))]
        # Best fit puts the shortest documents last; any stretch of rows should be like the others.
        random.Random(0).shuffle(rows)
        chunks: list[Tokens] = []
        starts: list[int] = []
        order: list[_Encoded] = []
        for row in rows:
            begin = self._written
            for encoded in map(self._held.__getitem__, row):
                starts.append(self._written)
                order.append(encoded)
                chunks.append(encoded.tokens)
                self._written += len(encoded.tokens)
            if whole:
                room = begin + self._length - self._written
                chunks.append(np.full(room, self._encoder.eos, self._encoder.dtype))
                self._written += room
                self._counts["padding"] += room
        self._handles[".bin"].write(np.concatenate(chunks).tobytes())
        if ".loss" in self._handles:
            self._handles[".loss"].write(_loss_flags(starts, order, self._written))
        ends = [start + len(encoded.tokens) for start, encoded in zip(starts, order, strict=True)]
        columns = [
            [encoded.document.id for encoded in order],
            [encoded.document.file for encoded in order],
            [encoded.line for encoded in order],
            starts,
            ends,
        ]
        self._index.write_table(pa.table(columns, schema=DOCUMENTS))
        self._counts["documents"] += len(order)
        self._counts["tokens"] += sum(lengths)
        self._counts["loss_tokens"] += sum(
            len(encoded.tokens) - max(1, encoded.first_loss) for encoded in order
        )
        self._held, self._held_tokens = [], 0


def _loss_flags(starts: Sequence[int], documents: Sequence[_Encoded], end: int) -> bytes:
    """One bool for each token from the first start to `end`."""
    flags = np.zeros(end - starts[0], np.bool_)
    for start, encoded in zip(starts, documents, strict=True):
        begin = start - starts[0]
        flags[begin + encoded.first_loss : begin + len(encoded.tokens)] = True
    return flags.tobytes()


def in_batches(documents: Iterator[SourceDocument]) -> Iterator[list[SourceDocument]]:
    """Some hundred documents, or about a million characters, at a time."""
    batch: list[SourceDocument] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if len(batch) == _BATCH_DOCUMENTS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
