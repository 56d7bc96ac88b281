"""Tasks that score programs: what the model writes runs within this machine's boundary.

lm-eval's own (humaneval, mbpp) call Hugging Face's metric `code_eval`, which runs programs in
this process's children, unguarded, and is itself code from the hub. `bounded_metric` replaces it by
one of the same name, arguments and results.

Guarantee: a task with another metric is recognised, as nothing is known about what it runs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypedDict

from tsqa.parallel import own_cores
from tsqa.sandbox import Boundary, run_program
from tsqa.tasks.patches import metric_replaced

if TYPE_CHECKING:
    from lm_eval.api.task import Task

_SECONDS = 3.0
_MEMORY = 4 << 30
NAME = "code_eval"


class _Run(TypedDict):
    """The end of one program, as `code_eval` reports it."""

    task_id: int
    passed: bool
    result: str
    completion_id: int


class CodeMetric:
    """`code_eval`: the share of problems with a passing program among k, by their tests."""

    def __init__(self, boundary: Boundary) -> None:
        self._boundary = boundary

    def compute(
        self,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int] = (1, 10, 100),
        timeout: float = _SECONDS,
        **unused: object,
    ) -> tuple[dict[str, float], dict[int, list[tuple[int, _Run]]]]:
        jobs = [
            (task, number, program, tests)
            for task, (programs, tests) in enumerate(zip(predictions, references, strict=True))
            for number, program in enumerate(programs)
        ]

        def run(job: tuple[int, int, str, str]) -> str:
            return run_program(self._boundary, job[2], job[3], timeout, _MEMORY)

        with ThreadPoolExecutor(own_cores()) as pool:
            reasons = list(pool.map(run, jobs))
        results: dict[int, list[tuple[int, _Run]]] = defaultdict(list)
        for (task, number, _, _), reason in zip(jobs, reasons, strict=True):
            end: _Run = {
                "task_id": task,
                "passed": not reason,
                "result": f"failed: {reason}" if reason else "passed",
                "completion_id": number,
            }
            results[task].append((number, end))
        counts = [
            (len(found), sum(result["passed"] for _, result in found))
            for _, found in sorted(results.items())
        ]
        return {
            f"pass@{n}": sum(_pass_at(n, *count) for count in counts) / len(counts)
            for n in k
            if counts and all(total >= n for total, _ in counts)
        }, results


def bounded_metric(boundary: Boundary) -> AbstractContextManager[None]:
    """Tasks that are loaded here get the bounded metric for `evaluate.load("code_eval")`."""
    return metric_replaced(NAME, lambda: CodeMetric(boundary))


def is_bounded(task: Task) -> bool:
    """Whether every metric of the task is one that runs programs by the bounded metric alone."""
    metrics = list(getattr(task, "_metric_fn_list", {}).values())
    return bool(metrics) and all(map(_runs_bounded, metrics))


def _runs_bounded(metric: object) -> bool:
    function = getattr(metric, "__self__", None) or metric  # lm-eval keeps `function.__call__`
    known = getattr(function, "__globals__", {})
    return any(isinstance(value, CodeMetric) for value in known.values())


def _pass_at(k: int, total: int, passed: int) -> float:
    """The chance that one of k programs drawn from these passes."""
    return 1.0 - math.comb(total - passed, k) / math.comb(total, k)
