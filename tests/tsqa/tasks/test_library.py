"""What lm-eval passes over without a word is an error that names the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tsqa.errors import DataError
from tsqa.tasks.library import TaskLibrary

TASK = "task: {}\ntag: {}\ndataset_path: json\ntest_split: test\n"
TIME = (1_000_000_000, 1_000_000_000)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_two_tasks_with_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path, a=TASK.format("t", "x"), b=TASK.format("t", "y"), c=TASK.format("u", "x"))
    with pytest.raises(DataError, match=r"b\.yaml: defines 't', as does .*a\.yaml"):
        TaskLibrary(tmp_path).expand(["u"])


@pytest.mark.parametrize("first", ["a", "z"])
def test_a_task_with_the_name_of_a_tag_is_refused(first: str, tmp_path: Path) -> None:
    write(tmp_path, b=TASK.format("b", "t"), **{first: TASK.format("t", "x")})
    with pytest.raises(DataError, match=rf"{first}\.yaml: defines 't', which is a tag, too"):
        TaskLibrary(tmp_path).expand(["t"])


@pytest.mark.parametrize(
    "more", ["include: missing.yaml\n", "  bad: [\n", "x: !!python/name:os\n", "tag: 5\n"]
)
def test_a_tag_is_refused_while_a_file_cannot_be_read(more: str, tmp_path: Path) -> None:
    write(tmp_path, a=TASK.format("a", "t"), b=TASK.format("b", "t") + more, base="metadata: {}\n")
    library = TaskLibrary(tmp_path)
    assert library.expand(["a"]) == ["a"]
    with pytest.raises(DataError, match=r"b\.yaml: (cannot be read|holds no task)"):
        library.expand(["t"])


def test_a_tag_is_refused_while_tasks_are_below_a_linked_folder(tmp_path: Path) -> None:
    tasks, elsewhere = tmp_path / "tasks", tmp_path / "elsewhere"
    tasks.mkdir()
    elsewhere.mkdir()
    write(tasks, a=TASK.format("a", "t"))
    (tasks / "again").symlink_to(tasks)
    assert TaskLibrary(tasks).expand(["t"]) == ["a"]
    write(elsewhere, b=TASK.format("b", "t"))
    (tasks / "more").symlink_to(elsewhere)
    with pytest.raises(DataError, match=r"more/b\.yaml: is below a link to a folder"):
        TaskLibrary(tasks).expand(["t"])


def test_a_module_is_known_by_its_content(tmp_path: Path) -> None:
    write(tmp_path, a=TASK.format("a", "t") + "doc_to_text: !function utils.text\n")
    for said in ("one", "two"):
        module = tmp_path / "utils.py"
        module.write_text(f"def text(document): return {said!r}\n")
        os.utime(module, TIME)
        assert TaskLibrary(tmp_path).resolved("a")["doc_to_text"]({}) == said


def test_two_csv_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """Pandas calls the second `q.1`, and a question would be another column's."""
    data = tmp_path / "d.csv"
    task = "task: {}\ndataset_path: csv\ndataset_kwargs: {{data_files: {{test: {}}}{}}}\n"
    rest = 'test_split: test\noutput_type: generate_until\ndoc_to_text: "{{q}}"\ndoc_to_target: a\n'
    named = ", column_names: [q, a, b]"
    write(tmp_path, a=task.format("a", data, "") + rest, b=task.format("b", data, named) + rest)
    library = TaskLibrary(tmp_path)
    data.write_text("q,a,q\none,1,x\n")
    with pytest.raises(DataError, match=r"d\.csv: two columns are called 'q'"):
        library.open_split("a", "test")
    assert [document["q"] for document in library.open_split("b", "test")] == ["q", "one"]
    data.write_text("q,a,b\none,1,x\n")
    assert [document["q"] for document in library.open_split("a", "test")] == ["one"]
