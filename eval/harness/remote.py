"""A model in other processes: lm-eval's requests go out, its answers come back.

Each process holds a copy of the checkpoint and takes a contiguous share of the requests. lm-eval's
own split, by `accelerate launch`, gives each rank some of the documents; every rank then draws its
few-shot examples anew, so that the scores depend on the number of processes. These do not.

Guarantees: the answers are those of one process, in order; a process that dies raises EngineError
with its last log lines, and one that stays stopped raises it too; one that works without an answer
is reported every while and waited for; none outlives this one.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, cast

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from rich.text import Text

from eval.harness.worker import Call, Done, Inbox, Reply, Worker, start
from tsqa.console import console
from tsqa.errors import EngineError
from tsqa.store.process import SuspensionWatch, log_tail

if TYPE_CHECKING:
    from eval.harness.engines import ModelSettings, Progress

_LOG_LINES = 15
_END_SECONDS = 5.0
_LOOK_SECONDS = 3.0
"""How often the workers are looked at while no message comes."""
_STOPPED_SECONDS = 300.0
_QUIET_SECONDS = 600.0
"""How long workers may run without a message before that is reported."""


class RemoteModel(LM):  # type: ignore[misc]
    """lm-eval's model interface over worker processes, one for each of `environments`."""

    def __init__(
        self,
        settings: ModelSettings,
        environments: Sequence[dict[str, str]],
        log: Path,
        on_progress: Progress,
    ) -> None:
        super().__init__()
        self._settings, self._on_progress = settings, on_progress
        self._workers: list[Worker] = []
        self._inbox: Inbox = SimpleQueue()
        self._looked = self._heard = time.monotonic()
        self._engine = {"hf": "transformers", "vllm": "vLLM"}[settings.backend]
        self._name = f"{self._engine} (model {settings.checkpoint})"
        self._watch = SuspensionWatch(self._name)
        try:
            for number, environment in enumerate(environments):
                path = log if number == 0 else log.with_suffix(f".{number}.log")
                self._workers.append(start(settings, environment, path, self._inbox))
            for _ in self._workers:
                self._next()  # it is ready
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes; a busy one is killed."""
        for worker in self._workers:
            worker.hang_up()
        for worker in self._workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(_END_SECONDS)
            worker.process.kill()
            worker.process.wait()
        self._workers = []

    @property
    def pids(self) -> list[int]:
        return [worker.process.pid for worker in self._workers]

    @property
    def tokenizer_name(self) -> str:
        return self._settings.checkpoint.replace("/", "__")

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        worker = self._workers[0]
        worker.send(Call("apply_chat_template", (chat_history, add_generation_prompt)))
        _, message = self._next()
        assert isinstance(message, Reply)
        return str(message.value)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return cast(list[tuple[float, bool]], self._ask("loglikelihood", requests))

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        return cast(list[float], self._ask("loglikelihood_rolling", requests))

    def generate_until(self, requests: list[Instance]) -> list[str]:
        return cast(list[str], self._ask("generate_until", requests))

    def _ask(self, method: str, requests: list[Instance]) -> list[object]:
        """Split the requests among the workers; the answers in order."""
        arguments = [request.args for request in requests]
        count = len(self._workers)
        bounds = [len(arguments) * number // count for number in range(count + 1)]
        busy = set()
        for number, worker in enumerate(self._workers):
            share = arguments[bounds[number] : bounds[number + 1]]
            if share:
                worker.send(Call(method, share))
                busy.add(number)
        answers: dict[int, list[object]] = {}
        done = [0] * count
        while busy:
            worker, message = self._next()
            number = self._workers.index(worker)
            if isinstance(message, Done):
                done[number] = message.requests
                self._on_progress(sum(done), len(arguments))
            else:
                answers[number] = cast(list[object], message.value)
                busy.remove(number)
        return [answer for number in sorted(answers) for answer in answers[number]]

    def _next(self) -> tuple[Worker, Done | Reply]:
        """Wait for a message of any worker; a dead or stopped one raises EngineError."""
        self._heard = time.monotonic()
        while True:
            if time.monotonic() - self._looked >= _LOOK_SECONDS:
                self._look()
            try:
                worker, message = self._inbox.get(timeout=_LOOK_SECONDS)
            except Empty:
                continue
            if message is None:
                raise self._explain_death(worker)
            return worker, message

    def _look(self) -> None:
        """Report what keeps the workers from answering; a death or a long stop is an error."""
        self._looked = now = time.monotonic()
        for worker in self._workers:
            # A pipe that a child of a dead worker holds open never ends.
            if worker.process.poll() is not None and self._inbox.empty():
                raise self._explain_death(worker)
        members = (process for worker in self._workers for process in worker.members())
        if not self._watch.look(members, _STOPPED_SECONDS) and now - self._heard > _QUIET_SECONDS:
            self._heard = now
            shown = f"no answer for {_QUIET_SECONDS:g} s; its log: {self._workers[0].log}"
            console.print(Text(f"  {self._name}: {shown}", "yellow"))

    def _explain_death(self, worker: Worker) -> EngineError:
        code = worker.process.wait()
        shown = "\n".join(f"  | {line}" for line in log_tail(worker.log, _LOG_LINES))
        ending = f"was killed by signal {-code}" if code < 0 else "ended"
        return EngineError(
            f"{self._engine} {ending} while it served {self._settings.checkpoint}; last lines of "
            f"{worker.log}:\n{shown}",
            "see these lines; short of memory, lower eval.max_length, eval.batch_size or "
            "eval.processes; where vLLM cannot serve the model, set eval.backend=hf",
        )
