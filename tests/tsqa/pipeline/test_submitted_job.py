"""Training on Slurm, by stand-ins for its commands: submitted once, found again, judged by its end.

`test_slurm.py` does the same with Slurm itself, where it is installed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

import tsqa.pipeline.submitted_job as module
from tests.support.fake_schedulers import FakeSlurm
from tests.support.paths import REPOSITORY
from tsqa.errors import EngineError, PreemptedError, RecipeError
from tsqa.pipeline.graph import build_graph
from tsqa.pipeline.submitted_job import SubmittedJob, scheduler_of
from tsqa.pipeline.training_job import TrainingJob
from tsqa.recipe import load_recipe
from tsqa.schedulers.slurm import Slurm
from tsqa.shipped import SLURM_SCRIPT
from tsqa.spending import Spending, SpentError

RECIPE = REPOSITORY / "recipes" / "smoke" / "base.yaml"
FINE = ("PENDING|Resources", "RUNNING|None", "end COMPLETED 0:0 made")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    made = FakeSlurm(tmp_path / "slurm", FINE)
    monkeypatch.setenv("PATH", made.path)
    monkeypatch.setattr(Slurm, "look_seconds", 0.01)
    monkeypatch.setattr(module, "_SEE_SECONDS", 0.2)
    return made


def training(slurm: FakeSlurm, *overrides: str, spending: Spending | None = None) -> TrainingJob:
    folder = slurm.folder.parent
    given = [f"runs={folder / 'runs'}", "launch.kind=slurm", *overrides]
    [node] = [n for n in build_graph(load_recipe(RECIPE, given), RECIPE) if n.stage == "train"]
    return TrainingJob(
        node,
        overrides=["train.lr=1e-3"],
        log=folder / "logs" / "train.log",
        metrics=folder / "metrics.jsonl",
        title="train",
        spending=spending or Spending(),
        dollars_per_hour=3600 if spending else 0,  # a dollar a second
        is_done=slurm.has_made,
    )


def name_of(job: TrainingJob) -> str:
    return scheduler_of(job.node).submission.name


def submit(slurm: FakeSlurm, *overrides: str) -> None:
    SubmittedJob(training(slurm, *overrides)).run()


def test_a_job_is_submitted_and_waited_for(
    slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "7")  # of the job that this command runs in
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of this machine
    submit(slurm, "train.processes=2", "launch.machines=2", "launch.options=[--partition=a]")
    words = slurm.lines("arguments")
    assert words[:4] == ["--parsable", "--nodes=2", "--gpus-per-node=1", "--partition=a"]
    assert f"--output={slurm.folder.parent / 'logs' / 'train.log'}" in words
    assert words[words.index(str(SLURM_SCRIPT)) :] == [
        str(SLURM_SCRIPT), str(RECIPE), "train.lr=1e-3", "--arm", "main",
    ]  # fmt: skip
    assert SLURM_SCRIPT.is_file()
    given = dict(line.partition("=")[::2] for line in slurm.lines("environment"))
    assert given["TSQA_PROCESSES"] == "1" and Path(given["TSQA_CONFIG"]).is_file()
    assert not {"SLURM_NTASKS", "OMP_NUM_THREADS"} & given.keys()
    assert len(slurm.lines("submitted")) == 1


def test_a_command_that_starts_again_finds_its_job_and_submits_none(slurm: FakeSlurm) -> None:
    name = name_of(training(slurm))
    (slurm.folder / "job").write_text(f"41 {name}\n")
    submit(slurm)
    assert slurm.lines("submitted") == []


def test_the_job_of_another_folder_is_not_taken_for_ours(slurm: FakeSlurm, tmp_path: Path) -> None:
    elsewhere = name_of(training(slurm, f"runs={tmp_path / 'others'}"))
    assert elsewhere != name_of(training(slurm))
    (slurm.folder / "job").write_text(f"41 {elsewhere}\n")
    submit(slurm)
    assert len(slurm.lines("submitted")) == 1


def test_what_slurm_refuses_is_said_in_its_words(slurm: FakeSlurm) -> None:
    (slurm.folder / "refuses").write_text("sbatch: error: invalid partition specified: gpus\n")
    with pytest.raises(EngineError, match=r"invalid partition specified: gpus\n  fix: correct"):
        submit(slurm)


@pytest.mark.parametrize("how", ["down", "lost"])
def test_a_submission_without_an_answer_is_made_once(slurm: FakeSlurm, how: str) -> None:
    (slurm.folder / how).touch()
    submit(slurm)
    assert len(slurm.lines("submitted")) == 1


def test_a_controller_out_of_reach_is_waited_for(
    slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm.plan("RUNNING|None", *["silent"] * 3, "RUNNING|None", "end COMPLETED 0:0 made")
    submit(slurm)
    assert capsys.readouterr().err.count("Slurm does not answer") == 1


def test_it_is_not_waited_for_without_end(slurm: FakeSlurm) -> None:
    slurm.plan("RUNNING|None", "silent")
    with pytest.raises(EngineError, match=r"did not answer for 0\.002 minutes: squeue: .*contact"):
        submit(slurm, "launch.patience_minutes=0.002")


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("CANCELLED 0:15", r"ended CANCELLED with code 143.*last words\n  fix: the same command"),
        ("OUT_OF_MEMORY 0:125", r"ended OUT_OF_MEMORY.*\n  fix: lower train.micro_batch_size"),
        ("FAILED 1:0", r"job 100 ended FAILED with code 1; last lines of .*last words"),
        ("COMPLETED 0:0", r"ended COMPLETED without its artifact.*not edited"),
    ],
)
def test_a_job_that_fails_is_judged_by_its_state_and_last_words(
    slurm: FakeSlurm, end: str, said: str
) -> None:
    job = training(slurm)
    job.log.parent.mkdir()
    job.log.write_text("of an earlier job\n")
    slurm.plan("RUNNING|None", f"end {end}")
    run = SubmittedJob(job)

    def speak() -> None:
        while not slurm.lines("submitted"):
            time.sleep(0.01)
        with job.log.open("a") as log:
            log.write("last words\n")

    thread = threading.Thread(target=speak)
    thread.start()
    with pytest.raises(EngineError) as raised:
        run.run()
    thread.join()
    assert re.search(said, str(raised.value), re.DOTALL)
    assert "of an earlier job" not in str(raised.value)
    assert len(slurm.lines("submitted")) == 1


def test_a_log_that_never_comes_is_no_reason_to_crash(slurm: FakeSlurm) -> None:
    slurm.plan("end FAILED 2:0")
    with pytest.raises(EngineError, match=r"with code 2; .*\n    \(it cannot be read: No such"):
        submit(slurm)


def test_the_accounting_is_asked_where_the_controller_has_forgotten(slurm: FakeSlurm) -> None:
    (slurm.folder / "job").write_text("7 another\n")  # never in our queue
    (slurm.folder / "accounting").write_text("CANCELLED by 1000|0:0\n")
    slurm.plan("end COMPLETED 0:0")
    (slurm.folder / "bin" / "squeue").write_text("#!/bin/bash\n")
    with pytest.raises(EngineError, match="ended CANCELLED"):
        submit(slurm)
    (slurm.folder / "accounting").unlink()
    with pytest.raises(EngineError, match="is gone, and nobody knows how it ended"):
        submit(slurm)


def test_a_state_that_is_not_known_is_refused_and_the_job_goes_on(slurm: FakeSlurm) -> None:
    slurm.plan("RUNNING|None", "EXPLODED|None")
    with pytest.raises(EngineError, match="'EXPLODED', a state that is not known here"):
        submit(slurm)
    assert slurm.lines("said") == []


def test_a_job_that_slurm_queues_again_is_waited_for(
    slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm.plan("RUNNING|None", "PENDING|BeginTime", "PENDING|JobHeldUser", *FINE[1:])
    submit(slurm)
    assert len(slurm.lines("submitted")) == 1
    said = capsys.readouterr().err
    assert "job 100 was ended before its time, and is queued again" in said
    assert "`scontrol release 100`" in said


@pytest.mark.parametrize("end", ["NODE_FAIL 0:0", "PREEMPTED 0:15", "FAILED 75:0", "TIMEOUT 0:0"])
def test_a_job_that_slurm_does_not_queue_again_is_submitted_again(
    slurm: FakeSlurm, end: str
) -> None:
    slurm.plan("RUNNING|None", f"end {end}", "RUNNING|None", *FINE)
    submit(slurm)
    assert len(slurm.lines("submitted")) == 2


def test_but_not_for_ever_where_it_gets_nowhere(slurm: FakeSlurm) -> None:
    slurm.plan(*["RUNNING|None", "end NODE_FAIL 0:0"] * 9)
    with pytest.raises(EngineError, match="as the 2 before it, none of which came further"):
        submit(slurm)
    assert len(slurm.lines("submitted")) == 3


def test_a_job_that_gets_further_each_time_goes_on(
    slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = iter(range(1_000_000))
    monkeypatch.setattr(TrainingJob, "trained_tokens", property(lambda job: next(tokens)))
    slurm.plan(*["RUNNING|None", "end PREEMPTED 0:0"] * 5, *FINE)
    submit(slurm)
    assert len(slurm.lines("submitted")) == 6


def test_sigterm_ends_the_wait_and_not_the_job(slurm: FakeSlurm) -> None:
    slurm.plan("RUNNING|None")

    def ask() -> None:
        while not slurm.lines("submitted"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    with pytest.raises(PreemptedError, match="by SIGTERM; job 100 goes on"):
        submit(slurm)
    assert slurm.lines("said") == []


def test_a_job_that_becomes_too_dear_saves_and_is_not_queued_again(slurm: FakeSlurm) -> None:
    slurm.plan(*["RUNNING|None"] * 4, "end FAILED 75:0")
    with pytest.raises(SpentError, match="going on with train could pass"):
        SubmittedJob(training(slurm, spending=Spending(limit=0.001))).run()
    assert slurm.lines("said")[:2] == [
        "scontrol update JobId=100 Requeue=0", "scancel --signal=TERM 100",
    ]  # fmt: skip
    assert len(slurm.lines("submitted")) == 1


def test_a_job_that_is_too_dear_is_ended_although_slurm_does_not_answer_at_once(
    slurm: FakeSlurm,
) -> None:
    silent = slurm.folder / "bin" / "scancel"
    answers = silent.read_text()
    silent.write_text(f"{answers}[ $(grep -c scancel $F/said) -gt 1 ]\n")
    slurm.plan(*["RUNNING|None"] * 6, "end FAILED 75:0")
    with pytest.raises(SpentError):
        SubmittedJob(training(slurm, spending=Spending(limit=0.001))).run()
    assert [said for said in slurm.lines("said") if "TERM" in said] == [
        "scancel --signal=TERM 100"
    ] * 2


def test_a_machine_without_slurm_says_so(slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(slurm.folder))
    with pytest.raises(EngineError, match="squeue: no such command here"):
        submit(slurm)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["launch.machines=2"], "machines is of kind slurm or sky or k8s, and kind is local"),
        (["launch.kind=slurm", "launch.machines=3", "train.processes=2"], "spread evenly"),
        (["launch.kind=command"], "needs `command`"),
        (["launch.kind=command", "launch.command='ssh a {trainning}'"], "stands for nothing"),
        (["launch.kind=command", "launch.command='true'"], "it trains no arm"),
        (["launch.kind=slurm", "launch.options=[--job-name=x]"], "by this a job is found again"),
        (["launch.kind=slurm", "launch.options=[--clusters=x]"], "by this a job is found again"),
        (["launch.kind=slurm", "launch.options=[-N2]"], "give launch.machines instead"),
        (["launch.kind=slurm", "launch.options=[partition]"], "is no option"),
    ],
)
def test_keys_that_would_not_be_read_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe(RECIPE, overrides)


def test_how_arms_are_launched_is_in_no_fingerprint(slurm: FakeSlurm) -> None:
    here = training(slurm).node
    there = training(slurm, "launch={kind: command, command: 'x {training}'}").node
    assert here.fingerprint == there.fingerprint
    assert json.dumps(here.config) == json.dumps(there.config)
