"""Run a program with its tests, within the boundary of this machine.

Promises: it ends within its time, with all that it started; the verdict is the tests' process's,
which shares no memory and no descriptor with the program's; the reason of a failure is at most a
line, and holds nothing of this machine.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import tempfile
from dataclasses import dataclass

from tsqa.sandbox.boundary import Boundary

_START_SECONDS = 2.0
"""Wall time for the boundary and the interpreter to start, beside the program's own."""
_PROBLEM_BYTES = 300


@dataclass(frozen=True)
class Output:
    """What a process within a boundary left."""

    text: str
    problem: str
    """What its boundary said on the standard error."""
    status: int


def run_program(boundary: Boundary, answer: str, tests: str, seconds: float, memory: int) -> str:
    """Return why the program fails its tests, or `""`.

    CPU time is cut at `seconds` (rounded up), wall time at twice that and the start; `memory` is
    in bytes.
    """
    wall = 2 * seconds + _START_SECONDS
    try:
        output = start(boundary, answer, tests, math.ceil(seconds), memory, wall)
    except subprocess.TimeoutExpired:
        return f"no end within {seconds:g} s"
    try:
        error = json.loads(output.text)["error"]
    except (ValueError, TypeError, KeyError):
        ended = signal.Signals(-output.status).name if output.status < 0 else "no start"
        return f"ended without a verdict: {ended}"
    return str(error)


def start(
    boundary: Boundary, answer: str, tests: str, seconds: int, memory: int, wall: float
) -> Output:
    """Run one job to its end; subprocess.TimeoutExpired where that is too far."""
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile() as job,
        tempfile.TemporaryFile() as asked,
        tempfile.TemporaryFile() as verdict,
        tempfile.TemporaryFile() as problem,
    ):
        asked.write(tests.encode("utf-8", "surrogatepass"))
        asked.seek(0)
        described = {
            "answer": answer,
            "tests": asked.fileno(),
            "seconds": seconds,
            "bytes": memory,
            "code": boundary.code,
            "readable": boundary.readable,
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
            _wait(process, wall)
        finally:
            status = _kill_group(process)
        verdict.seek(0)
        problem.seek(0)
        return Output(
            verdict.read().decode("utf-8", "replace"),
            problem.read(_PROBLEM_BYTES).decode("utf-8", "replace").strip(),
            status,
        )


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """As `process.wait`, which looks only every 50 ms."""
    handle = os.pidfd_open(process.pid)
    try:
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        if not waiting.poll(seconds * 1000):
            raise subprocess.TimeoutExpired(process.args, seconds)
    finally:
        os.close(handle)


def _kill_group(process: subprocess.Popen[bytes]) -> int:
    """End what is left of it; return its status. It is not reaped yet, so its number is its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
