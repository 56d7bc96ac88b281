"""Processes and engines do not change scores; a death is explained."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval.harness import remote, worker
from eval.harness import stage as harness
from eval.harness.engines import ModelSettings, resolve_backend, scored_by
from eval.harness.remote import RemoteModel
from eval.results import DOCUMENTS, RESULTS
from tests.eval.harness.test_stage import context_of
from tests.support.tiny_eval import make_model, make_tasks
from tsqa.errors import EngineError

TASKS = ["tiny_choice", "tiny_number"]
TOLERANCE = 1e-3
"""Nats by which the log-probability of a choice may differ between the engines, in float32."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    make_model(root / "trained" / "hf")
    make_model(root / "dense" / "hf", "nemotron")
    make_tasks(root / "tasks")
    return root


def rows(out: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    found: list[dict[str, Any]] = pyarrow.parquet.read_table(out / DOCUMENTS).to_pylist()
    return found


def test_several_processes_give_the_scores_of_one(world: Path, tmp_path: Path) -> None:
    outs = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        # batch_size 1: no padding, and so no difference in rounding either.
        harness.run(context_of(world, out, TASKS, processes=processes, batch_size=1, num_fewshot=2))
        outs.append((json.loads((out / RESULTS).read_text()), rows(out)))
    (results, one), (others, other) = outs
    # Two threads, or what another test has set, may round the last digit otherwise than one.
    for name in ("loglikelihoods", "bits", "option_bits"):
        for a, b in zip(one, other, strict=True):
            assert a.pop(name) == pytest.approx(b.pop(name), abs=1e-5)
    assert (results, one) == (others, other)


@pytest.mark.engine
@pytest.mark.parametrize("model", ["trained", "dense"])
def test_vllm_and_transformers_agree(world: Path, tmp_path: Path, model: str) -> None:
    found = {}
    for backend in ("hf", "vllm"):
        out = tmp_path / backend
        harness.run(context_of(world, out, TASKS, model, backend=backend, kv_cache_gib=1))
        found[backend] = rows(out)
        assert json.loads((out / RESULTS).read_text())["backend"] == backend
    for one, other in zip(found["hf"], found["vllm"], strict=True):
        assert one["doc_hash"] == other["doc_hash"]
        assert one["loglikelihoods"] == pytest.approx(other["loglikelihoods"], abs=TOLERANCE)
        assert one["prediction"] == other["prediction"]


CHILD = """
import sys
from multiprocessing.connection import Connection
from eval.harness.worker import Done, Reply
connection = Connection(int(sys.argv[1]))
connection.recv_bytes()  # the settings, whose module imports torch
connection.send(Reply("ready"))
while True:
    call = connection.recv()
    if call.method == "generate_until":
        connection.send(Done(1))
        import time
        time.sleep(1.0)
    connection.send(Reply([(-1.0, True)] * len(call.arguments)))
"""
"""A worker without a model."""


@pytest.fixture
def modelless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteModel]:
    monkeypatch.setattr(worker, "SERVE", CHILD)
    monkeypatch.setattr(remote, "_LOOK_SECONDS", 0.05)
    settings = ModelSettings("hf", "some/model", 4, None, 1, False)
    model = RemoteModel(settings, [{}, {}], tmp_path / "engine.log", lambda done, asked: None)
    yield model
    model.close()


def ask(model: RemoteModel, method: str = "loglikelihood") -> Any:
    from lm_eval.api.instance import Instance

    return getattr(model, method)([Instance(method, {}, ("a", " b"), 0) for _ in range(2)])


def test_a_process_that_dies_is_explained(modelless: RemoteModel) -> None:
    os.kill(modelless.pids[0], signal.SIGKILL)
    with pytest.raises(EngineError, match=r"was killed by signal 9 while it served .*some/model"):
        ask(modelless)


def test_a_process_that_stays_stopped_is_an_error(
    modelless: RemoteModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "_STOPPED_SECONDS", 0.5)
    assert ask(modelless) == [(-1.0, True)] * 2
    pid = modelless.pids[1]
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(
        EngineError, match=rf"(?s)some/model\): process {pid} was stopped for 0.5 s"
    ):
        ask(modelless)
    assert time.monotonic() - began < 60
    assert f"kill -CONT {pid}" in capsys.readouterr().err


def test_a_process_that_is_continued_in_time_answers(modelless: RemoteModel) -> None:
    pid = modelless.pids[0]
    os.kill(pid, signal.SIGSTOP)
    timer = threading.Timer(0.5, os.kill, (pid, signal.SIGCONT))
    timer.start()
    assert ask(modelless) == [(-1.0, True)] * 2
    timer.join()


def test_a_stopped_process_that_reads_nothing_is_an_error_too(
    modelless: RemoteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.api.instance import Instance

    monkeypatch.setattr(remote, "_STOPPED_SECONDS", 0.5)
    os.kill(modelless.pids[0], signal.SIGSTOP)
    long = [Instance("loglikelihood", {}, ("a" * 1_000_000, " b"), 0) for _ in range(8)]
    with pytest.raises(EngineError, match="was stopped for"):
        modelless.loglikelihood(long)


def test_a_process_that_dies_at_work_is_an_error(modelless: RemoteModel) -> None:
    timer = threading.Timer(0.2, os.kill, (modelless.pids[0], signal.SIGKILL))
    timer.start()
    with pytest.raises(EngineError, match="was killed by signal 9"):
        ask(modelless, "generate_until")
    timer.join()


def test_work_without_an_answer_is_reported_and_waited_for(
    modelless: RemoteModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "_QUIET_SECONDS", 0.3)
    assert ask(modelless, "generate_until") == [(-1.0, True)] * 2
    assert "no answer for" in capsys.readouterr().err


def test_a_process_that_cannot_load_its_model_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    settings = ModelSettings("hf", str(tmp_path), 4, None, 1, False)
    with pytest.raises(EngineError, match=r"transformers ended while it served(.|\n)*model_type"):
        RemoteModel(settings, [{}], tmp_path / "engine.log", lambda done, asked: None)


def test_auto_is_transformers_without_a_gpu_and_says_why(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    checkpoint = str(world / "trained" / "hf")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_backend("auto", checkpoint) == ("hf", "no GPU here")
    assert resolve_backend("vllm", checkpoint)[0] == "vllm"


def test_scores_of_a_gpu_are_not_those_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for has_gpu, named in ((False, "hf"), (True, "hf on a GPU")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        assert scored_by("hf") == named


LM_EVAL = """
import lm_eval.tasks

class OwnTasks(lm_eval.tasks.TaskManager):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, include_defaults=False, **named)

lm_eval.tasks.TaskManager = OwnTasks
from lm_eval.__main__ import cli_evaluate
cli_evaluate()
"""
"""lm-eval's command, but for the index of its 14,000 tasks, which takes longer than all else."""


@pytest.mark.engine
def test_the_benchmark_finds_the_scores_of_lm_evals_own_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.benchmarks import evaluate

    def run(command: list[str]) -> None:
        of_lm_eval = command[1:3] == ["-m", "lm_eval"]
        real([sys.executable, "-c", LM_EVAL, *command[3:]] if of_lm_eval else command)

    real = evaluate._run
    monkeypatch.setattr(evaluate, "_run", run)
    monkeypatch.setattr("sys.argv", ["evaluate", "--rounds", "1", "--documents", "6"])
    evaluate.main()
    assert "scores identical: True" in capsys.readouterr().out
