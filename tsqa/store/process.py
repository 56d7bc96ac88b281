"""Child processes: their environment, what their logs say, and that none outlives its parent."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from rich.text import Text

from tsqa.console import console
from tsqa.errors import EngineError

VLLM = {
    # One process: nothing is orphaned, and nothing is left to shut down at the end.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "INFO",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Environment of every process that serves a model with vLLM."""
_PARENT = "TSQA_PARENT"
_PR_SET_PDEATHSIG = 1
_TAIL_BYTES = 1 << 16
_LINE = 300
"""Characters of a line of a log that an error shows."""


def name_parent() -> dict[str, str]:
    """Environment of a child of this process, which begins with `die_with_parent`."""
    return {_PARENT: str(os.getpid())}


def die_with_parent(parent: int | None = None) -> None:
    """Ask Linux to kill this process when its parent dies, however it dies (see prctl(2)).

    One that died before this call is noticed where its pid is known: from `name_parent`, or given.
    """
    named = os.environ.pop(_PARENT, None)  # not for children of this process
    expected = parent or int(named or os.getppid())
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != expected:
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def on_sigterm(action: Callable[[], object]) -> Iterator[list[int]]:
    """Have SIGTERM do this within the block, and not end the process.

    Yields a list to which each such signal is added; outside of the main thread none is.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def act(number: int, _: object) -> None:
        asked.append(number)
        action()

    before = signal.signal(signal.SIGTERM, act)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


def child_environment(*changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with the changes; a child finds our packages from any folder.

    Threads that spin at barriers cost a CPU's vLLM four fifths of its speed beside other work, and
    waiting a fifth on an idle machine: they wait, unless the environment says otherwise.
    """
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    made = {"OMP_WAIT_POLICY": "passive", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    for change in changes:
        made |= change
    return made


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Versions of packages, and a hash of our own code: what two machines must have alike."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return {**found, "code": _own_code()}


@cache
def _own_code() -> str:
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for path in sorted(p for room in ("train", "tsqa") for p in (root / room).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def log_tail(log: Path, lines: int, begin: int = 0) -> list[str]:
    """The last lines of a log that hold text; `begin`: bytes of it that are of earlier processes.

    Empty where the log cannot be read.
    """
    try:
        with log.open("rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(begin, size - _TAIL_BYTES))
            text = handle.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line[:_LINE] for line in text.splitlines() if line.strip()][-lines:]


def how_it_ended(code: int) -> str:
    """The end of a process in words, from its exit code as `subprocess` gives it."""
    return f"was killed by signal {-code}" if code < 0 else f"exited with {code}"


class SuspensionWatch:
    """Notices processes that a signal (SIGSTOP) keeps from answering."""

    def __init__(self, name: str, error: type[EngineError] = EngineError) -> None:
        """`name`: what the processes serve, for messages."""
        self._name, self._error = name, error
        self._since: float | None = None

    def look(self, processes: Iterable[psutil.Process], patience: float) -> bool:
        """Whether one is stopped, said once; raises when that lasts longer than `patience` (s)."""
        stopped = [str(process.pid) for process in processes if _is_stopped(process)]
        if not stopped:
            self._since = None
            return False
        if self._since is None:
            self._since = time.monotonic()
            pids = " ".join(stopped)
            said = f"process {pids} is stopped (SIGSTOP): continue it with `kill -CONT {pids}`"
            waits = f"it is waited for {patience:g} s"
            console.print(Text(f"  {self._name}: {said}; {waits}", "yellow"))
        elif time.monotonic() - self._since > patience:
            raise self._error(
                f"{self._name}: process {stopped[0]} was stopped for {patience:g} s",
                "find out who stops it (SIGSTOP); the same command then continues",
            )
        return True


def _is_stopped(process: psutil.Process) -> bool:
    try:
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return False


def share_gpus(copies: int, each: int, keys: str) -> list[dict[str, str]]:
    """The environment that gives each copy its `each` GPUs; empty for a lone copy or on a CPU.

    Raises EngineError, which names the recipe's `keys`, where there are too few.
    """
    visible = _visible_gpus() if copies > 1 else []
    if not visible:
        return [{}] * copies
    if len(visible) < copies * each:
        raise EngineError(
            f"{copies} copies of a model on {each} GPUs each need {copies * each} GPUs; "
            f"{len(visible)} are visible",
            f"lower {keys}",
        )
    starts = range(0, copies * each, each)
    return [{"CUDA_VISIBLE_DEVICES": ",".join(visible[i : i + each])} for i in starts]


def _visible_gpus() -> list[str]:
    """Names as CUDA_VISIBLE_DEVICES spells them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(i) for i in range(count)]
