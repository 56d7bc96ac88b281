"""Code answers are verified by running their tests; see `sandbox.py` for what contains them.

Promises: every program ends within its time, with all that it started; tests that pass without
the answer prove nothing and are refused. Only the standard library can be imported.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from tsqa.filters.candidate import Candidate, Rejection, Verdict, deciding_votes, with_winner
from tsqa.recipe import CodeSection

_SANDBOX = Path(__file__).with_name("sandbox.py")
_START_SECONDS = 2.0
"""Wall time for the interpreter to start, beside the program's own."""
_BATCH = 128


def verify_code(candidates: Iterable[Candidate], section: CodeSection | None) -> Iterator[Verdict]:
    """Pass on what is not code; give code the first vote that its tests accept."""
    source = iter(candidates)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(islice(source, _BATCH)):
            if any(candidate.kind == "code" for candidate in batch):
                yield from pool.map(partial(_verify, section=section), batch)
            else:
                yield from ((candidate, None) for candidate in batch)


def run_tests(answer: str, tests: str, section: CodeSection) -> str:
    """Run a program with its tests in a process of its own; return why it failed, or `""`.

    CPU time is cut at `seconds` (rounded up), wall time at twice that and the start.
    """
    token = secrets.token_hex(16)
    seconds = math.ceil(section.seconds)
    task = {
        "answer": answer,
        "tests": tests,
        "seconds": seconds,
        "bytes": section.memory_mib << 20,
        "token": token,
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,
    ):
        stdin.write(json.dumps(task).encode())
        stdin.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(_SANDBOX)],
            stdin=stdin,
            # A file, unlike a pipe, is bounded by the child's own limits.
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        try:
            status = process.wait(2 * section.seconds + _START_SECONDS)
        except subprocess.TimeoutExpired:
            return f"no end within {section.seconds:g} s"
        finally:
            _kill_group(process)
        stdout.seek(0)
        return _read_verdict(stdout.read(), token, status)


def _verify(candidate: Candidate, section: CodeSection | None) -> Verdict:
    if candidate.kind != "code":
        return candidate, None
    if section is None:
        return candidate, Rejection("code is not verified")
    if not candidate.tests.strip():
        return candidate, Rejection("code without tests")
    if not run_tests("", candidate.tests, section):
        return candidate, Rejection("tests pass without the answer")
    votes = deciding_votes(candidate.record)
    programs = dict.fromkeys(vote.answer for vote in votes if vote.answer)
    errors = {program: run_tests(program, candidate.tests, section) for program in programs}
    passing = [vote for vote in votes if vote.answer and not errors[vote.answer]]
    if not passing:
        return candidate, Rejection("tests failed", 0.0, next(iter(errors.values()), ""))
    return with_winner(candidate, passing[0], len(passing) / len(votes)), None


def _read_verdict(output: bytes, token: str, status: int) -> str:
    try:
        verdict = json.loads(output)
    except ValueError:
        verdict = {}
    if not isinstance(verdict, dict) or verdict.get("token") != token:
        ended = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"ended without a verdict: {ended}"
    return str(verdict["error"])


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
