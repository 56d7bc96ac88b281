"""The evaluated documents: rendered once, read as they were rendered."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.generation import make_context, with_benchmarks
from tests.tsqa.seeds.test_stage import write_task
from tsqa.recipe import EvalSection
from tsqa.seeds.benchmarks import read_evaluated
from tsqa.seeds.sources import load_evaluated


def test_what_is_read_is_what_was_rendered_in_the_order_of_the_tasks(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_task(tmp_path, name)
    odd = {"question": "A long \u2028 separator and no answer?", "answer": ""}
    with (tmp_path / "a.test.jsonl").open("a", encoding="ascii") as file:
        file.write(json.dumps(odd) + "\n")
    section = EvalSection(tasks=["b", "a"], include=str(tmp_path))
    inputs = with_benchmarks(tmp_path / "benchmarks", {}, section)
    found = list(read_evaluated(make_context(tmp_path / "out", inputs, eval=section)))
    assert found == [*load_evaluated("b", tmp_path), *load_evaluated("a", tmp_path)]
    assert len(found) == 13 and found[-1].answer == ""
