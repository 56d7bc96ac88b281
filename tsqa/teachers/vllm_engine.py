"""The parent's side of the vLLM workers: start them, feed them, explain a death.

Guarantees: a worker never outlives this process; a worker that does not start or dies raises
EngineError with its last log lines and a likely fix, and so does one that stays stopped; its log
is kept (`<role>-engine.log`, of further replicas `<role>-engine.1.log`, ...).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Self

from tsqa.errors import EngineError
from tsqa.recipe import TeacherSection
from tsqa.store.process import VLLM, SuspensionWatch, child_environment, share_gpus
from tsqa.teachers import TEACHER_KEY, Completion, RefusedError, Request
from tsqa.teachers.vllm_process import Outbox, VllmProcess

_LOOK_SECONDS = 3.0
"""How often the workers are looked at, while no line comes."""
_STOPPED_SECONDS = 300.0


class VllmEngine:
    """A context manager around the worker processes, `replicas` of them; entering starts them."""

    def __init__(
        self, section: TeacherSection, model: str, log: Path, seed: int, key: str = TEACHER_KEY
    ) -> None:
        self._section, self._model, self._log, self._seed = section, model, log, seed
        self._key = key
        self._workers: list[VllmProcess] = []
        self._outbox: Outbox = SimpleQueue()

    def __enter__(self) -> Self:
        section, folder = self._section, Path(self._model)
        if (folder.is_dir() or folder.is_absolute()) and not (folder / "config.json").is_file():
            raise EngineError(
                f"{folder}: no model here (no config.json)",
                f"correct {self._key}.model: a Hugging Face model folder or hub id",
            )
        config = {
            "model": self._model,
            "dtype": section.dtype,
            "max_model_len": section.max_model_len,
            "max_num_seqs": section.max_num_seqs,
            "tensor_parallel_size": section.tensor_parallel,
            "trust_remote_code": section.model.trust_remote_code,
            "seed": self._seed,
            "engine_args": section.engine_args,
            "keeps_marks": section.knows_thoughts,
            "template": {
                "kwargs": section.request.chat_template_kwargs,
                "system": section.request.system,
            },
        }
        try:
            keys = f"{self._key}.replicas or {self._key}.tensor_parallel"
            shares = share_gpus(section.replicas, section.gpus, keys)
            cache = {"VLLM_CPU_KVCACHE_SPACE": str(section.kv_cache_gib)}
            for number, devices in enumerate(shares):
                log = self._log if number == 0 else self._log.with_suffix(f".{number}.log")
                environment = child_environment(VLLM, cache, devices)
                self._workers.append(
                    VllmProcess(self._model, log, environment, self._outbox, self._key)
                )
                self._workers[-1].send(config)
            for _ in self._workers:
                self._take()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def capacity(self) -> int:
        return self._section.max_num_seqs * self._section.replicas

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    def submit(self, requests: Sequence[Request]) -> None:
        """To the least loaded replica, all to one: they share what they can of their prompts."""
        worker = min(self._workers, key=lambda worker: worker.unfinished)
        worker.unfinished += len(requests)
        worker.send([vars(request) for request in requests])

    def collect(self) -> list[Completion]:
        assert any(worker.unfinished for worker in self._workers), "nothing was submitted"
        return self.wait()

    def wait(self) -> list[Completion]:
        """The same for a thread that does not know what others submit."""
        done = self._take()
        # A death among them is raised by the next call, so that what is done is not lost.
        with contextlib.suppress(EngineError):
            while not self._outbox.empty():
                done += self._take()
        return done

    def _take(self) -> list[Completion]:
        """The next line of any worker; a dead worker raises EngineError."""
        worker, line = self._next_line()
        if line is None:
            self._outbox.put((worker, None))
            raise worker.explain_death()
        done = [Completion(**completion) for completion in json.loads(line)]
        worker.unfinished -= len(done)
        return done

    def _next_line(self) -> tuple[VllmProcess, str | None]:
        """Wait for a line; what keeps a worker from writing one is said, and waited for a while."""
        watch = SuspensionWatch(f"vLLM (model {self._model})", RefusedError)
        while True:
            try:
                return self._outbox.get(timeout=_LOOK_SECONDS)
            except Empty:
                pass
            for worker in self._workers:
                if worker.has_ended() and self._outbox.empty():
                    return worker, None  # what it started may hold its pipe open
            members = (process for worker in self._workers for process in worker.members())
            watch.look(members, _STOPPED_SECONDS)

    def _end(self) -> None:
        for worker in self._workers:
            worker.close_stdin()
        for worker in self._workers:
            worker.end()
        self._workers = []
        self._outbox = SimpleQueue()
