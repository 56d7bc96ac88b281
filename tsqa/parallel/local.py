"""Processes on this machine."""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from functools import lru_cache
from itertools import islice
from multiprocessing import active_children, get_context
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self, TypeAlias, TypeVar, cast

from tsqa.errors import EngineError
from tsqa.store.process import die_with_parent

T = TypeVar("T")
R = TypeVar("R")
_Done: TypeAlias = SimpleQueue[Future[object]]
"""Gets the future of a chunk once that is done."""

AHEAD = 4
"""Chunks per process that are worked on, or done, before the one that is waited for."""
_CORES = "TSQA_CORES"
"""Environment of a worker: the cores of this machine that are its own."""


class Workers:
    """A context manager around `count` processes; with one, all work is done in this process.

    They start at the first `map_ordered`, and serve every later one.
    """

    def __init__(self, count: int, setting: str = "") -> None:
        """`setting`: the key of the recipe, or the option, that says how many; for errors."""
        self.count = count
        self._setting = setting
        self._pool: ProcessPoolExecutor | None = None
        self._functions = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A chunk may take minutes: where something failed, nobody waits for it. The executor has no
        # public way to end a busy process before Python 3.14.
        if self._pool is not None and error is not None:
            for process in {*(self._pool._processes or {}).values(), *active_children()}:
                process.kill()
            # Half of a result may be in the pipe: its reader sees the end only when nobody, and so
            # not this process either, can write the rest.
            self._pool._result_queue._writer.close()  # type: ignore[attr-defined]
        self.close()

    def close(self) -> None:
        """End the processes, once they are done; the next `map_ordered` starts others."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._functions.close()

    def map_ordered(self, function: Callable[[T], R], chunks: Iterable[T]) -> Iterator[R]:
        """The function of each chunk, in order. With several processes it is pickled once, and
        each process unpickles it once; they begin at once, before the first result is asked for.

        Raises what the function raises, and EngineError where a process died.
        """
        if self.count <= 1:
            return map(function, chunks)
        rest, path = iter(chunks), self._keep(function)
        begun = deque(self._submit(path, chunk) for chunk in islice(rest, AHEAD * self.count))
        return cast(Iterator[R], self._results(path, begun, rest))

    def _results(self, path: str, begun: deque[_Done], rest: Iterator[object]) -> Iterator[object]:
        while begun:
            try:
                result = _wait(begun.popleft()).result()
            except BrokenProcessPool as error:
                raise self._died() from error
            begun += [self._submit(path, chunk) for chunk in islice(rest, 1)]
            yield result

    def _submit(self, path: str, chunk: object) -> _Done:
        pool, done = self._start(), _Done()
        # This may begin a process, which gets no Ctrl-C until it ignores that.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            pool.submit(_work, path, chunk).add_done_callback(done.put)
            return done
        except BrokenProcessPool as error:
            raise self._died() from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _died(self) -> EngineError:
        """The error for a pool that a process broke; the pool ended the other ones by SIGTERM."""
        assert self._pool is not None
        pool, self._pool = self._pool, None
        processes = [*(pool._processes or {}).values()]
        pool.shutdown()
        codes = [code for process in processes if (code := process.exitcode) is not None]
        code = max(codes, default=-1)
        if code >= 0:  # no signal: an import or its start failed
            return EngineError(
                f"a worker process ended with exit code {code}; its own lines above say why",
                "mend what they name: what is finished is kept",
            )
        return EngineError(
            "a worker process died; the kernel may have ended it for its memory",
            f"lower {self._setting} and run it again: what is finished is kept",
        )

    def _start(self) -> ProcessPoolExecutor:
        if self._pool is None:
            share = max(1, own_cores() // self.count)
            # Not forked: torch and tokenizers hold threads.
            self._pool = ProcessPoolExecutor(
                self.count, get_context("spawn"), _start_child, (share, os.getpid())
            )
        return self._pool

    def _keep(self, function: Callable[[T], R]) -> str:
        """The file of a function, which may hold an index of many MB: too much for every chunk.

        It has no name on the disk, so that nothing stays of it, however this process ends.
        """
        file = self._functions.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        pickle.dump(function, file)
        file.flush()
        return f"/proc/{os.getpid()}/fd/{file.fileno()}"


ALONE = Workers(1)
"""No processes: what a caller without any gives."""


def own_cores() -> int:
    """The cores that this process may use: in a worker its share of the machine's."""
    return int(os.environ.get(_CORES) or len(os.sched_getaffinity(0)))


def worker_environment(cores: int) -> dict[str, str]:
    """Of a worker that has so many cores of its own."""
    return {
        _CORES: str(cores),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "true" if cores > 1 else "false",
        "RAYON_NUM_THREADS": str(cores),
    }


def _wait(done: _Done) -> Future[object]:
    """Wait until a chunk is done; Ctrl-C ends this.

    `Future.result` would not do: an interrupt at its begin can leave the future locked, and the
    thread of the pool, which everybody then waits for, needs that lock. A signal that comes right
    before the wait is only seen after it; hence no wait is long.
    """
    while True:
        with suppress(Empty):
            return done.get(timeout=1)


def _start_child(cores: int, parent: int) -> None:
    """Before anything else: numpy reads the number of threads when it is imported."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, which gets it too, ends its children
    os.environ |= worker_environment(cores)


def _work(path: str, chunk: object) -> object:
    try:
        return _function(path)(chunk)
    except Exception as error:
        if can_travel(error):
            raise
        # The parent would take this process for dead.
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def can_travel(error: Exception) -> bool:
    """Whether another process can unpickle it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - its class decides what fails
        return False
    return True


@lru_cache(maxsize=1)
def _function(path: str) -> Callable[[object], object]:
    return cast(Callable[[object], object], pickle.loads(Path(path).read_bytes()))
