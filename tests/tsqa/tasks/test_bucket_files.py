"""Tasks whose data_files are objects of a bucket."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import IO

import pytest

from tests.support.buckets import Bucket
from tests.support.tiny_eval import make_tasks
from tsqa.errors import RecipeError
from tsqa.remote import copies
from tsqa.remote.paths import RemotePath
from tsqa.store.digests import hash_bytes
from tsqa.tasks.fingerprint import forget_tasks, pinned_datasets
from tsqa.tasks.library import TaskLibrary
from tsqa.tasks.patches import _copied

TASKS = ("tiny_choice", "tiny_number")


@pytest.fixture
def folders(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Tasks with their files here, and the same in a bucket."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    here, there = make_tasks(tmp_path / "here"), make_tasks(tmp_path / "there")
    for name in TASKS:
        file = there / "data" / f"{name.removeprefix('tiny_')}.jsonl"
        bucket.put(f"tasks/{file.name}", file.read_bytes())
        task = there / f"{name}.yaml"
        url = f"{bucket.url}/tasks/{file.name}"
        task.write_text(task.read_text().replace(str(file), url))
        assert url in task.read_text()
        file.unlink()
    return here, there


def test_documents_are_those_of_the_files(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for name in TASKS:
        here, there = (list(TaskLibrary(one).open_split(name, "test")) for one in folders)
        assert here and here == there
    copies = [file for file in (tmp_path / "cache").rglob("objects/*/*") if file.is_file()]
    assert sorted(file.name for file in copies) == ["choice.jsonl", "number.jsonl"]


def test_a_task_is_known_by_the_content_of_its_objects(
    folders: tuple[Path, Path], bucket: Bucket
) -> None:
    include = str(folders[1])
    urls = {name: f"{bucket.url}/tasks/{name.removeprefix('tiny_')}.jsonl" for name in TASKS}
    content = {
        url: hash_bytes(bucket.get(url.removeprefix(f"{bucket.url}/"))) for url in urls.values()
    }
    assert pinned_datasets("eval.tasks", include, TASKS) == {"hub": content}
    bucket.put("tasks/number.jsonl", bucket.get("tasks/number.jsonl") * 2)
    forget_tasks()
    assert pinned_datasets("eval.tasks", include, TASKS) != {"hub": content}
    bucket.delete("tasks/number.jsonl")
    forget_tasks()
    with pytest.raises(RecipeError, match=r"eval.tasks: a task's data_files: .*: no such object"):
        pinned_datasets("eval.tasks", include, TASKS)


def test_every_form_of_data_files_is_copied(
    folders: tuple[Path, Path], bucket: Bucket, tmp_path: Path
) -> None:
    url = f"{bucket.url}/tasks/choice.jsonl"
    copy = _copied(url)
    assert isinstance(copy, str) and Path(copy).read_bytes() == bucket.get("tasks/choice.jsonl")
    assert _copied({"test": [url, "x.jsonl"], "train": "y"}) == {
        "test": [copy, "x.jsonl"],
        "train": "y",
    }


def test_two_that_copy_one_object_do_not_meet(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers that share a home may have equal process ids."""
    bucket.put("a.jsonl", b"one line\n" * 1000)
    path = RemotePath(f"{bucket.url}/a.jsonl")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    whole, inner = shutil.copyfileobj, []

    def interrupted(source: IO[bytes], target: IO[bytes], size: int) -> None:
        target.write(source.read(100))
        target.flush()
        monkeypatch.setattr(shutil, "copyfileobj", whole)
        inner.append(copies.local_copy(path).read_bytes())
        whole(source, target, size)

    monkeypatch.setattr(shutil, "copyfileobj", interrupted)
    content = bucket.get("a.jsonl")
    assert copies.local_copy(path).read_bytes() == content and inner == [content]
