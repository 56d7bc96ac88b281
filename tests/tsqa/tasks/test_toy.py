"""Promises of the embedded data set."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.generation import TASKS, data_section, make_context
from tsqa.errors import DataError
from tsqa.store.jsonl import read_jsonl
from tsqa.tasks import toy as miniature
from tsqa.tasks import toy_families
from tsqa.text.normalise import normalise


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "abc.partial"
    miniature.run(make_context(out, {}, data=data_section()))
    return out


@settings(deadline=None)
@given(st.sampled_from(sorted(toy_families.FAMILIES)), st.integers())
def test_true_answer_agrees_with_every_question_drawn(name: str, seed: int) -> None:
    item = toy_families.draw_item(toy_families.FAMILIES[name], random.Random(seed))
    assert toy_families.true_answer(f"mini_{name}", item.question) == item.answer
    assert not item.choices or (
        item.choices.count(item.answer) == 1 and len(set(item.choices)) == 4
    )


@pytest.mark.parametrize(
    "question",
    [
        "",
        "which day comes after Monday?",
        "Ann finds a cup at the park and asks Bob: which day comes after Mayday?",
        "Ann finds a cup at the park and asks Bob: which number comes next: 1, 2, 4, 9?",
    ],
)
def test_malformed_questions_have_no_true_answer(question: str) -> None:
    assert all(toy_families.true_answer(task, question) is None for task in TASKS)


def test_training_test_and_teacher_questions_are_disjoint(built: Path) -> None:
    questions = [
        normalise(row["question"])
        for file in sorted((built / "tasks" / "data").iterdir())
        for row in read_jsonl(file)
    ]
    teacher = [
        normalise(line.removeprefix("Question: "))
        for row in read_jsonl(built / "teacher.jsonl")
        for line in row["text"].splitlines()
        if line.startswith("Question: ")
    ]
    assert len(questions) == 6 * (12 + 6)
    assert len(teacher) == 20 * 4
    assert len({*questions, *teacher}) == len(questions) + len(teacher)


def test_the_same_section_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    again = tmp_path / "abc.partial"
    miniature.run(make_context(again, {}, data=data_section()))
    for file in sorted(p for p in built.rglob("*.jsonl")):
        assert (again / file.relative_to(built)).read_bytes() == file.read_bytes()


def test_task_files_point_to_the_finished_artifact(built: Path) -> None:
    text = (built / "tasks" / "mini_day.yaml").read_text()
    assert str(built).removesuffix(".partial") + "/tasks/data/" in text
    assert ".partial" not in text


def test_human_text_is_prose_without_repeats(built: Path) -> None:
    texts = [row["text"] for row in read_jsonl(built / "docs.jsonl")]
    assert len(texts) == len(set(texts)) > 3000
    assert not any(text.startswith("Question:") for text in texts)


def test_an_exhausted_family_says_what_to_lower() -> None:
    family = toy_families.Family("one", False, lambda rng: "x", lambda core: ("1", "1", ()))
    taken: set[str] = set()

    class Stuck(random.Random):
        def sample(self, population, k, *, counts=None):  # type: ignore[no-untyped-def]
            return list(population)[:k]

        def choice(self, seq):  # type: ignore[no-untyped-def]
            return seq[0]

    miniature._draw_new(family, Stuck(), taken)
    with pytest.raises(DataError, match="lower data"):
        miniature._draw_new(family, Stuck(), taken)
