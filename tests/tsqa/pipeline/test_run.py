"""The pipeline around the stages; the real ones run in test_smoke.py."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tsqa.pipeline.run as pipeline_module
from tests.support.paths import REPOSITORY
from tsqa.errors import DataError, EngineError, RecipeError, TsqaError
from tsqa.pipeline import training_job
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.store import manifest
from tsqa.store.stage import StageContext

SMOKE = REPOSITORY / "recipes" / "smoke" / "base.yaml"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace every in-process stage by one that writes a file, and record the calls."""
    made: list[str] = []

    def import_fake(module: str) -> Any:
        def run(context: StageContext) -> dict[str, Any]:
            made.append(module)
            (context.out / "file.txt").write_text(module)
            return {"documents": 3}

        return SimpleNamespace(run=run)

    monkeypatch.setattr(pipeline_module.importlib, "import_module", import_fake)
    return made


def open_pipeline(runs: Path, *overrides: str) -> Pipeline:
    given = [f"runs={runs}", "tracking.mode=disabled", *overrides]
    return Pipeline(load_recipe(SMOKE, given), SMOKE, given)


def test_a_second_run_makes_nothing(tmp_path: Path, calls: list[str]) -> None:
    open_pipeline(tmp_path).run(until="tokenize")
    assert calls == ["tsqa.tasks.toy", "train.data.tokenizer", "train.tokens.tokenize"]
    open_pipeline(tmp_path).run(until="tokenize")
    assert len(calls) == 3


def test_a_second_recipe_of_one_name_is_told_whose_report_it_replaces(
    tmp_path: Path, calls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.yaml"
    copy.write_text(f"extends: {SMOKE}\nname: smoke-base\n")
    copied = Pipeline(load_recipe(copy, [f"runs={tmp_path}"]), copy, [])
    open_pipeline(tmp_path).run(until="data")
    open_pipeline(tmp_path, "data.seed=1").check()
    assert "too: this run replaces" not in capsys.readouterr().err
    copied.check()
    said = " ".join(capsys.readouterr().err.split())
    assert f"base.yaml is named smoke-base, too: this run replaces its report in {tmp_path}" in said
    copy.write_text(copy.read_text().replace("name: smoke-base", "name: other"))
    open_pipeline(tmp_path).check()
    assert "too: this run replaces" not in capsys.readouterr().err


def test_where_nothing_is_held_out_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The base of the smoke recipe evaluates nothing; a stream may be left unchecked."""
    unchecked = ("eval={tasks: [mini_day], include: '{data}/tasks'}", "mixture.decontaminate=false")
    for overrides, told in (((), "no section `eval`"), (unchecked, "mixture.decontaminate: false")):
        open_pipeline(tmp_path, *overrides).check()
        assert f"{told}: NOTHING IS HELD OUT" in " ".join(capsys.readouterr().err.split())
    open_pipeline(tmp_path, unchecked[0]).check()
    assert "HELD OUT" not in capsys.readouterr().err


def test_a_model_that_is_nowhere_is_said_by_a_dry_run_and_refused_by_a_run(
    tmp_path: Path,
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pipeline = open_pipeline(
        tmp_path, "model={path: models/not-made-yet, config: null}", "tokenizer=null"
    )
    pipeline.check()
    said = "model.path = models/not-made-yet"
    assert capsys.readouterr().err.count(said) == 1
    with pytest.raises(RecipeError, match=f"{said}: no such folder, and not to be had"):
        pipeline.run()
    assert not calls


@pytest.mark.parametrize(
    ("key", "override"),
    [
        ("filter.dedup.semantic.model", "filter.dedup.semantic={model: models/not-made-yet}"),
        (
            "filter.decontaminate.semantic.model",
            "filter.decontaminate.semantic={model: models/not-made-yet}",
        ),
        ("audit.gradients.model", "audit={gradients: {model: models/not-made-yet}}"),
    ],
)
def test_a_model_of_the_filter_and_its_audit_is_asked_for_before_teachers_are(
    key: str, override: str, tmp_path: Path
) -> None:
    given = [f"runs={tmp_path}", "tracking.mode=disabled", override]
    recipe = SMOKE.with_name("recipe.yaml")
    with pytest.raises(RecipeError, match=f"{key} = models/not-made-yet: no such folder"):
        Pipeline(load_recipe(recipe, given), recipe, given).run()


def test_a_changed_setting_is_named_and_the_old_artifact_stays(
    tmp_path: Path, calls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    old = open_pipeline(tmp_path).run(until="data")["data"]
    new = open_pipeline(tmp_path, "data.seed=7").run(until="data")["data"]
    assert "running: data.seed 0 -> 7" in capsys.readouterr().err
    assert old.path != new.path
    assert (old.path / "file.txt").exists()


def test_a_stage_that_fails_leaves_nothing_that_counts_as_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    def fail(context: StageContext) -> dict[str, Any]:
        (context.out / "half.txt").write_text("half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(
            pipeline_module.importlib, "import_module", lambda name: SimpleNamespace(run=fail)
        )
        with pytest.raises(OSError, match="No space left"):
            open_pipeline(tmp_path).run(until="data")
    failed = open_pipeline(tmp_path)
    assert failed.find(failed.nodes[0]) is None
    assert open_pipeline(tmp_path).run(until="data")["data"].summary["documents"] == 3


def test_a_training_job_that_dies_shows_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    monkeypatch.setattr(training_job, "LAUNCH_CONFIG", tmp_path / "nowhere.yaml")
    monkeypatch.setattr(pipeline_module, "print_mixture_plan", lambda recipe, inputs: None)
    with pytest.raises(EngineError, match=r"nowhere\.yaml"):
        open_pipeline(tmp_path).run(until="train")


def test_training_without_its_tokens_names_the_command_to_run(tmp_path: Path) -> None:
    recipe = load_recipe(SMOKE, [f"runs={tmp_path}"])
    training = pipeline_module.Training(recipe, SMOKE, "main")
    with pytest.raises(TsqaError, match=r"tsqa tokenize \S"), ExitStack() as scope:
        training.open(scope)
    with pytest.raises(TsqaError, match=r"tsqa tokenize \S"):
        training.join()


def test_the_command_for_another_recipe_s_model_builds_it_where_this_one_looks(
    tmp_path: Path,
) -> None:
    path = SMOKE.with_name("recipe.yaml")
    pipeline = Pipeline(load_recipe(path, [f"runs={tmp_path}"]), path, [f"runs={tmp_path}"])
    [base] = [node for node in pipeline.nodes if pipeline.label(node) == "smoke-base/train"]
    recipe, runs = pipeline.told(base).split()
    assert [load_recipe(Path(recipe), [runs]).name, runs] == ["smoke-base", f"runs={tmp_path}"]


def test_what_is_not_built_is_named_by_a_command_with_the_overrides(tmp_path: Path) -> None:
    pipeline = open_pipeline(tmp_path)
    node = next(node for node in pipeline.nodes if node.stage == "tokenize")
    said = rf"fix: tsqa \w+ {SMOKE} runs={tmp_path} tracking\.mode=disabled"
    with pytest.raises(TsqaError, match=said):
        pipeline.inputs_of(node)
    with pytest.raises(TsqaError, match=said):
        pipeline.finished("tokenizer")


def test_a_damaged_artifact_is_an_error_and_neither_used_nor_made_again(
    tmp_path: Path, calls: list[str]
) -> None:
    made = open_pipeline(tmp_path).run(until="tokenize")["data"].path / "file.txt"
    made.write_text("tsqa.Miniature")
    manifest._READ.clear()  # as another process would
    for until in ("data", "tokenize"):
        with pytest.raises(DataError, match=r"(?s)data/\w+/file\.txt: changed.*will be rebuilt"):
            open_pipeline(tmp_path).run(until=until)
    assert len(calls) == 3 and made.read_text() == "tsqa.Miniature"
    shutil.rmtree(made.parent)
    open_pipeline(tmp_path).run(until="tokenize")
    assert calls[3:] == ["tsqa.tasks.toy"]


def test_a_large_input_is_read_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    monkeypatch.setattr(manifest, "SMALL", 1)
    made = open_pipeline(tmp_path).run(until="data")["data"].path / "file.txt"
    made.write_text("tsqa.Miniature")
    with pytest.raises(DataError, match=r"file\.txt: changed since it was written"):
        open_pipeline(tmp_path).run(until="tokenize")
    assert calls == ["tsqa.tasks.toy"]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.jsonl"
    path.write_text('{"text": "a"}\n')
    return path


def test_a_file_that_is_edited_before_its_stage_begins_is_noticed(
    tmp_path: Path, book: Path, calls: list[str]
) -> None:
    opened = open_pipeline(tmp_path, f"mixture.sources.docs.path={book}")
    book.write_text('{"text": "b"}\n')
    with pytest.raises(DataError, match=r"tokenize:docs: an input changed since .*path\.blake3"):
        opened.run(until="tokenize")
    assert "train.tokens.tokenize" not in calls
    open_pipeline(tmp_path, f"mixture.sources.docs.path={book}").run(until="tokenize")


def test_a_file_that_is_edited_while_its_stage_reads_it_makes_no_artifact(
    tmp_path: Path, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def import_fake(module: str) -> Any:
        def run(context: StageContext) -> dict[str, Any]:
            if module == "train.tokens.tokenize":
                (context.out / "half.txt").write_text("half")
                book.write_text('{"text": "b"}\n')
            return {}

        return SimpleNamespace(run=run)

    monkeypatch.setattr(pipeline_module.importlib, "import_module", import_fake)
    opened = open_pipeline(tmp_path, f"mixture.sources.docs.path={book}")
    with pytest.raises(DataError, match="tokenize:docs: an input changed while the stage read it"):
        opened.run(until="tokenize")
    node = next(node for node in opened.nodes if node.stage == "tokenize")
    assert opened.find(node) is None
    assert not opened.store.partial_path_of(node.stage, node.fingerprint).exists()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("seeds.hold_out=[oven]", "hold_out names oven, which is no family"),
        ("seeds.allow_leaks=[oven]", "allow_leaks names oven, which is no source"),
        ("seeds.budget={total: 9, capabilities: {cooking: 0.5}}", "the capability cooking"),
        ("eval.protocols={mini_day: {metric: oven}}", "it reports acc, acc_norm, and none of oven"),
        ("eval.include={data}/tasks/oven", "the tasks are in another folder"),
        ("mixture.sources.docs.path={data}docs.jsonl", "`data` makes no such file"),
    ],
)
def test_what_names_nothing_that_the_data_stage_will_make_is_refused_before_it(
    override: str, told: str, tmp_path: Path
) -> None:
    recipe = SMOKE.parent / "recipe.yaml"
    given = [f"runs={tmp_path}", "tracking.mode=disabled", override]
    with pytest.raises(RecipeError, match=told):
        Pipeline(load_recipe(recipe, given), recipe, given).run(until="data")
    assert not (tmp_path / "artifacts" / "data").exists()


def test_protocols_of_every_arm_are_looked_at(tmp_path: Path) -> None:
    recipe = SMOKE.parent / "recipe.yaml"
    axis = "ablation.axes={eval.protocols: [{mini_day: {metric: acc}}, {mini_day: {metric: oven}}]}"
    control = "ablation.control={eval.protocols: {mini_day: {metric: acc}}}"
    given = [f"runs={tmp_path}", "tracking.mode=disabled", axis, control]
    with pytest.raises(RecipeError, match="none of oven"):
        Pipeline(load_recipe(recipe, given), recipe, given).check()


def test_a_family_of_no_task_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = SMOKE.parent / "recipe.yaml"
    families = "seeds.families={'mini_*': a, 'oven_*': b, mini_unit: c}"
    given = [f"runs={tmp_path}", "tracking.mode=disabled", families]
    Pipeline(load_recipe(recipe, given), recipe, given).check()
    assert "seeds.families names oven_*: of no task" in capsys.readouterr().err
