"""Hashes are of every byte, and what is remembered of a file is dropped when it is touched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from tsqa.errors import DataError
from tsqa.store import digests
from tsqa.store.digests import REMEMBERED, Digests

BIG = (1 << 20) + 3


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once, as if they had been written long ago."""
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**18))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    made: list[str] = []
    real = digests.hash_file

    def watch(path: Path, *rest: object) -> str:
        made.append(path.name)
        return real(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(digests, "hash_file", watch)
    return made


@settings(deadline=None)
@given(st.integers(0, 3 << 20), st.data())
def test_every_byte_counts(
    tmp_path_factory: pytest.TempPathFactory, size: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("d") / "file"
    content = bytearray(os.urandom(1000) * (size // 1000 + 1))[: size + 1]
    path.write_bytes(content)
    before = Digests().of(path)
    assert before == blake3(content).hexdigest()
    content[data.draw(st.integers(0, size))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    assert Digests().of(path) != before


def test_a_file_is_read_once_for_each_state(
    tmp_path: Path, settled: None, reads: list[str]
) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"a" * BIG)
    known = Digests()
    first = known.of(path)
    assert known.of(path) == known.of_all([path, path])[1] == first and reads == ["big"]
    times = path.stat().st_mtime_ns
    with path.open("r+b") as handle:
        handle.seek(BIG // 2)
        handle.write(b"b")
    os.utime(path, ns=(times, times))  # the time of the change cannot be set back
    assert known.of(path) != first and reads == ["big"] * 2


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"a" * BIG)
    known = Digests()
    known.remember_below(tmp_path / "store")
    assert known.of(path) == known.of(path) and len(reads) == 2
    assert not (tmp_path / "store").exists()


def test_what_is_remembered_serves_other_processes(
    tmp_path: Path, settled: None, reads: list[str]
) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"a" * BIG)
    for _ in range(3):
        known = Digests()
        known.remember_below(tmp_path / "store")
        known.of(path)
    assert reads == ["big"]


def test_small_files_are_not_written_down(tmp_path: Path, settled: None) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"a")
    known = Digests()
    known.remember_below(tmp_path / "store")
    known.of(path)
    assert not (tmp_path / "store").exists()


@settings(deadline=None)
@given(st.data())
def test_a_damaged_memory_costs_time_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cut anywhere, and then appended to."""
    folder = tmp_path_factory.mktemp("d")
    path, other = folder / "big", folder / "other"
    path.write_bytes(b"a" * BIG)
    other.write_bytes(b"b" * BIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "_SETTLED_NS", -(10**18))
        first = Digests()
        first.remember_below(folder)
        wanted = first.of(path)
        log = folder / REMEMBERED
        content = log.read_bytes()
        log.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        second = Digests()
        second.remember_below(folder)
        second.of(other)
        third = Digests()
        third.remember_below(folder)
        assert third.of(path) == wanted
        assert third.of(other) == second.of(other)


APPEND = """
import sys
from pathlib import Path
from tsqa.store import digests
digests._SETTLED_NS = -(10**18)
known = digests.Digests()
known.remember_below(Path(sys.argv[1]))
for number in range(40):
    known.of(Path(sys.argv[1]) / f"{sys.argv[2]}{number}")
"""


def test_two_processes_share_one_memory(tmp_path: Path, settled: None, reads: list[str]) -> None:
    for name in ("a", "b"):
        for number in range(40):
            (tmp_path / f"{name}{number}").write_bytes(os.urandom(8) + b"." * BIG)
    running = [
        subprocess.Popen([sys.executable, "-c", APPEND, str(tmp_path), name]) for name in "ab"
    ]
    assert [process.wait() for process in running] == [0, 0]
    known = Digests()
    known.remember_below(tmp_path)
    files = sorted(tmp_path.glob("[ab]*"))
    found = known.of_all(files)
    assert reads == []
    assert found == Digests().of_all(files)


def test_a_file_that_never_rests_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a")
    real = digests.hash_file

    def grow(path: Path, *rest: object) -> str:
        with path.open("ab") as handle:
            handle.write(b"a")
        time.sleep(0.01)
        return real(path)

    monkeypatch.setattr(digests, "hash_file", grow)
    with pytest.raises(DataError, match="is being written to"):
        Digests().of(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "none", tmp_path / "pipe", tmp_path / "a\0b"):
        with pytest.raises(DataError, match="no such file"):
            Digests().of(path)
