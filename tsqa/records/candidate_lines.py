"""candidates.jsonl as the filters read it: whole, or in chunks of whole lines.

Guarantee: every line that holds something is a candidate, one that cannot be read included.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tsqa.records.candidate import Candidate, read_candidate
from tsqa.records.candidate_file import UnreadableLine, parse_record

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Chunk:
    """Whole lines of a file."""

    path: Path
    start: int
    size: int
    first: int
    """The number of its first line, from 1."""

    def lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as handle:
            handle.seek(self.start)
            return io.BytesIO(handle.read(self.size))


def chunks_of(path: Path) -> Iterator[Chunk]:
    """The same for any number of processes."""
    start, first = 0, 1
    with path.open("rb") as handle:
        while block := handle.read(_CHUNK_BYTES):
            block += handle.readline()
            yield Chunk(path, start, len(block), first)
            start, first = start + len(block), first + block.count(b"\n")


def read_candidates(chunk: Chunk, shows_trace: bool = False) -> Iterator[Candidate]:
    """The candidates of a chunk; one for an unreadable line has that as its parse error."""
    for number, line in enumerate(chunk.lines(), chunk.first):
        if line.strip():
            yield _read_line(line, number, shows_trace)


def _read_line(line: bytes, number: int, shows_trace: bool) -> Candidate:
    try:
        return read_candidate(parse_record(line), shows_trace)
    except ValueError as error:
        found = _read_object(line)
        return Candidate(
            id=f"line-{number}",
            task=_text_of(found, "task"),
            family=_text_of(found, "family"),
            capability=_text_of(found, "capability"),
            question="",
            parse_error="unreadable record",
            source=UnreadableLine(line.decode("utf-8", "replace").strip(), str(error)),
        )


def _read_object(line: bytes) -> dict[str, object]:
    """The JSON object of a line that is not a candidate; empty when it has none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text_of(found: dict[str, object], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""
