"""Promises of the preview: the run's own requests, no artifact, every decision shown as text."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import yaml

from tests.support.generation import FakeEngine, opened
from tests.support.paths import REPOSITORY
from tsqa.console import make_console
from tsqa.errors import EngineError, TsqaError
from tsqa.pipeline.run import Pipeline
from tsqa.preview import show, watch
from tsqa.preview.estimate import Estimates
from tsqa.preview.measured import PreviewRecord, read_record, write_record
from tsqa.preview.run import Preview, PreviewedItem
from tsqa.recipe import load_recipe
from tsqa.store.jsonl import read_jsonl, write_jsonl
from tsqa.teachers import Completion

TASKS = ["alpha", "beta", "gamma"]
TASK = """\
task: own_task
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/test.jsonl}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: exact_match}}]
metadata: {{version: 1}}
"""


def open_pipeline(folder: Path, *overrides: str) -> Pipeline:
    """A recipe without training, whose teacher is an endpoint: 12 seeds of each of three tasks."""
    (folder / "tasks").mkdir(exist_ok=True)
    path = folder / "recipe.yaml"
    if not path.exists():
        (folder / "tasks" / "own.yaml").write_text(TASK.format(folder=folder))
        rows = [{"question": "How many seas are there?", "answer": "seven"}]
        write_jsonl(folder / "test.jsonl", rows)
        for task in TASKS:
            rows = [
                {"question": f"What is {task} {number} called?", "answer": f"{task} name {number}"}
                for number in range(12)
            ]
            write_jsonl(folder / f"{task}.jsonl", rows)
    columns = {"question": "question", "answer": "answer"}
    recipe = {
        "name": "previewed",
        "seeds": {
            "datasets": [
                {"name": task, "path": str(folder / f"{task}.jsonl"), "columns": columns}
                for task in TASKS
            ],
        },
        "generate": {
            "teacher": {
                "engine": "openai",
                "model": {"path": "fake"},
                "urls": ["http://127.0.0.1:9/v1"],
                "form": "completion",
            },
            "per_seed": 1,
            "votes": 3,
            "prompts": {"question": "plain", "answer": "plain"},
        },
        "filter": {"agreement": 0.5},
        "eval": {"tasks": ["own_task"], "include": str(folder / "tasks")},
    }
    path.write_text(yaml.safe_dump(recipe))
    given = [f"runs={folder / 'runs'}", "tracking.mode=disabled", *overrides]
    return Pipeline(load_recipe(path, given), path, given)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose seeds and benchmarks are finished."""
    folder = tmp_path_factory.mktemp("prepared")
    open_pipeline(folder).run(until="seeds")
    open_pipeline(folder).run(until="benchmarks")
    return folder


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    engine = FakeEngine()
    monkeypatch.setattr("tsqa.teachers.client.open_engine", lambda *_: opened(engine))
    return engine


def preview(pipeline: Pipeline, count: int = 6) -> tuple[list[PreviewedItem], PreviewRecord]:
    with Preview(pipeline) as opened_preview:
        items = opened_preview.run(opened_preview.seeds(count, None))
        return items, opened_preview.record(items)


def test_canaries_are_planted_and_looked_for_as_in_the_run(
    tmp_path: Path, engine: FakeEngine
) -> None:
    items, _ = preview(open_pipeline(tmp_path, "generate.canaries=12"), 12)
    shown = [item for item in items if item.record.canaries]
    assert shown and len(shown) < len(items)
    console = make_console(width=200, record=True)
    show.print_items(items, console)
    printed = console.export_text()
    for item in shown:
        assert "file number" in show.prompt_of(item.exchanges[0].request)
        assert f"prompt shows of {', '.join(item.record.canaries)}" in printed
    show.write_page(items, "previewed", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("planted in what the prompt") == len(shown)
    passed = [item for item in items if not item.is_rejected]
    assert passed and all("canary" in [d.step for d in item.decisions] for item in passed)
    requests = {item.record.id: item.exchanges[0].request.id for item in items}
    run = open_pipeline(tmp_path, "generate.canaries=12").run(until="generate")
    made = run["generate"].path
    known = (made / "teacher-completions.jsonl").read_text()
    assert all(name in known for name in requests.values()), "those of the run itself"


def test_a_preview_makes_no_artifact_and_shows_every_step(
    tmp_path: Path, engine: FakeEngine
) -> None:
    items, _ = preview(open_pipeline(tmp_path))
    assert not list(tmp_path.rglob("manifest.json"))
    assert {item.seed.task for item in items} == set(TASKS)
    console = make_console(width=80, record=True)
    show.print_items(items, console)
    printed = console.export_text()
    for item in items:
        assert len(item.exchanges) == 1 + len(item.record.votes)
        assert item.record.id in printed
        assert item.is_rejected != bool(item.document)
        names = [decision.step for decision in item.decisions]
        assert names[:2] == ["refusal", "format"][: len(names)]
        assert item.is_rejected or names[-1] == "decontamination"
    assert {item.is_rejected for item in items} == {True, False}


def test_a_preview_asks_every_role(tmp_path: Path, engine: FakeEngine) -> None:
    served = "engine: openai, urls: ['http://127.0.0.1:9/v1'], form: completion"
    solvers = ", ".join(
        f"{{teacher: {{{served}, model: {{path: {name}}}}}, votes: 2}}" for name in ("a", "b")
    )
    pipeline = open_pipeline(
        tmp_path,
        f"generate.solvers=[{solvers}]",
        "generate.votes=5",
        "filter.model_agreement=2",
        "filter.agreement=0.5",
    )
    items, record = preview(pipeline)
    assert set(record.uses) == {f"generate:{role}" for role in ("teacher", "solver0", "solver1")}
    for item in items:
        roles = [vote.teacher for vote in item.record.votes]
        assert roles == ([] if item.record.parse_error else ["solver0"] * 2 + ["solver1"] * 2)
        assert len(item.exchanges) == 1 + len(roles)
    assert any(each.step == "models" for item in items for each in item.decisions)


def test_a_preview_asks_what_the_run_then_asks(tmp_path: Path, engine: FakeEngine) -> None:
    items, _ = preview(open_pipeline(tmp_path))
    asked = {each.request.id for item in items for each in item.exchanges}
    pipeline = open_pipeline(tmp_path)
    pipeline.run(until="filter")
    log = pipeline.finished("generate").path / "teacher-completions.jsonl"
    assert asked < {str(row["id"]) for row in read_jsonl(log)}
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again, _ = preview(pipeline)
    assert [item.record.id for item in again] == [item.record.id for item in items]
    assert kept == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}


def test_the_page_holds_texts_as_text(prepared: Path, engine: FakeEngine) -> None:
    items, _ = preview(open_pipeline(prepared))
    items[0].candidate.scores["<script>"] = 1
    items[0].document = "<script>alert(1)</script>"
    show.write_page(items, "a <b>", prepared / "page.html")
    page = (prepared / "page.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert all(item.record.id in page for item in items)


def test_a_task_without_seeds_is_refused_with_those_that_have(
    prepared: Path, engine: FakeEngine
) -> None:
    with Preview(open_pipeline(prepared)) as opened_preview:
        with pytest.raises(TsqaError, match="choose one of alpha, beta"):
            opened_preview.seeds(3, "gsm8k")
        assert {seed.task for seed in opened_preview.seeds(3, "beta")} == {"beta"}


def test_an_untrained_teacher_is_an_error_with_the_command(tmp_path: Path) -> None:
    recipe = REPOSITORY / "recipes" / "smoke" / "recipe.yaml"
    runs = f"runs={tmp_path / 'runs'}"
    pipeline = Pipeline(load_recipe(recipe, [runs]), recipe, [runs])
    with (
        pytest.raises(TsqaError, match=r"not trained yet\n  fix: tsqa train .*teacher.yaml runs="),
        Preview(pipeline),
    ):
        pass


def test_the_record_holds_the_lengths_of_every_request(prepared: Path, engine: FakeEngine) -> None:
    pipeline = open_pipeline(prepared)
    items, record = preview(pipeline)
    assert len(record.uses["generate:teacher"].output_tokens) == engine.asked
    assert record.reached["refusal"] == len(items)
    write_record(pipeline, record)
    assert read_record(pipeline) == record


def test_watching_redoes_a_seed_with_the_engine_up_when_a_prompt_changes(
    prepared: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = prepared / "question.jinja"
    source = "---\nid: mine\nversion: 1\nkind: any\nstop: ['\\n']\n---\nFIRST\nQuestion:"
    prompt.write_text(source)
    shown: list[str] = []
    monkeypatch.setattr(
        watch, "print_items", lambda items, _: shown.append(items[0].exchanges[0].request.prompt)
    )
    edits = iter(["FIRST", "SEC{{ OND", "SECOND"])

    def sleep(_: float) -> None:
        text = next(edits, None)
        if text is None:
            raise KeyboardInterrupt
        prompt.write_text(source.replace("FIRST", text + " " * len(shown)))

    monkeypatch.setattr("tsqa.preview.watch.time.sleep", sleep)
    pipeline = open_pipeline(prepared, f"generate.prompts.question={prompt}")
    starts: list[object] = []

    def start(*told: object) -> AbstractContextManager[FakeEngine]:
        starts.append(told)
        return opened(engine)

    monkeypatch.setattr("tsqa.teachers.client.open_engine", start)
    with Preview(pipeline) as opened_preview:
        seeds = opened_preview.seeds(1, None)
        opened_preview.run(seeds)
        watch.watch_prompts(opened_preview, seeds[0], None)
    assert any("SECOND" in text for text in shown) and len(starts) == 1
    assert json.dumps(shown).count("SEC{{") == 0


def test_steps_that_ask_a_model_show_what_they_asked_and_are_measured_apart(
    prepared: Path, engine: FakeEngine
) -> None:
    weak = (
        "{engine: openai, model: {path: weak}, urls: ['http://127.0.0.1:9/v1'], form: completion}"
    )
    pipeline = open_pipeline(
        prepared, f"filter.triviality={{tries: 2, teacher: {weak}}}", "filter.agreement=0.1"
    )
    items, record = preview(pipeline)
    tried = [d for item in items for d in item.decisions if d.step == "triviality"]
    assert tried and all(len(decision.exchanges) == 2 for decision in tried)
    for decision in tried:
        assert decision.passed != (decision.reason == "solved by the weak model")
    assert len(record.uses["filter:weak"].prompt_tokens) == 2 * len(tried)
    asked = sum(len(use.prompt_tokens) for use in record.uses.values())
    assert asked == engine.asked
    write_record(pipeline, record)
    [node] = [node for node in pipeline.nodes if node.stage == "filter"]
    found = Estimates(pipeline).of(node)
    assert 0 < found.requests.low < found.requests.high <= 36 * 2


def test_an_engine_that_died_is_started_again(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mortal(FakeEngine):
        def collect(self) -> list[Completion]:
            if len(engines) == 1:
                raise EngineError("it died")
            return super().collect()

    engines: list[FakeEngine] = []

    def start(*_: object) -> AbstractContextManager[FakeEngine]:
        engines.append(Mortal())
        return opened(engines[-1])

    monkeypatch.setattr("tsqa.teachers.client.open_engine", start)
    items, _ = preview(open_pipeline(prepared), 2)
    assert len(engines) == 2 and all(item.exchanges[0].completion.is_answer for item in items)
