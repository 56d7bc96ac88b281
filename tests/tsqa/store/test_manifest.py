"""An artifact that is found is what was written, to the bit; anything else is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.support.sealed import seal_artifact
from tsqa.cli.app import app
from tsqa.errors import DataError, UsageError
from tsqa.store import manifest
from tsqa.store.artifact import MANIFEST, Store
from tsqa.store.verify import made_from, verify_runs

FILES = {
    "candidates.jsonl": b'{"id": "a", "score": 0.25}\n' * 40,
    "dataset/data/train-00000.parquet": bytes(range(256)) * 8,
    "hf/model.safetensors": b"\x00weights" * 100,
    "empty": b"",
    ".hidden": b"x",
}
SUMMARY: dict[str, Any] = {"macro": 0.125, "rows": 3, "scores": {"day": 0.5}, "name": "\u00e9"}


def make(runs: Path, stage: str, fingerprint: str, **inputs: str) -> Path:
    store = Store(runs / "artifacts")
    with store.working_directory(stage, fingerprint) as partial:
        for name, content in FILES.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return store.commit(partial, stage, fingerprint, {"k": [1, 2]}, inputs, SUMMARY).path


def find(path: Path, check: manifest.Check = "cheap") -> Any:
    manifest._READ.clear()  # as another process would
    manifest._PARSED.clear()
    return Store(path.parent.parent).find(path.parent.name, path.name, check)


def test_what_was_written_is_found(tmp_path: Path) -> None:
    path = make(tmp_path, "filter", "f1", seeds="s1")
    found = find(path, "whole")
    assert found.summary == SUMMARY and found.manifest.inputs == {"seeds": "s1"}
    assert found.manifest.files.keys() == FILES.keys()
    assert [verdict.damage for verdict in verify_runs(tmp_path)] == [[]]


@settings(deadline=None)
@given(st.sampled_from([name for name in FILES if name != "empty"]), st.data())
def test_any_damage_to_a_file_is_named(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    path = make(tmp_path_factory.mktemp("runs"), "filter", "f1")
    assert find(path)
    content = FILES[name]
    place = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["bit", "cut", "longer", "gone", "folder"]))
    if kind == "bit":
        flipped = bytes([content[place] ^ 1 << data.draw(st.integers(0, 7))])
        (path / name).write_bytes(content[:place] + flipped + content[place + 1 :])
    elif kind == "cut":
        (path / name).write_bytes(content[:place])
    elif kind == "longer":
        (path / name).write_bytes(content + b"x")
    else:
        (path / name).unlink()
        if kind == "folder":
            (path / name).mkdir()
    with pytest.raises(DataError) as caught:
        find(path)
    assert str(path / name) in str(caught.value) and "it will be rebuilt" in str(caught.value)
    [verdict] = verify_runs(path.parents[2])
    assert [damage.file for damage in verdict.damage] == [name]


def test_a_file_that_no_stage_wrote_is_refused_but_not_a_hidden_one(tmp_path: Path) -> None:
    path = make(tmp_path, "filter", "f1")
    (path / "dataset" / ".DS_Store").write_bytes(b"x")
    assert find(path)
    (path / "dataset" / "data" / "train-00001.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"(?s)train-00001.*no stage wrote this.*move it"):
        find(path)
    [verdict] = verify_runs(tmp_path)
    assert [damage.kind for damage in verdict.damage] == ["extra"]


def changed(value: Any) -> Any:
    """Every JSON that differs from this one in one place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {k: v for k, v in value.items() if k != key}
            for other in changed(inner):
                yield {**value, key: other}
        yield {**value, "new": 1}
    for other in (None, [], {}, "x", 7, True, 0.25, [value]):
        if type(other) is not type(value) or other != value:
            yield other


def test_a_manifest_that_was_edited_in_any_place_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path, "filter", "f1", seeds="s1")
    whole = json.loads((path / MANIFEST).read_text())
    tried = 0
    for other in changed(whole):
        (path / MANIFEST).write_text(json.dumps(other))
        with pytest.raises(DataError, match=f"{MANIFEST}: "):
            find(path)
        tried += 1
    assert tried > 250
    (path / MANIFEST).write_text(json.dumps(whole))
    assert find(path)


@settings(deadline=None)
@given(st.data())
def test_a_manifest_with_any_byte_changed_is_refused_or_means_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = make(tmp_path_factory.mktemp("runs"), "filter", "f1", seeds="s1")
    before = find(path).manifest
    content = bytearray((path / MANIFEST).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (path / MANIFEST).write_bytes(content)
    try:
        assert find(path).manifest == before
    except DataError as error:
        assert MANIFEST in str(error)


def test_an_artifact_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path, "filter", "f1")
    path.rename(path.with_name("f2"))
    with pytest.raises(DataError, match="of another artifact: filter/f1"):
        find(path.with_name("f2"))


def test_an_artifact_without_hashes_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path, "filter", "f1")
    old = json.loads((path / MANIFEST).read_text())
    del old["files"], old["seal"]
    (path / MANIFEST).write_text(json.dumps(old))
    with pytest.raises(DataError, match="an older version of tsqa wrote it"):
        find(path)


def test_a_large_artifact_is_read_when_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path, "filter", "f1")
    monkeypatch.setattr(manifest, "SMALL", 10)
    state = (path / "candidates.jsonl").stat()
    (path / "candidates.jsonl").write_bytes(b"x" * state.st_size)
    assert find(path)
    with pytest.raises(DataError, match="changed since it was written"):
        find(path, "whole")


def test_an_artifact_is_read_once_in_a_process_while_nothing_touches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    real = manifest.DIGESTS.of_all

    def watch(paths: list[Path], fresh: bool = False) -> list[str]:
        reads.extend(paths)
        return real(paths, fresh)

    path = make(tmp_path, "filter", "f1")
    store = Store(tmp_path / "artifacts")
    monkeypatch.setattr(manifest.DIGESTS, "of_all", watch)
    assert store.find("filter", "f1") and store.find("filter", "f1", "whole") and not reads
    os.utime(path / "empty", ns=(1, 1))
    assert store.find("filter", "f1") and len(reads) == len(FILES)


def test_looking_through_a_stage_passes_over_what_is_damaged(tmp_path: Path) -> None:
    paths = [make(tmp_path, "filter", name) for name in ("f1", "f2", "f3")]
    (paths[1] / MANIFEST).write_text("{}")
    (paths[1].with_name("f4.partial")).mkdir()
    (paths[1].with_name("f4.partial") / MANIFEST).write_text((paths[0] / MANIFEST).read_text())
    found = Store(tmp_path / "artifacts").finished("filter")
    assert [artifact.fingerprint for artifact in found] == ["f1", "f3"]


def test_verify_names_file_stage_and_what_was_made_from_it(tmp_path: Path) -> None:
    make(tmp_path, "seeds", "s1")
    generated = make(tmp_path, "generate", "g1", seeds="s1")
    make(tmp_path, "filter", "f1", generate="g1")
    make(tmp_path, "tokenize", "t1", filter="f1", model="elsewhere")
    (tmp_path / "artifacts" / "train" / "x.partial").mkdir(parents=True)
    result = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert result.exit_code == 0 and "4 artifacts good, 0 damaged" in result.output
    content = bytearray((generated / "hf" / "model.safetensors").read_bytes())
    content[400] ^= 4
    (generated / "hf" / "model.safetensors").write_bytes(content)
    (tmp_path / "artifacts" / "seeds" / "s1" / MANIFEST).write_text("{")
    result = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert result.exit_code == 1 and "2 artifacts good, 2 damaged" in result.output
    for told in (
        "hf/model.safetensors: changed since it was written",
        f"delete {generated}; the stage `generate`",
        "made from it: filter/f1, tokenize/t1",
        "manifest.json: unreadable",
    ):
        assert told in result.output
    assert made_from("s1", verify_runs(tmp_path)) == ["generate/g1", "filter/f1", "tokenize/t1"]


def test_verify_reads_what_a_disk_lost_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path, "filter", "f1")
    known = {manifest.state_of(path / name): "0" * 64 for name in FILES}
    monkeypatch.setattr(manifest.DIGESTS, "_known", known)
    assert find(path), "a wrong memory is not damage"
    real = {manifest.state_of(path / n): r.blake3 for n, r in find(path).manifest.files.items()}
    (path / "candidates.jsonl").write_bytes(b"x" * len(FILES["candidates.jsonl"]))
    known = real | {manifest.state_of(path / "candidates.jsonl"): real_hash(path)}
    monkeypatch.setattr(manifest.DIGESTS, "_known", known)
    assert find(path), "what is remembered says that it is whole"
    [verdict] = verify_runs(tmp_path)
    assert [damage.file for damage in verdict.damage] == ["candidates.jsonl"]


def real_hash(path: Path) -> str:
    files = json.loads((path / MANIFEST).read_text())["files"]
    found: str = files["candidates.jsonl"]["blake3"]
    return found


def test_there_must_be_artifacts_to_verify(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        verify_runs(tmp_path)


def test_a_test_can_seal_what_it_wrote(tmp_path: Path) -> None:
    seal_artifact(tmp_path / "artifacts" / "seeds" / "s9", summary={"seeds": 1})
    assert find(tmp_path / "artifacts" / "seeds" / "s9").summary == {"seeds": 1}
