"""Run a program with its tests, within the boundary of this machine.

Guarantees: it ends within its time, with all that it started, and how busy the machine is decides
no verdict; the verdict is the tests' process's,
which shares no memory and no descriptor with the program's; the reason of a failure is at most a
line, and holds nothing of this machine.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tsqa.errors import EngineError
from tsqa.sandbox.own_time import OwnTime

if TYPE_CHECKING:
    from tsqa.sandbox.inside.main import Job

Kind = Literal["namespaces", "landlock", "none"]
_START_SECONDS = 2.0
"""For the boundary and the interpreter to start, added to the program's own."""
_PATIENCE = 20
"""Times the seconds of a program that may pass on a busy machine, until it has had them."""
_FIRST_LOOK, _LOOK = 0.05, 0.5
"""Seconds between looks at how long it has run or slept: at the begin, and at most."""
_PROBLEM_BYTES = 300
_SIGNAL = 128


class BusyError(EngineError):
    """The machine let a program run too little for a verdict."""


@dataclass(frozen=True)
class Boundary:
    """How to start a process within it."""

    kind: Kind
    command: tuple[str, ...]
    """The command without its job; the working directory is a folder of the job's own."""
    code: str
    """The folder of the code that runs within, as seen from there."""
    readable: tuple[str, ...] | None = None
    """What Landlock leaves readable; None: nothing is left to it."""
    missing: str = ""
    """Why there is no better one."""

    @property
    def described(self) -> str:
        match self.kind:
            case "namespaces":
                return "bubblewrap: private namespaces, and a filter of system calls"
            case "landlock":
                return "Landlock, and a filter of system calls"
        return "none but a filter of system calls: files of this user can be read and changed"


@dataclass(frozen=True)
class Output:
    """What a process within a boundary left."""

    text: str
    problem: str
    """What its boundary said on the standard error."""
    status: int


def run_program(boundary: Boundary, answer: str, tests: str, seconds: float, memory: int) -> str:
    """Return why the program fails its tests, or `""`.

    The CPU time of each of its processes is cut at `seconds` (rounded up), what they run and sleep
    together at twice that and the start; `memory` is in bytes. Raises BusyError where the machine
    lets it have too little of that.
    """
    most = 2 * seconds + _START_SECONDS
    try:
        output = start(boundary, answer, tests, math.ceil(seconds), memory, most)
    except subprocess.TimeoutExpired:
        return f"no end within {seconds:g} s"
    if output.text:
        return str(json.loads(output.text)["error"])
    # bubblewrap reports the signal that ended what it runs as 128 and its number.
    number = -output.status if output.status < 0 else output.status - _SIGNAL
    if number <= 0:
        raise EngineError(
            f"a program could not be started within {boundary.kind}: {output.problem}",
            "see `tsqa doctor`; look for a limit on processes or memory",
        )
    return f"ended without a verdict: {signal.Signals(number).name}"


def start(
    boundary: Boundary, answer: str, tests: str, seconds: int, memory: int, most: float
) -> Output:
    """Run one job to its end; raise subprocess.TimeoutExpired where it has run and slept for `most`
    seconds, BusyError where it cannot within many times that."""
    with (
        _folder() as folder,
        tempfile.TemporaryFile() as job,
        tempfile.TemporaryFile() as asked,
        tempfile.TemporaryFile() as verdict,
        tempfile.TemporaryFile() as problem,
    ):
        asked.write(tests.encode("utf-8", "surrogatepass"))
        asked.seek(0)
        described: Job = {
            "answer": answer,
            "tests": asked.fileno(),
            "seconds": seconds,
            "bytes": memory,
            "code": boundary.code,
            "readable": boundary.readable,
            "parent": None if boundary.kind == "namespaces" else os.getpid(),
        }
        job.write(json.dumps(described).encode())
        job.seek(0)
        process = subprocess.Popen(
            boundary.command,
            stdin=job,
            stdout=verdict,
            stderr=problem,
            cwd=folder,
            env={},
            pass_fds=[asked.fileno()],
            start_new_session=True,
        )
        try:
            _wait(process, most)
        finally:
            status = _kill_group(process)
        verdict.seek(0)
        problem.seek(0)
        return Output(
            verdict.read().decode("utf-8", "replace"),
            problem.read(_PROBLEM_BYTES).decode("utf-8", "replace").strip(),
            status,
        )


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    """The working directory; within namespaces it is in memory, and this one stays empty."""
    folder = tempfile.mkdtemp()
    try:
        yield folder
    finally:
        try:
            shutil.rmtree(folder)
        except (OSError, RecursionError):  # deeper than Python can go, for one
            subprocess.run(["rm", "-rf", folder], check=False, stderr=subprocess.DEVNULL)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """As `process.wait`, which looks only every 50 ms, but in seconds of the process's own."""
    handle = os.pidfd_open(process.pid)
    own, pause = OwnTime(process.pid), _FIRST_LOOK
    try:
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        while not waiting.poll(pause * 1000):
            left = seconds - own.look()
            if left <= 0:
                raise subprocess.TimeoutExpired(process.args, seconds)
            if own.passed > _PATIENCE * seconds:
                raise BusyError(
                    f"a program had {seconds - left:.1f} of its {seconds:g} s on this machine "
                    f"within {own.passed:.0f} s",
                    "end other programs here, or run fewer at once (filter.processes)",
                )
            pause = min(2 * pause, _LOOK, left + _FIRST_LOOK)
    finally:
        os.close(handle)


def _kill_group(process: subprocess.Popen[bytes]) -> int:
    """End what is left of it; return its status. It is not reaped yet, so its number is its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
