"""Guarantees of a line of candidates.jsonl: read and written again it is the same line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.curated_rows import candidate
from tsqa.errors import DataError
from tsqa.records.candidate_file import as_json, parse_record, read_records, write_records

CASCADE = {"model": "m", "engine": "openai", "form": "chat", "request": {"omit": ["stop"]}}


@pytest.mark.parametrize("changes", [{}, {"cascade": CASCADE}, {"votes": [], "prompts": {}}])
def test_a_line_read_and_written_again_is_the_same(tmp_path: Path, changes: dict[str, Any]) -> None:
    path, again = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    lines = [
        json.dumps(candidate(n, **changes), sort_keys=True, ensure_ascii=False) for n in (1, 2)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert write_records(again, read_records(path)) == 2
    assert again.read_bytes() == path.read_bytes()


def test_a_candidate_without_a_cascade_does_not_mention_it() -> None:
    written = as_json(parse_record(json.dumps(candidate(1))))
    assert "cascade" not in written
    assert "request" not in written["teacher"]  # type: ignore[operator]


def test_a_field_that_nobody_reads_is_not_lost_in_silence() -> None:
    with pytest.raises(ValueError, match=r"^note: Unexpected keyword argument$"):
        parse_record(json.dumps(candidate(1, note="mine")))


def test_a_line_that_is_not_a_candidate_is_named(tmp_path: Path) -> None:
    path = tmp_path / "candidates.jsonl"
    path.write_text(json.dumps(candidate(1)) + '\n{"id": "torn', encoding="utf-8")
    with pytest.raises(DataError, match=r"candidates\.jsonl: line 2: not a candidate: Invalid"):
        list(read_records(path))
