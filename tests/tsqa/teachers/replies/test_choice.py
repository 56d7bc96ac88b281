"""Promises of choosing: an option is named by letter or words in any usual form, or not at all."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import DATA
from tsqa.teachers.replies.answer_reply import parse_answer

MEMBERS = yaml.safe_load((DATA / "options.yaml").read_text(encoding="utf-8"))
CITIES = ["Paris", "Lyon", "Nice", "Lille"]
TEXTS = ["copper", "a bat", "New York", "New York City", "-5", "5", "not at all", "C++"]


def index_of(text: str, choices: Sequence[str] = CITIES) -> int | None:
    return parse_answer(text, "stop", "choice", choices).index


@pytest.mark.parametrize("text", MEMBERS["named"])
def test_an_option_is_read_in_the_forms_that_teachers_give_it(text: str) -> None:
    assert index_of(text) == 1


@pytest.mark.parametrize("text", MEMBERS["doubtful"])
def test_what_is_in_doubt_names_no_option(text: str) -> None:
    assert index_of(text) is None


@pytest.mark.parametrize(
    ("text", "choices", "index"),
    [
        ("3", ["10", "2", "3", "4"], 2),
        ("option 2", ["10", "2", "3", "4"], 1),
        ("option 2", ["2", "10", "3", "4"], None),
        ("C", ["C", "D", "A", "K"], None),
        ("K", ["C", "D", "A", "K"], 3),
        ("B", ["C", "D", "A", "K"], None),
        ("B. D", ["C", "D", "A", "K"], 1),
        ("C", ["vitamin C", "vitamin D", "vitamin A"], None),
        ("vitamin C", ["vitamin D", "vitamin C", "vitamin A"], 1),
        ("A is larger", ["B is larger", "A is larger", "both are alike"], 1),
        ("A is larger since it holds more", ["B is larger", "A is larger"], 1),
        ("A", ["Only B", "Only A", "Both A and B", "none"], None),
        ("Answer: A. Only A", ["Only B", "Only A"], None),
        ("Answer: B. Only A", ["Only B", "Only A"], 1),
        ("C", ["15\u00b0C", "20\u00b0C", "30\u00b0C"], 2),
        ("A", ["a dog", "A cat"], 0),
        ("not at all", ["not at all", "at all"], 0),
        ("F", ["x", "y"], None),
        ("WW or ww", ["WW or ww", "WW or Ww", "WW only", "Ww only"], 0),
        ("Ww only", ["WW or ww", "WW or Ww", "WW only", "Ww only"], 3),
        ("ww only", ["WW or ww", "WW or Ww", "WW only", "Ww only"], None),
        ("The answer is It is hot.", ["It is hot.", "It is cold."], 0),
        ("14", ["12 meters", "14 meters", "16 meters"], 1),
        ("14", ["14 m", "14 km", "16 km"], None),
        ("rocket", ["a rocket", "a train"], 0),
        ("the rocket", ["a rocket", "the rocket"], 1),
        ("3 + 2 = 5", ["3", "5", "7", "9"], None),
        ("The answer is 3 + 4 = 7.", ["3", "5", "7", "9"], None),
        ("Ann is a better swimmer than Bea, so Bea lost", ["Ann", "Bea"], None),
        ("Ann, because she swims better than Bea", ["Ann", "Bea"], 0),
        ("Ann rather than Bea", ["Ann", "Bea"], 0),
        ("B rather than A", ["Ann", "Bea"], 1),
        ("B!", ["Ann", "Bea"], 1),
        ("\u9009B", ["Ann", "Bea"], 1),
        ("A resposta correta \u00e9 a letra B.", ["Ann", "Bea"], 1),
        ("R\u00e4tt svar \u00e4r B.", ["Ann", "Bea"], 1),
        ("A. right or wrong, as you like", ["right or wrong", "right"], 0),
    ],
)
def test_letters_and_numbers_that_options_hold_decide_only_without_doubt(
    text: str, choices: list[str], index: int | None
) -> None:
    assert index_of(text, choices) == index


FORMS = [
    *("{letter}", "({letter})", "{letter}. {text}", "Answer: {letter}) {text}", "{text}"),
    *("The answer is {text}", "The correct option is:\n\n**{letter}**", r"\boxed{{{letter}}}"),
    *("<answer>{text}</answer>", "Option {letter}", "{letter} is correct.", "I choose {letter}."),
]


@given(st.permutations(TEXTS), st.integers(0, 7), st.sampled_from(FORMS))
def test_in_any_order_the_same_words_name_the_same_option(
    choices: Sequence[str], place: int, form: str
) -> None:
    reply = form.format(letter="ABCDEFGH"[place], text=choices[place])
    assert index_of(reply, choices) in (place, None)
    if "C++" not in choices[place] and "-5" not in choices[place]:
        assert index_of(reply, choices) == place


@given(st.sampled_from(FORMS), st.sampled_from(FORMS), st.permutations(range(4)))
def test_two_options_are_never_one_answer(first: str, second: str, places: Sequence[int]) -> None:
    one, two = places[:2]
    reply = " or ".join(
        form.format(letter="ABCD"[place], text=CITIES[place])
        for form, place in ((first, one), (second, two))
    )
    found = parse_answer(reply, "stop", "choice", CITIES)
    assert found.index in (None, two) or "<answer>" in reply or "boxed" in reply


@pytest.mark.parametrize(
    "piece", ["A. ", "the answer is ", "or ", "\n", "<answer>", "(", "not ", "so ", "is also ", " "]
)
def test_long_replies_take_no_longer_than_their_length(piece: str) -> None:
    began = time.process_time()
    index_of(piece * (100_000 // len(piece)) + "\nB or c")
    assert time.process_time() - began < 5
