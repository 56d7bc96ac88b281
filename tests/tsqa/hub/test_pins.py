"""Ids of the hub are pinned once for a folder of runs, in bounded time and without a network."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from tests.support.paths import REPOSITORY
from tsqa.errors import CheckpointError
from tsqa.hub import pins as hub
from tsqa.hub.pins import PINS_FILE, Pins, pinned_folder
from tsqa.pipeline.graph import build_graph
from tsqa.recipe import load_recipe

OLD, NEW = "a" * 40, "b" * 40
RECIPE = REPOSITORY / "recipes" / "smoke" / "base.yaml"


class Hub:
    """What the hub would say: id -> commit; an exception is raised."""

    def __init__(self) -> None:
        self.says: Any = OLD
        self.asked: list[str] = []

    def __call__(self, kind: str, name: str, revision: str | None) -> tuple[str | None, bool]:
        self.asked.append(f"{kind} {name} {revision}")
        return self.says, self.says is not None


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    made = Hub()
    monkeypatch.setattr(hub, "_ask", made)
    monkeypatch.setattr(hub, "is_offline", lambda: False)
    monkeypatch.setattr(hub.PINS, "_offline", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return made


def pins(folder: Path) -> Pins:
    made = Pins()
    made.keep_below(folder)
    return made


def test_an_id_is_pinned_to_the_commit_of_its_first_use(world: Hub, tmp_path: Path) -> None:
    first = pins(tmp_path)
    assert first.identify("model", "org/m") == {"hub": "org/m", "commit": OLD}
    world.says = NEW
    for process in (first, pins(tmp_path)):
        assert process.identify("model", "org/m")["commit"] == OLD
    assert len(world.asked) == 1
    assert pins(tmp_path).identify("dataset", "org/m")["commit"] == NEW, "another kind"
    assert pins(tmp_path / "other").identify("model", "org/m")["commit"] == NEW, "other runs"
    pinned = json.loads((tmp_path / PINS_FILE).read_text())
    assert pinned == {"model org/m@main": OLD, "dataset org/m@main": NEW}


def test_a_commit_needs_no_pin_and_a_branch_does(world: Hub, tmp_path: Path) -> None:
    assert pins(tmp_path).identify("dataset", "org/d", NEW)["commit"] == NEW
    assert world.asked == []
    assert pins(tmp_path).identify("dataset", "org/d", "v2")["commit"] == OLD
    assert world.asked == ["dataset org/d v2"]


def test_without_a_network_the_copy_of_this_machine_counts(world: Hub, tmp_path: Path) -> None:
    world.says = None
    refs = tmp_path / "cache" / "models--org--m" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(NEW)
    made = pins(tmp_path)
    assert made.identify("model", "org/m")["commit"] == "unpinned", "its files are not there"
    (refs.parent / "snapshots" / NEW).mkdir(parents=True)
    assert made.identify("model", "org/m")["commit"] == NEW
    assert made.identify("model", "org/other")["commit"] == "unpinned"
    assert len(world.asked) == 1, "a hub that did not answer is not asked again"


def test_a_hub_that_hangs_is_not_waited_for(
    world: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_SECONDS", 0.05)
    monkeypatch.setattr(hub, "_ask", lambda *_: time.sleep(30))
    began = time.monotonic()
    made = pins(tmp_path)
    for name in "abc":
        assert made.identify("model", name)["commit"] == "unpinned"
    assert time.monotonic() - began < 25


def test_a_pinned_model_is_fetched_at_its_commit(
    world: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pins(tmp_path)
    monkeypatch.setattr(hub, "PINS", made)
    fetched: list[tuple[str, Any]] = []

    def fetch(name: str, *, revision: str, ignore_patterns: Any) -> str:
        fetched.append((revision, ignore_patterns))
        return f"/snapshots/{revision}"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    files = ["model.safetensors", "pytorch_model.bin"]
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *_, **__: files)
    assert pinned_folder("org/m") == "org/m" and not fetched, "nobody pinned it"
    made.identify("model", "org/m")
    assert pinned_folder("org/m") == f"/snapshots/{OLD}"
    files.pop(0)
    pinned_folder("org/m")
    assert [(r, bool(p)) for r, p in fetched] == [(OLD, True), (OLD, False)]
    (tmp_path / "org").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "m").mkdir()
    assert pinned_folder("org/m") == "org/m", "a folder of this machine"


def test_a_pinned_model_is_not_replaced_by_another_commit_or_foreign_code(
    world: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pins(tmp_path)
    monkeypatch.setattr(hub, "PINS", made)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *_, **__: [])
    made.identify("model", "org/m")
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "org/other--code.C"}}')
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    assert pinned_folder("org/m") == str(tmp_path), "no code of it runs"
    with pytest.raises(CheckpointError, match="auto_map takes code from another repository"):
        pinned_folder("org/m", trust_remote_code=True)

    def gone(*_: Any, **__: Any) -> str:
        raise OSError("404: no such revision")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gone)
    with pytest.raises(CheckpointError, match=rf"commit {OLD} cannot be fetched: 404"):
        pinned_folder("org/m")


def test_the_commit_of_a_model_decides_what_is_made_with_it(world: Hub, tmp_path: Path) -> None:
    def configs(runs: str) -> dict[str, tuple[str, str]]:
        given = ["model.config=null", "model.path=org/m", "tokenizer=null"]
        recipe = load_recipe(RECIPE, [*given, f"runs={tmp_path / runs}"])
        nodes = build_graph(recipe, RECIPE)
        return {n.label: (n.fingerprint, json.dumps(n.config)) for n in nodes}

    before = configs("one")
    assert OLD in before["train:main"][1]
    world.says = NEW
    assert configs("one") == before
    after = configs("two")
    differ = {label for label in before if before[label][0] != after[label][0]}
    assert differ == before.keys() - {"data"}
