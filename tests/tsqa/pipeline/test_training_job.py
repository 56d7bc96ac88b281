"""A training job that becomes too dear, or is asked to end, saves a checkpoint and ends."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import textwrap
import threading
import time
from dataclasses import replace
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
    return SimpleNamespace(parse_args=lambda arguments: SimpleNamespace(max_restarts=0))

def launch_command(arguments):
    worker = Path(__file__).parent / "worker.py"
    code = subprocess.Popen([sys.executable, str(worker)], env={**os.environ, "RANK": "0"}).wait()
    if not code:
        return
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


def job(
    tmp_path: Path, spending: Spending, price: float, command: str | None = None
) -> TrainingJob:
    recipe = REPOSITORY / "recipes" / "smoke" / "base.yaml"
    launch = json.dumps({"kind": "command", "command": command}) if command else "{}"
    given = [f"runs={tmp_path / 'runs'}", f"launch={launch}"]
    nodes = build_graph(load_recipe(recipe, given), recipe)
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


def ask_when_ready(launcher: Path) -> None:
    while not (launcher / "ready").exists():
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)


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


def test_the_log_of_another_command_stays_and_only_own_lines_are_told(
    launcher: Path, tmp_path: Path
) -> None:
    (launcher / "worker.py").write_text("print('mine'); raise SystemExit(3)")
    run = job(tmp_path, Spending(limit=0), price=0)
    run.log.parent.mkdir()
    with run.log.open("w") as theirs:
        theirs.write("theirs, before\n")
        theirs.flush()
        with pytest.raises(EngineError) as raised:
            run.run()
        assert "mine" in str(raised.value) and "theirs" not in str(raised.value)
    assert run.log.read_text().startswith("theirs, before\n")


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("sys.exit(75)", "a checkpoint is saved"),
        ("sys.exit(0)", "it is trained"),
        ("signal.signal(15, signal.SIG_DFL); signal.raise_signal(15)", "it had not begun to train"),
    ],
)
def test_a_command_that_is_asked_to_end_lets_the_job_save(
    launcher: Path, tmp_path: Path, end: str, said: str
) -> None:
    (launcher / "worker.py").write_text(WORKER.replace("sys.exit(75)", end))
    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=ask_when_ready, args=(launcher,), daemon=True).start()
    with pytest.raises(PreemptedError, match=f"asked to end by SIGTERM; {said}"):
        job(tmp_path, Spending(), price=0).run()
    assert (launcher / "saved").is_file()
    assert signal.getsignal(signal.SIGTERM) is before


def test_your_own_command_gets_ours_as_words_of_a_shell(launcher: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    run = job(tmp_path, Spending(), 0, f"printf '%s\\n' {{arguments}} {{training}} > {said}")
    run = replace(run, overrides=["name=it's $HOME"])
    run.run()
    lines = said.read_text().splitlines()
    assert lines[:4] == [str(run.node.origin), "name=it's $HOME", "--arm", "main"]
    assert lines[4:7] == [sys.executable, "-m", "train.launch"] and lines[-4:] == lines[:4]


@pytest.mark.parametrize(
    "quoted",
    ["'{arguments}'", '"{arguments}"', r"'\' '{arguments}'", r"""\' "it's \"" '{arguments}'"""],
)
def test_in_quotes_of_your_command_ours_is_one_text_for_another_shell(
    launcher: Path, tmp_path: Path, quoted: str
) -> None:
    said = tmp_path / "said"
    run = job(tmp_path, Spending(), 0, f"# It's\nprintf '%s\\n' {quoted} > {said}")
    run = replace(run, overrides=['name=it\'s "1" `a` \\ $HOME'])
    run.run()
    assert shlex.split(said.read_text().splitlines()[-1]) == run.arguments


def test_what_your_own_command_says_is_shown_where_it_fails(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"launch\.command ended with code 3.*\n    no such host"):
        job(tmp_path, Spending(), 0, "echo no such host; : {training}; exit 3").run()


def test_of_your_own_command_too_only_this_try_is_told_also_in_a_log_begun_anew(
    tmp_path: Path,
) -> None:
    for try_, command in enumerate(("exit 3", "echo anew > {log}; exit 3")):
        run = job(tmp_path / str(try_), Spending(), 0, f": {{training}}; {command}")
        run.log.parent.mkdir(parents=True)
        run.log.write_text("CUDA out of memory, yesterday\n")
        with pytest.raises(EngineError) as raised:
            run.run()
        assert "yesterday" not in str(raised.value)
        assert ("anew" in str(raised.value)) == ("anew" in command)


def test_your_own_command_is_run_again_while_its_job_gets_further(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    line = '{"train/tokens": %s, "train/loss": 1.0}'
    further = f"n=$(cat {metrics} 2>/dev/null | wc -l); printf '{line}\\n' $((n + 1)) >> {metrics}"
    job(tmp_path, Spending(), 0, f": {{training}}; {further}; [ $n -ge 3 ] || exit 75").run()
    assert len(metrics.read_text().splitlines()) == 4
    with pytest.raises(PreemptedError):
        job(tmp_path, Spending(), 0, ": {training}; exit 75").run()


def test_sigterm_reaches_what_your_own_command_started(launcher: Path, tmp_path: Path) -> None:
    asking = threading.Thread(target=ask_when_ready, args=(launcher,), daemon=True)
    asking.start()
    with pytest.raises(PreemptedError, match="a checkpoint is saved"):
        job(tmp_path, Spending(), 0, "{training}; exit $?").run()
    assert (launcher / "saved").is_file()
