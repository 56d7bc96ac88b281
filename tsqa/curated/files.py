"""The curated dataset on disk: parquet shards of what was accepted and of what was rejected.

Guarantees: a shard appears whole or not at all; memory stays bounded whatever the number and the
length of the rows; the same rows give the same bytes; without rows there is still one valid shard.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tsqa.errors import DataError
from tsqa.records.rows import CuratedRow, RejectedRow
from tsqa.store.atomic import emptied
from tsqa.store.own_files import damaged
from tsqa.store.own_tables import check_columns, schema_of

T = TypeVar("T")

DATASET = "dataset"
"""The folder of an artifact that is published: the card and `data/`."""
CURATED = f"{DATASET}/data"
REJECTED = "rejected"
_ROWS_PER_GROUP = 1000
_CHARACTERS_PER_GROUP = 8 << 20


@dataclass(frozen=True)
class PackedRows:
    """Rows as a table, which is most of the work of writing them."""

    table: pa.Table
    characters: list[int]
    """Of each row, in its columns of text."""


def pack_rows(rows: Sequence[CuratedRow] | Sequence[RejectedRow], shape: type) -> PackedRows:
    """`shape`: the class of the rows."""
    values = [vars(row) for row in rows]
    return PackedRows(_table(values, schema_of(shape)), [*map(_count_characters, values)])


class DatasetWriter:
    """Writes `dataset/data/train-*.parquet` and `rejected/part-*.parquet` below a folder.

    Entering removes what an earlier, killed run left there. A block that raises publishes no
    further shard.
    """

    def __init__(self, folder: Path, rows_per_shard: int = 50_000) -> None:
        self._curated = _Shards(folder / CURATED, "train", CuratedRow, rows_per_shard)
        self._rejected = _Shards(folder / REJECTED, "part", RejectedRow, rows_per_shard)

    def __enter__(self) -> Self:
        self._curated.clear()
        self._rejected.clear()
        return self

    def curated(self, row: CuratedRow) -> None:
        self._curated.add(row)

    def rejected(self, row: RejectedRow) -> None:
        self._rejected.add(row)

    def add_packed(self, curated: PackedRows, rejected: PackedRows) -> None:
        """Rows that another process packed."""
        self._curated.extend(curated)
        self._rejected.extend(rejected)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        for shards in (self._curated, self._rejected):
            if error is None:
                shards.finish()
            else:
                shards.abandon()


def read_curated(artifact_path: Path) -> Iterator[CuratedRow]:
    """Yield the accepted rows of a filter artifact in order; DataError where there is none."""
    return read_rows(artifact_path / CURATED, CuratedRow)


def read_rejected(artifact_path: Path) -> Iterator[RejectedRow]:
    """Yield the rejected rows of a filter artifact in order; DataError where there is none."""
    return read_rows(artifact_path / REJECTED, RejectedRow)


def read_rows(folder: Path, shape: type[T]) -> Iterator[T]:
    """Yield the rows of a folder of shards in order, as a dataclass whose fields are columns.

    Only these columns are read. DataError where there is no shard or one lacks a column.
    """
    schema = schema_of(shape)
    for shard in _shards_of(folder):
        with _opened(shard, schema) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, schema.names)
                yield from (shape(**row) for row in table.to_pylist())


def find_curated(artifact_path: Path, item_id: str) -> CuratedRow | None:
    """The accepted row of that id; None where there is none."""
    return _find(artifact_path / CURATED, CuratedRow, item_id)


def find_rejected(artifact_path: Path, item_id: str) -> RejectedRow | None:
    """The rejected row of that id; None where there is none."""
    return _find(artifact_path / REJECTED, RejectedRow, item_id)


def draw_rows(rows: Iterable[T], count: int, key: str) -> list[T]:
    """A random choice in the order of the rows, in one pass (reservoir sampling)."""
    rng = random.Random(key)
    kept: list[tuple[int, T]] = []
    for number, row in enumerate(rows):
        if len(kept) < count:
            kept.append((number, row))
        elif (place := rng.randrange(number + 1)) < count:
            kept[place] = (number, row)
    return [row for _, row in sorted(kept, key=lambda pair: pair[0])]


class _Shards(Generic[T]):
    """Rows -> row groups in memory -> numbered files."""

    def __init__(self, folder: Path, stem: str, shape: type[T], rows_per_shard: int) -> None:
        self._folder, self._stem, self._schema = folder, stem, schema_of(shape)
        self._rows_per_shard = rows_per_shard
        self._rows: list[dict[str, object]] = []
        self._tables: list[pa.Table] = []
        """What came before these rows in their group."""
        self._rows_in_group = 0
        self._characters = 0
        self._rows_in_shard = 0
        self._number = 0
        self._writer: pq.ParquetWriter | None = None

    def clear(self) -> None:
        emptied(self._folder)

    def add(self, row: T) -> None:
        values = vars(row)
        self._rows.append(values)
        if self._grow(_count_characters(values)):
            self._end_group()

    def extend(self, packed: PackedRows) -> None:
        self._pack()
        start = 0
        for stop, characters in enumerate(packed.characters, 1):
            is_full = self._grow(characters)
            if is_full or stop == len(packed.characters):
                self._tables.append(packed.table.slice(start, stop - start))
                start = stop
            if is_full:
                self._end_group()

    def _grow(self, characters: int) -> bool:
        """Count a row; return whether its group is full."""
        self._rows_in_group += 1
        self._characters += characters
        is_full = self._rows_in_group == _ROWS_PER_GROUP
        return is_full or self._is_full_shard or self._characters >= _CHARACTERS_PER_GROUP

    @property
    def _is_full_shard(self) -> bool:
        return self._rows_in_shard + self._rows_in_group == self._rows_per_shard

    def _end_group(self) -> None:
        is_full = self._is_full_shard
        self._flush()
        if is_full:
            self._publish()

    def _pack(self) -> None:
        if self._rows:
            self._tables.append(_table(self._rows, self._schema))
            self._rows = []

    def finish(self) -> None:
        if self._rows_in_group or not self._number:
            self._flush()
        if self._writer:
            self._publish()

    def abandon(self) -> None:
        if self._writer:
            self._writer.close()
            self._temporary.unlink()

    @property
    def _temporary(self) -> Path:
        return self._folder / f"{self._stem}-{self._number:05d}.parquet.tmp"

    def _flush(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._temporary, self._schema, compression="zstd")
        self._pack()
        if self._tables:  # `datasets` cannot read an empty row group; no group at all it can
            self._writer.write_table(pa.concat_tables(self._tables).combine_chunks())
        self._rows_in_shard += self._rows_in_group
        self._tables, self._rows_in_group, self._characters = [], 0, 0

    def _publish(self) -> None:
        assert self._writer
        self._writer.close()
        with self._temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        self._temporary.replace(self._temporary.with_suffix(""))
        self._writer = None
        self._number += 1
        self._rows_in_shard = 0


def _count_characters(values: Mapping[str, object]) -> int:
    return sum(len(value) for value in values.values() if isinstance(value, str))


def _table(rows: list[dict[str, object]], schema: pa.Schema) -> pa.Table:
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except UnicodeEncodeError:
        mended = [{name: _mend(value) for name, value in row.items()} for row in rows]
        return pa.Table.from_pylist(mended, schema=schema)


def _mend(value: object) -> object:
    """Lone surrogates, which UTF-8 cannot hold, become U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mend(item) for item in value]
    return value


def _find(folder: Path, shape: type[T], item_id: str) -> T | None:
    for shard in _shards_of(folder):
        with _opened(shard, schema_of(shape)) as file:
            for group in range(file.num_row_groups):
                place = pc.index(file.read_row_group(group, ["id"]).column(0), item_id).as_py()
                if place >= 0:
                    table = file.read_row_group(group, schema_of(shape).names)
                    (row,) = table.slice(place, 1).to_pylist()
                    return shape(**row)
    return None


def _shards_of(folder: Path) -> list[Path]:
    shards = sorted(folder.glob("*.parquet"))
    if not shards:
        raise DataError(f"{folder}: no parquet shards", "build it: tsqa filter RECIPE")
    return shards


@contextmanager
def _opened(shard: Path, schema: pa.Schema) -> Iterator[pq.ParquetFile]:
    """A shard that has the columns of the schema."""
    try:
        with pq.ParquetFile(shard) as file:
            check_columns(shard, file.schema_arrow, schema)
            yield file
    except (pa.ArrowException, OSError) as error:
        raise damaged(shard, f"unreadable: {error}") from error
