"""A file is replaced whole, whoever else writes it at that moment."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tsqa.store.atomic import atomic_writer, naming_full_disk, write_text


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


def test_a_writer_removes_what_a_killed_one_left_and_nothing_of_one_at_work(tmp_path: Path) -> None:
    path = tmp_path / "page[1].html"
    code = (
        "import os, sys, pathlib; from tsqa.store.atomic import atomic_writer\n"
        "with atomic_writer(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    [left] = tmp_path.iterdir()
    write_text(path, "young: it may be at work")
    assert left.exists()
    with atomic_writer(path) as handle:
        [own] = {*tmp_path.glob("*.tmp")} - {left}
        other = tmp_path / "page[1].html.bak.12345678.tmp"
        other.touch()
        for file in (left, own, other):
            os.utime(file, (0, 0))
        write_text(path, "of another writer")
        assert not left.exists() and own.exists() and other.exists()
        handle.write("mine")
    assert path.read_text() == "mine"


def test_a_failed_writer_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    write_text(path, "before")
    with pytest.raises(ZeroDivisionError), atomic_writer(path) as handle:
        handle.write("torn")
        1 // 0  # noqa: B018 - the error
    assert path.read_text() == "before"
    assert [*tmp_path.iterdir()] == [path]


def test_an_error_of_a_full_disk_names_the_file_or_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notes.txt"
    with pytest.raises(OSError, match="No space") as raised, atomic_writer(path):
        raise OSError(errno.ENOSPC, "No space left")
    assert raised.value.filename == str(path)
    for fuller in (tmp_path / "runs", tmp_path / "temporary"):
        fuller.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))

        def free(place: Path, fuller: Path = fuller) -> SimpleNamespace:
            return SimpleNamespace(free=0 if place == fuller else 1)

        monkeypatch.setattr(shutil, "disk_usage", free)
        with pytest.raises(OSError, match="No space") as raised:  # noqa: SIM117
            with naming_full_disk(tmp_path / "runs"):
                raise OSError(errno.ENOSPC, "No space left")
        assert raised.value.filename == str(fuller)
    with pytest.raises(OSError, match="denied") as raised, naming_full_disk(tmp_path):
        raise OSError(errno.EACCES, "denied")
    assert raised.value.filename is None
