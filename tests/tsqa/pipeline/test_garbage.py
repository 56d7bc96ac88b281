"""What no recipe uses is listed and removed; what one uses, or a process works on, stays."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tsqa.cli import checks
from tsqa.errors import RecipeError
from tsqa.pipeline.garbage import ABANDONED_SECONDS, find_garbage, remove, shown_bytes
from tsqa.pipeline.graph import build_graph
from tsqa.pipeline.history import History
from tsqa.pipeline.node import Node
from tsqa.recipe import load_recipe
from tsqa.store.artifact import Store
from tsqa.store.own_files import Stages, read_own

SMOKE = REPOSITORY / "recipes" / "smoke"


def nodes_of(runs: Path, *overrides: str) -> list[Node]:
    path = SMOKE / "base.yaml"
    return build_graph(load_recipe(path, [f"runs={runs}", *overrides]), path)


def make(runs: Path, node: Node, size: int = 1) -> None:
    store = Store(runs / "artifacts")
    with store.working_directory(node.stage, node.fingerprint) as partial:
        (partial / "file.txt").write_text("x" * size)
        made = (partial, node.stage, node.fingerprint, node.config)
        store.commit(*made, node.input_fingerprints, {})


def names(runs: Path, *recipes: Path) -> set[str]:
    return {found.name for found in find_garbage(runs, recipes)}


def test_what_a_recipe_names_stays_and_the_rest_is_listed_largest_first(tmp_path: Path) -> None:
    used, other = nodes_of(tmp_path), nodes_of(tmp_path, "data.seed=7")
    for node in (*used, other[0]):
        make(tmp_path, node)
    make(tmp_path, other[1], size=5000)
    (large, small) = find_garbage(tmp_path, [SMOKE / "base.yaml"])
    assert (large.name, small.name) == (
        f"{other[1].stage}/{other[1].fingerprint}", f"data/{other[0].fingerprint}"
    )  # fmt: skip
    assert large.bytes > 5000 and time.time() - large.modified < 600
    assert remove([large, small]) == []
    assert names(tmp_path, SMOKE / "base.yaml") == set()
    store = Store(tmp_path / "artifacts")
    assert all(store.find(node.stage, node.fingerprint) for node in used)


def test_what_a_run_last_used_stays_with_all_that_it_was_made_from(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, "data.seed=7")
    for node in nodes:
        make(tmp_path, node)
    assert len(names(tmp_path)) == len(nodes)
    History(tmp_path / "smoke-base").add({"train:main": nodes[-1].fingerprint})
    assert names(tmp_path) == set()
    # The recipe says what it uses now, whatever its last run used.
    assert len(names(tmp_path, SMOKE / "base.yaml")) == len(nodes)


def test_an_interrupted_stage_is_listed_once_it_is_old_and_unused(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path)
    partial = Store(tmp_path / "artifacts").partial_path_of("data", nodes[0].fingerprint)
    partial.mkdir(parents=True)
    (partial / "half.txt").write_text("half")
    assert names(tmp_path) == set()
    before = time.time() - ABANDONED_SECONDS - 60
    os.utime(partial / "half.txt", (before, before))
    assert names(tmp_path) == {f"data/{partial.name}"}
    assert names(tmp_path, SMOKE / "base.yaml") == set()  # its next run continues it


def test_runs_of_one_recipe_at_once_are_all_remembered(tmp_path: Path) -> None:
    """What one of them lost, `gc` would remove."""
    labels = [f"train:{number}" for number in range(60)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda label: History(tmp_path / "a").add({label: "f"}), labels))
    assert read_own(tmp_path / "a" / "stages.json", Stages) == dict.fromkeys(labels, "f")


def test_what_a_run_takes_up_while_the_question_is_asked_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, unused = nodes_of(tmp_path)[0], nodes_of(tmp_path, "data.seed=7")[0]
    for node in (used, unused):
        make(tmp_path, node)

    def answer(question: str, abort: bool) -> None:
        assert question == "remove these 2 folders" and abort
        History(tmp_path / "smoke-base").add({"data": used.fingerprint})

    monkeypatch.setattr("typer.confirm", answer)
    checks.gc(tmp_path, delete=True)
    store = Store(tmp_path / "artifacts")
    assert store.find(used.stage, used.fingerprint)
    assert store.find(unused.stage, unused.fingerprint) is None


def test_what_a_process_works_on_is_not_removed(tmp_path: Path) -> None:
    node = nodes_of(tmp_path)[0]
    make(tmp_path, node)
    found = find_garbage(tmp_path, [])
    with Store(tmp_path / "artifacts").working_directory(node.stage, node.fingerprint):
        assert remove(found) == found
    assert Store(tmp_path / "artifacts").find(node.stage, node.fingerprint)


def test_what_a_running_stage_reads_is_not_removed(tmp_path: Path) -> None:
    """Of a recipe with overrides, of which `gc` knows nothing."""
    node = nodes_of(tmp_path)[0]
    make(tmp_path, node)
    found = find_garbage(tmp_path, [])
    store = Store(tmp_path / "artifacts")
    with store.reading([(node.stage, node.fingerprint)]):
        with store.reading([(node.stage, node.fingerprint)]):  # two may read at once
            pass
        assert remove(found) == found
    assert remove(found) == []


def test_a_recipe_that_cannot_be_read_stops_it(tmp_path: Path) -> None:
    make(tmp_path / "runs", nodes_of(tmp_path)[0])
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "task.yaml").write_text("task: not_a_recipe\n")
    with pytest.raises(RecipeError, match="no recipe in this folder"):
        find_garbage(tmp_path / "runs", [recipes])
    for text, said in [
        ("name: broken\nmodle: 1\n", "did you mean"),
        ("name: broken\nmodel: !function x.y\n", "constructor"),
        (f"extends: {SMOKE}/base.yaml\ntokenizer: {{train_on: [no.gz]}}\n", "no such[^~]*leave it"),
    ]:
        (recipes / "broken.yaml").write_text(text)
        with pytest.raises(RecipeError, match=rf"broken\.yaml[^~]*{said}"):
            find_garbage(tmp_path / "runs", [recipes])


def test_a_task_of_lm_eval_beside_a_recipe_is_none(tmp_path: Path) -> None:
    make(tmp_path / "runs", nodes_of(tmp_path)[0])
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "base.yaml").write_text(f"extends: {SMOKE / 'base.yaml'}\n")
    (recipes / "task.yaml").write_text("task: mine\nprocess_results: !function mine.score\n")
    assert find_garbage(tmp_path / "runs", [recipes]) == []


@pytest.mark.parametrize(("size", "shown"), [(0, "0 B"), (1536, "1.5 KiB"), (3 << 40, "3.0 TiB")])
def test_sizes_are_short(size: int, shown: str) -> None:
    assert shown_bytes(size) == shown
