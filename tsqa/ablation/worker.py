"""A process that builds arms: its side, which answers by lines of JSON, and the side that asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import IO

from tsqa.ablation.plan import arm_works
from tsqa.errors import TsqaError
from tsqa.pipeline.run import Pipeline
from tsqa.store.process import die_with_parent, log_tail

_TAIL = 15


class ArmWorker:
    """A process that builds arms, with a log of its own; a new one is started when it dies."""

    def __init__(self, pipeline: Pipeline, number: int, threads: int) -> None:
        self._log = pipeline.folder / "logs" / f"arms-{number}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._command = [
            *(sys.executable, "-m", "tsqa.cli.app", "ablate-worker", str(pipeline.origin)),
            *pipeline.overrides,
        ]
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._process: subprocess.Popen[str] | None = None

    def build(self, arm: str) -> str | None:
        """Why the arm failed, or None."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process and self._process.stdin and self._process.stdout
        begun = self._log.stat().st_size
        try:
            self._process.stdin.write(arm + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer:
            error: str | None = json.loads(answer)["error"]
            return error
        code = self._process.wait()
        tail = "\n    ".join(log_tail(self._log, _TAIL, begun))
        return f"its process ended with code {code}; last lines of {self._log}:\n    {tail}"

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                text=True,
            )


def run_worker(pipeline: Pipeline, names: IO[str], answers: IO[str]) -> None:
    """In a worker process: build one arm after the other as their names arrive, one a line.

    Each is answered by a line of JSON with `arm` and `error`, which is null when it is done.
    """
    works = {work.arm.name: work for work in arm_works(pipeline)}
    for line in names:
        name, error = line.rstrip("\n"), None
        try:
            for node in works[name].own:
                pipeline.ensure(node)
        except (TsqaError, OSError) as problem:
            error = str(problem)
        except Exception as problem:  # noqa: BLE001 - an arm that fails stops no other
            error = f"{type(problem).__name__}: {problem}"
        answers.write(json.dumps({"arm": name, "error": error}) + "\n")
        answers.flush()


def worker_main(pipeline: Pipeline) -> None:
    """The worker's process: what libraries print goes to stderr, answers alone to stdout."""
    die_with_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    run_worker(pipeline, sys.stdin, answers)
