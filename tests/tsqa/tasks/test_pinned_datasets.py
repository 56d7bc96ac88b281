"""The hub datasets behind tasks are loaded at pinned commits, and the commits decide the stages."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import huggingface_hub.constants
import pytest

from eval.harness.backend import load_tasks
from eval.harness.stage import _same_but_for_tasks
from tests.support.paths import REPOSITORY
from tsqa.errors import DataError, RecipeError
from tsqa.hub import pins as hub
from tsqa.hub.pins import PINS, UNPINNED
from tsqa.pipeline.graph import build_graph
from tsqa.recipe import EvalSection, load_recipe
from tsqa.store.jsonl import write_json
from tsqa.tasks import fingerprint
from tsqa.tasks.fingerprint import (
    OWN_DATASETS,
    forget_tasks,
    pinned_datasets,
    remember_tasks,
    removed_tasks,
)
from tsqa.tasks.library import TaskLibrary
from tsqa.tasks.patches import pin_datasets

OLD, NEW = "a" * 40, "b" * 40
REST = "training_split: train\ntest_split: test\noutput_type: generate_until\n" + (
    'doc_to_text: "{{q}}"\ndoc_to_target: "{{a}}"\nmetric_list: [{metric: exact_match}]\n'
)
TASKS = {
    "plain": f"task: plain\ndataset_path: org/plain\ndataset_name: main\ntag: some\n{REST}",
    "branch": "include: plain.yaml\ntask: branch\ndataset_kwargs: {revision: v2}\n",
    "group": "group: group\ntask: [{group: inner, task: [plain, {task: branch}]},"
    " {task: written, dataset_path: org/written}]\n",
    "class": "task: class\nclass: !function code.Task\n",
    "custom": "task: custom\ncustom_dataset: !function code.load\n",
    "local": "task: local\ndataset_path: json\ndataset_kwargs: {data_files: {test: x.jsonl}}\n",
    "folder": "task: folder\ndataset_path: here\n",
}
CODE = (
    "import datasets\nraise RuntimeError('must not run')\n"
    "class Task:\n    DATASET_PATH = 'org/class'\n"
    "def load(**_): return datasets.load_dataset('org/custom', revision='v3')\n"
    "NAME = 'org/constant'\n"
    "def more(**_): return datasets.load_dataset(path=NAME)\n"
    "def file(): return hub.hf_hub_download(repo_id=NAME, filename='x.json')\n"
    f"def pinned(): return hub.snapshot_download('org/at', revision='{'a' * 40}')\n"
)
NAMED = {
    "plain": ["org/plain"],
    "branch": ["org/plain@v2"],
    "some": ["org/plain", "org/plain@v2"],
    "group": ["org/plain", "org/plain@v2", "org/written"],
    "class": ["hf://org/constant", "org/class", "org/constant", "org/custom@v3"],
    "custom": ["hf://org/constant", "org/class", "org/constant", "org/custom@v3"],
    "local": [],
    "folder": [],
    "unknown": [],
}


class World:
    """A folder of tasks, what the hub says, and what is loaded from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tasks = folder / "tasks"
        self.commit: str | None = OLD
        self.cached = ""
        self.loaded: list[tuple[str, str | None]] = []

    def ask(self, kind: str, name: str, revision: str | None) -> tuple[str | None, bool]:
        return self.commit, self.commit is not None

    def load(self, path: str, *_: object, revision: str | None = None, **options: object) -> object:
        self.loaded.append((path, revision))
        rows = datasets.Dataset.from_list([{"q": "1 + 1", "a": "2"}])
        if self.cached:
            url = f"hf://datasets/{path}@{self.cached}/train.parquet"
            rows.info.download_checksums = {url: {}}
        split = options.get("split")
        return rows if split else datasets.DatasetDict(train=rows, test=rows)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    made.tasks.mkdir()
    (tmp_path / "here").mkdir()
    for name, text in TASKS.items():
        (made.tasks / f"{name}.yaml").write_text(text)
    (made.tasks / "code.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "_ask", made.ask)
    monkeypatch.setattr(hub, "is_offline", lambda: False)
    monkeypatch.setattr(PINS, "_offline", False)
    monkeypatch.setattr(fingerprint, "_said", set())
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "load_dataset", made.load)
    pin_datasets()
    keep(tmp_path / "runs")
    return made


def keep(folder: Path) -> None:
    PINS.keep_below(folder)
    forget_tasks()


@pytest.mark.parametrize(("name", "expected"), NAMED.items())
def test_the_hub_datasets_of_a_task_are_found_and_no_code_runs(
    world: World, name: str, expected: list[str]
) -> None:
    assert TaskLibrary(world.tasks).hub_datasets(name) == expected
    assert world.loaded == []


def test_documents_come_from_the_pinned_commit(world: World) -> None:
    library = TaskLibrary(world.tasks)
    assert library.open_split("plain", "train").revision == OLD
    world.commit = NEW
    assert library.open_split("plain", "test").revision == OLD
    load_tasks(EvalSection(tasks=["plain"]), world.tasks)
    assert world.loaded == [("org/plain", OLD)] * 3
    assert library.open_split("branch", "train").revision == NEW, "another revision"
    datasets.load_dataset("json")
    assert world.loaded[3:] == [("org/plain", NEW), ("json", None)]


def test_another_version_on_this_machine_is_refused(world: World) -> None:
    library = TaskLibrary(world.tasks)
    world.cached = OLD
    library.open_split("plain", "train")
    world.cached = NEW
    with pytest.raises(DataError, match=f"org/plain: pinned to the commit {OLD}, but only {NEW}"):
        library.open_split("plain", "train")
    with pytest.raises(DataError, match="pinned to the commit"):
        load_tasks(EvalSection(tasks=["plain"]), world.tasks)


def test_what_the_hub_does_not_say_is_unpinned_and_said_once(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.commit = None
    for _ in range(2):
        forget_tasks()
        assert pinned_datasets("eval.tasks", str(world.tasks), ("plain",)) == {
            "hub": {"org/plain": "unpinned"}
        }
    assert capfd.readouterr().err.count("org/plain") == 1
    assert TaskLibrary(world.tasks).open_split("plain", "train").revision == ""
    assert world.loaded == [("org/plain", None)]


def test_a_new_commit_makes_stale_what_is_made_of_the_dataset(world: World) -> None:
    def fingerprints(runs: str) -> dict[str, tuple[str, object]]:
        where = f"include={world.tasks}"
        keys = ["seeds.tasks=[plain]", "eval.tasks=[plain]", f"seeds.{where}", f"eval.{where}"]
        file = REPOSITORY / "recipes" / "smoke" / "recipe.yaml"
        recipe = load_recipe(file, [*keys, f"runs={world.folder / runs}"])
        return {n.label: (n.fingerprint, n.config.get("hub")) for n in build_graph(recipe, file)}

    before = fingerprints("one")
    assert {label for label, (_, pinned) in before.items() if pinned} >= {"seeds", "benchmarks"}
    assert before["evaluate:base"][1] == {"org/plain": OLD}
    world.commit = NEW
    assert fingerprints("one") == before
    after = fingerprints("two")
    assert after["evaluate:base"][1] == {"org/plain": NEW}
    same = {label for label in before if before[label] == after[label]}
    seen_no_task = {"data", "tokenizer", "tokenize:skills", "train:main"}
    assert same == seen_no_task, "of the teacher and the base"


FILE = "org/plain@{}/data/train.parquet"


@pytest.mark.parametrize("prefix", ["hf://datasets/", "zip://a.jsonl::hf://datasets/"])
def test_a_file_of_the_hub_names_its_commit(world: World, prefix: str) -> None:
    task = "task: url\ndataset_path: parquet\ndataset_kwargs: {data_files: {test: ['URL']}}\n"
    for revision in ("main", "v1", OLD[:12]):
        text = task.replace("URL", prefix + FILE.format(revision))
        (world.tasks / "url.yaml").write_text(text)
        with pytest.raises(RecipeError, match=r"names no commit(.|\n)*NAME@COMMIT/FILE"):
            TaskLibrary(world.tasks).hub_datasets("url")
    (world.tasks / "url.yaml").write_text(task.replace("URL", prefix + FILE.format(OLD)))
    assert TaskLibrary(world.tasks).hub_datasets("url") == []


def test_a_file_of_another_host_is_unpinned_and_said(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    url = "https://example.org/test.jsonl"
    (world.tasks / "url.yaml").write_text(
        f"task: url\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: '{url}'}}}}\n"
    )
    keep(world.folder / "runs")
    assert pinned_datasets("eval.tasks", str(world.tasks), ("url",)) == {"hub": {url: "unpinned"}}
    assert url in capfd.readouterr().err.replace("\n", "")


def test_local_tasks_have_no_commits(world: World) -> None:
    for include in ("{data}/tasks", str(world.tasks)):
        assert pinned_datasets("eval.tasks", include, ("local", "folder")) == {}


def test_lm_evals_own_tasks_are_looked_up_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = TaskLibrary(world.tasks)
    monkeypatch.setattr("tsqa.tasks.library.task_library", lambda include: own)
    assert pinned_datasets("eval.tasks", None, ("plain",)) == {"hub": {"org/plain": OLD}}
    monkeypatch.setattr(own, "index", None)
    forget_tasks()
    assert pinned_datasets("eval.tasks", None, ("plain",)) == {"hub": {"org/plain": OLD}}
    write_json(world.folder / "runs" / OWN_DATASETS, {"tasks": "another version", "datasets": {}})
    monkeypatch.setattr(own, "index", {})
    forget_tasks()
    with pytest.raises(DataError, match=r"eval\.tasks: unknown task 'plain'"):
        pinned_datasets("eval.tasks", None, ("plain",))


def test_a_folder_of_runs_that_cannot_be_written_is_no_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = TaskLibrary(world.tasks)
    monkeypatch.setattr("tsqa.tasks.library.task_library", lambda include: own)
    world.commit = None
    (world.folder / "file").write_text("")
    keep(world.folder / "file" / "runs")
    assert pinned_datasets("eval.tasks", None, ("plain",)) == {"hub": {"org/plain": UNPINNED}}


def test_scores_are_shared_where_the_commits_are_the_same() -> None:
    def config(*tasks: str, **commits: str) -> dict[str, object]:
        return {"tasks": [*tasks], "seed": 1, **({"hub": commits} if commits else {})}

    assert _same_but_for_tasks(config("a", a=OLD), config("a", "b", a=OLD, b=NEW))
    assert _same_but_for_tasks(config("a"), config("a", "b", b=NEW))
    assert not _same_but_for_tasks(config("a", a=OLD), config("a", "b", a=NEW, b=NEW))
    assert not _same_but_for_tasks({**config("a"), "seed": 2}, config("a"))


def test_runs_of_one_recipe_at_once_remember_the_tasks_of_each_other(tmp_path: Path) -> None:
    path = REPOSITORY / "recipes" / "smoke" / "recipe.yaml"
    families = ("day", "opposite", "unit", "month", "letter", "plural")
    recipes = [
        load_recipe(path, [f"runs={tmp_path}", f"eval.tasks=[mini_{family}]"])
        for family in families
    ]
    for _ in range(5):
        (tmp_path / "smoke" / "benchmarks.json").unlink(missing_ok=True)
        with ThreadPoolExecutor(len(recipes)) as threads:
            list(threads.map(remember_tasks, recipes))
        assert len(removed_tasks(recipes[0])) == len(families) - 1
