"""A model in processes of its own: lm-eval's requests go out, its answers come back.

Each process holds a copy of the checkpoint and takes a contiguous share of the requests. lm-eval's
own split, by `accelerate launch`, gives each rank some of the documents; every rank then draws its
few-shot examples anew, so that the scores depend on the number of processes. These do not.

Promises: the answers are those of one process, in order; a process that dies raises EngineError
with its last log lines; none outlives this one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from tsqa.errors import EngineError
from tsqa.store.process import child_environment, die_with_parent, log_tail

if TYPE_CHECKING:
    from eval.harness.engines import ModelSettings, Progress

_LOG_LINES = 15
_END_SECONDS = 5.0


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
        self._workers: list[_Worker] = []
        try:
            for number, environment in enumerate(environments):
                path = log if number == 0 else log.with_suffix(f".{number}.log")
                self._workers.append(_start(settings, environment, path))
            for worker in self._workers:
                self._receive(worker)  # it is ready
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes; a busy one is killed."""
        for worker in self._workers:
            worker.connection.close()
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
        self._send(worker, ("apply_chat_template", (chat_history, add_generation_prompt)))
        return str(self._receive(worker))

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return self._ask("loglikelihood", requests)

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        return self._ask("loglikelihood_rolling", requests)

    def generate_until(self, requests: list[Instance]) -> list[str]:
        return self._ask("generate_until", requests)

    def _ask(self, method: str, requests: list[Instance]) -> list[Any]:
        arguments = [request.args for request in requests]
        count = len(self._workers)
        bounds = [len(arguments) * number // count for number in range(count + 1)]
        busy: dict[Connection, int] = {}
        for number, worker in enumerate(self._workers):
            share = arguments[bounds[number] : bounds[number + 1]]
            if share:
                self._send(worker, (method, share))
                busy[worker.connection] = number
        answers: dict[int, list[Any]] = {}
        done = [0] * count
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                number = busy[connection]
                found = self._receive(self._workers[number])
                if isinstance(found, int):
                    done[number] = found
                    self._on_progress(sum(done), len(arguments))
                else:
                    answers[number] = found
                    del busy[connection]
        return [answer for number in sorted(answers) for answer in answers[number]]

    def _send(self, worker: _Worker, message: Any) -> None:
        # A dead worker is seen when its answer is taken, where its log explains it.
        with contextlib.suppress(BrokenPipeError):
            worker.connection.send(message)

    def _receive(self, worker: _Worker) -> Any:
        try:
            return worker.connection.recv()
        except (EOFError, OSError) as error:
            raise self._explain_death(worker) from error

    def _explain_death(self, worker: _Worker) -> EngineError:
        code = worker.process.wait()
        shown = "\n".join(f"  | {line}" for line in log_tail(worker.log, _LOG_LINES))
        ending = f"was killed by signal {-code}" if code < 0 else "ended"
        name = {"hf": "transformers", "vllm": "vLLM"}[self._settings.backend]
        return EngineError(
            f"{name} {ending} while it served {self._settings.checkpoint}; last lines of "
            f"{worker.log}:\n{shown}",
            "see these lines; short of memory, lower eval.max_length, eval.batch_size or "
            "eval.processes; where vLLM cannot serve the model, set eval.backend=hf",
        )


@dataclass(frozen=True)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    log: Path


def _start(settings: ModelSettings, environment: dict[str, str], log: Path) -> _Worker:
    ours, theirs = multiprocessing.Pipe()
    with log.open("ab") as handle:
        # Not multiprocessing: it would report what vLLM leaves behind as leaked by this process.
        process = subprocess.Popen(
            [sys.executable, "-m", "eval.harness.remote", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
            env=child_environment(environment),
        )
    theirs.close()
    worker = _Worker(process, ours, log)
    with contextlib.suppress(BrokenPipeError):  # a death is seen when it should be ready
        ours.send(settings)
    return worker


def _main() -> None:
    """The worker: answer until the connection closes."""
    die_with_parent()
    connection = Connection(int(sys.argv[1]))
    try:
        _answer_all(connection.recv(), connection)
    except EOFError:
        os._exit(0)
    except BaseException:  # noqa: BLE001 - vLLM's own shutdown can hang
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _answer_all(settings: ModelSettings, connection: Connection) -> None:
    from eval.harness.engines import load_model

    model = load_model(settings, lambda done, total: connection.send(done))
    connection.send("ready")
    while True:
        method, arguments = connection.recv()
        if method == "apply_chat_template":
            connection.send(model.apply_chat_template(*arguments))
            continue
        requests = [Instance(method, {}, given, 0) for given in arguments]
        connection.send(getattr(model, method)(requests))


if __name__ == "__main__":
    _main()
