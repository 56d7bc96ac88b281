"""One error root; a user sees the message and the fix, never a traceback (unless `--debug`)."""

from __future__ import annotations

import errno
from pathlib import Path

_CAUSES = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or ask for more"),
    errno.EACCES: ("permission denied", "check who owns it and its rights"),
    errno.EPERM: ("not permitted", "check who owns it and its rights"),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written"),
    errno.ENOENT: ("no such file or folder", "correct the path"),
    errno.EEXIST: ("it is there already", "move it away, or choose another name"),
    errno.ENOTDIR: ("a part of the path is no folder", "correct the path"),
    errno.EISDIR: ("it is a folder", "give the path of a file"),
    errno.ENOTEMPTY: ("the folder is not empty", "empty it, or choose another"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter name or folder"),
    errno.ELOOP: ("its links go in a circle", "correct the links"),
    errno.EXDEV: ("it lies on another file system", "keep the folder on one file system"),
    errno.EFBIG: ("the file is too large for its file system or limit", "raise `ulimit -f`"),
    errno.EMFILE: ("too many open files", "raise `ulimit -n`"),
    errno.ENFILE: ("too many open files on this machine", "end other programs"),
    errno.EAGAIN: ("out of processes or threads", "raise `ulimit -u`, or end other programs"),
    errno.ENOMEM: ("out of memory", "end other programs, or use a machine with more"),
    errno.EBUSY: ("it is in use", "end what uses it"),
    errno.ETXTBSY: ("it is being executed", "end what uses it"),
    errno.EIO: ("the disk reports an error", "check the disk"),
    errno.ESTALE: ("the network file system lost it", "mount it again"),
    errno.EADDRINUSE: ("the port is in use", "choose another --port, or 0 for a free one"),
    errno.ECONNREFUSED: ("nothing answers there", "start it, or correct its address"),
    errno.ECONNRESET: ("the other side closed the connection", "try again"),
    errno.ENETUNREACH: ("the network cannot be reached", "check the network"),
    errno.EHOSTUNREACH: ("the host cannot be reached", "check the network"),
    errno.ETIMEDOUT: ("no answer in time", "check the network"),
}


PREEMPTED = 75
"""Exit code of a training that SIGTERM ended after it saved: the same command continues."""
TERMINATED = 143
"""Of one that SIGTERM ended before it had anything to save; as shells have it, 128 + SIGTERM."""


class TsqaError(Exception):
    """Anything a user can cause and fix. `fix` is one sentence that says how."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message + (f"\n  fix: {fix}" if fix else ""))
        self.fix = fix


class RecipeError(TsqaError):
    """The recipe is wrong: raised before any work starts."""


class UsageError(TsqaError):
    """A command was given what it cannot take: raised before any work starts."""


class DataError(TsqaError):
    """An input file is missing, broken or too small."""


class LeakError(TsqaError):
    """A split that is evaluated would reach the training data."""


class EngineError(TsqaError):
    """vLLM, DeepSpeed or accelerate did not start or died; the message holds its last log lines."""


class PreemptedError(TsqaError):
    """Training was asked to end (SIGTERM), and lost nothing: the exit code is PREEMPTED."""


class CheckpointError(TsqaError):
    """A checkpoint is incomplete, damaged, or belongs to another plan."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, at most 300 characters; its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def os_error_cause(error: OSError) -> tuple[str, str]:
    """What the system says is wrong, with the file that it names, and the fix (or nothing)."""
    said = error.strerror or str(error) or type(error).__name__
    cause, fix = _CAUSES.get(error.errno or 0, (said, ""))
    if error.errno == errno.EEXIST and _leads_nowhere(error.filename):
        cause, fix = "a link to nowhere", "make the folder that it names, or delete the link"
    files = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return (f"{files}: {cause}" if files else cause), fix


def _leads_nowhere(name: object) -> bool:
    return isinstance(name, str) and Path(name).is_symlink() and not Path(name).exists()
