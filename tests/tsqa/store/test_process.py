"""Promises of tsqa.store.process: no child outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.support.paths import REPOSITORY
from tsqa.store.process import child_environment, name_parent

_BEGIN = "from tsqa.store.process import die_with_parent; die_with_parent(); "


def test_a_parent_that_died_before_is_noticed() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for named, code in (({"TSQA_PARENT": str(gone.pid)}, -signal.SIGKILL), (name_parent(), 0)):
        done = subprocess.run(
            [sys.executable, "-c", f"{_BEGIN}import os; assert 'TSQA_PARENT' not in os.environ"],
            env=child_environment(named),
            cwd=REPOSITORY,
            check=False,
        )
        assert done.returncode == code


@pytest.mark.parametrize("is_named", [True, False])
def test_a_child_ends_with_its_parent(is_named: bool) -> None:
    child = f"{_BEGIN}print(1, flush=True); import time; time.sleep(60)"
    parent = (
        "import subprocess, sys; from tsqa.store.process import child_environment, name_parent; "
        f"subprocess.Popen([sys.executable, '-c', {child!r}], "
        f"env=child_environment({'name_parent()' if is_named else '{}'}), stdout=1).wait()"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", parent],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
    )
    assert started.stdout is not None and started.stdout.readline() == b"1\n"
    started.kill()
    assert started.stdout.read() == b"", "the pipe closes when the child ends"
    started.wait()


def test_threads_of_engines_wait_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert child_environment({"A": "1"}).items() >= {"OMP_WAIT_POLICY": "passive", "A": "1"}.items()
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert child_environment()["OMP_WAIT_POLICY"] == "active"
