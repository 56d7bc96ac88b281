"""The first process within the boundary: it starts the tests, and the program whenever they ask.

A job (JSON) is read from the standard input, the tests from a separate descriptor, so that
the process from which programs are started never holds them. The verdict goes to the standard
output; only this process has it, and only the tests' process tells it what to write.
"""

from __future__ import annotations

import _socket
import json
import os
import signal
import struct
import sys

from tsqa.sandbox.inside import confine

TYPE_CHECKING = False  # as typing's, whose import every program would wait for
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypedDict

    class Job(TypedDict):
        """What comes in: a program, its tests, and their bounds."""

        answer: str
        tests: int
        """The descriptor of the tests."""
        seconds: int
        bytes: int
        code: str
        readable: Sequence[str] | None
        parent: int | None
        """None within namespaces, which have numbers of their own and end with it."""


_START, _ENDING = b"s", b"e"
_LARGEST = 1 << 16


def main() -> None:
    """Read the job, run it, write the verdict."""
    job: Job = json.load(sys.stdin)
    tests = os.dup(job["tests"])
    os.close(job["tests"])
    verdict = os.dup(1)
    _close_streams()
    parent = job["parent"]
    # Not whoever is the parent by now: it may be dead already.
    confine.end_with(os.getppid() if parent is None else parent)
    confine.leave_privileges()
    if job["readable"] is not None:
        confine.restrict_files(list(job["readable"]), [os.getcwd()])
    mine, theirs = _socket.socketpair()
    said, saying = os.pipe()
    # Both sides need it; loaded once, here.
    from tsqa.sandbox.inside import program, tester  # noqa: F401

    sys.path[:] = [path for path in sys.path if path != job["code"]]
    first = os.getpid()
    child = os.fork()
    if child == 0:
        confine.end_with(first)
        for descriptor in (mine.fileno(), said, verdict):
            os.close(descriptor)
        _test(tests, theirs, saying, job)
    os.close(tests)
    os.close(saying)
    theirs.close()
    _serve(mine, job, (said, verdict))
    text = _read(said)
    _, status = os.waitpid(child, 0)
    if not text:
        text = json.dumps({"error": f"ended without a verdict: {_name(status)}"}).encode()
    os.write(verdict, text)
    os._exit(0)


def _test(tests: int, control: _socket.socket, saying: int, job: Job) -> None:
    """The process of the tests."""
    from tsqa.sandbox.inside import tester

    text = _read(tests).decode("utf-8", "surrogatepass")
    confine.limit(job["seconds"], job["bytes"])
    if confine.knows_machine():
        confine.filter_calls()
    tester.silence()

    def start() -> int:
        control.send(_START)
        _, ancillary, _, _ = control.recvmsg(1, _socket.CMSG_SPACE(4))
        return int(struct.unpack("@i", ancillary[0][2])[0])

    def ending() -> str:
        control.send(_ENDING)
        return str(control.recv(100).decode())

    error = tester.run_tests(text, job["answer"], start, ending)
    os.write(saying, json.dumps({"error": error}).encode())
    os._exit(0)


def _serve(control: _socket.socket, job: Job, private: tuple[int, ...]) -> None:
    """Start programs as the tests ask, one at a time, until these end."""
    running = 0
    while True:
        asked = control.recv(1)
        if running and asked != _ENDING:
            os.kill(running, signal.SIGKILL)
            os.waitpid(running, 0)
            running = 0
        if asked == _START:
            near, far = _socket.socketpair()
            first = os.getpid()
            running = os.fork()
            if running == 0:
                confine.end_with(first)
                for descriptor in (near.fileno(), control.fileno(), *private):
                    os.close(descriptor)
                _run(far.fileno(), job)
            control.sendmsg(
                [b"s"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("@i", near.fileno()))]
            )
            near.close()
            far.close()
        elif asked == _ENDING:
            status = os.waitpid(running, 0)[1] if running else 0
            running = 0
            control.send(_name(status).encode())
        else:
            return


def _run(line: int, job: Job) -> None:
    """The process of the program."""
    from tsqa.sandbox.inside import program

    confine.limit(job["seconds"], job["bytes"])
    if confine.knows_machine():
        confine.filter_calls()
    program.serve(line, job["answer"])
    os._exit(0)


def _read(descriptor: int) -> bytes:
    parts = b""
    while part := os.read(descriptor, _LARGEST):
        parts += part
    return parts


def _name(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def _close_streams() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


if __name__ == "__main__":
    main()
