"""A training job that becomes too dear, or is asked to end, saves a checkpoint and ends."""

from __future__ import annotations

import os
import signal
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tsqa.errors import EngineError, PreemptedError
from tsqa.pipeline.graph import build_graph
from tsqa.pipeline.training_job import TrainingJob
from tsqa.recipe import load_recipe
from tsqa.spending import Spending, SpentError

LAUNCHER = """\
import os, subprocess, sys
from pathlib import Path
from types import SimpleNamespace

def launch_command_parser():
    return SimpleNamespace(parse_args=lambda arguments: SimpleNamespace())

def launch_command(arguments):
    worker = Path(__file__).parent / "worker.py"
    code = subprocess.Popen([sys.executable, str(worker)], env={**os.environ, "RANK": "0"}).wait()
    error = RuntimeError("a rank failed")
    error.failures = {0: SimpleNamespace(exitcode=code)}
    raise error
"""
WORKER = """\
import signal, sys, time
from pathlib import Path
folder = Path(__file__).parent

def save(number, frame):
    (folder / "saved").touch()
    sys.exit(75)

signal.signal(signal.SIGTERM, save)
(folder / "ready").touch()
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in the place of accelerate; the folder in which its worker notes what it does."""
    folder = tmp_path / "accelerate" / "commands"
    folder.mkdir(parents=True)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    (folder / "launch.py").write_text(LAUNCHER)
    (folder / "worker.py").write_text(textwrap.dedent(WORKER))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return folder


def job(tmp_path: Path, spending: Spending, price: float) -> TrainingJob:
    recipe = REPOSITORY / "recipes" / "smoke" / "base.yaml"
    nodes = build_graph(load_recipe(recipe, [f"runs={tmp_path / 'runs'}"]), recipe)
    [node] = [node for node in nodes if node.stage == "train"]
    return TrainingJob(
        node,
        overrides=[],
        log=tmp_path / "logs" / "train.log",
        metrics=tmp_path / "metrics.jsonl",
        title="train",
        spending=spending,
        dollars_per_hour=price,
    )


def test_a_training_that_reaches_the_limit_saves_and_ends(launcher: Path, tmp_path: Path) -> None:
    spending = Spending(limit=10, dollars=4)
    with pytest.raises(SpentError, match=r"going on with train could pass the limit"):
        job(tmp_path, spending, price=3600).run()  # a dollar a second
    assert (launcher / "saved").is_file()
    assert spending.dollars > 9


def test_a_training_without_a_price_is_not_stopped(launcher: Path, tmp_path: Path) -> None:
    (launcher / "worker.py").write_text("raise SystemExit(3)")
    spending = Spending(limit=0)
    with pytest.raises(EngineError, match="ended with code 1"):
        job(tmp_path, spending, price=0).run()
    assert spending.dollars == 0


def test_a_command_that_is_asked_to_end_lets_the_job_save(launcher: Path, tmp_path: Path) -> None:
    def ask() -> None:
        while not (launcher / "ready").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=ask, daemon=True).start()
    with pytest.raises(PreemptedError, match=r"asked to end by SIGTERM; a checkpoint is saved"):
        job(tmp_path, Spending(), price=0).run()
    assert (launcher / "saved").is_file()
    assert signal.getsignal(signal.SIGTERM) is before
