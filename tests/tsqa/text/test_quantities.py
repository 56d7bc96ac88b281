"""Promises of numbers: only what is written as one is read, exactly, with its sign and unit."""

from __future__ import annotations

import json
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.paths import SHARED
from tsqa.records.votes import classify_answers, same_answer
from tsqa.seeds.document import Unusable, read_target
from tsqa.teachers.replies.answer import read_answer
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.text.formulas import as_formula, same_formula
from tsqa.text.quantities import read_quantity, state_quantity
from tsqa.text.sameness import answer_key

NUMBERS = {
    **{"18": 18, "18.": 18, "$18": 18, "-5": -5, "\u22125": -5, "\u20135": -5, "+5": 5},
    **{"minus 5": -5, "negative five": -5, "plus 3": 3, "-$5": -5, "$-5": -5, "- 5": None},
    **{"$\\frac34$": "3/4", "\\frac{3}4": "3/4", "\\dfrac{3}{4}": "3/4", "-\\frac{1}{2}": "-1/2"},
    **{"2\\frac{1}{2}": "5/2", "1 1/2": "3/2", "2 and a half": "5/2", "2\u00bd": "5/2"},
    **{"\u00bd": "1/2", "5 and 1/2": "11/2", "3/4 cup": "3/4", "1/0": None},
    **{"three quarters": "3/4", "two-thirds": "2/3", "one half": "1/2", "a third": "1/3"},
    **{"twenty-five": 25, "one hundred and five": 105, "two million one": 2_000_001},
    **{"a dozen": 12, "half a dozen": 6, "2 dozen": 24, "three point five": "7/2", "zero": 0},
    **{"1,250.00": 1250, "1'000": 1000, "1\u202f000": 1000, "5,000,000": 5_000_000},
    **{"1.000,5": None, "1,5": None, "12,34": None, "5,00": None, "100 200": None, "1 000": None},
    **{"3 x 10^5": 300_000, "3\\times 10^{5}": 300_000, "1.5e3": 1500, "2.5 million": 2_500_000},
    **{"50%": 50, "50\\%": 50, "50 percent": 50, "fifty percent": 50, ".5": "1/2"},
    **{"18 dollars": 18, "5 km/h": 5, "5 m^2": 5, "5 m\u00b2": 5, "5m": 5, "90^\\circ": 90},
    **{"5 \u00b0C": 5, "-39 degrees": -39, "5 apples left in the basket": 5, "7 days a week": 7},
    **{"5xy": None, "5 x^2": None, "\\frac{1}{2}x^2": None, "3ab": None, "5 oz": 5, "5 yd": 5},
    **{"5x": None, "5 x": None, "5th": None, "3rd": None, "5k": None, "1990s": None, "A4": None},
    **{"July 4": None, "4 July": None, "May 5": None, "2024-05-06": None, "5:30": None},
    **{"half of 3": None, "a loss of 5": None, "5 less than x": None, "5 or 6": None},
    **{"3-5": None, "3 to 5": None, "about 5": None, "at least 5": None, "5+": None, "~5": None},
    **{"5 degrees below zero": None, "5 squared": None, "5\u00b2": None, "5 times 6": None},
    **{"3 of 4": None, "one in six": None, "twenty fifth": None, "third": None, "5 more": None},
    **{"5 dollars and 50 cents": None, "6 feet 2 inches": None, "3:4": None, "Room 5": None},
    **{"x \u2265 5": None, "10^5": None, "\u0663": 3, "\uff11\uff12": 12, "18!": None, "": None},
}  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_only_what_is_written_as_one(text: str) -> None:
    found, value = read_quantity(text), NUMBERS[text]
    assert (None if found is None else found.value) == (None if value is None else Fraction(value))
    if found is not None:
        again = read_quantity(found.text)
        assert again is not None and (again.value, again.unit) == (found.value, found.unit)


SENTENCES = {
    "The train has 5 cars.": "5 cars",
    "He has 5 apples left.": "5 apples",
    "It is 5 cents.": "5 cents",
    "The pen costs $5 each.": "$5",
    "Total: 5": "5",
    "The temperature is -5 degrees": "-5 degrees",
    "Altogether the farmer sells 42 of them on Sunday morning.": "42",
    "The cost is 1,200 dollars per month": "1,200 dollars per month",
    "There are 5 red and 3 blue ones.": None,
    "She does not have 5 apples.": None,
    "x is at least 5": None,
    "He has more than 5": None,
    "It fell by 5 degrees": None,
    "The temperature is minus 5 degrees.": None,
    "The ratio is 3:4": None,
    "It is July 4": None,
    "Chapter 5 is good": None,
    "She is 5 years older than Tom": None,
    "half of the 5": None,
    "It isn't 5": None,
    "They are between 5 and five and a half": None,
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_gives_the_number_that_it_states_or_none(sentence: str) -> None:
    found, error = state_quantity(sentence)
    assert (found.text if found else None) == SENTENCES[sentence]
    assert bool(error) == (found is None)


REPLIES = {
    "$\\frac34$": "3/4",
    "minus 5": "-5",
    "$x \\geq 5$": "x \\geq 5",
    "4 * 5 = 20": "20",
    "x = 3": "3",
    "x^2 = 5": "x^2 = 5",
    "x - 3 = 5": "x - 3 = 5",
    "The total is 2 + 3 = 5": "5",
    "20% of 50 = 10": "10",
    "10 apples - 3 apples = 7 apples": "7 apples",
    "f(2) = 7": "7",
    "x \\approx 3.14": "3.14",
    "1 < x < 3": "1 < x < 3",
    "2^{10}": "2^{10}",
    "x=1, y=2": None,
    "3, 4": None,
    "half of 3": None,
    "July 4": None,
    "\\boxed{1} and \\boxed{5}": None,
    "\\boxed{4}. Wait, that is wrong: \\boxed{5}": "5",
    "\\boxed{5}, so \\boxed{5}": "5",
    "\\boxed{\\frac{3}{4}}": "\\frac{3}{4}",
    "\\fbox{7}": "7",
    "18 (eighteen)": "18",
    "eighteen (18)": "18",
    "18 (9 * 2)": "18",
    "18 (or 17)": None,
    "2 (x + 1)": "2 (x + 1)",
    "18, since 9 * 2 = 18": "18",
    "18 because two are lost": "18",
    "17, because I was wrong: 18": None,
    "Exactly 18.": "18",
    "18\u3002": "18",
    "US$18": "$18",
    "Rs. 18": "\u20b918",
    "$18.00 per day": "$18.00 per day",
    "$3 \\times 10^8$ m/s": "3 \\times 10^8 m/s",
    "\\boxed{18} (or \\boxed{18.0})": "18.0",
    "The final answer is $18$. I hope it is correct.": "18",
    "The answer is 18. Let me know if you have questions.": "18",
    "0.1666...": None,
    "0.333\u2026": None,
    "0x1F": None,
    "0b101": None,
    "101 in binary": None,
    "3 R 2": None,
    "3 r2": None,
    "5 p.m.": None,
    "5 PM": None,
    "5+": None,
}


@pytest.mark.parametrize("reply", REPLIES)
def test_a_reply_gives_its_number_a_whole_formula_or_a_reason(reply: str) -> None:
    found = read_answer(reply, "number", [])
    assert found.answer == REPLIES[reply]
    assert bool(found.error) == (found.answer is None)


EQUAL = [
    ("number", ["0.5", "1/2", "$\\frac12$", "50%", "one half", "\u00bd"]),
    ("number", ["-5", "\u22125", "-5.0", "-$5", "minus 5", "negative five"]),
    ("number", ["25", "5\u00b2", "5^2", "twenty-five"]),
    ("number", ["x \u2265 5", "$x \\geq 5$", "5 \u2264 x", "x \\ge 5"]),
    ("number", ["\\sqrt{8}", "2\\sqrt{2}", "\u221a8"]),
    ("number", ["\\{1,2\\}", "\\{2,1\\}"]),
    ("number", ["2x+2", "2(x+1)"]),
    ("number", ["5 km/h", "5", "5 kph", "5 kilometers per hour"]),
    ("number", ["5 \u00b0C", "5 degrees Celsius", "5"]),
    ("number", ["1,250 m", "1250 meters"]),
    ("number", ["3 x 10^5", "300,000", "300 thousand", "3\\times 10^{5}"]),
    ("number", ["2^{10}", "1024"]),
    ("number", ["\\frac{1}{2}x", "\\frac{x}{2}", "x/2"]),
    ("number", ["\\frac{2}{3}x^3", "\\frac{2x^3}{3}"]),
    ("number", ["\\frac{1}{2}\\sqrt{3}", "\\frac{\\sqrt{3}}{2}"]),
    ("number", ["18 in", "18 inches"]),
    ("number", ["5 USD", "$5", "5 dollars"]),
    ("number", ["$15/hour", "$15 per hour"]),
    ("number", ["5 lb", "5 lbs"]),
    ("short_text", ["A -> B", "A \u2192 B"]),
    ("short_text", ["5:30 PM", "5:30pm", "5:30 p.m."]),
    ("short_text", ["U.S.A.", "USA"]),
    ("short_text", ["J. K. Rowling", "J.K. Rowling"]),
    ("short_text", ["50%", "50 percent"]),
    ("short_text", ["Paris", "paris.", " PARIS ", "**Paris**", "\u201cParis\u201d"]),
    ("short_text", ["well-known", "well known"]),
    ("short_text", ["salt & pepper", "salt and pepper"]),
    ("short_text", ["8 \u00d7 n", "8 * n"]),
    ("short_text", ["50 percent of it", "50% of it"]),
    ("short_text", ["COVID-19", "Covid 19"]),
    ("short_text", ["{1, 2, 3}", "{3, 2, 1}", "\\{2, 1, 3\\}"]),
    ("short_text", ["(-\\infty, 3]", "(-\u221e, 3]"]),
    ("short_text", ["10%", "10 percent", "0.1"]),
    ("short_text", ["Treaty of Paris (1783)", "Treaty of Paris 1783"]),
]
UNLIKE = [
    ("number", ["\\frac{1}{2}x^2", "\\frac{1}{2x^2}", "1/2", "\\frac{1}{2}x"]),
    ("number", ["5xy", "5", "5x", "5t"]),
    ("number", ["\\frac{1}{2}x", "\\frac{1}{2x}"]),
    ("number", ["\\frac{3}{4}\\pi", "\\frac{3}{4\\pi}"]),
    ("number", ["1/2x", "1/(2x)", "x/2"]),
    ("number", ["2\\frac{1}{3}x", "\\frac{2}{3}x"]),
    ("number", ["101_2", "101_3", "101"]),
    ("number", ["f'(x)", "f''(x)"]),
    ("number", ["\\vec{a}\\cdot\\vec{b}", "\\vec{a}\\times\\vec{b}"]),
    ("number", ["2e + 1", "2E + 1"]),
    ("number", ["\\Delta + 1", "\\delta + 1"]),
    ("number", ["18 in", "18 cm"]),
    ("number", ["$15/hour", "$15/day", "15 hours"]),
    ("short_text", ["A -> B", "B -> A", "A <- B"]),
    ("number", ["5k", "5K"]),
    ("short_text", ["CO2", "Co2"]),
    ("short_text", ["O(n!)", "O(n)"]),
    ("short_text", ["!x", "x"]),
    ("short_text", ["f''", "f'"]),
    ("number", ["-39", "39 degrees"]),
    ("number", ["x \u2265 5", "x \u2264 5", "x > 5", "x = 5"]),
    ("number", ["\\frac{1}{2^{99}}", "\\frac{1}{2^{98}}"]),
    ("number", ["\\sqrt{2}", "1.414", "1.41421356"]),
    ("number", ["1/3", "0.333", "0.33333333333"]),
    ("number", ["\\pi", "3.14", "22/7"]),
    ("number", ["(1,2)", "(2,1)", "\\{1,2\\}"]),
    ("number", ["(1,2]", "[1,2)", "(1,2)", "[1,2]"]),
    ("number", ["1,2,3", "3,2,1"]),
    ("number", ["1,2", "1.2", "12"]),
    ("number", ["100!", "100!+1"]),
    ("number", ["10^{20}", "10^{20}+1"]),
    ("number", ["5 m", "5 cm", "5 m^2"]),
    ("number", ["5 square metres", "5 square feet"]),
    ("number", ["5 degrees Celsius", "5 degrees Fahrenheit"]),
    ("number", ["5 mW", "5 MW"]),
    ("number", ["5 km/h", "5 mph"]),
    ("number", ["5 am", "5 pm"]),
    ("number", ["\u20ac5", "\u00a35", "5 cents"]),
    ("number", ["3:4", "0.75"]),
    ("number", ["2024-05-06", "2013"]),
    ("number", ["3-5", "-2"]),
    ("short_text", ["x \u2265 5", "x \u2264 5"]),
    ("short_text", ["AB+", "AB-", "AB"]),
    ("short_text", ["C", "C++", "C#"]),
    ("short_text", ["A \u222a B", "A \u2229 B"]),
    ("short_text", ["A & B", "A | B"]),
    ("short_text", ["Co", "CO"]),
    ("short_text", ["mg", "Mg"]),
    ("short_text", ["pH", "PH"]),
    ("short_text", ["Na+", "Na"]),
    ("short_text", ["30\u00b0", "30"]),
    ("short_text", ["3.5 men", "3 5 men"]),
    ("short_text", ["-x", "x"]),
    ("short_text", ["a \u2192 b", "a \u2190 b"]),
    ("short_text", ["\u00b15", "5"]),
    ("short_text", ["$5", "5", "\u20ac5", "5%"]),
    ("short_text", ["not (a and b)", "not a and b"]),
    ("short_text", ["a AND (b OR c)", "(a AND b) OR c"]),
    ("short_text", ["p \u2192 (q \u2192 r)", "(p \u2192 q) \u2192 r"]),
    ("short_text", ["(AB)'", "AB'", "AB"]),
    ("short_text", ["log(x+1)", "log(x)+1"]),
    ("short_text", ["\u230ax\u230b", "\u2308x\u2309", "\u2016x\u2016", "x"]),
    ("short_text", ["all of (a, b]", "all of [a, b)", "all of [a, b]", "all of (a, b)"]),
]


@pytest.mark.parametrize(("kind", "answers"), EQUAL)
def test_answers_that_say_the_same_are_one_class(kind: str, answers: list[str]) -> None:
    assert len(set(classify_answers(answers, kind))) == 1


@pytest.mark.parametrize(("kind", "answers"), UNLIKE)
def test_answers_that_differ_are_as_many_classes(kind: str, answers: list[str]) -> None:
    assert len(set(classify_answers(answers, kind))) == len(answers)
    for answer in answers[1:]:
        assert not same_answer(answers[0], answer, kind)


SIGNS = st.sampled_from(
    ["+", "-", "*", "/", "<", ">", "=", "\u2264", "\u2265", "\u222a", "\u2229", "^"]
)


@settings(deadline=None, max_examples=200)
@given(st.integers(2, 99), st.integers(2, 99), SIGNS, SIGNS)
def test_operators_and_relations_always_count(a: int, b: int, one: str, other: str) -> None:
    left, right = (f"the value of x{a} {sign} y{b}" for sign in (one, other))
    assert (answer_key(left) == answer_key(right)) == (one == other)


@settings(deadline=None, max_examples=200)
@given(
    st.fractions(min_value=-1000, max_value=1000, max_denominator=12),
    st.fractions(min_value=-1000, max_value=1000, max_denominator=12),
    st.sampled_from([str, lambda f: f"\\frac{{{f.numerator}}}{{{f.denominator}}}"]),
)
def test_fractions_meet_exactly_when_they_are_equal(
    a: Fraction, b: Fraction, spell: object
) -> None:
    assert callable(spell)
    assert same_answer(str(a), spell(b), "number") == (a == b)
    assert same_answer(str(a), spell(a), "number")


@settings(deadline=None, max_examples=300)
@given(
    st.text(alphabet=" 0123456789.,-+/%$\u00bd\\{}^=xabtohundred", max_size=24)
    | st.text(max_size=12)
)
def test_no_text_breaks_the_readers(text: str) -> None:
    found = read_quantity(text)
    if found is not None:
        assert any(character.isdigit() for character in found.text)
    state_quantity(text)
    formula = as_formula(text)
    assert same_formula(formula, formula)
    assert answer_key(answer_key(text)) == answer_key(text)


@pytest.mark.parametrize("text", ["0(\u00d7", "(\u00d7 a", "a (*b*)"])
def test_brackets_beside_signs_that_only_mark_do_not_group(text: str) -> None:
    assert answer_key(text) == answer_key(answer_key(text))
    assert "(" not in answer_key(text)


@pytest.mark.parametrize(
    "piece", [" ", "\n", "= ", "= = = ", "\\(", "$", "{", "1,", "(1", "-", "\\boxed{", "a "]
)
def test_reading_is_linear(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    start = time.process_time()
    for kind in ("number", "short_text", "boolean"):
        read_answer(text + "5", kind, [])
    answer_key(text)
    same_answer(text, text + "5", "number")
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("target", "answer", "explanation"),
    [
        ("We multiply. So $\\boxed{6}$.", "6", "We multiply. So $6$."),
        ("$\\boxed{\\frac{1}{2}}$", "\\frac{1}{2}", ""),
        ("Twice \\boxed{7}, yes \\boxed{7}", "7", "Twice 7, yes 7"),
        ("#### Step one\nAdd.\n#### Result\nWe get \\boxed{9}.", "9", None),
        ("2 + 2 = <<2+2=4>>4\n#### 4", "4", "2 + 2 = 4"),
        ("#### A heading\nand a text", "#### A heading and a text", ""),
    ],
)
def test_the_key_of_a_worked_solution_is_its_result(
    target: str, answer: str, explanation: str | None
) -> None:
    found = read_target(target)
    assert found[0] == answer
    assert explanation is None or found[1] == explanation


def test_a_solution_with_two_results_has_no_key() -> None:
    with pytest.raises(Unusable, match="several boxed answers"):
        read_target("So \\boxed{1} or \\boxed{2}")


def test_every_key_of_real_solutions_is_read_as_its_number() -> None:
    path = SHARED / "data" / "tasks" / "gsm8k" / "train.jsonl"
    if not path.is_file():
        pytest.skip("../shared/data is absent")
    for line in path.read_text(encoding="utf-8").strip().split("\n"):
        target = json.loads(line)["answer"]
        key = target.rpartition("####")[2].strip()
        found = parse_answer(f"Answer: {key}", "stop", "number", [])
        assert found.answer is not None and same_answer(found.answer, key, "number")
        assert read_target(target)[0] == key
        assert read_quantity(key) is not None
