"""The parent's side of the vLLM worker: start it, feed it blocks, explain its death.

Promises: the worker never outlives this process; a worker that does not start or dies raises
EngineError with its last log lines and a likely fix; its log is kept in `engine.log`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tsqa.errors import EngineError
from tsqa.recipe import TeacherSection
from tsqa.teachers import Completion, Request

_LOG_LINES = 15
_FIXES = (
    (
        ("no available memory for the cache", "larger than the available kv cache", "kv cache is"),
        "raise generate.teacher.kv_cache_gib, or lower generate.teacher.max_model_len",
    ),
    (
        (
            "out of memory",
            "cannot allocate memory",
            "bad_alloc",
            "not enough memory",
            "free memory",
        ),
        "lower generate.teacher.kv_cache_gib, max_num_seqs or max_model_len",
    ),
    (
        ("is greater than the derived max_model_len",),
        "lower generate.teacher.max_model_len to what the model allows",
    ),
    (("longer than the maximum model length",), "raise generate.teacher.max_model_len"),
    (("no module named 'vllm'",), "install vLLM as the README says"),
    (
        ("config.json", "not a valid model identifier", "repository not found", "does not appear"),
        "correct generate.teacher.model.path: a Hugging Face model folder or hub id",
    ),
    (("no supported", "not supported"), "use a model and dtype that vLLM serves on this device"),
)


class VllmEngine:
    """A context manager around the worker process; the process starts on entering."""

    def __init__(self, section: TeacherSection, model: str, log: Path, seed: int) -> None:
        self._section, self._model, self._log, self._seed = section, model, log, seed
        self._process: subprocess.Popen[str] | None = None
        self._results: Any = None

    def __enter__(self) -> Self:
        folder = Path(self._model)
        if (folder.is_dir() or folder.is_absolute()) and not (folder / "config.json").is_file():
            raise EngineError(
                f"{folder}: no model here (no config.json)",
                "correct generate.teacher.model: a Hugging Face model folder or hub id",
            )
        reader, writer = os.pipe()
        with self._log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tsqa.teachers.vllm_worker", str(writer)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[writer],
                env=self._environment(),
                text=True,
                encoding="utf-8",
            )
        os.close(writer)
        self._results = os.fdopen(reader, encoding="utf-8")
        section = self._section
        try:
            self._ask(
                {
                    "model": self._model,
                    "dtype": section.dtype,
                    "max_model_len": section.max_model_len,
                    "max_num_seqs": section.max_num_seqs,
                    "trust_remote_code": section.model.trust_remote_code,
                    "seed": self._seed,
                }
            )
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

    def complete(self, block: Sequence[Request]) -> list[Completion]:
        answer = self._ask([asdict(request) for request in block])
        return [Completion(**completion) for completion in answer["completions"]]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _environment(self) -> dict[str, str]:
        section = self._section
        package_root = str(Path(__file__).resolve().parents[2])
        paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
        return os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            # One process: requests reach the scheduler in one order, and nothing is orphaned.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_KVCACHE_SPACE": str(section.kv_cache_gib),
            "VLLM_LOGGING_LEVEL": "INFO",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }

    def _ask(self, message: Any) -> dict[str, Any]:
        assert self._process is not None and self._process.stdin is not None
        # A dead worker is seen below, where its log explains it.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        line = self._results.readline()
        if not line.endswith("\n"):
            raise self._explain_death()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _explain_death(self) -> EngineError:
        assert self._process is not None
        code = self._process.wait()
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = [line for line in lines if line.strip()][-_LOG_LINES:]
        shown = "\n".join(f"  | {line[:300]}" for line in tail)
        ending = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
        return EngineError(
            f"vLLM {ending} (model {self._model}); last lines of {self._log}:\n{shown}",
            likely_fix(tail, code),
        )

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._results.close()
        self._process = None


def likely_fix(tail: Sequence[str], code: int) -> str:
    """What to change in the recipe, from the last log lines and the exit code."""
    text = "\n".join(tail).lower()
    for marks, fix in _FIXES:
        if any(mark in text for mark in marks):
            return fix
    if code == -9:
        return "probably out of memory: lower generate.teacher.kv_cache_gib or max_num_seqs"
    return "read the log above; generate.teacher in the recipe configures the engine"
