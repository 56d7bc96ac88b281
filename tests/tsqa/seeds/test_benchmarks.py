"""The evaluated documents: rendered once, read as they were rendered."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.generation import make_context, with_benchmarks
from tests.tsqa.seeds.test_stage import write_task
from tsqa.errors import DataError, RecipeError
from tsqa.recipe import EvalSection
from tsqa.seeds.benchmarks import read_evaluated, refuse_groups, refuse_unscorable, run
from tsqa.seeds.sources import load_evaluated
from tsqa.store.jsonl import write_jsonl


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


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"answer": "3"}, "its label 3 is none of its 3 choices"),
        ({"answer": "1.0"}, "its label '1.0' is none of its 3 choices"),
        ({"b": None}, "its choice 1 is null"),
        ({"answer": None}, "its label 'None' is none of its 3 choices"),
    ],
)
def test_a_document_without_a_right_choice_is_refused_before_anything_is_trained(
    tmp_path: Path, odd: dict[str, str | None], why: str
) -> None:
    rows = [{"question": "Which?", "a": "one", "b": "two", "c": "three", "answer": "1"}] * 2
    choices = {"doc_to_choice": "{{[a, b, c]}}", "output_type": "multiple_choice"}
    write_task(tmp_path, "a", **choices)
    write_jsonl(tmp_path / "a.test.jsonl", [*rows, rows[0] | odd])
    section: dict[str, Any] = {"tasks": ["a"], "include": str(tmp_path)}
    scored = EvalSection(**section)
    made = run(make_context(tmp_path / "kept apart", {}, eval=scored))
    found: Any = made["unscorable"]
    assert found == {"a": {"doc_id": 2, "why": why}}
    with pytest.raises(DataError, match=rf"eval\.tasks: a: doc_id 2: {why}"):
        run(make_context(tmp_path / "trained", {}, eval=scored, train={}))
    few: Any = SimpleNamespace(eval=EvalSection(**section, limit=2), train={})
    refuse_unscorable(few, tmp_path, found)
    whole: Any = SimpleNamespace(eval=scored, train={})
    with pytest.raises(DataError, match="every model would score 0"):  # of one made for others
        refuse_unscorable(whole, tmp_path, found)


def test_texts_lists_and_contexts_are_right_choices(tmp_path: Path) -> None:
    rows = [{"question": "Which?", "choices": ["one", "two"], "key": "two", "keys": [0, 1]}]
    kinds = {
        "text": {"doc_to_target": "{{key}}"},
        "spaced": {"doc_to_target": " {{key}}"},
        "several": {"doc_to_target": "keys"},
        "context": {"doc_to_text": 1, "doc_to_target": "is right"},
    }
    for name, changes in kinds.items():
        write_task(
            tmp_path, name, doc_to_choice="choices", output_type="multiple_choice", **changes
        )
        write_jsonl(tmp_path / f"{name}.test.jsonl", rows)
    section = EvalSection(tasks=[*kinds], include=str(tmp_path))
    assert "unscorable" not in run(make_context(tmp_path / "out", {}, eval=section, train={}))


@pytest.mark.parametrize("target", ["answer", "{{answer}}"])
def test_an_answer_that_is_null_is_refused_and_the_word_none_is_an_answer(
    tmp_path: Path, target: str
) -> None:
    write_task(tmp_path, "a", doc_to_target=target)
    rows = [{"question": "Which?", "answer": answer} for answer in ("None", None)]
    write_jsonl(tmp_path / "a.test.jsonl", rows)
    section = EvalSection(tasks=["a"], include=str(tmp_path))
    with pytest.raises(DataError, match=r"eval\.tasks: a: doc_id 1: its answer is null"):
        run(make_context(tmp_path / "out", {}, eval=section, train={}))
