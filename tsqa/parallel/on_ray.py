"""Ray tasks in place of processes: on this machine, or on the cluster of an address.

Guarantees: a cluster is joined only with a token, since whoever reaches one without runs code on it;
Ray's own processes on this machine listen on the loopback device and end with this one; a task
whose worker or machine is lost is done again elsewhere; a cluster without a free core is an error.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, TypeVar, cast

from tsqa.errors import EngineError, RecipeError, first_line
from tsqa.parallel.local import AHEAD, Workers, worker_environment
from tsqa.store.process import child_environment

if TYPE_CHECKING:
    from ray import ObjectRef

T = TypeVar("T")
R = TypeVar("R")

_AUTH, _TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
_TOKEN_FILE = "RAY_AUTH_TOKEN_PATH"
_STORE_BYTES = 1 << 30
_SECONDS_FOR_A_TASK = 60
"""Within which some core of the cluster begins the first task."""
_RETRIES = 3


class RayWorkers(Workers):
    """As `Workers`, on the cores of a cluster."""

    def __init__(self, count: int, setting: str, address: str | None) -> None:
        """`address`: host:port of a cluster of which this machine is a node; None starts one of
        `count` cores here, which ends with this process."""
        super().__init__(count, setting)
        self._address = address
        self._ray: ModuleType | None = None
        self._scratch: str | None = None
        self._before: dict[str, str | None] = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    def map_ordered(self, function: Callable[[T], R], chunks: Iterable[T]) -> Iterator[R]:
        ray = self._start()
        kept = [ray.put(function)]  # in a list, so that a task gets the reference
        task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_work)
        rest = (task.remote(os.getcwd(), kept, chunk) for chunk in chunks)
        begun = deque(islice(rest, AHEAD * self.count))
        return cast(Iterator[R], self._results(begun, rest))

    def _results(
        self, begun: deque[ObjectRef[object]], rest: Iterator[ObjectRef[object]]
    ) -> Iterator[object]:
        from ray import exceptions

        while begun:
            try:
                result = self._ray.get(begun.popleft())  # type: ignore[union-attr]
            except exceptions.RayTaskError as error:
                raise error.cause from error
            except exceptions.RayError as error:
                raise EngineError(
                    f"Ray lost a task {_RETRIES + 1} times: {first_line(error)}",
                    "look at the memory of the nodes and run it again: what is finished is kept",
                ) from error
            begun += islice(rest, 1)
            yield result

    def _start(self) -> ModuleType:
        if self._ray is not None:
            return self._ray
        if self._address is None:
            # The token in the environment alone: a file in ~/.ray would bind later clusters to it.
            self._set(_TOKEN, secrets.token_hex(32))
            self._set(_AUTH, "token")
        elif os.environ.get(_AUTH) != "token" or not (_TOKEN_FILE in os.environ or _TOKEN in os.environ):
            raise EngineError(
                f"cluster: ray@{self._address}: without a token whoever reaches a cluster runs code on it",
                f"set {_AUTH}=token and {_TOKEN_FILE} to one file on every node, before `ray start`",
            )
        self._set("RAY_USAGE_STATS_ENABLED", "0")
        self._set("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise RecipeError("cluster: ray is not installed", "pip install 'tsqa[ray]'") from error
        try:
            ray.init(**self._options(), log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            raise EngineError(
                f"Ray does not start: {first_line(error)}",
                "compare address, token and version of Ray on the nodes",
            ) from error
        self._ray = ray
        found = int(ray.cluster_resources().get("CPU", 0))
        if self._address is not None:
            self.count = found
        if not found:
            raise EngineError(
                f"cluster: ray@{self._address}: its nodes have no core for tasks",
                "start a node with --num-cpus above 0",
            )
        return cast(ModuleType, ray)

    def _options(self) -> dict[str, object]:
        environment = worker_environment(1) | {"PYTHONPATH": child_environment()["PYTHONPATH"]}
        shared: dict[str, object] = {"runtime_env": {"env_vars": environment}}
        if self._address is not None:
            return shared | {"address": self._address}
        self._scratch = tempfile.mkdtemp(prefix="tsqa-ray-")
        return shared | {
            "address": "local",
            "num_cpus": self.count,
            "num_gpus": 0,
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": self._scratch,
        }

    def _set(self, name: str, value: str) -> None:
        self._before.setdefault(name, os.environ.get(name))
        os.environ[name] = value


def _work(folder: str, kept: list[ObjectRef[object]], chunk: object) -> object:
    import ray

    try:
        os.chdir(folder)
    except OSError as error:
        node = ray.util.get_node_ip_address()
        raise EngineError(
            f"{folder}: the node {node} does not see it: {error.strerror}",
            "share it among the nodes, under one path",
        ) from error
    _held[kept[0].hex()] = kept[0]
    return _function(kept[0].hex())(chunk)


_held: dict[str, ObjectRef[object]] = {}
"""In a worker: hash of a function -> where it is."""


@lru_cache(maxsize=1)
def _function(name: str) -> Callable[[object], object]:
    import ray

    return cast(Callable[[object], object], ray.get(_held.pop(name)))
