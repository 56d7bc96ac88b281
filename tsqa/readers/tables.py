"""Tables: parquet and CSV files.

Guarantees: rows are streamed in constant memory (a parquet page is read whole); a parquet file
that cannot be read, or a name that two columns have, is a DataError; a CSV row that does not fit
its header, or whose quotes do not close, is a BadRow with its lines, never a row made of two.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from tsqa.errors import DataError
from tsqa.readers.json_files import BUFFER, refuse_wide
from tsqa.remote import DataPath, RemotePath
from tsqa.remote.paths import PART

if TYPE_CHECKING:
    from pyarrow import DataType, RecordBatch
    from pyarrow.parquet import FileMetaData

_BATCH = 1024
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_MAX_FIELD = 1 << 30


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row of a CSV file that cannot be read."""

    reason: str
    detail: str


class _Rows(Protocol):
    """csv.reader, whose class has no public name."""

    line_num: int

    def __next__(self) -> list[str]: ...


def parquet_columns(path: DataPath) -> list[str]:
    """List the top-level columns of a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with _opened(path) as source:
            names = [str(name) for name in pq.read_schema(source).names]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: unreadable: {error}") from error
    _refuse_repeated(path, names)
    return names


def read_parquet(
    path: DataPath, columns: Sequence[str] | None = None, groups: Sequence[int] | None = None
) -> Iterator[dict[str, object]]:
    """Yield the rows of some row groups (None: all), with those of `columns` that there are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with (
            _opened(path) as source,
            pq.ParquetFile(source, buffer_size=_buffer_of(path), pre_buffer=False) as table,
        ):
            there = table.schema_arrow.names
            _refuse_repeated(path, [n for n in there if columns is None or n in columns])
            chosen = None if columns is None else [name for name in columns if name in there]
            batches = table.iter_batches(
                _BATCH, None if groups is None else list(groups), columns=chosen
            )
            for batch in batches:
                yield from _rows(batch)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: unreadable: {error}") from error


def parquet_metadata(path: DataPath) -> FileMetaData:
    """Row groups and their sizes; DataError where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with _opened(path) as source:
            return pq.read_metadata(source)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: unreadable: {error}") from error


def _opened(path: DataPath) -> AbstractContextManager[Path | IO[Any]]:
    """What pyarrow reads: of this machine the file itself, without Python in between."""
    return path.open("rb", 0) if isinstance(path, RemotePath) else nullcontext(path)


def _buffer_of(path: DataPath) -> int:
    """For each column."""
    return PART if isinstance(path, RemotePath) else BUFFER


def _rows(batch: RecordBatch) -> list[dict[str, object]]:
    """The rows of a batch; short floats as they are written: 0.1, not 0.10000000149011612."""
    rows: list[dict[str, object]] = batch.to_pylist()
    for field in batch.schema:
        kind = _short_float(field.type)
        for row in rows if kind else ():
            row[field.name] = _as_written(row[field.name], str(kind))
    return rows


def _short_float(kind: DataType) -> str:
    """The name of a short float's type, also in lists; empty for any other."""
    import pyarrow as pa

    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    if pa.types.is_float16(kind):
        return "float16"
    return "float32" if pa.types.is_float32(kind) else ""


def _as_written(value: object, kind: str) -> object:
    if isinstance(value, list):
        return [_as_written(one, kind) for one in value]
    return float(str(np.dtype(kind).type(value))) if isinstance(value, float) else value


def _refuse_separated(path: DataPath, header: Sequence[str]) -> None:
    """Refuse what spreadsheets write where numbers have a decimal comma, and tables with tabs."""
    for mark, name in _SEPARATORS.items():
        if len(header) == 1 and mark in header[0]:
            raise DataError(
                f"{path}: its fields are separated by {name}: {header[0]!r:.80}",
                "save it with commas between the fields",
            )


def read_csv(path: DataPath) -> Iterator[dict[str, str] | BadRow]:
    """Yield the rows of a CSV file under its header, blank lines left out."""
    csv.field_size_limit(_MAX_FIELD)
    with path.open("rb") as raw:
        refuse_wide(path, raw.read(4))
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
        # Strict: an open quote would otherwise swallow the rows below it without an error.
        rows = csv.reader(handle, strict=True)
        try:
            header = next(rows, [])
        except csv.Error as error:
            raise DataError(f"{path}: not CSV: {error}") from error
        _refuse_repeated(path, header)
        _refuse_separated(path, header)
        while (row := _next_row(rows, header)) is not None:
            if isinstance(row, BadRow):
                yield row
            elif row:
                yield dict(zip(header, row, strict=True))


def check_header(path: DataPath) -> None:
    """DataError where two columns of a CSV file have one name, for rows that others read."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
        _refuse_repeated(path, next(csv.reader(handle), []))


def _refuse_repeated(path: DataPath, names: Sequence[str]) -> None:
    """A row under two columns of one name would silently be that of the last."""
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise DataError(f"{path}: two columns are called {twice[0]!r}", "rename or drop one")


def _next_row(rows: _Rows, header: list[str]) -> list[str] | BadRow | None:
    """The next row, as long as the header; [] for a blank line, None at the end."""
    begin = rows.line_num + 1
    try:
        row = next(rows, None)
    except csv.Error as error:  # the reader goes on with the next line
        last = max(begin, rows.line_num)
        return BadRow("not CSV", f"lines {begin} to {last}: {error}")
    if row and len(row) > len(header):
        return BadRow("more fields than columns", f"{row[len(header) :]!r:.60}")
    if row and len(row) < len(header):
        return BadRow("fewer fields than columns", f"line {begin}: {len(row)} of {len(header)}")
    return row
