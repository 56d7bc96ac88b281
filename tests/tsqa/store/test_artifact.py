"""The stage contract: an artifact is there whole or not at all, whenever the kill comes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsqa import locks
from tsqa.errors import DataError, TsqaError
from tsqa.store.artifact import MANIFEST, Store, differing_keys, fingerprint_of
from tsqa.store.identity import file_identity
from tsqa.store.jsonl import drop_torn_tail, read_jsonl, write_json, write_jsonl
from tsqa.store.manifest import read_manifest


def make_artifact(store: Store, fingerprint: str = "f") -> Path:
    with store.working_directory("stage", fingerprint) as partial:
        write_jsonl(partial / "rows.jsonl", [{"id": "a"}])
        return store.commit(partial, "stage", fingerprint, {"k": 1}, {}, {"rows": 1}).path


def test_a_committed_artifact_is_found_with_its_manifest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = make_artifact(store)
    found = store.find("stage", "f")
    assert found is not None and found.path == path
    assert (found.fingerprint, found.summary) == ("f", {"rows": 1})
    assert not path.with_name("f.partial").exists()


def test_a_failure_before_commit_leaves_nothing_done_and_keeps_the_work(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with (
        pytest.raises(ValueError, match="boom"),
        store.working_directory("stage", "f") as partial,
    ):
        (partial / "work").write_text("half")
        raise ValueError("boom")
    assert store.find("stage", "f") is None
    with store.working_directory("stage", "f") as partial:
        assert (partial / "work").read_text() == "half"
    store.discard_partial("stage", "f")
    assert not partial.exists()


HOLD = """
import sys, time
from pathlib import Path
from tsqa.store.artifact import Store
with Store(Path(sys.argv[1])).working_directory("stage", "f", "a run") as partial:
    (partial / "work").write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    told = rf"another process .* process {holder.pid} on .*, a run, since"
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(TsqaError, match=told),
            store.working_directory("stage", "f", wait_seconds=0),
        ):
            pass
        with store.working_directory("stage", "other"):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    assert store.find("stage", "f") is None
    with store.working_directory("stage", "f") as partial:
        assert (partial / "work").read_text() == "half"


def test_a_deleted_lock_lets_nobody_in(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.working_directory("seeds", "f"):
        (tmp_path / "seeds" / "f.lock").unlink()
        with (
            pytest.raises(TsqaError, match="another process is working on"),
            Store(tmp_path).working_directory("seeds", "f", wait_seconds=0.2),
        ):
            pass


def test_a_folder_that_was_replaced_under_its_stage_is_not_committed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.working_directory("seeds", "f") as partial:
        shutil.rmtree(partial)
        with Store(tmp_path / "other").working_directory("seeds", "f"):
            pass
        partial.mkdir()
        (partial / "half.jsonl").write_text("{}\n")
        with pytest.raises(TsqaError, match=r"f\.partial: deleted or replaced while this run"):
            store.commit(partial, "seeds", "f", {}, {}, {})
    assert store.find("seeds", "f") is None


def test_a_run_waits_for_another_and_says_for_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(locks, "_SILENT_SECONDS", 0.0)
    monkeypatch.delenv(locks.LOCK_SECONDS, raising=False)
    inside = threading.Event()

    def first() -> None:
        with Store(tmp_path).working_directory("seeds", "f", "recipe one") as partial:
            inside.set()
            time.sleep(0.3)
            (partial / "done").touch()

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    with Store(tmp_path).working_directory("seeds", "f") as partial:
        assert (partial / "done").exists()
    thread.join()
    told = capsys.readouterr()
    assert "recipe one, since" in " ".join(f"{told.out}{told.err}".split())


def test_a_kill_between_manifest_and_rename_leaves_nothing_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            make_artifact(store)
    assert store.find("stage", "f") is None
    make_artifact(store)
    assert store.find("stage", "f") is not None


def test_an_artifact_is_never_overwritten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    before = (make_artifact(store) / MANIFEST).read_bytes()
    with pytest.raises(OSError):
        make_artifact(store)
    assert (store.path_of("stage", "f") / MANIFEST).read_bytes() == before


@pytest.mark.parametrize("content", [None, "{torn"])
def test_a_directory_without_a_readable_manifest_is_an_error(
    tmp_path: Path, content: str | None
) -> None:
    path = Store(tmp_path).path_of("stage", "f")
    path.mkdir(parents=True)
    if content is not None:
        (path / MANIFEST).write_text(content)
    with pytest.raises(DataError, match="it will be rebuilt"):
        Store(tmp_path).find("stage", "f")


@given(st.data())
def test_a_torn_tail_is_cut_off_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    lines = [f'{{"id": "{text}"}}\n'.encode() for text in ("a", "b" * 50, "\u00e9\u4e2d", "")]
    whole = b"".join(lines)
    kept = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:kept])
    edge = data.draw(st.integers(1, 80))
    with pytest.MonkeyPatch.context() as patch:  # steps smaller than the file
        patch.setattr("tsqa.store.jsonl._BLOCK", edge)
        drop_torn_tail(path)
    assert path.read_bytes() == b"".join(lines[: whole[:kept].count(b"\n")])


def test_read_jsonl_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with pytest.raises(DataError, match="no such file"):
        list(read_jsonl(path))
    path.write_text('{"a": 1}\n\n[2]\n')
    with pytest.raises(DataError, match=r"x\.jsonl:3: expected an object"):
        list(read_jsonl(path))
    path.write_text('{"a": 1}\n{"a"')
    assert list(read_jsonl(path, tolerate_torn_tail=True)) == [{"a": 1}]
    with pytest.raises(DataError, match=r"x\.jsonl:2"):
        list(read_jsonl(path))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert write_jsonl(path, [{"a": 1}, {"a": 2}]) == 2
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_jsonl(path, [{"a": 3}, {"a": object()}])
    assert path.read_bytes() == before
    write_json(path, {"b": 1})
    with pytest.raises(TypeError):
        write_json(path, object())
    assert json.loads(path.read_text()) == {"b": 1}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values))
def test_fingerprints_ignore_key_order_and_nothing_else(config: dict[str, object]) -> None:
    mark = fingerprint_of("s", config, {})
    assert mark == fingerprint_of("s", dict(reversed(config.items())), {})
    assert mark != fingerprint_of("other", config, {})
    assert mark != fingerprint_of("s", config, {"seeds": "x"})
    assert mark != fingerprint_of("s", {**config, "new key": 1, "and": config}, {})


def test_a_config_that_is_not_plain_json_is_refused() -> None:
    with pytest.raises(TypeError):
        fingerprint_of("s", {"a": {1, 2}}, {})


@pytest.mark.parametrize("size", [0, 5, 1 << 20, (1 << 20) + 7, (1 << 21) + 7])
def test_file_identity_is_the_content_not_the_place(tmp_path: Path, size: int) -> None:
    content = bytes(i % 251 for i in range(1000)) * (size // 1000 + 1)
    first, second = tmp_path / "d.jsonl", tmp_path / "other" / "d.jsonl"
    second.parent.mkdir()
    first.write_bytes(content[:size])
    second.write_bytes(content[:size])
    assert file_identity(first) == file_identity(second)
    second.write_bytes(content[: size - 1] + b"!" if size else b"!")
    assert file_identity(first) != file_identity(second)


def test_file_identity_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        file_identity(tmp_path / "none")


def test_differing_keys_names_the_leaves() -> None:
    old = {"lr": 1, "same": 2, "deep": {"a": 1, "b": [1]}, "gone": 0}
    new = {"lr": 2, "same": 2, "deep": {"a": 1, "b": [2]}, "new": "x"}
    assert differing_keys(old, new) == [
        "deep.b: [1] -> [2]",
        "gone: 0 -> None",
        "lr: 1 -> 2",
        "new: None -> 'x'",
    ]
    assert differing_keys(old, old) == []


def test_a_kill_between_the_manifest_and_its_rename_can_be_resumed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.working_directory("seeds", "f0") as partial:
        (partial / "seeds.jsonl").write_text("{}\n")
        (partial / "manifest.json.tmp").write_text("{torn")
        store.commit(partial, "seeds", "f0", {}, {}, {})
    assert store.find("seeds", "f0", "whole") is not None
    assert sorted(p.name for p in (tmp_path / "seeds" / "f0").iterdir()) == [
        "manifest.json",
        "seeds.jsonl",
    ]


@pytest.mark.parametrize("seconds", ["nan", "soon", "", "-1"])
def test_a_wait_that_is_no_number_is_refused(
    seconds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSQA_LOCK_SECONDS", seconds)
    with (
        pytest.raises(TsqaError, match=r"TSQA_LOCK_SECONDS = .*not a number of seconds"),
        Store(tmp_path).working_directory("seeds", "0" * 16),
    ):
        pass


def test_a_file_system_that_syncs_no_folders_is_none_the_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def no_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", no_folders)
    store = Store(tmp_path)
    with store.working_directory("seeds", "f") as partial:
        (partial / "inner").mkdir()
        (partial / "inner" / "data").write_text("x")
        store.commit(partial, "seeds", "f", {}, {}, {})
    assert store.find("seeds", "f", "whole")

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"), store.working_directory("seeds", "g") as out:
        store.commit(out, "seeds", "g", {}, {}, {})


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_is_named_and_no_other_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    store = Store(tmp_path)
    for use in (store.working_directory("seeds", "f"), store.reading([("seeds", "f")])):
        with pytest.raises(TsqaError, match=r"(?s)gives no locks.*mount it with locks"), use:
            pass


def test_a_remade_artifact_is_never_the_same_as_itself(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = make_artifact(store, "f1")
    assert read_manifest(make_artifact(store, "f2")).same_as == "f1"
    shutil.rmtree(first)  # a later one still says that it is as this one was
    assert read_manifest(make_artifact(store, "f1")).same_as == ""
