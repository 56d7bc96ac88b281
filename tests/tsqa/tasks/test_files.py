"""However a task names what it is made of, a byte of it counts; and what it does not name, not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tsqa.tasks.files import task_folder_identity
from tsqa.tasks.identity import (
    data_files,
    is_local,
    same_documents,
    split_files,
    split_identities,
    split_identity,
)

SPELLINGS = {
    "a name for each split": "dataset_kwargs: {data_files: {train: HERE/a.jsonl, test: x}}",
    "a list": "dataset_kwargs: {data_files: [HERE/a.jsonl, HERE/b.jsonl]}",
    "a list for each split": "dataset_kwargs: {data_files: {train: [HERE/a.jsonl, HERE/b.jsonl]}}",
    "one name": "dataset_kwargs: {data_files: HERE/a.jsonl}",
    "a pattern": "dataset_kwargs: {data_files: HERE/*.jsonl}",
    "a pattern over folders": "dataset_kwargs: {data_files: 'HERE/**/a.json?'}",
    "a pattern in a list": "dataset_kwargs: {data_files: {train: ['HERE/[ab].jsonl']}}",
    "a folder": "dataset_kwargs: {data_dir: HERE}",
    "a name below a folder": "dataset_kwargs: {data_dir: HERE, data_files: a.jsonl}",
    "a pattern below a folder": "dataset_kwargs: {data_dir: HERE, data_files: {train: 'a*'}}",
    "a URL of this machine": "dataset_kwargs: {data_files: {train: 'file://HERE/a.jsonl'}}",
    "a member of an archive": "dataset_kwargs: {data_files: 'zip://x.jsonl::HERE/a.jsonl'}",
    "relative to the working folder": "dataset_kwargs: {data_files: {train: data/a.jsonl}}",
    "a pattern in the working folder": "dataset_kwargs: {data_files: 'data/*'}",
    "a local dataset": "dataset_path: HERE",
    "a local dataset beside": "dataset_path: ./data",
    "a local dataset by a bare name": "dataset_path: data",
    "files of a local dataset": "dataset_path: data\ndataset_kwargs: {data_files: 'a.*'}",
    "an argument of a builder": "dataset_path: org/x\ndataset_kwargs: {gold: HERE/a.jsonl}",
    "an argument of a function": "metadata: {source: HERE/a.jsonl}\n"
    "custom_dataset: !function utils.load",
    "a constant of a function": "custom_dataset: !function constant.load",
    "a folder in a function": "custom_dataset: !function folder.load",
    "joined in a function": "custom_dataset: !function joined.load",
    "joined by os.path in a function": "custom_dataset: !function joined_by_os.load",
    "a formatted name in a function": "custom_dataset: !function formatted.load",
    "a file that is included": "include: ../../outside/base.yaml",
    "a file that is included far away": "include: [../../outside/base.yaml]",
    "inside a group": "group: g\ntask:\n  - {task: inner, dataset_path: json, "
    "dataset_kwargs: {data_files: HERE/a.jsonl}}",
    "examples of their own": "fewshot_config: {samples: HERE/a.jsonl}",
}
CODE = {
    "utils": "def load(**_): return {}\n",
    "constant": "import datasets\ndef load(**_):\n"
    "    return datasets.load_dataset('json', data_files='HERE/a.jsonl')\n",
    "joined": "from pathlib import Path\n"
    "def load(**_): return open(Path(__file__).parents[2] / 'data' / 'a.jsonl')\n",
    "joined_by_os": "import os\ndef load(**_):\n"
    "    return open(os.path.join(os.path.dirname(__file__), '..', '..', 'data', 'a.jsonl'))\n",
    "formatted": "PLACE = '.'\ndef load(**_): return open(f'{PLACE}/data/a.jsonl')\n",
    "folder": "import datasets\ndef load(**_): return datasets.load_from_disk('HERE')\n",
    "tilde": "def load(**_): return '~5 (about)', '~~~'  # no home of a user\n",
}
MODULES = {
    "beside": ("!function helper.f", "tasks/deep/helper.py"),
    "in a package beside": ("!function pack.inner.f", "tasks/deep/pack/inner.py"),
    "imported by it": ("!function helper.f", "tasks/deep/second.py"),
    "imported by that": ("!function helper.f", "tasks/deep/third.py"),
    "of the working folder": ("!function mine.scoring.f", "mine/scoring.py"),
    "used by that package": ("!function mine.scoring.f", "mine/words.py"),
    "in a folder that is included": ("!function helper.f", "outside/shared.py"),
    "a class": ("!function helper.Task", "tasks/deep/helper.py"),
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("tasks/deep", "data/more", "outside", "mine", "tasks/deep/pack"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("data/a.jsonl", "data/b.jsonl", "data/more/a.jsonl"):
        (tmp_path / name).write_text('{"q": 1}\n' * 9)
    for name, code in CODE.items():
        (tmp_path / "tasks/deep" / f"{name}.py").write_text(
            code.replace("HERE", f"{tmp_path}/data")
        )
    files = {"dataset_kwargs": {"data_files": str(tmp_path / "data" / "a.jsonl")}}
    base = {**files, "doc_to_text": "x", "dataset_path": "json"}
    (tmp_path / "outside/base.yaml").write_text(
        json.dumps(base)[:-1] + ", process_docs: !function shared.f}"
    )
    (tmp_path / "outside/shared.py").write_text("def f(d): return d\n")
    for name, code in {
        "tasks/deep/helper.py": "import second, json, numpy\nfrom os import path\n",
        "tasks/deep/second.py": "from third import x as y\n",
        "tasks/deep/third.py": "x = 1\n",
        "tasks/deep/pack/inner.py": "",
        "mine/__init__.py": "",
        "mine/scoring.py": "from mine.words import w\n",
        "mine/words.py": "w = 1\n",
    }.items():
        (tmp_path / name).write_text(code + "def f(d): return d\nclass Task: pass\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_task(world: Path, text: str) -> None:
    head = "" if "group:" in text else "task: t\n"
    head += "" if "dataset_path" in text or "include" in text else "dataset_path: json\n"
    text = text.replace("HERE", f"{world}/data")
    (world / "tasks" / "deep" / "task.yaml").write_text(f"{head}{text}\n")


def differs(world: Path, path: Path) -> bool:
    """Whether a byte in the middle of a file, its size kept, changes the folder's identity."""
    before = task_folder_identity(world / "tasks")
    content = path.read_bytes()
    place = len(content) // 2
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    after = task_folder_identity(world / "tasks")
    path.write_bytes(content)
    assert task_folder_identity(world / "tasks") == before
    return before != after


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=list(SPELLINGS))
def test_the_data_of_a_task_count_however_they_are_named(world: Path, text: str) -> None:
    write_task(world, text)
    assert differs(world, world / "data" / "a.jsonl")


@pytest.mark.parametrize(("reference", "file"), MODULES.values(), ids=list(MODULES))
def test_the_code_of_a_task_counts_with_what_it_imports(
    world: Path, reference: str, file: str
) -> None:
    included = "include: ../../outside/base.yaml\n" if "outside" in file else ""
    write_task(world, f"{included}dataset_path: json\ndoc_to_text: {reference}")
    assert differs(world, world / file)


@pytest.mark.parametrize(
    "text",
    [
        "dataset_kwargs: {data_files: HERE/b.jsonl}",
        "dataset_path: json",  # and a folder of that name
        "dataset_path: org/data",
        "dataset_name: data",
        "test_split: data",
        "metadata: {version: data}",
        "dataset_kwargs: {data_files: 'https://example.org/data/a.jsonl'}",
        "doc_to_text: data/a.jsonl",
        "dataset_kwargs: {data_files: '~no-such-user/a.jsonl', data_dir: '~no-such-user'}",
        "custom_dataset: !function tilde.load",
    ],
)
def test_what_only_sounds_alike_does_not_count(world: Path, text: str) -> None:
    shutil.copytree(world / "data", world / "json")
    write_task(world, text)
    assert not differs(world, world / "data" / "a.jsonl")
    assert not differs(world, world / "json" / "a.jsonl")


@pytest.mark.parametrize("name", ["metrics/exact/exact.py", "./metrics/exact", "exact"])
def test_the_script_of_a_metric_counts(world: Path, name: str) -> None:
    for folder in (world / "metrics" / "exact", world / "exact"):
        folder.mkdir(parents=True)
        (folder / "exact.py").write_text("x = 1\n")
    write_task(world, f"metric_list: [{{metric: {name}}}]")
    assert differs(world, world / ("exact" if name == "exact" else "metrics/exact") / "exact.py")


def test_a_new_file_that_a_pattern_matches_counts(world: Path) -> None:
    write_task(world, SPELLINGS["a pattern"])
    before = task_folder_identity(world / "tasks")
    (world / "data" / "c.jsonl").write_text("{}\n")
    assert task_folder_identity(world / "tasks") != before


def test_two_files_that_change_places_count(world: Path) -> None:
    write_task(
        world, "dataset_kwargs: {data_files: {train: HERE/a.jsonl, test: HERE/more/a.jsonl}}"
    )
    (world / "data/more/a.jsonl").write_text("other\n")
    before = task_folder_identity(world / "tasks")
    for old, new in (("a.jsonl", "x"), ("more/a.jsonl", "a.jsonl"), ("x", "more/a.jsonl")):
        (world / "data" / old).rename(world / "data" / new)
    assert task_folder_identity(world / "tasks") != before


def test_a_project_that_moves_stays_the_same(
    world: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_task(world, "dataset_kwargs: {data_files: {train: data/a.jsonl}}")
    for name in CODE:  # they name the old place
        (world / "tasks/deep" / f"{name}.py").unlink()
    (world / "outside/base.yaml").unlink()
    before = task_folder_identity(world / "tasks")
    moved = tmp_path_factory.mktemp("moved") / "project"
    shutil.copytree(world, moved)
    monkeypatch.chdir(moved)
    assert task_folder_identity(Path("tasks")) == before == task_folder_identity(moved / "tasks")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "- a list",
        "task: [unclosed",
        "task: t\ninclude: task.yaml",
        "task: t\ninclude: nowhere.yaml",
        "task: t\ndataset_kwargs: {data_files: {train: /, test: ~}}\ndataset_path: /",
        "task: t\ndataset_kwargs: {data_dir: .}",
        "task: t\ndataset_kwargs: {data_files: ~nobody/x}",
        "task: t\ndataset_kwargs: {data_files: '" + "x" * 5000 + "'}",
        'task: t\ndataset_kwargs: {data_files: "a\\0b"}',
        "task: t\nprocess_docs: !function nowhere.f",
        "task: t\nprocess_docs: !function broken.f",
        "a0: &a0 [x, x]\n"
        + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
        + "task: t\ndataset_kwargs: {data_files: *a59}",
    ],
)
def test_a_task_that_cannot_be_read_is_known_by_its_text(world: Path, text: str) -> None:
    (world / "tasks" / "deep" / "broken.py").write_text("def f(:\n")
    (world / "tasks" / "deep" / "task.yaml").write_text(text)
    before = task_folder_identity(world / "tasks")
    (world / "tasks" / "deep" / "task.yaml").write_text(text + "\n")
    assert task_folder_identity(world / "tasks") != before


def test_no_code_of_a_task_runs(world: Path) -> None:
    for name in ("utils", "helper", "second"):
        (world / "tasks/deep" / f"{name}.py").write_text("import second\nopen('ran', 'w')\n")
    (world / "mine/__init__.py").write_text("open('ran', 'w')\n")
    write_task(world, "custom_dataset: !function helper.f\nprocess_docs: !function mine.scoring.f")
    task_folder_identity(world / "tasks")
    assert not (world / "ran").exists()


def config_of(**files: object) -> dict[str, object]:
    return {"dataset_path": "json", "dataset_kwargs": {"data_files": files}}


def test_splits_are_the_same_where_their_files_are(world: Path) -> None:
    first, second = str(world / "data/a.jsonl"), str(world / "data/b.jsonl")
    config = config_of(train=[first, second], test=[second, first], more="data/*.jsonl", one=first)
    assert split_identity(config, "train") == split_identity(config, "test")
    assert split_identity(config, "train") == split_identity(config, "more")
    assert split_identity(config, "train[:10%]") == split_identity(config, "train")
    assert split_identity(config, "one") != split_identity(config, "train")
    assert split_identities(config, "one+test") == [
        *split_identities(config, "one"),
        *split_identities(config, "train"),
    ]
    hub = {"dataset_path": "org/x"}
    parts = [split_identity(hub, part) for part in ("train", "test")]
    assert split_identities(hub, "train[:10%] + test") == parts
    assert split_identity(hub, "test+train") == split_identity(hub, "train+test")
    linked = world / "data" / "link.jsonl"
    linked.symlink_to(first)
    assert split_identity(config_of(x=str(linked)), "x") == split_identity(config, "one")
    urls = config_of(train="https://example.org/a", test="https://example.org/b")
    assert split_identity(urls, "train") != split_identity(urls, "test")


def test_the_split_all_holds_the_documents_of_every_split(world: Path) -> None:
    files = config_of(train=str(world / "data/a.jsonl"), test=str(world / "data/b.jsonl"))
    assert split_identity(files, "all") == split_identity(files, "train+test")
    assert split_files(files, "all") == split_files(files, "train+test")
    for config in ({"dataset_path": "org/x"}, {"dataset_path": str(world / "data")}):
        whole, part = (split_identities(config, split) for split in ("all", "test"))
        assert [*same_documents(whole, part)] == [(*whole, *part)]
        assert [*same_documents(part, whole)] == [(*part, *whole)]
        assert not [*same_documents(part, split_identities(config, "train"))]
        assert not [*same_documents(whole, split_identities({"dataset_path": "org/y"}, "test"))]


def test_local_datasets_are_the_same_where_their_folders_are(world: Path) -> None:
    shutil.copytree(world / "data", world / "mine" / "data")
    one, other = {"dataset_path": "data"}, {"dataset_path": str(world / "mine" / "data")}
    assert split_identity(one, "train") != split_identity(other, "train")
    assert split_identity(one, "train") == split_identity({"dataset_path": "./data"}, "train")
    assert is_local(one, "train") and not is_local({"dataset_path": "org/x"}, "train")


def test_the_files_of_a_split_are_listed(world: Path) -> None:
    names = {key: [file.name for file in files] for key, files in data_files(
        config_of(a="data/a.jsonl", b=["data/*.jsonl"], gone="data/none.jsonl", odd=3)
    ).items()}  # fmt: skip
    assert names == {
        "a": ["a.jsonl"],
        "b": ["a.jsonl", "b.jsonl"],
        "gone": ["none.jsonl"],
        "odd": [],
    }
    assert split_files({"dataset_kwargs": {"data_files": ["data/a.jsonl"]}}, "train")
    assert data_files({}) == {} == data_files({"dataset_kwargs": None})
    assert os.path.commonpath(map(str, split_files(config_of(x="data/**"), "x"))).endswith("data")
