"""Hashes of whole files, computed once for each state that a file is in.

Guarantees: a hash covers every byte; a file that was touched in any way (size, times, inode), an
object of a store whose version changed, is read again, and so is one written so recently that a
later write could leave the same times; the memory survives the end of the process, a kill, and
other processes that use it.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, overload

from blake3 import blake3

from tsqa.errors import DataError
from tsqa.remote import DataPath, RemotePath, RemoteState

REMEMBERED = "digests.jsonl"
"""The hashes of large files, next to the artifacts. It may be deleted at any time."""
_WORTH_REMEMBERING = 1 << 20
_SETTLED_NS = 2_000_000_000
"""File systems may round times as coarsely as this."""
_CHUNK = 8 << 20
_READERS = 4
_LONG = 1 << 30
"""Bytes to read beyond which a bar is shown."""
_HEX = re.compile(r"[0-9a-f]{64}")
_TRIES = 3


class State(NamedTuple):
    """What changes when a file does."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Digests:
    """Known hashes of files anywhere on this machine, and of objects of stores."""

    def __init__(self) -> None:
        self._known: dict[State | RemoteState, str] = {}
        self._log: Path | None = None
        self._read = 0

    def remember_below(self, folder: Path) -> None:
        """Keep the hashes of large files in a folder, and use those that are there."""
        log = folder / REMEMBERED
        if log != self._log:
            self._log, self._read = log, 0

    def of(self, path: DataPath) -> str:
        """The hash of a file; DataError where it cannot be read, or changes all the while."""
        return self._look_up(state_of(path)) or self._compute(path)

    def of_all(self, paths: Sequence[DataPath], fresh: bool = False) -> list[str]:
        """The hashes of many files, in order; several are read at once, all of them if `fresh`."""
        found: dict[DataPath, str | None] = {
            path: None if fresh else self._look_up(state_of(path)) for path in paths
        }
        missing = [path for path, known in found.items() if known is None]
        sizes = {path: state_of(path).size for path in missing}
        if sum(sizes.values()) > _LONG:
            self._compute_with_bar(missing, sum(sizes.values()), found)
        elif missing:
            with ThreadPoolExecutor(_READERS) as readers:
                found |= dict(zip(missing, readers.map(self._compute, missing), strict=True))
        return [known for path in paths if (known := found[path]) is not None]

    def _compute_with_bar(
        self, missing: Sequence[DataPath], total: int, found: dict[DataPath, str | None]
    ) -> None:
        from tsqa.console import progress_bar

        with progress_bar() as bar, ThreadPoolExecutor(_READERS) as readers:
            row = bar.add_task("reading files (MiB)", total=total >> 20, note="")
            done = 0

            def count(size: int) -> None:
                nonlocal done
                done += size
                bar.update(row, completed=done >> 20)

            hashes = readers.map(lambda path: self._compute(path, count), missing)
            found |= dict(zip(missing, hashes, strict=True))

    def _look_up(self, state: State | RemoteState) -> str | None:
        if state not in self._known and _is_worth_remembering(state):
            self._read_log()
        return self._known.get(state)

    def _compute(self, path: DataPath, count: Callable[[int], None] = lambda size: None) -> str:
        for _ in range(_TRIES):
            began = time.time_ns()
            before = state_of(path)
            digest = hash_file(path, count)
            if state_now(path) == before:
                if began - _written_ns(before) > _SETTLED_NS:
                    self._remember(before, digest)
                return digest
        raise DataError(f"{path}: is being written to", "wait until it is whole")

    def _remember(self, state: State | RemoteState, digest: str) -> None:
        self._known[state] = digest
        if self._log is None or not _is_worth_remembering(state):
            return
        # The first newline ends a torn line; one write, so that two processes do not interleave.
        line = f"\n{json.dumps([*state, digest])}\n".encode()
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError:
            return  # a folder that cannot be written: the file is read again next time
        try:
            os.write(descriptor, line)
        except OSError:
            return
        finally:
            os.close(descriptor)

    def _read_log(self) -> None:
        """Read what was appended since, by any process; damaged lines are skipped."""
        if self._log is None:
            return
        try:
            with self._log.open("rb") as log:
                log.seek(self._read)
                lines = log.read()
        except OSError:
            return
        whole = lines.rfind(b"\n") + 1
        self._read += whole
        for line in lines[:whole].split(b"\n"):
            try:
                *told, digest = json.loads(line)
                kinds = [type(one) for one in told]
                if kinds == [str, int, str, int] and _HEX.fullmatch(digest):
                    self._known[RemoteState(*told)] = digest
                elif all(kind is int for kind in kinds) and _HEX.fullmatch(digest):
                    self._known[State(*told)] = digest
            except (ValueError, TypeError):
                continue


DIGESTS = Digests()
"""Those of this process."""


def _is_worth_remembering(state: State | RemoteState) -> bool:
    return isinstance(state, RemoteState) or state.size >= _WORTH_REMEMBERING


def _written_ns(state: State | RemoteState) -> int:
    if isinstance(state, RemoteState):
        return state.modified_ns
    return max(state.modified_ns, state.changed_ns)


def hash_bytes(content: bytes) -> str:
    return blake3(content).hexdigest()


def hash_file(path: DataPath, count: Callable[[int], None] = lambda size: None) -> str:
    """Read the whole file, whatever is remembered."""
    digest = blake3(max_threads=blake3.AUTO)
    try:
        with path.open("rb", buffering=0) as handle:
            while chunk := handle.read(_CHUNK):
                digest.update(chunk)
                count(len(chunk))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", "correct the path") from error
    return digest.hexdigest()


def state_now(path: DataPath) -> State | RemoteState:
    """As `state_of`, asked again where the state of an object was seen before."""
    return state_of(RemotePath(path.url) if isinstance(path, RemotePath) else path)


@overload
def state_of(path: Path) -> State: ...
@overload
def state_of(path: DataPath) -> State | RemoteState: ...
def state_of(path: DataPath) -> State | RemoteState:
    """DataError unless it is a file; of an object its state when it was last seen."""
    if isinstance(path, RemotePath):
        seen = path if path.state is not None else path.look()
        if seen is None or seen.state is None:
            raise DataError(f"{path}: no such object", "correct the path")
        return seen.state
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no such file", "correct the path") from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: no such file: this is no regular file", "correct the path")
    return State(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
