"""Files of the Hugging Face hub, behind a file system that answers as the hub's client does."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from train.data.sources import find_pieces, read_documents
from tsqa.errors import DataError
from tsqa.hub.identify import identify
from tsqa.recipe import SourceSection
from tsqa.remote import RemotePath, data_path, stores

ROOT = "datasets/org/name@main"
LINES = b"".join(json.dumps({"text": f"text {n}"}).encode() + b"\n" for n in range(50))


class FakeHub:
    """`HfFileSystem` with two files, one in git and one in LFS."""

    def __init__(self) -> None:
        self.files = {
            f"{ROOT}/data/a.jsonl": LINES,
            f"{ROOT}/data/b.jsonl": LINES[: LINES.rfind(b"\n", 0, -1) + 1],
        }

    def info(self, url: str) -> dict[str, Any]:
        name = url.removeprefix("hf://")
        if any(file.startswith(f"{name}/") for file in self.files):
            return {"name": name, "type": "directory", "size": 0}
        if name not in self.files:
            raise FileNotFoundError(name)
        content = self.files[name]
        lfs = {"sha256": f"sha of {len(content)}"} if name.endswith("b.jsonl") else None
        blob = f"blob of {len(content)}"
        return {"type": "file", "size": len(content), "blob_id": blob, "lfs": lfs}

    def find(self, url: str, detail: bool) -> dict[str, dict[str, Any]]:
        below = url.removeprefix("hf://")
        return {name: self.info(name) for name in self.files if name.startswith(f"{below}/")}

    def open(self, url: str, cache_type: str, size: int) -> io.BytesIO:
        return io.BytesIO(self.files[url.removeprefix("hf://")])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    made = FakeHub()
    monkeypatch.setattr(stores, "_fsspec", lambda url: made)
    return made


def test_files_of_the_hub_are_the_files(hub: FakeHub, tmp_path: Path) -> None:
    for name, content in hub.files.items():
        (tmp_path / Path(name).name).write_bytes(content)
    url = f"hf://{ROOT}/data"
    section = SourceSection(path=url)
    for one, other in ((url, tmp_path), (f"{url}/a.jsonl", tmp_path / "a.jsonl")):
        found = [
            [
                document
                for piece in find_pieces(section, data_path(str(path)), "k")
                for document in read_documents(piece, section, "k")
            ]
            for path in (one, other)
        ]
        assert found[0] == found[1] != []
        assert identify(one) == identify(str(other))


def test_a_new_version_of_a_branch_is_refused_where_the_old_one_was_seen(hub: FakeHub) -> None:
    seen = RemotePath(f"hf://{ROOT}/data/b.jsonl").look()
    assert seen is not None and seen.state is not None
    assert seen.state.version == f"sha of {seen.state.size}"
    hub.files[f"{ROOT}/data/b.jsonl"] = LINES
    with pytest.raises(DataError, match="changed since it was looked at"):
        seen.read_bytes()


def test_what_the_hub_calls_otherwise_is_refused(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = {name.replace("@main", ""): hub.info(name) for name in hub.files}
    monkeypatch.setattr(hub, "find", lambda url, detail: inside)
    with pytest.raises(DataError, match="the hub names its files otherwise"):
        RemotePath(f"hf://{ROOT}").below()
