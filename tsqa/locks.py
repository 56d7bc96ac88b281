"""Locks between processes, and who holds them.

Guarantees: a lock is held by one process, also where its file is deleted under it: the folder that
it protects is locked too, and whoever commits the folder looks whether it is still the one that was
locked; a wait says for whom.
"""

from __future__ import annotations

import fcntl
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from rich.text import Text

from tsqa.console import console
from tsqa.errors import TsqaError

LOCK_SECONDS = "TSQA_LOCK_SECONDS"
"""Environment: how long to wait for another process that works on the same artifact, at most."""
_SILENT_SECONDS = 2.0
"""The children of a killed run need a moment to end."""
_LOOK_SECONDS = 0.1


class HeldFolder:
    """A folder that this process alone may write to, until `close`."""

    def __init__(self, folder: Path, lock: IO[str], opened: int, is_locked: bool) -> None:
        self.folder, self._lock, self._opened = folder, lock, opened
        self._watched = {folder: opened}
        if not is_locked:
            self._watched[Path(lock.name)] = lock.fileno()

    def check(self) -> None:
        """TsqaError where the folder is no longer what was locked."""
        for path, descriptor in self._watched.items():
            if not _is_at(descriptor, path):
                raise TsqaError(
                    f"{path}: deleted or replaced while this run worked in {self.folder}, so that "
                    "another run may have written there",
                    f"delete {self.folder} when no run works in it, and run the same command again",
                )

    def close(self) -> None:
        os.close(self._opened)
        self._lock.close()


@contextmanager
def hold_folder(
    folder: Path, lock: Path, holder: str, seconds: float | None = None
) -> Iterator[HeldFolder]:
    """Make a folder, or take over what is there, when no other process holds it.

    `holder` says to others who has it. Waits for `seconds`; None: for as long as the environment
    says, else until the folder is free.
    """
    limit = _lock_seconds() if seconds is None else seconds
    begun, is_said = time.monotonic(), False
    while (held := _try_hold(folder, lock)) is None:
        waited = time.monotonic() - begun
        if waited >= limit:
            raise TsqaError(
                f"another process is working on {folder}: {_holder_of(lock)}",
                f"wait for it, or end it; {LOCK_SECONDS} is how many seconds to wait at most",
            )
        if waited >= _SILENT_SECONDS and not is_said:
            is_said = True
            console.print(
                Text.assemble(
                    ("  waits for another run that is making it", "yellow"),
                    f": {_holder_of(lock)}. Ctrl-C ends this run, not that one; "
                    f"{LOCK_SECONDS}=0 does not wait",
                )
            )
        time.sleep(_LOOK_SECONDS)
    with ExitStack() as scope:
        scope.callback(held.close)
        _write_holder(lock, holder)
        yield held


def try_lock(path: Path) -> IO[str] | None:
    """Lock a file, which is made where it is not; None where another process holds it."""
    while True:
        handle = path.open("a", encoding="utf-8")  # not "w": its holder's name is in it
        if not flock(handle.fileno(), path):
            handle.close()
            return None
        if _is_at(handle.fileno(), path):
            return handle
        handle.close()  # deleted between the two


def _try_hold(folder: Path, path: Path) -> HeldFolder | None:
    lock = try_lock(path)
    if lock is None:
        return None
    folder.mkdir(exist_ok=True)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    is_locked, is_free = True, True
    try:
        is_free = flock(opened, folder)
    except TsqaError:  # NFS locks no folders
        is_locked = False
    held = HeldFolder(folder, lock, opened, is_locked)
    if is_free and _is_at(opened, folder):
        return held
    held.close()
    return None


@contextmanager
def hold_file(path: Path) -> Iterator[None]:
    """Change a file, or replace it, while no other process does: by a lock beside it, which waits.

    For moments: what is read within the block is what is replaced.
    """
    lock = path.with_suffix(".lock")
    with lock.open("a", encoding="utf-8") as handle:
        flock(handle.fileno(), lock, fcntl.LOCK_EX)
        yield


def flock(descriptor: int, path: Path, kind: int = fcntl.LOCK_EX | fcntl.LOCK_NB) -> bool:
    """Lock an open file; False where another process holds it, and `kind` does not wait for it.

    TsqaError where the file system has no locks, which is nobody's holding it.
    """
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        return False
    except OSError as error:
        raise TsqaError(
            f"{path}: this file system gives no locks: {error.strerror}",
            "choose another folder for `runs`, or mount it with locks (Lustre: `-o flock`; NFS: "
            "version 4, or 3 with its lock service)",
        ) from error
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _write_holder(path: Path, holder: str) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    parts = (f"process {os.getpid()} on {socket.gethostname()}", holder, f"since {since}")
    path.write_text(", ".join(filter(None, parts)) + "\n", encoding="utf-8", errors="replace")


def _holder_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or "not known which"
    except OSError:
        return "not known which: its lock was deleted"


def _lock_seconds() -> float:
    named = os.environ.get(LOCK_SECONDS)
    if named is None:
        return math.inf
    try:
        seconds = float(named)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:  # a deadline that is no number would never come
        raise TsqaError(f"{LOCK_SECONDS} = {named!r}: not a number of seconds", "correct it")
    return seconds
