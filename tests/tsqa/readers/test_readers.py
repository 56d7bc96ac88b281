"""Files are read whole or refused by line: nothing is lost, made up or joined."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsqa.errors import DataError
from tsqa.readers.json_files import BadLine, BlankLine, count_lines, read_lines
from tsqa.readers.tables import BadRow, read_csv, read_parquet

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


@given(
    lines=st.lists(st.sampled_from(["", " ", "null", "[1]", '{"a": "é"}', "x"]), max_size=8),
    size=st.integers(1, 20),
)
def test_pieces_hold_every_line_once_with_its_number(lines: list[str], size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        path.write_text("\n".join(lines), encoding="utf-8")
        whole = [(number, repr(value)) for number, value in read_lines(path)]
        bounds = [*range(0, path.stat().st_size, size), path.stat().st_size]
        pieces = [
            (count_lines(path, begin) + number, repr(value))
            for begin, end in itertools.pairwise(bounds)
            for number, value in read_lines(path, begin, end)
        ]
    assert [(n, type(v)) for n, v in pieces] == [(n, type(v)) for n, v in whole]
    assert [n for n, _ in pieces] == list(range(1, len(whole) + 1))


def test_a_blank_line_is_not_null_and_a_bad_one_is_neither(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\nnull\n{\n"\xff"\n\xef\xbb\xbf2\n')
    values = [value for _, value in read_lines(path)]
    assert values[0] == {"a": 1} and values[2] is None and values[5] == 2
    assert isinstance(values[1], BlankLine)
    assert [type(value.error) for value in values if isinstance(value, BadLine)] == [
        json.JSONDecodeError,
        UnicodeDecodeError,
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_lines_of_another_encoding_are_refused_and_not_skipped(
    tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n' * 3, encoding=encoding)
    with pytest.raises(DataError, match="save the file as UTF-8"):
        list(read_lines(path))


def test_a_torn_file_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b"1\n" * 100_000)[:-60])
    with pytest.raises(DataError, match=r"x\.jsonl\.gz:\d+: unreadable"):
        list(read_lines(path))


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2).filter(any), max_size=6))
def test_what_a_csv_writer_writes_is_read_back(rows: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        with path.open("w", newline="", encoding="utf-8") as handle:
            csv.writer(handle).writerows([["a", "b"], *rows])
        assert list(read_csv(path)) == [dict(zip("ab", row, strict=True)) for row in rows]


@given(
    rows=st.lists(st.sampled_from(['"x",y\n', "x,y\n", '"x, z",y\n']), min_size=4, max_size=20),
    place=st.integers(0, 3),
)
def test_no_row_is_joined_with_another(rows: list[str], place: int) -> None:
    """A quote is lost at the end of one field; every row that is left is one that was written."""
    broken = [*rows[:place], '"x,y\n', *rows[place:]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_text("a,b\n" + "".join(broken))
        found = list(read_csv(path))
    assert any(isinstance(row, BadRow) for row in found)
    known = [{"a": "x", "b": "y"}, {"a": "x, z", "b": "y"}]
    assert all(row in known for row in found if not isinstance(row, BadRow))


def test_parquet_gives_the_columns_and_groups_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1, 2, 3], "b": [4, 5, 6]}), path, row_group_size=1)
    assert next(iter(read_parquet(path))) == {"a": 1, "b": 4}
    assert list(read_parquet(path, ("b", "absent"), (1, 2))) == [{"b": 5}, {"b": 6}]


def test_a_short_float_is_the_number_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    values = [0.1, None, 1e-7, 3.0, -2.5]
    columns = {
        "half": pa.array([0.1, None], pa.float16()),
        "single": pa.array([0.1, 3.0], pa.float32()),
        "double": pa.array([0.1, 1 / 3]),
        "list": pa.array([values, None], pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), path)
    first, second = read_parquet(path)
    assert first == {"half": 0.1, "single": 0.1, "double": 0.1, "list": values}
    assert second == {"half": None, "single": 3.0, "double": 1 / 3, "list": None}


def test_two_columns_of_one_name_are_refused_unless_they_have_none(tmp_path: Path) -> None:
    table, unread = tmp_path / "x.csv", tmp_path / "x.parquet"
    table.write_text("question,answer,answer\nq,right,wrong\n")
    with pytest.raises(DataError, match="two columns are called 'answer'"):
        list(read_csv(table))
    table.write_text("question,answer,,\nq,right,,\n")  # a spreadsheet's empty columns
    assert list(read_csv(table)) == [{"question": "q", "answer": "right", "": ""}]
    columns = [pa.array(["q"]), pa.array(["right"]), pa.array(["wrong"])]
    pq.write_table(pa.Table.from_arrays(columns, ["question", "answer", "answer"]), unread)
    with pytest.raises(DataError, match="two columns are called 'answer'"):
        list(read_parquet(unread))
    assert list(read_parquet(unread, ("question",))) == [{"question": "q"}]


@pytest.mark.parametrize(("mark", "said"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_a_csv_without_commas_is_refused_by_what_it_has(
    tmp_path: Path, mark: str, said: str
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"q{mark}a\r\nHow much, in all?{mark}1,5\r\n")
    with pytest.raises(DataError, match=f"separated by {said}"):
        list(read_csv(path))
    path.write_text("text\r\na;b\r\n")
    assert list(read_csv(path)) == [{"text": "a;b"}]
