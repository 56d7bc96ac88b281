"""A process that builds arms: its side, which answers by lines of JSON, and the side that asks."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import IO

from tsqa.ablation.plan import arm_works
from tsqa.errors import PreemptedError, TsqaError
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.preview.estimate import limit_dollars
from tsqa.spending import SpentError
from tsqa.store.process import die_with_parent, log_tail, name_parent

_TAIL = 15


@dataclass(frozen=True)
class ArmOrder:
    """An arm to build, and what it may cost at most."""

    arm: str
    dollars: float | None


@dataclass(frozen=True)
class ArmResult:
    """What came of an order."""

    arm: str
    error: str | None
    """None: it is built."""
    dollars: float
    stopped: str = ""
    """What its limit of dollars did not allow."""
    preempted: bool = False
    """SIGTERM ended it, and nothing is lost."""


class ArmWorker:
    """A process that builds arms, with a log of its own; a new one is started when it dies."""

    def __init__(self, pipeline: Pipeline, number: int, threads: int) -> None:
        self._log = pipeline.folder / "logs" / f"arms-{number}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._command = [
            *(sys.executable, "-m", "tsqa.cli.app", "ablate-worker", str(pipeline.origin)),
            *pipeline.overrides,
        ]
        self._environment = {**os.environ, **name_parent(), "OMP_NUM_THREADS": str(threads)}
        self._process: subprocess.Popen[str] | None = None
        self._is_asked = False

    def end(self) -> None:
        """Have the arm save and end; a stage that cannot save ends at once."""
        self._is_asked = True
        if self._process is not None:
            self._process.terminate()

    def build(self, order: ArmOrder) -> ArmResult:
        """Build an arm; if its process dies, count all that it was allowed as spent."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process and self._process.stdin and self._process.stdout
        begun = self._log.stat().st_size
        try:
            self._process.stdin.write(json.dumps(asdict(order)) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer:
            return ArmResult(**json.loads(answer))
        code = self._process.wait()
        tail = "\n    ".join(log_tail(self._log, _TAIL, begun))
        error = f"its process ended with code {code}; last lines of {self._log}:\n    {tail}"
        return ArmResult(order.arm, error, order.dollars or 0.0, preempted=self._is_asked)

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # an order that a dead process never read
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
        if self._is_asked:  # while it was started
            self._process.terminate()


def run_worker(pipeline: Pipeline, orders: IO[str], answers: IO[str]) -> None:
    """In a worker process: build one arm after the other as orders arrive, one a line of JSON.

    Each is answered by such a line.
    """
    works = {work.arm.name: work for work in arm_works(pipeline)}
    for line in orders:
        order = ArmOrder(**json.loads(line))
        answer = _obey(pipeline, works[order.arm].own, order)
        answers.write(json.dumps(asdict(answer)) + "\n")
        answers.flush()


def _obey(pipeline: Pipeline, nodes: Sequence[Node], order: ArmOrder) -> ArmResult:
    error, stopped, preempted = None, "", False
    pipeline.spending.dollars = 0.0
    try:
        if order.dollars is not None:
            limit_dollars(pipeline, order.dollars)
        for node in nodes:
            pipeline.ensure(node)
    except SpentError as problem:
        error, stopped = str(problem), problem.stopped
    except PreemptedError as problem:
        error, preempted = str(problem), True
    except (TsqaError, OSError) as problem:
        error = str(problem)
    except Exception as problem:  # noqa: BLE001 - an arm that fails stops no other
        error = f"{type(problem).__name__}: {problem}"
    return ArmResult(order.arm, error, pipeline.spending.dollars, stopped, preempted)


def worker_main(pipeline: Pipeline) -> None:
    """The worker's process: what libraries print goes to stderr, answers alone to stdout."""
    die_with_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    run_worker(pipeline, sys.stdin, answers)
