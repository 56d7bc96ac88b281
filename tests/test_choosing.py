"""Promises of choosing: an option is named by letter or words in any usual form, or not at all."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsqa.parsing import parse_answer

CITIES = ["Paris", "Lyon", "Nice", "Lille"]
TEXTS = ["copper", "a bat", "New York", "New York City", "-5", "5", "not at all", "C++"]


def index_of(text: str, choices: Sequence[str] = CITIES) -> int | None:
    return parse_answer(text, "stop", "choice", choices).index


@pytest.mark.parametrize(
    "text",
    [
        "<think>The Rhone.</think>\n<answer>B</answer>",
        "<answer>\nB. Lyon\n</answer>",
        "<answer>The answer is B</answer>",
        r"\boxed{B}",
        r"\boxed{\text{B}}",
        r"\boxed{\textbf{(B)}}",
        r"\boxed{B. Lyon}",
        "**B**",
        "Answer: (B) Lyon",
        "Answer: [B]",
        "The correct answer is:\n\n**Lyon**",
        "Let us check each.\n\nTherefore, the correct option is:\n\n B",
        "**Answer:** The correct option is:\n\n**Lyon**",
        "\u7b54\u6848\uff1aB",
        "\u7b54\u6848\uff1aLyon",
        "\u7b54\u6848\u662fB\u3002",
        "\u7b54\u6848\uff1a\uff22",
        "\u6b63\u786e\u7b54\u6848\u4e3a (B)",
        "\u56e0\u6b64\uff0c\u6b63\u786e\u9009\u9879\u662fB\u3002",
        "\u6545\u9009B\u3002",
        "\u9009\u9879B\u6b63\u786e",
        "\u89e3\u6790\uff1a\u91cc\u6602\u5728\u7f57\u8bb0\u6cb3\u4e0a\u3002\n\u7b54\u6848\uff1aB",
        "Die richtige Antwort ist B",
        "Die richtige Antwort lautet: B) Lyon",
        "Antwort: B",
        "La respuesta correcta es B",
        "La respuesta correcta es la B.",
        "La bonne r\u00e9ponse est B",
        "La r\u00e9ponse correcte est : B",
        "R\u00e9ponse : B",
        "\u6b63\u89e3\u306fB\u3067\u3059\u3002",
        "\u7b54\u3048\u306fB",
        "\u7b54\u3048\u306f\u300cB\u300d\u3067\u3059\u3002\u306a\u305c\u306a\u3089\u8fd1\u3044\u304b\u3089\u3067\u3059\u3002",
        "\u0627\u0644\u0625\u062c\u0627\u0628\u0629 \u0627\u0644\u0635\u062d\u064a\u062d\u0629 \u0647\u064a \u0628",
        "\u0627\u0644\u0625\u062c\u0627\u0628\u0629: B",
        "\u041e\u0442\u0432\u0435\u0442: B",
        "\u041f\u0440\u0430\u0432\u0438\u043b\u044c\u043d\u044b\u0439 \u043e\u0442\u0432\u0435\u0442 \u2014 B",
        "\uc815\ub2f5\uc740 B\uc785\ub2c8\ub2e4.",
        "A resposta correta \u00e9 B",
        "La risposta corretta \u00e8 B",
        "Do\u011fru cevap B'dir.",
        "\u0110\u00e1p \u00e1n \u0111\u00fang l\u00e0 B",
        "\u0938\u0939\u0940 \u0909\u0924\u094d\u0924\u0930 B \u0939\u0948",
        "So the final answer: B",
        "I would choose B.",
        "I'd go with (B).",
        "B is correct",
        "Option B",
        "Option 2",
        "The second option",
        "(B) because the Rhone flows there",
        "B - Lyon",
        "So B.",
        "Therefore, B",
        "Answer B",
        "The answer must be (B)",
        "The answer is B, not C.",
        "Not C but B",
        "A is wrong, B is right.",
        "B. because A and C are at the sea",
        "My answer is B",
        "I think the answer is B",
        "Lyon because of the Rhone",
        "Lyon (B)",
        "B\n\nParis is on the Seine.",
        "Paris is on the Seine.\nB",
    ],
)
def test_an_option_is_read_in_the_forms_that_teachers_give_it(text: str) -> None:
    assert index_of(text) == 1


@pytest.mark.parametrize(
    "text",
    [
        "The answer is not B",
        "The answer is not Lyon",
        "Not B",
        "either B or C",
        "Answer: B or C",
        "Answer: B/C",
        "Answer: A and B only",
        "B (or C)",
        "B. Wait, actually C",
        "I was going to say B, but C",
        "The wrong answer is B.",
        "B is wrong.",
        "B is not correct",
        "It cannot be B",
        "Lyon is wrong",
        "B. Lyon is wrong",
        "B) Lyon - incorrect, it is on the Seine",
        "B. Lyon or Nice",
        "Lyon (C)",
        "Lyon is not the answer",
        "Lyon or Paris",
        "If the answer is B, then the Rhone.",
        "Some might say the answer is B",
        "Anything but B",
        "\u7b54\u6848\u4e0d\u662fB",
        "Die Antwort ist nicht B",
        "Options A and B",
        "Answer: Z",
        "Option 7",
        "none of these",
        "B\nC",
        "<answer>B</answer><answer>C</answer>",
        "A. Paris\nB. Lyon\nC. Nice\nD. Lille",
        "Answer: \u0412",  # a Cyrillic letter
        "Is it B?",
    ],
)
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
    assert time.process_time() - began < 2
