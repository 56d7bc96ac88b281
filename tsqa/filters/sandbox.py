"""The child that runs untrusted code: a program and its tests on stdin, a verdict on stdout.

Run as a file by `python -I -S -B`, never imported: it needs the standard library alone, and gives
up what it may do before the program starts. There is no network (a namespace without one where
the kernel allows it, an audit hook in any case), no other process, no file written outside the
working directory; memory, CPU time and file sizes are bounded.

It contains accidents and careless code. It is no wall against an attacker who knows it: where the
teacher is not trusted, run the whole stage in a container.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

_NEW_USER_AND_NETWORK = 0x10000000 | 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SIGKILL = 9
_FILE_BYTES = 1 << 20
_OPEN_FILES = 32
_FILES_WRITTEN = 16
_MESSAGE = 200
_REFUSED = (
    *("socket.", "ctypes.", "subprocess.", "pty.", "shutil.", "os.fork", "os.exec", "os.spawn"),
    *("os.posix_spawn", "os.system", "os.kill", "os.chmod", "os.chown", "os.link", "os.symlink"),
    *("os.putenv", "signal.pthread_kill", "sys.addaudithook", "gc.get_"),
)
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.utime")
_REFUSED_IMPORTS = ("_posixsubprocess", "_ctypes")


def main() -> None:
    """Read {answer, tests, seconds, bytes, token} and write {token, error}; no error is a pass."""
    _leave_the_system()
    task = json.load(sys.stdin)
    report = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    _limit(task["seconds"], task["bytes"])
    sys.addaudithook(_make_guard(os.path.realpath(os.curdir)))
    error = ""
    try:
        _run(task["answer"], task["tests"])
    except BaseException as problem:  # noqa: BLE001 - SystemExit too is a way not to pass
        error = f"{type(problem).__name__}: {problem}"[:_MESSAGE]
    verdict = {"token": task["token"], "error": error}
    os.write(report, json.dumps(verdict).encode())
    os._exit(0)


def _run(answer: str, tests: str) -> None:
    """One namespace for both; test functions that nothing calls are called, as pytest would."""
    names: dict[str, Any] = {"__name__": "answer"}
    exec(compile(answer, "answer.py", "exec"), names)
    exec(compile(tests, "tests.py", "exec"), names)
    for name, value in list(names.items()):
        code = getattr(value, "__code__", None)
        if name.startswith("test") and code and code.co_filename == "tests.py":
            value()


def _leave_the_system() -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.unshare(_NEW_USER_AND_NETWORK)
    for name in ("ctypes", "_ctypes"):
        del sys.modules[name]


def _limit(seconds: int, size: int) -> None:
    # The soft limit ends the process with a signal that tells why.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    for name, value in (
        (resource.RLIMIT_AS, size),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))


def _make_guard(folder: str) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook (see PEP 578); once set, it cannot be taken off."""
    written = 0

    def is_inside(path: Any) -> bool:
        real = os.path.realpath(os.fsdecode(path))
        return real == os.devnull or real.startswith(folder + os.sep)

    def guard(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal written
        if event.startswith(_REFUSED):
            raise PermissionError(f"{event} is refused")
        if event == "import" and arguments[0] in _REFUSED_IMPORTS:
            raise ImportError(f"{arguments[0]} is refused")
        if event in _CHANGES:
            paths = [path for path in arguments if isinstance(path, (str, bytes))]
            if not all(map(is_inside, paths)):
                raise PermissionError(f"{event} outside the working directory is refused")
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            flags = arguments[2]
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                written += 1
                if written > _FILES_WRITTEN or not is_inside(arguments[0]):
                    raise PermissionError("writing this file is refused")

    return guard


if __name__ == "__main__":
    main()
