"""Promises of the time that a program has to itself: no verdict is the load's of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tsqa.sandbox import find_boundary, run_program
from tsqa.sandbox.own_time import OwnTime

BURN = "import time\nwhile time.process_time() < {}: pass"


@contextmanager
def busy_core(others: int) -> Iterator[None]:
    """This process and all that it starts share one core with others that never rest."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    # Each in a session of its own, as a program is: Linux shares out time among sessions.
    spinning = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
        for _ in range(others)
    ]
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        for one in spinning:
            one.kill()
            one.wait()


def own_time(program: str) -> tuple[float, float]:
    """Seconds of its own, and by the clock, of a program from its start to its end."""
    with subprocess.Popen([sys.executable, "-c", program], start_new_session=True) as process:
        own, found = OwnTime(process.pid), 0.0
        while process.poll() is None:
            time.sleep(0.05)
            found = max(found, own.look())
        return found, own.passed


@pytest.mark.parametrize(
    "program",
    [
        BURN.format(0.4),
        "import time\ntime.sleep(0.4)",
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN.format(0.4)!r}])",
        f"import threading\nt = threading.Thread(target=exec, args=({BURN.format(0.4)!r}, {{}}))\n"
        "t.start()\nt.join()",
        "import os\nos.system('(sleep 0.4; kill -CONT $$) & kill -STOP $$')",
    ],
    ids=["runs", "sleeps", "a child runs", "a thread runs", "stops itself"],
)
def test_what_runs_or_sleeps_has_its_time(program: str) -> None:
    found, passed = own_time(program)
    assert 0.3 < found <= passed


def test_waiting_for_a_core_is_nobodys_time() -> None:
    with busy_core(4):
        found, passed = own_time(BURN.format(0.3))
    assert passed > 1 and found < 0.7


@pytest.mark.skipif(find_boundary().kind == "none", reason="no boundary here")
def test_a_busy_machine_does_not_decide_a_verdict() -> None:
    """0.7 s of CPU within bounds of 1 and 2.1 s, on a sixth of a core."""
    slow = "def f():\n" + "".join(f"    {line}\n" for line in BURN.format(0.7).splitlines())
    with busy_core(5):
        started = time.monotonic()
        reason = run_program(find_boundary(), slow, "f()", 0.05, 512 << 20)
    assert reason == "" and time.monotonic() - started > 2.5
