"""Programs are scored as `code_eval` does, within a boundary."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from eval.harness.code_metric import CodeMetric, bounded_metric, is_bounded
from tsqa.sandbox import find_boundary

RIGHT, WRONG = "def add(a, b):\n    return a + b", "def add(a, b):\n    return a * b"
TESTS = "assert add(2, 3) == 5"


@pytest.fixture(scope="module")
def metric() -> CodeMetric:
    boundary = find_boundary()
    if boundary.kind == "none":
        pytest.skip(boundary.missing)
    return CodeMetric(boundary)


def test_the_share_of_passing_programs_is_that_of_code_eval(metric: CodeMetric) -> None:
    predictions = [[RIGHT, WRONG, WRONG, WRONG], [WRONG] * 4]
    scores, results = metric.compute(
        references=[TESTS, TESTS], predictions=predictions, k=[1, 2, 9]
    )
    assert scores == pytest.approx({"pass@1": 0.125, "pass@2": 0.25})
    assert [result["passed"] for _, result in results[0]] == [True, False, False, False]
    assert results[1][0][1]["result"].startswith("failed: AssertionError")


def test_a_program_touches_nothing_and_forges_nothing(metric: CodeMetric, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("whole", encoding="utf-8")
    deletes = f"import os\ndef add(a, b):\n    os.remove({str(victim)!r})\n    return 5"
    leaves = "import os\ndef add(a, b):\n    os._exit(0)"
    equal = "class A:\n    def __eq__(s, o): return True\ndef add(a, b): return A()"
    scores, _ = metric.compute(
        references=[TESTS] * 3, predictions=[[deletes], [leaves], [equal]], k=[1]
    )
    assert scores == {"pass@1": 0.0}
    assert victim.read_text(encoding="utf-8") == "whole"


def test_lm_eval_s_own_tasks_get_the_bounded_metric(
    metric: CodeMetric, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("humaneval", "mbpp"):
        module = f"lm_eval.tasks.{name}.utils"
        monkeypatch.delitem(sys.modules, module, raising=False)
        with bounded_metric(find_boundary()):
            utils = importlib.import_module(module)
        measure = getattr(utils, "pass_at_1" if name == "mbpp" else "pass_at_k")
        task = type("Task", (), {"_metric_fn_list": {"pass": measure.__call__}})
        assert is_bounded(task)
    other = type("Task", (), {"_metric_fn_list": {"acc": (lambda x: x), "pass": measure}})
    assert not is_bounded(other)
    assert not is_bounded(object())
    assert utils.pass_at_1([TESTS], [[RIGHT]]) == 1.0
