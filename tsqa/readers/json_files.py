"""JSON Lines (plain, .gz, .zst) and JSON lists.

Guarantees: JSON Lines are streamed, from any byte on; a file that cannot be read is a DataError
with its path and line; a line that cannot be decoded is a BadLine, for the caller to refuse or
count.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

from tsqa.errors import DataError
from tsqa.plain_json import RepeatedKey, parse_json
from tsqa.remote import DataPath

BUFFER = 1 << 20
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
"""The mark of UTF-32 little-endian begins with that of UTF-16."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not JSON, not UTF-8, nested too deeply, or has a key twice."""

    error: ValueError | RecursionError


class BlankLine:
    """A line that holds nothing, unlike JSON's null."""


_BLANK = BlankLine()


def read_lines(
    path: DataPath, begin: int = 0, end: int | None = None
) -> Iterator[tuple[int, object]]:
    """Yield (line, counted from `begin`; its value) for each line that begins in [begin, end).

    A value is JSON's, a BlankLine or a BadLine. A compressed file is read whole, whatever the
    bounds. Raises DataError where the file cannot be read.
    """
    is_compressed = path.suffix in (".gz", ".zst")
    number = 0
    try:
        with _open(path) as handle:
            place = 0 if is_compressed else begin
            if place:
                # From one byte earlier: a line that begins exactly at `begin` is not skipped.
                handle.seek(place - 1)
                place += len(handle.readline()) - 1
            for number, raw in enumerate(handle, 1):
                if end is not None and place >= end and not is_compressed:
                    return
                is_first = place == 0
                place += len(raw)
                yield number, _parse(raw, path, is_first) if raw.strip() else _BLANK
    except (EOFError, OSError, zlib.error) as error:
        line = count_lines(path, 0 if is_compressed else begin) + number + 1
        raise DataError(f"{path}:{line}: unreadable: {error}") from error


def count_lines(path: DataPath, end: int) -> int:
    """Count the lines of a plain file that begin before a byte."""
    if not end:
        return 0
    with path.open("rb") as handle:
        count = 0
        left = end
        while left and (chunk := handle.read(min(left, BUFFER))):
            left -= len(chunk)
            count += chunk.count(b"\n")
        handle.seek(end - 1)
        return count + (handle.read(1) != b"\n")


def read_list(path: DataPath) -> Iterator[object]:
    """Yield the members of a JSON list, which is read whole: the format allows no less."""
    raw = path.read_bytes()
    refuse_wide(path, raw)
    try:
        found = parse_json(raw.decode("utf-8-sig"))
    except RepeatedKey as error:
        raise DataError(f"{path}: {error}", "keep one of them") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: not JSON: {error}", "for one object a line, use .jsonl"
        ) from error
    if not isinstance(found, list):
        raise DataError(f"{path}: expected a list of objects, found {type(found).__name__}")
    yield from found


def refuse_wide(path: DataPath, start: bytes) -> None:
    """Raise DataError where a file begins with the mark of UTF-16 or UTF-32."""
    if start.startswith(_WIDE_MARKS):
        raise DataError(f"{path}: UTF-16 or UTF-32, not UTF-8", "save the file as UTF-8")


def _parse(raw: bytes, path: DataPath, is_first: bool) -> object:
    try:
        text = raw.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogatepass")
        value = parse_json(text)
    except UnicodeDecodeError as error:
        if is_first:
            refuse_wide(path, raw)
        return BadLine(error)
    except (ValueError, RecursionError) as error:
        return BadLine(error)
    return value


@contextmanager
def _open(path: DataPath) -> Iterator[IO[bytes]]:
    with path.open("rb", BUFFER) as handle:
        if path.suffix == ".gz":
            with gzip.open(handle) as plain:
                yield cast(IO[bytes], plain)
        elif path.suffix == ".zst":
            import pyarrow

            with pyarrow.input_stream(cast(io.IOBase, handle), compression="zstd") as stream:
                yield io.BufferedReader(cast(Any, stream), BUFFER)
        else:
            yield handle
