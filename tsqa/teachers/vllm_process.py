"""One vLLM process: start it, send it requests, pass on its results, explain its death, end it.

Guarantees: what a process started ends with it; a death is explained by the last lines of the log
and a likely fix.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO

import psutil

from tsqa.errors import EngineError
from tsqa.store.process import how_it_ended, log_tail, name_parent
from tsqa.teachers import TEACHER_KEY

_LOG_LINES = 15
_END_SECONDS = 5.0
_FIXES = (
    (("too many open files",), "raise the limit of open files: ulimit -n"),
    (
        ("can't start new thread", "failed to map segment", "resource temporarily unavailable"),
        "raise the limits of this process: ulimit -v (memory) and ulimit -u (threads)",
    ),
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
        "lower {key}.kv_cache_gib, max_num_seqs or max_model_len; raise `ulimit -v` if it is set",
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


class VllmProcess:
    """One vLLM process; its result lines, and None at its death, go to `outbox`."""

    def __init__(
        self, model: str, log: Path, environment: Mapping[str, str], outbox: Outbox, key: str
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
                    env={**environment, **name_parent()},
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

    def members(self) -> list[psutil.Process]:
        """The processes of its session; with tensor_parallel each GPU has one."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError):
                if os.getsid(process.pid) == self.pid:
                    found.append(process)
        return found

    def send(self, message: object) -> None:
        assert self._process.stdin is not None
        # A dead worker is seen when results are taken, where its log explains it.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def explain_death(self) -> EngineError:
        code = self._process.wait()
        tail = log_tail(self._log, _LOG_LINES)
        shown = "\n".join(f"  | {line}" for line in tail)
        return EngineError(
            f"vLLM {how_it_ended(code)} (model {self._model}); last lines of {self._log}:\n{shown}",
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
        _, staying = psutil.wait_procs(self.members(), _END_SECONDS)
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


Outbox = SimpleQueue[tuple[VllmProcess, str | None]]


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
