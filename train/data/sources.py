"""Where documents come from: files of several formats, and Hugging Face datasets.

Guarantees: a source is a list of pieces, each readable by itself in any process and in constant
memory (a text file, which is one document, and a parquet page are read whole); the same files give
the same pieces; a broken record is an error that names its file and line.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import regex

from tsqa.errors import DataError
from tsqa.hub.pins import PINS
from tsqa.plain_json import RepeatedKey
from tsqa.readers import texts
from tsqa.readers.hub import load_hub
from tsqa.readers.json_files import BadLine, BlankLine, count_lines, read_lines
from tsqa.readers.tables import parquet_metadata, read_parquet
from tsqa.recipe import SourceSection, is_hub_id
from tsqa.remote import DataPath, RemotePath, place_below
from tsqa.store.digests import state_of
from tsqa.store.identity import as_text, files_below

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

SHARD_BYTES = 4 << 20
"""The least that a process works on at once: about two seconds."""
AUDITED = "DATASET"
"""The key of a source that a command names, and no recipe."""
_MOST_SHARDS = 4096
"""Of one source: a large one has larger shards."""
_LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".json.zst")
_OTHERS = (".csv", ".tsv", ".xlsx", ".html", ".xml", ".pdf", ".bz2", ".xz", ".zip", ".tar", ".tgz")
"""Formats that are not read, whose lines would be told as broken JSON; without a suffix, or with
another such as .ndjson, a file holds JSON lines."""
_VISIBLE = regex.compile(r"[^\s\p{Cf}]")
Record = dict[str, object] | str | None


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """One text and where it stands."""

    file: str
    """Below the source's path; for a hub dataset its shard."""
    line: int
    """From 1: of a JSONL file, or the row of a table."""
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that holds no text, and where it stands."""

    file: str
    line: int
    reason: str


class Piece(Protocol):
    """A part of a source: some records of one file."""

    @property
    def path(self) -> DataPath | str: ...

    @property
    def file(self) -> str: ...

    @property
    def size(self) -> int:
        """About how much there is to read."""
        ...

    def records(self, field: str) -> Iterator[tuple[int, Record]]:
        """Yield (line from 1 within the piece, record with `field` and `id`); None: a blank line.

        Text stands for a record that cannot be read, and says why.
        """
        ...

    def lines_before(self) -> int:
        """Count the lines of the file before this piece; reads them, so for errors only."""
        ...


@dataclass(frozen=True)
class JsonLines:
    """The lines that begin between two bytes of a JSONL file; all of it where compressed."""

    path: DataPath
    file: str
    begin: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.begin

    def records(self, field: str) -> Iterator[tuple[int, Record]]:
        for number, value in read_lines(self.path, self.begin, self.end):
            yield number, _record(value)

    def lines_before(self) -> int:
        return count_lines(self.path, self.begin)


@dataclass(frozen=True)
class Parquet:
    """Some row groups of a parquet file."""

    path: DataPath
    file: str
    groups: tuple[int, ...]
    size: int

    def records(self, field: str) -> Iterator[tuple[int, Record]]:
        yield from enumerate(read_parquet(self.path, (field, "id"), self.groups), 1)

    def lines_before(self) -> int:
        metadata = parquet_metadata(self.path)
        return sum(metadata.row_group(group).num_rows for group in range(self.groups[0]))


@dataclass(frozen=True)
class TextFile:
    """A file that is one document."""

    path: DataPath
    file: str
    size: int

    def records(self, field: str) -> Iterator[tuple[int, Record]]:
        yield 1, {field: texts.read_text_file(self.path), "id": self.file}

    def lines_before(self) -> int:
        return 0


@dataclass(frozen=True)
class SavedRows:
    """Some rows of a dataset that `datasets` saved to disk."""

    path: Path
    file: str
    split: str
    begin: int
    end: int
    size: int

    def records(self, field: str) -> Iterator[tuple[int, Record]]:
        rows = load_saved(self.path, self.split).select(range(self.begin, self.end))
        columns = [name for name in (field, "id") if name in rows.column_names]
        yield from enumerate(rows.select_columns(columns), 1)

    def lines_before(self) -> int:
        return self.begin


@dataclass(frozen=True)
class HubShard:
    """One of the files of a hub dataset, streamed."""

    path: str
    subset: str | None
    split: str
    revision: str
    number: int
    shards: int
    size: int = SHARD_BYTES

    @property
    def file(self) -> str:
        return f"{self.split}-{self.number:05d}-of-{self.shards:05d}"

    def records(self, field: str) -> Iterator[tuple[int, Record]]:
        rows = stream_hub(self.path, self.subset, self.split, self.revision)
        try:
            yield from enumerate(rows.shard(num_shards=self.shards, index=self.number), 1)
        except Exception as error:
            raise DataError(
                f"{self.path} {self.file}: {type(error).__name__}: {error}",
                "run it again: what is done is kept",
            ) from error

    def lines_before(self) -> int:
        return 0


def find_pieces(section: SourceSection, path: DataPath, key: str) -> list[Piece]:
    """Find the pieces of a source, in order; `path` is resolved, `key` names it in errors."""
    path = (path.look() or path) if isinstance(path, RemotePath) else path
    if path.is_file():
        if path.suffix in _OTHERS:
            read = ", ".join((*_LINES, ".parquet", *texts.SUFFIXES))
            raise DataError(
                f"{key}: {path}: {path.suffix} is not read", f"convert it to one of {read}"
            )
        return _pieces_of_file(path, as_text(path.name), _shard_bytes(state_of(path).size))
    if is_saved(path):
        if isinstance(path, RemotePath):
            raise DataError(
                f"{key}: {path}: a dataset that `datasets` saved is read from a disk",
                "copy the folder here, or put parquet files into the store",
            )
        return _pieces_of_saved(path, section.split)
    if path.is_dir():
        files = list_files(path)
        if not files:
            raise DataError(
                f"{key}: {path} holds no file that ends in {', '.join((*_LINES, '.parquet'))} "
                f"or {', '.join(texts.SUFFIXES)}",
                "correct the path",
            )
        limit = _shard_bytes(sum(state_of(file).size for file in files))
        return [
            piece
            for file in files
            for piece in _pieces_of_file(file, as_text(place_below(file, path)), limit)
        ]
    if isinstance(path, RemotePath):
        raise DataError(f"{key}: {path}: no such object, and none below it", "correct the path")
    if not is_hub_id(str(section.path)):
        raise DataError(f"{key}: {path}: no such file or folder", "correct the path")
    if section.revision is None:
        raise DataError(
            f"{key}: {path} is no file or folder; of a hub dataset the revision must be given",
            f"set {key}.revision to a commit, so that the same recipe is the same data",
        )
    revision = PINS.commit("dataset", str(section.path), section.revision) or section.revision
    rows = stream_hub(str(section.path), section.subset, section.split, revision)
    shards = rows.num_shards
    return [
        HubShard(str(section.path), section.subset, section.split, revision, n, shards)
        for n in range(shards)
    ]


def is_saved(path: DataPath) -> bool:
    """Whether `datasets` saved this folder."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def list_files(folder: DataPath) -> list[DataPath]:
    """List the data files of a folder and below; text files only where there are no others.

    Links are followed; DataError at one to nowhere.
    """
    return _read_of(_visible_files(folder))


def unread_files(folder: DataPath) -> list[DataPath]:
    """List the files of a source's folder that `list_files` leaves out, but for hidden ones."""
    visible = _visible_files(folder)
    chosen = set(_read_of(visible))
    return [file for file in visible if file not in chosen]


def _read_of(visible: Sequence[DataPath]) -> list[DataPath]:
    data = [file for file in visible if file.name.endswith((*_LINES, ".parquet"))]
    chosen = data or [file for file in visible if file.suffix in texts.SUFFIXES]
    for file in chosen:
        if not file.is_file():
            raise DataError(
                f"{file}: a link to nowhere",
                "fetch the file (git annex get, dvc pull), or delete the link",
            )
    return chosen


def _visible_files(folder: DataPath) -> list[DataPath]:
    return [
        file
        for file in sorted(files_below(folder, dangling=True), key=_parts_of)
        if not any(part[0] in "._" for part in place_below(file, folder).split("/"))
    ]


def _parts_of(file: DataPath) -> tuple[str, ...]:
    """As paths are sorted: by folder, so that `a/x` comes before `a-b`."""
    return file.parts


def group_pieces(pieces: Sequence[Piece]) -> list[tuple[Piece, ...]]:
    """Group consecutive pieces up to the size of a shard; a larger piece is a group."""
    limit = _shard_bytes(sum(piece.size for piece in pieces))
    shards: list[tuple[Piece, ...]] = []
    held: list[Piece] = []
    size = 0
    for piece in pieces:
        if held and size + piece.size > limit:
            shards.append(tuple(held))
            held, size = [], 0
        held.append(piece)
        size += piece.size
    return [*shards, tuple(held)] if held else shards


def read_documents(
    piece: Piece, section: SourceSection, key: str
) -> Iterator[SourceDocument | BadRecord | None]:
    """Yield the documents of a piece, lines counted within it; None where there is no text.

    `key` names the source in errors. Raises DataError at a bad record, unless it is to be skipped.
    """
    field = section.text_field
    for number, record in piece.records(field):
        text = record.get(field) if isinstance(record, dict) else None
        if record is None:
            yield None
        elif isinstance(record, dict) and isinstance(text, str):
            name = _mend("" if record.get("id") is None else str(record["id"]))
            is_blank = _VISIBLE.search(text) is None
            yield None if is_blank else SourceDocument(piece.file, number, name, _mend(text))
        else:
            reason = record if isinstance(record, str) else _missing_text(record, field)
            if section.on_bad == "refuse":
                raise DataError(
                    f"{piece.path}:{piece.lines_before() + number}: {reason}",
                    _fix_of(key),
                )
            yield BadRecord(piece.file, number, reason)


def _fix_of(key: str) -> str:
    if key == AUDITED:
        return "name the field that holds it, --text-field NAME, or leave such out: --skip-bad"
    if not key.startswith("mixture."):
        return f"a record of {key} holds its text in the field `text`"
    return (
        f"name the right field in {key}.text_field, correct the record, or leave such records "
        f"out, counted, with {key}.on_bad=skip"
    )


def _missing_text(record: dict[str, object], field: str) -> str:
    if field not in record:
        there = ", ".join(map(str, record)) or "nothing"
        return f"no text in the field `{field}`: the record has {there}"
    value = record[field]
    shown = "null" if value is None else type(value).__name__
    return f"no text in the field `{field}`: it is {shown}"


def _record(value: object) -> Record:
    """The object of a line, or what is wrong with it."""
    match value:
        case dict():
            return value
        case BlankLine():
            return None
        case BadLine(error=RecursionError()):
            return "nested too deeply"
        case BadLine(error=RepeatedKey() as error):
            return str(error)
        case BadLine(error=error):
            return f"not JSON: {error}"
    return f"expected an object, found {value!r:.60}"


@lru_cache(maxsize=4)
def load_saved(path: Path, split: str) -> Dataset:
    """Load the split of a dataset that `datasets` saved, memory-mapped."""
    import datasets

    found = datasets.load_from_disk(str(path))
    if not isinstance(found, dict):
        return found
    if split not in found:
        raise DataError(f"{path}: no split `{split}`", f"use one of: {', '.join(found)}")
    return found[split]


@lru_cache(maxsize=4)
def stream_hub(path: str, subset: str | None, split: str, revision: str) -> IterableDataset:
    """Open the split of a hub dataset as a stream."""
    return load_hub(path, subset, split, revision, streaming=True)


def _shard_bytes(total: int) -> int:
    return max(SHARD_BYTES, total // _MOST_SHARDS)


def _pieces_of_file(path: DataPath, file: str, limit: int) -> list[Piece]:
    size = state_of(path).size
    if path.suffix == ".parquet":
        return _pieces_of_parquet(path, file, limit)
    if path.suffix in texts.SUFFIXES:
        return [TextFile(path, file, size)]
    if path.suffix in (".gz", ".zst"):
        return [JsonLines(path, file, 0, size)]
    count = max(1, -(-size // limit))
    bounds = [size * number // count for number in range(count + 1)]
    return [JsonLines(path, file, begin, end) for begin, end in itertools.pairwise(bounds)]


def _pieces_of_parquet(path: DataPath, file: str, limit: int) -> list[Piece]:
    metadata = parquet_metadata(path)
    pieces: list[Piece] = []
    groups: list[int] = []
    size = 0
    for group in range(metadata.num_row_groups):
        groups.append(group)
        size += metadata.row_group(group).total_byte_size
        if size >= limit or group == metadata.num_row_groups - 1:
            pieces.append(Parquet(path, file, tuple(groups), size))
            groups, size = [], 0
    return pieces


def _pieces_of_saved(path: Path, split: str) -> list[Piece]:
    rows = load_saved(path, split)
    size = int(rows.data.nbytes)
    count = max(1, min(len(rows), -(-size // _shard_bytes(size))))
    bounds = [len(rows) * number // count for number in range(count + 1)]
    return [
        SavedRows(path, split, split, begin, end, size // count)
        for begin, end in itertools.pairwise(bounds)
    ]


def _mend(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot hold, become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
