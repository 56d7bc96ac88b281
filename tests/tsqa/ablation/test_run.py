"""`tsqa ablate`: what is shared runs once, a failed arm stops no other, a rerun completes it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tsqa.ablation.run as ablate_module
import tsqa.ablation.worker as worker_module
import tsqa.pipeline.run as pipeline_module
from tests.support.paths import REPOSITORY
from tests.support.wandb_records import OfflineRun, read_runs
from tsqa.ablation.plan import arm_works, print_ablation
from tsqa.ablation.run import ablate
from tsqa.ablation.worker import ArmOrder, ArmResult, ArmWorker, run_worker
from tsqa.errors import EngineError, PreemptedError, RecipeError, TsqaError
from tsqa.pipeline.garbage import find_garbage
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.spending import Spending, SpentError
from tsqa.store.artifact import Artifact
from tsqa.store.stage import StageContext

SMOKE = REPOSITORY / "recipes" / "smoke" / "recipe.yaml"
TOKENS = {"sequence_length": 128, "dtype": "uint16", "vocab_size": 512, "eos_token_id": 1}
ABLATIONS = sorted((REPOSITORY / "recipes" / "ablations").glob("*.yaml"))


class InProcess:
    """A worker of the same answers without a process; its pipeline is its own, as a process's."""

    def __init__(self, pipeline: Pipeline, number: int, threads: int) -> None:
        self.pipeline = Pipeline(pipeline.recipe, pipeline.origin, pipeline.overrides)

    def build(self, order: ArmOrder) -> ArmResult:
        answers = io.StringIO()
        run_worker(self.pipeline, io.StringIO(json.dumps(asdict(order)) + "\n"), answers)
        result = ArmResult(**json.loads(answers.getvalue()))
        assert result.arm == order.arm
        return result

    def close(self) -> None: ...


class World:
    """Fake stages that count their runs, and fail where they are told to."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.failing: set[str] = set()
        self.reports: list[dict[str, str]] = []
        self.dollars = 0.0
        """What each training costs."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    def write(context: StageContext, label: str) -> dict[str, Any]:
        world.made.append(label)
        if label in world.failing:
            raise EngineError(f"{label}: out of memory")
        (context.out / "file.txt").write_text(label)
        if context.recipe.mixture:
            rows = {"rows": 10_000, "padding": 0, "answers_only": False}
            made = TOKENS | {"sources": dict.fromkeys(context.recipe.mixture.sources, rows)}
            (context.out / "sources.json").write_text(json.dumps(made))
        return {"documents": 3}

    def import_fake(module: str) -> Any:
        def run(context: StageContext) -> dict[str, Any]:
            stage = module.split(".")[-2]
            votes = context.recipe.generate.votes if context.recipe.generate else ""
            return write(context, f"{stage}:{votes}" if stage == "generate" else stage)

        return SimpleNamespace(run=run)

    def train(self: Pipeline, node: Node) -> None:
        with self.open_stage(node) as (context, commit):
            if context is not None:
                if not self.spending.affords(world.dollars):
                    raise SpentError(self.spending, f"going on with {self.label(node)}")
                self.spending.add(world.dollars)
                commit(write(context, self.label(node)))

    def log(pipeline: Pipeline, compared: Artifact, page: Path, failed: Mapping[str, str]) -> None:
        world.reports.append({"roles": " ".join(compared.manifest.inputs), **failed})

    monkeypatch.setattr(Pipeline, "_launch_training", train)
    monkeypatch.setattr(ablate_module, "ArmWorker", InProcess)
    monkeypatch.setattr(
        "tsqa.pipeline.report.write_report", lambda pipeline, failed: Path("r.html")
    )
    monkeypatch.setattr("tsqa.ablation.wandb_summary.log_ablation", log)
    only = SimpleNamespace(import_module=import_fake)  # what the stages import stays
    monkeypatch.setattr(pipeline_module, "importlib", only)
    return world


def open_pipeline(runs: Path, *overrides: str) -> Pipeline:
    given = [f"runs={runs}", "tracking.mode=disabled", *overrides]
    return Pipeline(load_recipe(SMOKE, given), SMOKE, given)


def test_every_stage_runs_once_and_a_second_ablation_runs_nothing(
    tmp_path: Path, world: World
) -> None:
    assert not ablate(open_pipeline(tmp_path, "ablation.seeds=[1,2]"), parallel=2).failed
    assert sorted(name for name in world.made if name.startswith("train:")) == [
        f"train:synthetic={ratio},seed={seed}" for ratio in ("0", "0.5") for seed in (1, 2)
    ]
    assert world.made.count("harness") == 5 and world.made.count("generate:3") == 1
    made = len(world.made)
    assert not ablate(open_pipeline(tmp_path, "ablation.seeds=[1,2]"), parallel=2).failed
    assert len(world.made) == made


def test_what_the_workers_built_counts_as_built_by_this_run(tmp_path: Path, world: World) -> None:
    world.failing = {"train:synthetic=0.5"}
    first = open_pipeline(tmp_path)
    ablate(first, parallel=1)
    assert first.ran == {node.fingerprint for node in first.nodes}
    world.failing = set()
    second = open_pipeline(tmp_path)
    ablate(second, parallel=1)
    built = [node.label for node in second.nodes if node.fingerprint in second.ran]
    assert built == ["train:synthetic=0.5", "evaluate:synthetic=0.5", "compare"]


def test_each_stage_says_which_of_its_keys_and_inputs_changed(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    ablate(open_pipeline(tmp_path), parallel=1)
    capsys.readouterr()
    ablate(open_pipeline(tmp_path, "filter.agreement=0.5"), parallel=1)
    said = " ".join(capsys.readouterr().err.split())
    assert "filter running: filter.agreement 0.4 -> 0.5" in said
    assert "tokenize:synthetic running: input filter changed" in said
    assert "2 arms: 2 reused, 0 to run" in said, "the tokens came out as they were"
    assert "compare running: input filter changed" in said


def test_what_is_said_of_the_stages_stands_in_one_column(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "'the control of it all [x]'"
    arms = f"[{{name: {name}, train.lr: 0.1}}, {{train.lr: 0.2}}]"
    pipeline = open_pipeline(tmp_path, f"ablation={{arms: {arms}, control: {name}}}")
    pipeline.run()
    lines = [line for line in capsys.readouterr().err.splitlines() if " running: " in line]
    assert len({line.index(" running: ") for line in lines}) == 1
    assert any(line.startswith("evaluate:the control of it all [x] ") for line in lines)


def test_a_failed_arm_stops_no_other_and_a_rerun_completes_the_comparison(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.failing = {"train:synthetic=0.5,seed=1"}
    outcome = ablate(open_pipeline(tmp_path, "ablation.seeds=[1,2]"), parallel=1)
    assert "out of memory" in outcome.failed["synthetic=0.5,seed=1"] and len(outcome.failed) == 1
    assert "failed synthetic=0.5,seed=1" in capsys.readouterr().err
    assert "arm:synthetic=0.5,seed=2" in world.reports[0]["roles"].split()
    assert "arm:synthetic=0.5,seed=1" not in world.reports[0]["roles"].split()
    world.failing, world.made = set(), []
    again = ablate(open_pipeline(tmp_path, "ablation.seeds=[1,2]"), parallel=1)
    assert not again.failed
    assert world.made == ["train:synthetic=0.5,seed=1", "harness", "compare"]
    assert again.compared and outcome.compared and again.compared.path != outcome.compared.path


def test_data_that_cannot_be_made_fails_the_arms_that_need_it_only(
    tmp_path: Path, world: World
) -> None:
    world.failing = {"generate:1"}
    axes = "ablation={axes: {generate.votes: [1, 3]}, control: {generate.votes: 3}}"
    outcome = ablate(open_pipeline(tmp_path, axes), parallel=1)
    assert list(outcome.failed) == ["votes=1"] and "generate:votes=1" in outcome.failed["votes=1"]
    assert "train:votes=3" in world.made and outcome.compared is not None


@pytest.mark.parametrize("parallel", [1, 2])
def test_a_limit_holds_for_all_arms_and_a_rerun_goes_on(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, parallel: int
) -> None:
    def limit(pipeline: Pipeline, dollars: float) -> None:  # without estimates
        pipeline.spending.limit = dollars

    monkeypatch.setattr(worker_module, "limit_dollars", limit)
    world.dollars = 10
    given = ("ablation.seeds=[1,2]", "dollars_per_gpu_hour=1")  # four arms
    attempts = 0
    while True:
        pipeline = open_pipeline(tmp_path, *given)
        pipeline.spending.limit = 25
        attempts += 1
        try:
            outcome = ablate(pipeline, parallel)
        except SpentError as error:
            assert "--max-dollars 25.00" in str(error) and "going on with train:" in str(error)
            assert 10 <= pipeline.spending.dollars <= 25
            assert not world.reports  # only what is whole is compared
            continue
        break
    assert attempts > 1 and not outcome.failed and len(world.reports) == 1
    trained = [name for name in world.made if name.startswith("train:")]
    assert len(trained) == len(set(trained)) == 4


@pytest.mark.parametrize("error", [SpentError(Spending(5), "another"), PreemptedError("another")])
def test_a_limit_or_sigterm_ends_an_ablation_before_its_arms(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, error: TsqaError
) -> None:
    def ensure(self: Pipeline, node: Node) -> Artifact:
        raise error

    monkeypatch.setattr(Pipeline, "ensure", ensure)
    pipeline = open_pipeline(tmp_path)
    pipeline.spending.limit = 5
    with pytest.raises(type(error), match="another"):
        ablate(pipeline, parallel=1)


def test_what_is_finished_is_remembered_before_the_ablation_ends(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else `tsqa gc` would remove it after a kill."""

    class Killed(InProcess):
        def build(self, order: ArmOrder) -> ArmResult:
            if "train:synthetic=0" in world.made:
                raise KeyboardInterrupt
            return super().build(order)

    monkeypatch.setattr(ablate_module, "ArmWorker", Killed)
    with pytest.raises(KeyboardInterrupt):
        ablate(open_pipeline(tmp_path), parallel=1)
    assert "train:synthetic=0" in world.made and "train:synthetic=0.5" not in world.made
    assert find_garbage(tmp_path, []) == []


def test_what_arms_share_is_remembered_at_once(tmp_path: Path, world: World) -> None:
    class Stop(BaseException): ...

    pipeline = open_pipeline(tmp_path)
    [generate] = [node for node in pipeline.nodes if node.stage == "generate"]

    def stop(node: Node) -> float:
        if node.stage == "filter":
            raise Stop
        return 0.0

    pipeline.least_dollars = stop
    with pytest.raises(Stop):
        ablate(pipeline, parallel=1)
    assert pipeline.find(generate) and find_garbage(tmp_path, []) == []


def test_without_its_control_nothing_is_compared(tmp_path: Path, world: World) -> None:
    world.failing = {"train:synthetic=0"}
    outcome = ablate(open_pipeline(tmp_path), parallel=1)
    assert set(outcome.failed) == {"synthetic=0", "compare"} and outcome.compared is None
    assert "train:synthetic=0.5" in world.made


def test_a_worker_that_dies_fails_its_arm_with_the_tail_of_its_log(tmp_path: Path) -> None:
    worker = ArmWorker(open_pipeline(tmp_path), 0, 1)
    dying = "import sys; sys.stdin.readline(); sys.stderr.write('killed by me'); sys.exit(3)"
    worker._command = [sys.executable, "-c", dying]
    for _ in range(2):
        result = worker.build(ArmOrder("synthetic=0", 7.0))
        error = result.error
        assert error and "ended with code 3" in error and error.endswith("killed by me")
        assert result.dollars == 7 and not result.stopped  # what it spent is not known
    worker.close()


WAITING = """
import json, signal, sys, time
order = json.loads(sys.stdin.readline())
def save(number, frame):
    answer = {"arm": order["arm"], "error": "saved", "dollars": 0, "preempted": True}
    print(json.dumps(answer), flush=True)
signal.signal(signal.SIGTERM, save)
sys.stderr.write("trains"); sys.stderr.flush()
sys.stdin.readline()
"""


@pytest.mark.parametrize("script", [WAITING, "import sys; sys.stderr.write('trains');"
                                    "sys.stderr.flush(); import time; time.sleep(60)"])  # fmt: skip
def test_sigterm_lets_the_arms_save_and_ends_the_ablation(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    class Waiting(ArmWorker):
        def __init__(self, pipeline: Pipeline, number: int, threads: int) -> None:
            super().__init__(pipeline, number, threads)
            self._command = [sys.executable, "-c", script]

    def ask() -> None:
        while len(["" for log in tmp_path.rglob("arms-*.log") if log.stat().st_size]) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ablate_module, "ArmWorker", Waiting)
    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=ask, daemon=True).start()
    with pytest.raises(PreemptedError, match=r"by SIGTERM; 4 of 4 arms are left\n  fix: run the"):
        ablate(open_pipeline(tmp_path, "ablation.seeds=[1,2]"), parallel=2)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not world.reports


def test_a_worker_that_is_asked_to_end_while_it_starts_ends(tmp_path: Path) -> None:
    worker = ArmWorker(open_pipeline(tmp_path), 0, 1)
    worker._command = [sys.executable, "-c", "import time; time.sleep(60)"]
    worker.end()
    assert worker.build(ArmOrder("synthetic=0", None)).preempted
    worker.close()


def test_what_arms_share_is_told_apart_from_their_own(tmp_path: Path) -> None:
    axes = "ablation={axes: {generate.votes: [1, 3]}, control: {generate.votes: 3}}"
    works = arm_works(open_pipeline(tmp_path, axes))
    for work in works:
        assert {node.stage for node in work.own} == {"train", "evaluate"}
        assert {node.stage for node in work.data} == {"generate", "filter", "tokenize"}
        assert "seeds" in {node.stage for node in work.shared}


def test_a_recipe_without_an_ablation_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="tsqa run"):
        arm_works(open_pipeline(tmp_path, "ablation=null"))


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_every_shipped_ablation_can_be_planned(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"runs={tmp_path}", "tracking.mode=disabled"]
    pipeline = Pipeline(load_recipe(path, given), path, given)
    print_ablation(pipeline, 1)
    printed = capsys.readouterr().err
    for name in pipeline.arms:
        assert name in printed
    assert not list(tmp_path.glob("*")), "planning writes nothing"
    budgets = {arm.recipe.mixture and arm.recipe.mixture.tokens for arm in pipeline.arms.values()}
    assert budgets == {450_000}
    counts = {stage: sum(node.stage == stage for node in pipeline.nodes) for stage in ("data",)}
    assert counts == {"data": 1}


def test_the_finished_dataset_of_arms_with_several_must_be_chosen(tmp_path: Path) -> None:
    axes = "ablation={axes: {generate.votes: [1, 3]}, control: {generate.votes: 3}}"
    with pytest.raises(TsqaError, match=r"2 different filter artifacts: filter:votes=3"):
        open_pipeline(tmp_path, axes).finished("filter")


def start(runs: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "WANDB_MODE": "offline"}
    with (runs.parent / "log").open("ab") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "tsqa.cli.app", "ablate"),
                *("recipes/smoke/base.yaml", f"runs={runs}", "--parallel", "2"),
                "ablation={axes: {train.lr: [0.001, 0.002]}, control: {train.lr: 0.001}}",
                "eval={tasks: [mini_day], include: '{data}/tasks', bootstrap: 100}",
            ],
            cwd=REPOSITORY,
            env=environment,
            stdout=log,
            stderr=log,
        )


def wait_for(found: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not found() and process.poll() is None:
        time.sleep(0.1)


@pytest.mark.engine
def test_an_ablation_that_is_killed_continues_and_its_runs_are_one_group(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    killed = start(runs)
    wait_for(lambda: bool(list(runs.glob("artifacts/train/*.partial"))), killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    again = start(runs)
    assert again.wait() == 0, (tmp_path / "log").read_text()[-3000:]
    [deltas] = runs.glob("artifacts/compare/*/deltas.json")
    assert set(json.loads(deltas.read_text())["scores"]) == {"lr=0.001", "lr=0.002"}
    tracked = read_runs(runs)
    assert {run.run.run_group for run in tracked.values()} == {"smoke-base"}
    [total] = [run for run in tracked.values() if run.run.job_type == "ablation"]
    assert total.run.run_id == f"ablation-{deltas.parent.name}" and total.exit_code == 0
    written = json.loads(deltas.read_text())
    rows = total.table("deltas")
    assert rows["data"] == [[row[name] for name in rows["columns"]] for row in written["rows"]]
    assert total.summary["macro/lr=0.002"] == written["scores"]["lr=0.002"]["macro"]
    assert {name.split("/")[1] for name in total.files if name.startswith("media/")} == {
        *("table", "plotly", "html"),
    }
    trained = [run for run in tracked.values() if run.run.job_type == "train"]
    lrs = {run.run.run_id: run.config["ablation/train.lr"] for run in trained}
    assert sorted(lrs.values()) == [0.001, 0.002]
    assert {run.run.display_name: run.config["ablation/train.lr"] for run in trained} == {
        f"lr={value} / train / {run_id.removeprefix('train-')}": value
        for run_id, value in lrs.items()
    }
    check_runs(tracked, total, written)


def check_runs(tracked: dict[str, OfflineRun], total: OfflineRun, written: dict[str, Any]) -> None:
    """Each run has the x-axis, names, tags and tables of its job type."""
    for run in tracked.values():
        fingerprint = run.run.run_id.partition("-")[2]
        assert run.run.display_name.endswith(f" / {run.run.job_type} / {fingerprint}")
        assert "recipe:smoke-base" in run.run.tags
        has_axis = any("train/tokens" in row for row in run.history)
        assert has_axis == (run.run.job_type == "train"), run.run.job_type
        if run.run.job_type == "train":
            tokens = [row["train/tokens"] for row in run.history if "train/loss" in row]
            assert tokens == sorted(tokens) and tokens[0] > 0
        if run.run.job_type == "evaluate":
            documents = run.table("eval/documents")
            assert len(documents["data"]) == run.summary["eval/documents_scored"] > 0
    lines = total.table("change_table")["data"]
    assert len(lines) == 3 * len(written["rows"])
    row = written["rows"][0]
    assert [x for x, *_ in lines[:3]] == [100 * row[key] for key in ("low", "delta", "high")]
    assert written["conclusion"] in total.run.notes
