"""The parent's side of the vLLM workers: start them, feed them, explain a death.

Promises: a worker never outlives this process; a worker that does not start or dies raises
EngineError with its last log lines and a likely fix, and so does one that stays stopped; its log
is kept (`<role>-engine.log`, of further replicas `<role>-engine.1.log`, ...).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import IO, Any, Self

import psutil
from rich.text import Text

from tsqa.console import console
from tsqa.errors import EngineError
from tsqa.recipe import TeacherSection
from tsqa.store.process import share_gpus
from tsqa.teachers import TEACHER_KEY, Completion, RefusedError, Request

_LOG_LINES = 15
_END_SECONDS = 5.0
_LOOK_SECONDS = 3.0
"""How often the workers are looked at, while no line comes."""
_STOPPED_SECONDS = 300.0
_FIXES = (
    (
        ("no available memory for the cache", "larger than the available kv cache", "kv cache is"),
        "raise {key}.kv_cache_gib, or lower {key}.max_model_len",
    ),
    (
        (
            "out of memory",
            "cannot allocate memory",
            "bad_alloc",
            "not enough memory",
            "free memory",
        ),
        "lower {key}.kv_cache_gib, max_num_seqs or max_model_len",
    ),
    (
        ("is greater than the derived max_model_len",),
        "lower {key}.max_model_len to what the model allows",
    ),
    (("longer than the maximum model length",), "raise {key}.max_model_len"),
    (("not enough allowed numa nodes",), "lower {key}.tensor_parallel to the NUMA nodes here"),
    (("no module named 'vllm'",), "install vLLM as the README says"),
    (
        ("config.json", "not a valid model identifier", "repository not found", "does not appear"),
        "correct {key}.model.path: a Hugging Face model folder or hub id",
    ),
    (
        ("no supported", "not supported", "does not recognize this architecture"),
        "use a model and dtype that vLLM serves on this device",
    ),
)


class VllmEngine:
    """A context manager around the worker processes, `replicas` of them; entering starts them."""

    def __init__(
        self, section: TeacherSection, model: str, log: Path, seed: int, key: str = TEACHER_KEY
    ) -> None:
        self._section, self._model, self._log, self._seed = section, model, log, seed
        self._key = key
        self._workers: list[_Worker] = []
        self._outbox: _Outbox = SimpleQueue()

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
            "template": {
                "kwargs": section.request.chat_template_kwargs,
                "system": section.request.system,
            },
        }
        try:
            keys = f"{self._key}.replicas or {self._key}.tensor_parallel"
            shares = share_gpus(section.replicas, section.tensor_parallel, keys)
            for number, devices in enumerate(shares):
                log = self._log if number == 0 else self._log.with_suffix(f".{number}.log")
                environment = _environment(section) | devices
                self._workers.append(
                    _Worker(self._model, log, environment, self._outbox, self._key)
                )
                self._workers[-1].send(config)
            for _ in self._workers:
                self._take()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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

    def _next_line(self) -> tuple[_Worker, str | None]:
        """Wait for a line; what keeps a worker from writing one is said, and waited for a while."""
        stopped_since: float | None = None
        while True:
            try:
                return self._outbox.get(timeout=_LOOK_SECONDS)
            except Empty:
                pass
            for worker in self._workers:
                if worker.has_ended() and self._outbox.empty():
                    return worker, None  # what it started may hold its pipe open
            stopped = [process for worker in self._workers for process in worker.stopped()]
            if not stopped:
                stopped_since = None
                continue
            if stopped_since is None:
                stopped_since = time.monotonic()
                _say_stopped(stopped)
            elif time.monotonic() - stopped_since > _STOPPED_SECONDS:
                raise RefusedError(
                    f"vLLM (model {self._model}): process {stopped[0].pid} was stopped for "
                    f"{_STOPPED_SECONDS:g} s",
                    "find out who stops it (SIGSTOP); the same command then continues",
                )

    def _end(self) -> None:
        for worker in self._workers:
            worker.close_stdin()
        for worker in self._workers:
            worker.end()
        self._workers = []
        self._outbox = SimpleQueue()


class _Worker:
    """One vLLM process; its result lines, and None at its death, go to `outbox`."""

    def __init__(
        self, model: str, log: Path, environment: Mapping[str, str], outbox: _Outbox, key: str
    ) -> None:
        self._model, self._log, self._outbox, self._key = model, log, outbox, key
        self.unfinished = 0
        try:
            results = self._start(environment)
            self._pump = Thread(target=self._read_results, args=(results,), daemon=True)
            self._pump.start()
        except (OSError, RuntimeError, MemoryError) as error:
            if hasattr(self, "_process"):
                self._process.kill()
                self._process.wait()
            raise EngineError(
                f"vLLM (model {model}) could not be started: {error or type(error).__name__}",
                "raise the limits of this process (ulimit -a), or free memory and disk",
            ) from error

    def _start(self, environment: Mapping[str, str]) -> IO[str]:
        """Start the process; its results."""
        reader, writer = os.pipe()
        results = os.fdopen(reader, encoding="utf-8")
        try:
            with self._log.open("a", encoding="utf-8") as handle:
                self._process = subprocess.Popen(
                    _command(writer),
                    stdin=subprocess.PIPE,
                    stdout=handle,
                    stderr=subprocess.STDOUT,
                    pass_fds=[writer],
                    start_new_session=True,
                    env=environment,
                    text=True,
                    encoding="utf-8",
                )
        except BaseException:
            results.close()
            raise
        finally:
            os.close(writer)
        return results

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def stopped(self) -> list[psutil.Process]:
        """Its processes that do not run because a signal stopped them."""
        found = []
        for process in _members_of(self.pid):
            with contextlib.suppress(psutil.Error):
                if process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
                    found.append(process)
        return found

    def send(self, message: Any) -> None:
        assert self._process.stdin is not None
        # A dead worker is seen when results are taken, where its log explains it.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def explain_death(self) -> EngineError:
        code = self._process.wait()
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = [line for line in lines if line.strip()][-_LOG_LINES:]
        shown = "\n".join(f"  | {line[:300]}" for line in tail)
        ending = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
        return EngineError(
            f"vLLM {ending} (model {self._model}); last lines of {self._log}:\n{shown}",
            likely_fix(tail, code, self._key),
        )

    def close_stdin(self) -> None:
        """The worker exits when its stdin ends."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def end(self) -> None:
        """Wait for the process and all that it started; kill what stays."""
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _, staying = psutil.wait_procs(_members_of(self.pid), _END_SECONDS)
        for process in staying:
            process.kill()
        psutil.wait_procs(staying)
        self._pump.join()

    def _read_results(self, results: IO[str]) -> None:
        try:
            with results:
                for line in results:
                    if line.endswith("\n"):  # else it died while writing
                        self._outbox.put((self, line))
        except (OSError, ValueError, MemoryError):
            self._process.kill()
        finally:
            self._outbox.put((self, None))


_Outbox = SimpleQueue[tuple[_Worker, str | None]]


def _command(writer: int) -> list[str]:
    return [sys.executable, "-m", "tsqa.teachers.vllm_worker", str(writer)]


def likely_fix(tail: Sequence[str], code: int, key: str = TEACHER_KEY) -> str:
    """What to change in the recipe, from the last log lines and the exit code."""
    text = "\n".join(tail).lower()
    for marks, fix in _FIXES:
        if any(mark in text for mark in marks):
            return fix.format(key=key)
    if code == -9:
        return f"probably out of memory: lower {key}.kv_cache_gib or max_num_seqs"
    return f"read the log above; {key} in the recipe configures the engine"


def _say_stopped(stopped: Sequence[psutil.Process]) -> None:
    shown = " ".join(str(process.pid) for process in stopped)
    console.print(
        Text(
            f"vLLM does not answer: process {shown} is stopped (SIGSTOP): continue it with "
            f"`kill -CONT {shown}`; it is waited for {_STOPPED_SECONDS:g} s",
            "yellow",
        )
    )


def _members_of(session: int) -> list[psutil.Process]:
    """The processes of a session; with tensor_parallel each GPU has one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if os.getsid(process.pid) == session:
                found.append(process)
    return found


def _environment(section: TeacherSection) -> dict[str, str]:
    package_root = str(Path(__file__).resolve().parents[2])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        # One process: nothing is orphaned.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": str(section.kv_cache_gib),
        "VLLM_LOGGING_LEVEL": "INFO",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
