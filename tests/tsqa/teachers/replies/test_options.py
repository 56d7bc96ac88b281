"""Promises of options: read as written, kept out of a question's own statements, never pointing."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import DATA
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.teachers.replies.option_references import names_others
from tsqa.teachers.replies.options import read_options, split_options
from tsqa.teachers.replies.question_reply import ParsedQuestion, parse_question

MEMBERS = yaml.safe_load((DATA / "options.yaml").read_text(encoding="utf-8"))
STATEMENTS = "Consider these.\nA. Tin melts.\nB. Tin burns.\nC. Tin sings.\nWhich of them hold?"
WORDS = ["tin", "wool", "salt", "glass", "cork"]


def asked(text: str) -> ParsedQuestion:
    return parse_question(text, "stop", "choice", "chat", False)


@pytest.mark.parametrize(
    "written",
    [
        ["1. tin", "2. wool", "3. salt"],
        ["a) tin", "b) wool", "c) salt"],
        ["(A) tin", "(B) wool", "(C) salt"],
        ["[A] tin", "[B] wool", "[C] salt"],
        ["A: tin", "B: wool", "C: salt"],
        ["A - tin", "B - wool", "C - salt"],
        ["A\u3001tin", "B\u3001wool", "C\u3001salt"],
        ["\uff21\uff0etin", "\uff22\uff0ewool", "\uff23\uff0esalt"],
        ["\uff08A\uff09tin", "\uff08B\uff09wool", "\uff08C\uff09salt"],
        ["i. tin", "ii. wool", "iii. salt"],
        ["A.tin", "B.wool", "C.salt"],
        "Option A: tin\nOption B: wool\nOption C: salt",
        "A.tin\nB.wool\nC.salt",
        ["\u2460 tin", "\u2461 wool", "\u2462 salt"],
        ["- tin", "\u2022 wool", "* salt"],
        ["tin (correct)", "wool", "salt (wrong)"],
        ["tin", "**wool**", "salt"],
        ["[ ] tin", "[X] wool", "[ ] salt"],
        ["tin", "*wool", "salt"],
        ["tin", "wool*", "salt"],
        ["tin", "wool <-- correct", "salt \u2717"],
        ["tin", "\u2713 wool", "salt"],
        {"C": "salt", "A": "tin", "B": "wool"},
        {"1": "tin", "2": "wool", "3": "salt"},
        [{"A": "tin"}, {"B": "wool"}, {"C": "salt"}],
        [{"label": a, "text": b} for a, b in (("A", "tin"), ("B", "wool"), ("C", "salt"))],
        "A. tin\nB. wool\nC. salt",
        "(a) tin (b) wool (c) salt",
        "A) tin B) wool C) salt",
        "tin; wool; salt",
        "tin | wool | salt",
        "- tin\n- wool\n- salt",
        "1) tin\n2) wool\n3) salt",
    ],
    ids=str,
)
def test_options_are_read_without_what_marks_them(written: Any) -> None:
    found = read_options(written)
    assert (found.texts, found.error) == (["tin", "wool", "salt"], "")


@pytest.mark.parametrize(
    "options",
    [
        ["C. elegans", "E. coli"],
        ["1: 2", "2: 3"],
        ["1 - 0", "2 - 1"],
        ["A - B", "B - A"],
        ["1.5", "2.5"],
        ["2 x", "3 x"],
        ["I. Newton", "A. Einstein"],
        ["x*y", "x"],
        ["(x)", "(y)"],
        ["(a + b)", "(a)"],
        ["a cat", "b"],
        ["A+", "B-"],
    ],
    ids=str,
)
def test_what_only_looks_like_a_letter_stays(options: list[str]) -> None:
    assert read_options(options).texts == options


@pytest.mark.parametrize(
    "options",
    [
        ["A) tin", "B) wool", "D) salt"],
        ["A. tin", "B. wool", "D. salt"],
        {"A": "tin", "B": "wool", "D": "salt"},
        ["A) tin", "wool"],
        ["1. tin", "3. wool"],
    ],
    ids=str,
)
def test_letters_that_skip_are_refused(options: Any) -> None:
    found = asked(json.dumps({"question": "Which floats?", "options": options}))
    assert found.error == "the letters of the options skip"


@pytest.mark.parametrize(
    "text",
    [
        "Which floats?\nA. tin\nB. wool\nD. salt",
        "Which floats? A) tin B) wool D) salt",
        "Which floats? (A) tin (B) wool (D) salt",
        "Which of (A) the sun and (B) the moon is larger?",
        STATEMENTS,
        "Which floats?\nA. tin\nB. wool\nThink well before you choose.",
    ],
)
def test_a_block_that_is_no_list_of_options_is_none(text: str) -> None:
    assert asked(text).error == "no options"


@pytest.mark.parametrize(
    "block",
    [
        "A) one\nB) two\nC) three",
        "(A) one (B) two (C) three",
        "\nOptions:\nA. one\nB. two\nC. three",
        "1. one\n2. two\n3. three",
    ],
)
@pytest.mark.parametrize(
    "stem",
    [
        STATEMENTS,
        "I. Tin melts.\nII. Tin burns.\nWhat follows?",
        "1. Tin melts.\n2. Tin burns.\nHow many hold?",
        "Statement A: tin melts.\nStatement B: tin burns.\nHow many hold?",
        "(a) Tin melts.\n(b) Tin burns.\nHow many hold?",
        "Premise A. Tin melts. Premise B. Tin burns. How many hold?",
    ],
)
def test_statements_of_the_question_stay_in_it(stem: str, block: str) -> None:
    found = asked(f"{stem}\n{block}")
    assert (found.question, found.choices) == (stem, ["one", "two", "three"])
    options = ["one", "two", "three"]
    given_apart = asked(json.dumps({"question": stem, "options": options}))
    assert (given_apart.question, given_apart.choices) == (stem, options)


def test_options_in_the_question_and_beside_it_must_agree() -> None:
    def found(question: str, options: list[str]) -> tuple[str, list[str], str]:
        parsed = asked(json.dumps({"question": question, "options": options}))
        return parsed.question, parsed.choices, parsed.error

    listed = "Which floats?\nA. tin\nB. cork\nC. salt"
    whole = ("Which floats?", ["tin", "cork", "salt"], "")
    assert found(listed, ["tin", "cork", "salt"]) == whole
    assert found(listed, ["A", "B", "C"]) == whole
    assert found(listed, ["tin", "cork", "wool"])[2] == "options unlike those in the question"
    bare = found("Which floats?", ["A", "B", "C"])[2]
    assert bare == "the options are letters without their texts"


@pytest.mark.parametrize("option", MEMBERS["pointing"])
def test_an_option_that_names_others_is_refused(option: str) -> None:
    question = {"question": "Which give light?", "options": ["the sun", option, "a lamp", "coal"]}
    assert asked(json.dumps(question)).error == "an option names other options"


@pytest.mark.parametrize("option", MEMBERS["plain"])
def test_an_option_that_means_itself_is_kept(option: str) -> None:
    assert not names_others(["the sun", "a lamp", "coal", option], "Which give light?")


@pytest.mark.parametrize(
    ("choices", "question"),
    [
        (["I only", "II only", "I and II", "neither"], "I. Tin melts.\nII. Tin burns.\nWhich?"),
        (["Only A", "Only B", "Both A and B", "Neither A nor B"], "A: tin melts. B: tin burns."),
        (["Vitamin A", "Vitamin C", "Both A and C", "Vitamin D"], "Which is missing?"),
        (["1", "2", "both 1 and 2", "3"], "Which are roots?"),
        (["plants", "animals", "both", "neither"], "Which breathe?"),
        (["all", "some", "none", "most"], "How many swans are white?"),
        (["A and B", "B and C", "A and C"], "Which of the points A, B and C lie on it?"),
        (["1 and 2", "2 and 3", "1 and 3"], "Which numbers solve it?"),
        (["C", "D", "A", "K"], "Which vitamin clots blood?"),
    ],
)
def test_labels_of_the_question_and_contents_are_no_options(
    choices: list[str], question: str
) -> None:
    assert not names_others(choices, question)


@given(st.permutations(WORDS), st.sampled_from(["A", "a", "1", "i"]), st.sampled_from([".", ")"]))
def test_lettered_options_are_read_back_whatever_their_order(
    texts: Sequence[str], first: str, mark: str
) -> None:
    labels = {"A": "ABCDE", "a": "abcde", "1": "12345", "i": ["i", "ii", "iii", "iv", "v"]}[first]
    lines = [f"{label}{mark} {text}" for label, text in zip(labels, texts, strict=True)]
    stem, options = split_options("Which floats?\n" + "\n".join(lines))
    assert (stem, options) == ("Which floats?\n", list(texts))
    assert read_options(lines).texts == list(texts)


@pytest.mark.parametrize(
    "piece", ["A. ", "\nA. x", "(A) ", "\n", "B\uff1a", "- ", "i) ", " ", "*", "A and ", "all of "]
)
def test_long_texts_take_no_longer_than_their_length(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    began = time.process_time()
    split_options(text)
    read_options(text)
    names_others([text, "b", "c"], text)
    assert time.process_time() - began < 5


SHOWN = ["iron", "wood", "a salt"]


@pytest.mark.parametrize(
    "text",
    [
        "A) wood\nB) iron\nC) a salt\nAnswer: B",
        "Let us see. (A) a salt, (B) iron, (C) wood.\nAnswer: B",
        "**A.** wood: no.\n**B.** iron: yes, a metal.\nAnswer: B",
        '{"options": ["wood", "iron", "a salt"], "answer": "B"}',
        '{"choices": {"A": "wood", "B": "iron", "C": "a salt"}, "answer": "B"}',
    ],
)
def test_a_letter_of_options_in_another_order_is_refused(text: str) -> None:
    read = parse_answer(text, "stop", "choice", SHOWN, "Which one is a metal?")
    assert (read.index, read.error) == (None, "lists the options under other letters")
    worded = text.replace('"B"}', '"iron"}').replace("Answer: B", "Answer: iron")
    assert parse_answer(worded, "stop", "choice", SHOWN, "Which one is a metal?").index == 0


@pytest.mark.parametrize(
    "text",
    [
        "A) iron\nB) wood\nC) a salt\nAnswer: A",
        "Answer: A\nBecause: A) iron is a metal; B) wood and C) a salt are none.",
        '{"options": ["Iron", "wood", "a salt"], "answer": "A"}',
        "Answer: A\nBecause: unlike B) iron rusts.",
    ],
)
def test_options_in_the_order_shown_are_read_by_letter(text: str) -> None:
    assert parse_answer(text, "stop", "choice", SHOWN, "Which one is a metal?").index == 0


@pytest.mark.parametrize("pair", [("Diyarbak\u0131r", "Diyarbakir"), ("istanbul", "\u0130stanbul")])
def test_options_with_letters_that_only_patterns_take_for_the_same_are_read(
    pair: tuple[str, str],
) -> None:
    shown, said = pair
    text = f"A) {said}\nB) Ankara\nAnswer: B"
    assert parse_answer(text, "stop", "choice", [shown, "Ankara"]).index == 1
