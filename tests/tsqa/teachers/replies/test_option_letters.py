"""Promises of naming: letters become the options they stood for; notation stays as it is."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import DATA
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.teachers.replies.option_letters import name_options

MEMBERS = yaml.safe_load((DATA / "options.yaml").read_text(encoding="utf-8"))
CITIES = ["Paris", "Lyon", "Nice", "Lille"]
TALK = ["Option {} is wrong.", "The answer is {}.", "The choice ({}) lies elsewhere.", "So {}."]


@pytest.mark.parametrize("text", MEMBERS["notation"])
def test_a_letter_that_can_be_notation_stays(text: str) -> None:
    assert name_options(text, CITIES) == text


@pytest.mark.parametrize(("text", "named"), MEMBERS["mentions"])
def test_letters_of_options_become_the_options(text: str, named: str) -> None:
    assert name_options(text, CITIES) == named


@pytest.mark.parametrize("text", MEMBERS["unresolved"])
def test_a_text_whose_letters_cannot_be_told_is_given_up_and_said(text: str) -> None:
    assert name_options(text, CITIES) == ""
    found = parse_answer(f"Answer: B\nReasoning: {text}", "stop", "choice", CITIES)
    assert (found.index, found.reasoning, found.dropped) == (1, "", ("reasoning",))


def test_labels_of_the_question_are_no_options() -> None:
    question = "Which holds?\nA. Tin melts.\nB. Tin burns."
    text = "Statement A is right and B is wrong. (A) is correct, so B is not right."
    for choices in (["the first", "the second"], ["Only A", "Only B", "Both A and B"]):
        assert name_options(text, choices, question) == text
    assert name_options("Option B is wrong.", ["one", "two"], question) == '"two" is wrong.'
    plans = "Option A costs 5, option B costs 9 a month. Which is cheaper?"
    assert name_options("Option B is wrong.", ["one", "two"], plans) == "Option B is wrong."


def test_distractors_begin_with_the_options_they_are_about() -> None:
    text = "A. Paris lies on the Seine.\nC) is at the sea\n- **D:** another river"
    named = "Paris lies on the Seine.\nNice is at the sea\n- Lille: another river"
    assert name_options(text, CITIES, is_of_options=True) == named


@given(st.lists(st.sampled_from(MEMBERS["notation"]), min_size=1, max_size=4))
def test_texts_of_notation_are_never_changed(texts: Sequence[str]) -> None:
    for text in texts:
        assert name_options(text, CITIES) == text
    together = "\n".join(texts)
    assert name_options(together, CITIES) in (together, "")


@given(st.permutations(CITIES), st.sampled_from(TALK), st.integers(0, 3))
def test_the_same_is_said_whatever_the_order(choices: Sequence[str], form: str, place: int) -> None:
    city = CITIES[place]
    said = name_options(form.format("ABCD"[choices.index(city)]), choices)
    assert said == name_options(form.format("ABCD"[place]), CITIES)
    assert city in said


@pytest.mark.parametrize(
    "piece",
    ["(A) ", "A and ", "option A, ", "A is ", "both A ", "**A** ", "first option ", "word (", "=A"],
)
def test_long_texts_take_no_longer_than_their_length(piece: str) -> None:
    began = time.process_time()
    name_options(piece * (100_000 // len(piece)), CITIES, piece * 1000)
    assert time.process_time() - began < 5
