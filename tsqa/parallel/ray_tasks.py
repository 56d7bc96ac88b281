"""Chunks of work as tasks on a Ray cluster.

Guarantees: results come in the order of the chunks; a worker or node that is lost costs the chunks
that it held, which others do again; a chunk that ends every worker, a node with other code or
without the run's folder, and a cluster without processors are errors, never a wait.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from rich.text import Text

from tsqa.console import console
from tsqa.errors import EngineError, first_line
from tsqa.parallel.local import AHEAD, Workers, can_travel, worker_environment
from tsqa.parallel.ray_cluster import describe, ray_cluster, refuse_strangers, resources
from tsqa.store.process import installed

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.remote_function import RemoteFunction

T = TypeVar("T")
R = TypeVar("R")

_PACKAGES = ("numpy", "pyarrow", "regex", "jinja2", "tokenizers", "transformers", "py3langid")
"""Those that decide what a chunk becomes."""
_RETRIES = 3
"""Of a chunk whose worker is lost."""
_LOOK_SECONDS = 5.0
_PATIENCE_SECONDS = 45.0
"""How long a cluster may be without processors."""
_SEE_SECONDS = 30.0
"""How long a new file may take to appear on another node."""
_END = object()


@dataclass(frozen=True)
class _Work:
    """What every worker process gets once."""

    function: Callable[[object], object]
    origin: Mapping[str, str]
    seen: Path
    """A file that the command wrote, in the folder that all nodes must see."""
    folder: Path
    """Where the command runs, from which paths may be relative."""


@dataclass(frozen=True)
class _Failure:
    error: Exception
    node: str


class _Begun:
    """Tasks in the order of their chunks: those that run, at most `count`, and those that ended."""

    def __init__(
        self, task: RemoteFunction, held: ObjectRef, rest: Iterator[object], count: int
    ) -> None:
        self._task, self._held, self._rest, self._count = task, held, rest, count
        self.tasks: deque[ObjectRef] = deque()
        self.running: set[ObjectRef] = set()

    def fill(self) -> None:
        while len(self.running) < self._count and len(self.tasks) < AHEAD * self._count:
            chunk = next(self._rest, _END)
            if chunk is _END:
                return
            self.tasks.append(self._task.remote([self._held], chunk))
            self.running.add(self.tasks[-1])

    def look(self) -> bool:
        """Wait a while for a task to end; whether one did."""
        import ray

        ended, _ = ray.wait([*self.running], timeout=_LOOK_SECONDS)
        self.running -= {*ended}
        return bool(ended)


class RayWorkers(Workers):
    """Tasks on a Ray cluster, `count` of them at a time; with 0 one for each processor."""

    def __init__(self, count: int, setting: str, cluster: str, folder: Path) -> None:
        """`cluster`: the key of the recipe that wants it; `folder`: where functions read and
        write, which all nodes see."""
        super().__init__(count, setting)
        self._cluster, self._folder = cluster, folder
        self._seen = folder.absolute() / f".seen-{secrets.token_hex(8)}"
        self._joined = ExitStack()
        self._is_joined = False

    def close(self) -> None:
        """Leave the cluster, and end one of our own; the next `map_ordered` joins it again."""
        super().close()
        self._joined.close()
        self._is_joined = False

    def map_ordered(self, function: Callable[[T], R], chunks: Iterable[T]) -> Iterator[R]:
        """The function of each chunk, in order; tasks begin at once. It is sent once to each
        node, and unpickled once by each worker process.

        Raises what the function raises, and EngineError where the cluster cannot go on.
        """
        self._join()
        import ray

        known = cast(Callable[[object], object], function)
        held = ray.put(_Work(known, installed(_PACKAGES), self._seen, Path.cwd()))
        task = ray.remote(
            num_cpus=1, max_retries=_RETRIES, retry_exceptions=[ray.exceptions.RayError]
        )(_work)

        count = self.count or max(1, int(resources()[1].get("CPU", 1)))
        begun = _Begun(task, held, iter(chunks), count)
        begun.fill()
        return cast(Iterator[R], self._yield_from(begun))

    def _yield_from(self, begun: _Begun) -> Iterator[object]:
        import ray

        try:
            while begun.tasks:
                result = self._wait_for(begun)
                if isinstance(result, _Failure):
                    if result.node != socket.gethostname():
                        console.print(Text(f"  {result.node}: failed", "yellow"))
                    raise result.error
                begun.fill()
                yield result
        finally:
            with suppress(Exception):  # the cluster may be gone
                for task in begun.tasks:
                    ray.cancel(task, force=True)

    def _wait_for(self, begun: _Begun) -> object:
        """What became of the first chunk."""
        import ray

        bare_since: float | None = None
        while True:
            has_moved = False
            if begun.tasks[0] in begun.running:
                has_moved = begun.look()
                begun.fill()
            else:
                try:  # it may be lost with its node, and made again
                    result = ray.get(begun.tasks[0], timeout=_LOOK_SECONDS)
                    begun.tasks.popleft()
                    return result
                except ray.exceptions.GetTimeoutError:
                    pass
                except ray.exceptions.RayError as error:
                    raise self._given_up(error) from error
            now = time.monotonic()
            if has_moved or resources()[1].get("CPU"):
                bare_since = None
            elif now - (bare_since := bare_since or now) > _PATIENCE_SECONDS:
                raise EngineError(
                    f"{self._cluster}: no node with a processor is left: {describe()}",
                    "start nodes and run it again: what is finished is kept",
                )

    def _given_up(self, error: Exception) -> EngineError:
        return EngineError(
            f"{self._cluster}: a chunk was given up after {_RETRIES + 1} tries: "
            f"{type(error).__name__}: {first_line(error)}",
            f"if nodes run out of memory, lower {self._setting}; then run it again: what is "
            "finished is kept",
        )

    def _join(self) -> None:
        if not self._is_joined:
            self._joined.enter_context(ray_cluster(self._cluster))
            self._joined.callback(self._seen.unlink, missing_ok=True)
            for old in self._folder.glob(".seen-*"):  # of a command that was killed
                old.unlink(missing_ok=True)
            self._seen.touch()
            self._is_joined = True
            console.print(f"  {describe()}", style="dim", highlight=False)


_held: dict[str, _Work] = {}
"""In a worker process: what it works on, by the object that it came as."""


def _work(held: list[ObjectRef], chunk: object) -> object:
    import ray

    try:
        name = held[0].hex()
        if name not in _held:
            os.environ |= worker_environment(1)
            work = ray.get(held[0])
            refuse_strangers(work.origin, _PACKAGES)
            _look_for(work.seen)
            with suppress(OSError):
                os.chdir(work.folder)
            _held.clear()
            _held[name] = work
        return _held[name].function(chunk)
    except ray.exceptions.RayError:
        raise  # not the function's: Ray tries the chunk again
    except Exception as error:  # noqa: BLE001 - told to the command, whatever it is
        kept = error if can_travel(error) else RuntimeError(f"{type(error).__name__}: {error}")
        return _Failure(kept, socket.gethostname())


def _look_for(seen: Path) -> None:
    end = time.monotonic() + _SEE_SECONDS
    while not seen.exists():
        if time.monotonic() > end:
            raise EngineError(
                f"{socket.gethostname()} does not see {seen.parent}",
                "give `runs` a folder that all nodes of the cluster mount at the same path",
            )
        time.sleep(0.5)
