"""Parquet files that tsqa itself writes: their columns are the fields of a dataclass, in order."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from tsqa.store.own_files import damaged

_COLUMN_TYPES: dict[object, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
}


def schema_of(shape: type) -> pa.Schema:
    """The columns of a row class."""
    hints = get_type_hints(shape)
    return pa.schema([(field.name, _column_type(hints[field.name])) for field in fields(shape)])


def check_columns(path: Path, found: pa.Schema, wanted: pa.Schema) -> None:
    """Raise DataError where a file lacks a column, or has one of another type."""
    for field in wanted:
        if field.name not in found.names or found.field(field.name).type != field.type:
            raise damaged(path, f"no column `{field.name}` of type {field.type}")


def read_own_table(path: Path, columns: pa.Schema, **options: Any) -> pa.Table:
    """Read these columns of a parquet file; DataError if one is missing or has another type."""
    try:
        check_columns(path, pq.read_schema(path), columns)
        return pq.read_table(path, columns=columns.names, **options)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, f"unreadable: {error}") from error


def _column_type(hint: object) -> pa.DataType:
    if get_origin(hint) is UnionType:
        (hint,) = (one for one in get_args(hint) if one is not NoneType)
    if get_origin(hint) is list:
        return pa.list_(_column_type(get_args(hint)[0]))
    return pa.string() if get_origin(hint) is Literal else _COLUMN_TYPES[hint]
