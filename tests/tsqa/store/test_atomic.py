"""A file is replaced whole, whoever else writes it at that moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsqa.store.atomic import atomic_writer, write_text


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "stages.json"
    with atomic_writer(path) as first:
        first.write("half of the first, ")
        first.flush()
        with atomic_writer(path) as second:
            second.write("the second")
        assert path.read_text() == "the second"
        first.write("and the rest")
    assert path.read_text() == "half of the first, and the rest"
    assert [*tmp_path.iterdir()] == [path]


def test_a_failed_writer_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    write_text(path, "before")
    with pytest.raises(ZeroDivisionError), atomic_writer(path) as handle:
        handle.write("torn")
        1 // 0  # noqa: B018 - the error
    assert path.read_text() == "before"
    assert [*tmp_path.iterdir()] == [path]
