"""Numbers and names of a text, and what its calculations give."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tsqa.rephrasings.facts import calculated_values, find_names, find_numbers, stated_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Built in 1802, lit until 1871.", [1802, 1871]),
        ("It cost $1,250.50, that is 3 million less.", ["1250.5", 3_000_000]),
        ("Over 1,802, and more", [1802]),
        ("Twenty-five ships, one lamp, two men, three dogs", [25, 3]),
        ("1. Begin with 4 eggs.\n2) Add 7.\nStep 3: Eat.\nQ4: Why?", [4, 7]),
        ("The address 192.168.0.1 of H2O", [192, 168, 0, 1]),
        ("| 12 | Smith |", [12]),
        ("3/4 of it", ["3/4", 4]),
    ],
)
def test_numbers_of_a_text_by_value(text: str, values: list[int | str]) -> None:
    assert find_numbers(text).keys() == {Fraction(value) for value in values}


def test_a_text_holds_its_numbers_in_every_scale_and_its_ordinals() -> None:
    held = stated_values("In the nineteenth century 2.5 million came by one road.")
    assert {Fraction(5, 2), Fraction(2_500_000), Fraction(19), Fraction(1)} <= held
    assert Fraction(3) not in held


@pytest.mark.parametrize(
    ("text", "value", "is_given"),
    [
        ("3 + 4 = 7", 7, True),
        ("3 chambers + 4 chambers = 7 chambers", 7, True),
        ("3 + 4 x 4 = 19, and 19 - 3 = 16.", 16, True),
        ("4 / 3 = 1.33", "1.33", True),
        ("3 + 4 = 8", 8, False),
        ("3 + 5 = 8", 8, False),
        ("4 / 3 = 1", 1, False),
        ("3 / 0 = 3000", 3000, False),
    ],
)
def test_only_right_calculations_of_what_is_given_give_a_number(
    text: str, value: int | str, is_given: bool
) -> None:
    given = {Fraction(3), Fraction(4), Fraction(0)}
    assert (Fraction(value) in calculated_values(text, given)) == is_given


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Hearts were drawn by Galen. Nobody but Dr. Harvey knew.", {"galen", "harvey"}),
        ("Teacher: Who was it?\nStudent: It was Galen's pupil, I think.", {"galen"}),
        ("## The Heart Of A Frog\n| Name | Place Of Birth |\n| --- | --- |\n| Ann Lee | Rome |",
         {"lee"}),
        ('He said: "Then go." - Let us see', set()),
        ("1. Begin here.\n- Go to Paris", {"pari"}),
    ],
)  # fmt: skip
def test_names_are_capitals_within_a_sentence(text: str, names: set[str]) -> None:
    assert find_names(text, "en").keys() == names
    assert find_names(text, "de") == {}
