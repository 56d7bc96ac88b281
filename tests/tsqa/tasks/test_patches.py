"""What `datasets` cached of a file or a function is never taken for what is there now."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tsqa.tasks.library import TaskLibrary

TASK = """\
task: t
dataset_path: {path}
dataset_kwargs: {files}
training_split: train
test_split: train
process_docs: !function utils.process
doc_to_text: "{{{{q}}}}"
doc_to_target: "x"
output_type: generate_until
"""


def texts(folder: Path) -> list[str]:
    """As another process would read them."""
    split = TaskLibrary(folder).open_split("t", "train")
    return [split.render(document)[0] for document in split]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


READ = """
import sys
from pathlib import Path
from tests.tsqa.tasks.test_patches import texts
print(*texts(Path(sys.argv[1])))
"""


def make_task(folder: Path, path: str, files: str) -> None:
    (folder / "tasks").mkdir()
    (folder / "data").mkdir()
    (folder / "tasks" / "t.yaml").write_text(TASK.format(path=path, files=files))
    (folder / "tasks" / "utils.py").write_text(
        "import fresh_helper\ndef process(d):\n    return d.map(fresh_helper.change)\n"
    )
    write_helper(folder, "lower")


DRAWN = """
import random
rng = random.Random(3)

def process(documents):
    def draw(row):
        return {"q": f"{row['q']} {random.random()} {rng.random()}"}
    return documents.map(draw)
"""


def test_what_the_code_of_a_task_draws_is_the_same_each_time(tmp_path: Path) -> None:
    rows = tmp_path / "data" / "rows.jsonl"
    make_task(tmp_path, "json", f"{{data_files: {{train: {rows}}}}}")
    rows.write_text('{"q": "A"}\n{"q": "B"}\n')
    (tmp_path / "tasks" / "utils.py").write_text(DRAWN)
    first = texts(tmp_path / "tasks")
    (task,) = TaskLibrary(tmp_path / "tasks").manager.load(["t"])["tasks"].values()
    for made in (task.eval_docs, task.eval_docs, task.training_docs()):
        assert [row["q"] for row in made] == first
    assert len({*first}) == 2
    state = random.getstate()
    task.training_docs()
    assert random.getstate() == state


def write_helper(folder: Path, name: str) -> None:
    path = folder / "fresh_helper.py"
    path.write_text(f"def change(row):\n    return {{'q': row['q'].{name}()}}\n")


@pytest.mark.parametrize("kind", ["json", "folder"])
def test_a_file_that_keeps_its_size_and_time_is_read_again(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "data" / "train.jsonl"
    path, files = ("json", f"{{data_files: {{train: {file}}}}}")
    if kind == "folder":
        path, files = str(file.parent), "{}"
    make_task(tmp_path, path, files)
    for word in ("one", "two", "one"):
        file.write_text(f'{{"q": "{word}"}}\n')
        os.utime(file, ns=(10**18, 10**18))
        assert texts(tmp_path / "tasks") == [word]


def test_a_module_that_a_function_calls_is_run_again(tmp_path: Path) -> None:
    file = tmp_path / "data" / "train.jsonl"
    make_task(tmp_path, "json", f"{{data_files: {{train: {file}}}}}")
    file.write_text('{"q": "One"}\n')
    environment = {
        **os.environ,
        "HF_DATASETS_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for name, wanted in (("lower", "one"), ("upper", "ONE")):
        write_helper(tmp_path, name)
        command = [sys.executable, "-c", READ, str(tmp_path / "tasks")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [wanted]


NAMED = """\
task: t
dataset_path: {path}
training_split: train
test_split: train
doc_to_text: "{{{{q}}}}"
doc_to_target: "x"
output_type: generate_until
"""


@pytest.mark.parametrize("name", ["exp[1]", "a?b*c", 'it\'s "my" \u65e5\u672c $HOME %s {x} #1'])
def test_a_folder_is_read_whatever_signs_its_name_holds(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    (folder / "data").mkdir(parents=True)
    rows, other = folder / "data" / "train.jsonl", tmp_path / "exp1" / "data" / "train.jsonl"
    rows.write_text('{"q": "A"}\n')
    other.parent.mkdir(parents=True)
    other.write_text('{"q": "of a folder that the name also matches"}\n')
    files = {"by_name": rows, "by_pattern": folder / "data" / "*.jsonl"}
    if "*" not in name and "[" not in name:
        assert_read(folder, files)
    else:
        assert_read(folder, {"by_name": rows})


def assert_read(folder: Path, files: dict[str, Path]) -> None:
    tasks = folder / "tasks"
    tasks.mkdir()
    for name, file in files.items():
        config = yaml.safe_load(NAMED.format(path="json"))
        config |= {"task": name, "dataset_kwargs": {"data_files": {"train": str(file)}}}
        (tasks / f"{name}.yaml").write_text(yaml.safe_dump(config))
    config = yaml.safe_load(NAMED.format(path="json")) | {"dataset_path": str(folder / "data")}
    (tasks / "folder.yaml").write_text(yaml.safe_dump(config | {"task": "folder"}))
    library = TaskLibrary(tasks)
    for name in (*files, "folder"):
        split = library.open_split(name, "train")
        assert [row["q"] for row in split] == ["A"], name


def test_a_file_stands_for_itself_before_it_is_a_pattern(tmp_path: Path) -> None:
    for name in ("part[1]", "part1"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"q": "{name}"}}\n')
    (tmp_path / "t.yaml").write_text(
        NAMED.format(path="json")
        + f"dataset_kwargs: {{data_files: {{train: '{tmp_path}/part[1].jsonl'}}}}\n"
    )
    assert texts(tmp_path) == ["part[1]"]
