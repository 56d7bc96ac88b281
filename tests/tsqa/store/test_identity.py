"""What a stage is made from counts to the last byte, for that stage and those after it only."""

from __future__ import annotations

import json
import os
import shutil
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsqa.pipeline.graph import build_graph
from tsqa.pipeline.node import Node
from tsqa.prompts import load_prompts
from tsqa.recipe import load_recipe
from tsqa.store import identity
from tsqa.store.identity import file_identity, files_below, folder_identity

TASK = """\
task: {name}
include: ../shared/base.yaml
dataset_path: json
dataset_kwargs: {{data_files: {{train: {data}/train-*.jsonl, test: [{data}/test.jsonl]}}}}
training_split: train
test_split: test
process_docs: !function utils.process
"""
RECIPE = """\
name: small
seeds:
  tasks: [first]
  include: tasks
  datasets: [{name: mine, path: mine, columns: {question: q, answer: a}}]
  taxonomy: taxonomy.yaml
generate:
  teacher: {model: {path: teacher}}
  prompts: {question: question, answer: plain}
filter:
  renderings: [document.jinja]
  dedup: {semantic: {model: similar}}
  reward: {model: reward, min_score: 0.5}
  judge: {teacher: {model: {path: judge}}, prompt: judge.jinja}
model: {path: student}
tokenizer: {path: words}
mixture:
  sources:
    web: {path: web}
    book: {path: book.jsonl}
    synthetic: {from: filter}
  phases: [{tokens: 1M, ratios: {web: 0.5, book: 0.25, synthetic: 0.25}}]
train: {sequence_length: 8, global_batch_tokens: 64, lr: 1e-3}
eval: {tasks: [second], include: scored}
"""
MODEL = ("config.json", "model.safetensors", "nested/1_Pooling/config.json", "tokenizer.json")
_READERS = [
    ("seeds", "tasks/first.yaml tasks/utils.py tasks/deep/er/utils.py tasks/deep/er/other.yaml"),
    ("seeds", "first/train-0.jsonl first/train-1.jsonl first/test.jsonl"),
    ("seeds", "mine/a.jsonl mine/b.jsonl taxonomy.yaml"),
    ("benchmarks evaluate", "scored/second.yaml scored/utils.py"),
    ("benchmarks seeds evaluate", "shared/base.yaml"),
    ("benchmarks evaluate", "second/train-0.jsonl second/test.jsonl"),
    ("generate", "question/any.jinja question/macros/list.jinja"),
    ("filter", "document.jinja judge.jinja"),
    ("tokenizer", "words/tokenizer.json"),
    ("decontaminate:web tokenize:web", "web/2020/a.jsonl web/b.txt"),
    ("decontaminate:book tokenize:book", "book.jsonl"),
    *(
        (stages, " ".join(f"{folder}/{name}" for name in MODEL))
        for stages, folder in (
            *(("generate", "teacher"), ("guard filter", "similar"), ("filter", "reward")),
            *(("filter", "judge"), ("train evaluate", "student")),
        )
    ),
]
DIRECT = {name: set(stages.split()) for stages, names in _READERS for name in names.split()}
"""File -> the stages that read it themselves, or of a stage per source that one."""
LARGE = {"student/model.safetensors", "book.jsonl"}


def make_world(folder: Path) -> Path:
    for name in DIRECT:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n" * (200_000 if name in LARGE else 3))
    (folder / "tasks/first.yaml").write_text(TASK.format(name="first", data=folder / "first"))
    (folder / "scored/second.yaml").write_text(TASK.format(name="second", data=folder / "second"))
    (folder / "tasks/deep/er/other.yaml").write_text("task: other\ndataset_path: org/other\n")
    (folder / "shared/base.yaml").write_text("output_type: generate_until\n")
    (folder / "question/macros/list.jinja").write_text("{% macro nothing() %}{% endmacro %}\n")
    for role, name, file in (
        ("question", "plain", "question/any.jinja"),
        ("document", "qa", "document.jinja"),
        ("judge", "judge", "judge.jinja"),
    ):
        prompts = load_prompts(name, role, role).prompts  # type: ignore[arg-type]
        text = next(iter(prompts.values())).path.read_text()
        more = "{% import 'macros/list.jinja' as lists %}\n" if role == "question" else ""
        (folder / file).write_text(text + more)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def nodes_of(folder: Path) -> dict[str, Node]:
    path = folder / "recipe.yaml"
    return {node.label: node for node in build_graph(load_recipe(path), path)}


def expected(nodes: dict[str, Node], direct: set[str]) -> set[str]:
    """The stages that are made from a file, and all that is made from them."""
    found = {label for label, node in nodes.items() if direct & {node.stage, label}}
    while True:
        later = {
            label
            for label, node in nodes.items()
            if any(upstream.label in found for upstream in node.inputs.values())
        }
        if later <= found:
            return found
        found |= later


@cache
def undisturbed(folder: Path) -> dict[str, Node]:
    return nodes_of(folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


@settings(
    max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.sampled_from(sorted(DIRECT)), st.data())
def test_a_byte_anywhere_makes_the_right_stages_run_again_and_only_those(
    world: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: st.DataObject
) -> None:
    monkeypatch.chdir(world)
    before = undisturbed(world)
    path = world / name
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content)))
    comment = name.endswith((".yaml", ".jinja"))  # must stay readable
    try:
        if comment:
            path.write_bytes(content + b"\n")
        else:
            changed = bytes([content[place - 1] ^ 1]) if place else b"+"
            path.write_bytes(content[: max(place - 1, 0)] + changed + content[place:])
        after = nodes_of(world)
    finally:
        path.write_bytes(content)
    differ = {label for label in before if before[label].fingerprint != after[label].fingerprint}
    assert differ == expected(before, DIRECT[name])


def test_what_no_stage_reads_changes_nothing(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    before = {label: node.fingerprint for label, node in nodes_of(world).items()}
    left = [world / "student/.cache/huggingface/x.lock", world / "tasks/__pycache__/utils.pyc",
            world / "unrelated.jsonl", world / "web/.git/HEAD"]  # fmt: skip
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for path in world.rglob("*"):
        os.utime(path)
    assert {label: node.fingerprint for label, node in nodes_of(world).items()} == before
    for path in left:
        path.unlink()


def test_a_recipe_that_moves_with_all_it_names_keeps_its_fingerprints(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("student", "web"):
        (tmp_path / "a" / name / "deep").mkdir(parents=True)
        (tmp_path / "a" / name / "deep" / "x.jsonl").write_text("x")
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copy)
    for name in ("student", "web"):
        assert folder_identity(tmp_path / "a" / name) == folder_identity(tmp_path / "b" / name)
    (tmp_path / "b" / "web" / "deep" / "x.jsonl").rename(
        tmp_path / "b" / "web" / "deep" / "y.jsonl"
    )
    assert folder_identity(tmp_path / "a" / "web") != folder_identity(tmp_path / "b" / "web")
    assert file_identity(tmp_path / "a" / "web" / "deep" / "x.jsonl")["name"] == "x.jsonl"


def test_links_are_followed_and_never_in_circles(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    (blobs / "0f").write_text("weights")
    (snapshot / "model.safetensors").symlink_to(blobs / "0f")
    (snapshot / "more").symlink_to(blobs)
    (blobs / "back").symlink_to(snapshot)
    (snapshot / "dangling").symlink_to(tmp_path / "nowhere")
    names = [file.relative_to(snapshot).as_posix() for file in files_below(snapshot)]
    assert names == ["model.safetensors", "more/0f"]
    before = folder_identity(snapshot)
    (blobs / "0f").write_text("Weights")
    assert folder_identity(snapshot) != before


def test_a_folder_of_very_many_files_is_one_hash_that_still_counts_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_MOST_LISTED", 5)
    for number in range(9):
        (tmp_path / str(number)).write_text("x")
    before = folder_identity(tmp_path)
    assert before.keys() == {"files", "bytes", "blake3"} and before["files"] == 9
    (tmp_path / "7").write_text("y")
    assert folder_identity(tmp_path) != before
    assert len(json.dumps(before)) < 200


def test_a_name_that_is_no_text_is_no_other_files_name(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\x80")).write_text("one")
    (tmp_path / "a\\x80").write_text("two")
    before = folder_identity(tmp_path)
    assert len(before) == 2
    (tmp_path / os.fsdecode(b"a\x80")).write_text("One")
    assert folder_identity(tmp_path) != before
