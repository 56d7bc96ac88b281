"""The evaluated documents: rendered once, read as they were rendered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.generation import make_context, with_benchmarks
from tests.tsqa.seeds.test_stage import write_task
from tsqa.errors import RecipeError
from tsqa.recipe import EvalSection
from tsqa.seeds.benchmarks import read_evaluated, refuse_groups, run
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


def test_a_rule_of_groups_that_names_no_field_is_refused_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    write_task(tmp_path, "a")
    section = EvalSection(tasks=["a"], include=str(tmp_path), groups={"a": "question"})
    fields: Any = run(make_context(tmp_path / "one", {}, eval=section))["fields"]
    assert fields == {"a": ["answer", "question"]}
    wrong = EvalSection(tasks=["a"], include=str(tmp_path), groups={"a": "Body"})
    problem = r"eval\.groups\.a = 'Body': (.|\n)*use one of: answer, question"
    with pytest.raises(RecipeError, match=problem):
        with_benchmarks(tmp_path / "two", {}, wrong)
    with pytest.raises(RecipeError, match=problem):  # of one that was made before the rule
        refuse_groups(wrong, tmp_path, fields)
    refuse_groups(wrong, tmp_path, {})
    by_pattern = EvalSection(tasks=["a"], include=str(tmp_path), groups={"a": r"/^(\w+)/"})
    with_benchmarks(tmp_path / "three", {}, by_pattern)
