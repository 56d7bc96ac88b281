"""The time that a process and all below it have had to themselves: what they ran and what they
slept, without what they waited for a core.

Guarantees: where nothing else runs, this is the time that passed; where much does, a program has as
much of it as elsewhere. Where `/proc` does not tell, it is the time that passed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_FRESH = 0.05
"""Seconds for which one look at all processes serves every thread."""
_WAITING = "RD"
"""States in which a thread runs, or would if it were let: for a core or the disk. One that is
stopped sleeps: a program can do that to itself."""


class _Process(NamedTuple):
    """A line of `/proc/PID/stat`; see proc(5)."""

    pid: int
    parent: int
    is_waiting: bool
    threads: int
    seconds: float
    """That it and those children ran whose end it has seen."""


class OwnTime:
    """Of a process that was just started; to be looked at several times a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = self._seen = time.monotonic()
        self._ran = self._slept = 0.0

    def look(self) -> float:
        """Seconds until now."""
        found = list(_below(self._pid))
        now = time.monotonic()
        if not any(each.is_waiting or _thread_waits(each) for each in found):
            self._slept += now - self._seen
        self._seen = now
        # A child that ended is in no sum until its parent has seen it.
        self._ran = max(self._ran, sum(each.seconds for each in found))
        return min(now - self._began, self._ran + self._slept)

    @property
    def passed(self) -> float:
        """Seconds by the clock, at the last look."""
        return self._seen - self._began


class _Processes:
    """Those of this machine, read once for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read = -_FRESH
        self._children: dict[int, list[_Process]] = {}

    def children(self) -> dict[int, list[_Process]]:
        """Parent -> its children."""
        with self._lock:
            if time.monotonic() - self._read > _FRESH:
                found = defaultdict(list)
                for process in _living(_PROC):
                    found[process.parent].append(process)
                self._children, self._read = dict(found), time.monotonic()
            return self._children


_PROCESSES = _Processes()


def _below(pid: int) -> Iterator[_Process]:
    """The process and all below it."""
    children = _PROCESSES.children()
    with contextlib.suppress(OSError):
        yield _parse(_PROC / f"{pid}/stat")
    todo = [pid]
    while todo:
        found = children.get(todo.pop(), [])
        yield from found
        todo += [each.pid for each in found]


def _thread_waits(process: _Process) -> bool:
    """Whether one of its further threads does; that of the process is its first thread's state."""
    if process.threads < 2:
        return False
    return any(thread.is_waiting for thread in _living(_PROC / f"{process.pid}/task"))


def _living(folder: Path) -> Iterator[_Process]:
    """The processes, or threads, of a folder but for those that end meanwhile."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        found = list(folder.iterdir())
    for each in found:
        if each.name.isdecimal():
            with contextlib.suppress(OSError):
                yield _parse(each / "stat")


def _parse(path: Path) -> _Process:
    text = path.read_bytes().decode("ascii", "replace")
    before, _, after = text.rpartition(")")  # the name between may hold anything
    fields = after.split()
    if len(fields) < 18:
        raise ProcessLookupError(f"{path}: it has ended")
    ran = sum(map(int, fields[11:15])) / _TICKS
    pid = int(before.partition(" ")[0])
    return _Process(pid, int(fields[1]), fields[0] in _WAITING, int(fields[17]), ran)
