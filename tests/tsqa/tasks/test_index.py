"""The kept index of lm-eval's own tasks is the package's, or it is made again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tsqa.errors import DataError
from tsqa.tasks import index
from tsqa.tasks.index import TaskEntry, read_index
from tsqa.tasks.library import TaskLibrary
from tsqa.tasks.sizes import known_documents, recorded_sizes

TASK = "task: {}\ntag: some\ndataset_path: openai/gsm8k\ndataset_name: main\ntest_split: test\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in the place of lm-eval's own tasks, with a cache of its own."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name in ("arc_easy", "gsm8k", "gsm8k_cot"):
        (folder / f"{name}.yaml").write_text(TASK.format(name))
    (folder / "code.yaml").write_text("task: code\nclass: !function code.Task\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "_own_folder", lambda: folder)
    index.state_of_own_tasks.cache_clear()
    yield folder
    index.state_of_own_tasks.cache_clear()


def read(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, TaskEntry], bool]:
    """The index as a new process reads it, and whether lm-eval made it."""
    made = []
    real = index._ask_lm_eval
    monkeypatch.setattr(index, "_ask_lm_eval", lambda folder: made.append(1) or real(folder))
    index.state_of_own_tasks.cache_clear()
    found = read_index(None)
    monkeypatch.setattr(index, "_ask_lm_eval", real)
    return found, bool(made)


def plain(entries: dict[str, TaskEntry]) -> dict[str, object]:
    return {n: (e.name, e.kind, e.yaml, e.tags, e.config) for n, e in entries.items()}


def test_what_is_kept_equals_what_lm_eval_says(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, made = read(monkeypatch)
    again, made_again = read(monkeypatch)
    assert (made, made_again) == (True, False)
    assert plain(first) == plain(again)
    assert again["some"].kind == "TAG" and again["some"].yaml is None
    assert again["code"].config["class"] == str(package / "code.Task")


@pytest.mark.parametrize("damage", ["cut", "changed", "of another format", "not text"])
def test_a_damaged_file_is_made_again(
    package: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = read(monkeypatch)
    [kept] = (package.parent / "cache" / "tsqa").iterdir()
    content = kept.read_bytes()
    kept.write_bytes(
        {
            "cut": content[:-9],
            "changed": content.replace(b"gsm8k_cot", b"gsm8k_cat"),
            "of another format": b"{}",
            "not text": b"\xff" + content,
        }[damage]
    )
    again, made = read(monkeypatch)
    assert made and plain(again) == plain(first)
    assert kept.read_bytes() == content


def test_a_changed_package_is_read_again(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(monkeypatch)
    state = (package / "gsm8k.yaml").stat()
    (package / "gsm8k.yaml").write_text(TASK.format("gsm8q"))
    os.utime(package / "gsm8k.yaml", ns=(state.st_atime_ns, state.st_mtime_ns))
    again, made = read(monkeypatch)
    assert made and "gsm8q" in again and "gsm8k" not in again


def test_a_folder_that_cannot_be_written_is_no_error(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert read(monkeypatch)[1] and read(monkeypatch)[1]


def test_an_unknown_task_names_the_nearest_first(package: Path) -> None:
    with pytest.raises(DataError, match=r"unknown task 'gsm9k'.*\n.*one of gsm8k, gsm8k_cot"):
        TaskLibrary(None).expand(["gsm9k"])


def test_lm_eval_loads_tasks_by_the_kept_index(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(monkeypatch)
    manager = TaskLibrary(None).manager
    assert manager.all_subtasks == ["arc_easy", "code", "gsm8k", "gsm8k_cot"]
    assert manager.all_tags == ["some"]


def test_a_known_name_needs_no_heavy_import() -> None:
    code = (
        "import sys; from tsqa.tasks.library import task_library\n"
        "task_library(None).expand(['gsm8k', 'arc_easy'])\n"
        "print(sorted({'torch', 'datasets', 'lm_eval.tasks', 'transformers'} & set(sys.modules)))"
    )
    read_index(None)  # made by this process, where it is not kept yet
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_sizes_are_recorded_of_datasets_that_lm_eval_names() -> None:
    sizes = recorded_sizes()
    assert date(2026, 1, 1) < sizes.recorded
    library = TaskLibrary(None)
    configs = [library.config(name) for name in library.leaf_tasks()]
    named = {
        " ".join(str(config[k]) for k in ("dataset_path", "dataset_name") if config.get(k))
        for config in configs
    }
    assert sizes.datasets.keys() <= named
    gsm8k = library.config("gsm8k")
    assert known_documents(gsm8k, "train") == 7473
    assert known_documents(gsm8k, "train[:10%]") is None
