"""Promises of sameness: signs and the case of symbols tell texts apart, spelling does not."""

from __future__ import annotations

import re
import signal
import time
from itertools import combinations

import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from tsqa.text import formulas
from tsqa.text.normalise import words
from tsqa.text.sameness import (
    SameTexts,
    case_of,
    hash_key,
    options_repeat,
    question_key,
    same,
    tell_apart,
)
from tsqa.text.signs import read, tokens

OPERATORS = (
    "+",
    "-",
    "*",
    "/",
    "<",
    ">",
    "=",
    "\u2264",
    "\u2265",
    "\u2260",
    "^",
    "\u222a",
    "\u2229",
)
SPELLINGS = {
    "-": ("-", "\u2212", "\u2013", "\uff0d"),
    "*": ("*", "\u00d7", "x", "\u00b7"),
    "/": ("/", "\u00f7", "\u2215", "\uff0f"),
    "+": ("+", "\uff0b"),
    "\u2264": ("\u2264", "<=", "\u2a7d"),
    "\u2265": ("\u2265", ">=", "\u2a7e"),
    "\u2260": ("\u2260", "!="),
}
UNLIKE = [
    ("What is 8 / 4?", "What is 8 + 4?"),
    ("What is the opposite of -5?", "What is the opposite of 5?"),
    ("What is 2 * (3 + 4)?", "What is 2 * 3 + 4?"),
    ("What is f(x) + 1?", "What is f(x + 1)?"),
    ("Is 3.5 in the set?", "Is 3, 5 in the set?"),
    ("Where does [0, 1] end?", "Where does (0, 1) end?"),
    ("What is 5! / 3?", "What is 5 / 3?"),
    ("What is f'(2)?", "What is f(2)?"),
    ("How much is 50% of it?", "How much is 50 of it?"),
    ("Is it warm at 25 \u00b0C?", "Is it warm at 25 C?"),
    ("How many are 10\u00b3?", "How many are 103?"),
    ("What is 10^3?", "What is 10^-3?"),
    ("Is it \u00b15?", "Is it 5?"),
    ("What is |x - 3|?", "What is x - 3?"),
    ("Who made C++?", "Who made C?"),
    ("Who made C#?", "Who made C?"),
    ("Who can take AB+ blood?", "Who can take AB- blood?"),
    ("How heavy is Na+?", "How heavy is Na?"),
    ("How heavy is Cl- here?", "How heavy is Cl here?"),
    ("Does it cost \u00a35?", "Does it cost \u20ac5?"),
    ("What is p & q?", "What is p | q?"),
    ("What is true and (false or true)?", "What is (true and false) or true?"),
    ("Is x == 5 in C true?", "Is x = 5 in C true?"),
    ("27\n+ 48", "27\n- 48"),
    ("Which is a symbol: Co?", "Which is a symbol: CO?"),
    ("How strong is 5 mW?", "How strong is 5 MW?"),
    ("How strong is 5mW?", "How strong is 5MW?"),
    ("What does Aa give with AA?", "What does AA give with AA?"),
    ("What are the gametes of AaBb here?", "What are the gametes of AABB here?"),
    ("Which is the gene x?", "Which is the gene X?"),
    ("How much is a kWh in joules?", "How much is a KWh in joules?"),
]
ALIKE = [
    ("What is 5 - 2?", "what is 5\u22122"),
    ("What is 5 + 2?", "What is 5 + 2 = ?"),
    ("What is 8 \u00d7 4?", "WHAT IS 8 X 4"),
    ("What is (-5) + 3?", "What is -5 + 3?"),
    ("Is x >= 5?", "Is x \u2265 5?"),
    ("Is \uff15\uff0b\uff12 seven?", "Is 5+2 seven?"),
    ("A well-known dog - a big one - ran (far).", "A well known dog, a big one, ran far!"),
    ("- one\n- two", "one\ntwo"),
    ("# Which **one** is it?", "Which one is it?"),
    ('He said: "Go!"', "he said go"),
    ("A 5-year-old boy's $5", "a 5 year old boy\u2019s 5"),
    ("It is true and/or right.", "It is true and or right"),
    ("He said (it is true) so.", "He said it is true so."),
    ("Which is a symbol: Co?", "WHICH IS A SYMBOL: CO?"),
    ("Which is a symbol: Co?", "which is a symbol: co?"),
    ("Which Symbol Has The Name Co?", "Which symbol has the name CO?"),
    ("Which is NOT red?", "Which is not red?"),
    ("Is it 5\u00bd?", "Is it 5 1/2?"),
    ("x\u00b2", "x^2"),
    ("It is 5!", "It is 5"),
    ("What is 25 \u2103?", "What is 25 \u00b0C?"),
]


@pytest.mark.parametrize(("left", "right"), UNLIKE)
def test_signs_and_the_case_of_symbols_tell_texts_apart(left: str, right: str) -> None:
    assert not same(left, right) and not same(right, left)
    assert not same(
        right.upper() if question_key(left).bare != question_key(right).bare else right, left
    )


@pytest.mark.parametrize(("left", "right"), ALIKE)
def test_layout_spelling_and_shouting_do_not(left: str, right: str) -> None:
    assert same(left, right) and same(right, left)
    assert not tell_apart(question_key(left), question_key(right))


numbers = st.integers(0, 999).map(str)
variables = st.sampled_from("abcnpqxyz")
operands = st.one_of(numbers, variables)


@given(operands, operands, st.sampled_from(list(combinations(OPERATORS, 2))))
def test_two_operators_are_two_questions(left: str, right: str, pair: tuple[str, str]) -> None:
    one, other = (f"What is {left} {sign} {right}, if anything?" for sign in pair)
    assert not same(one, other)
    assert tell_apart(question_key(one), question_key(other))


@given(numbers, numbers, st.sampled_from(list(SPELLINGS)), st.data())
def test_an_operator_is_one_however_it_is_written(
    left: str, right: str, sign: str, data: st.DataObject
) -> None:
    spelled = data.draw(st.sampled_from(SPELLINGS[sign]))
    space = data.draw(st.sampled_from(("", " ")))
    assume(not (spelled == "x" and left == "0" and not space))  # 0x10
    written = f"how much: {left}{space}{spelled}{space}{right}".upper()
    assert same(f"How much: {left} {sign} {right}?", written)


@given(
    st.lists(st.sampled_from(["dog", "well-known", "5", "x", "it's", "Mr.", "(so)"]), max_size=8)
)
def test_prose_is_the_same_in_capitals_and_without_final_marks(parts: list[str]) -> None:
    text = " ".join(["There was", *parts, "there"])
    assert same(f"{text}.", text.upper()) and same(f"{text}?", f'"{text.lower()}"')


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_the_same_as_itself_and_order_does_not_matter(left: str, right: str) -> None:
    assert same(left, left)
    assert same(left, right) == same(right, left)
    assert [t for t in tokens(left) if re.match(r"\w", t)] == [
        t for t in words(left) if re.match(r"\w", t)
    ]
    assert len(read(left).signs) == len(read(left).words) + 1


@given(
    st.lists(st.text("aAbB xC+-5.\n", min_size=1, max_size=12), min_size=2, max_size=6),
)
def test_the_first_of_the_same_texts_is_found(texts: list[str]) -> None:
    known: SameTexts[int] = SameTexts()
    keys = [question_key(text) for text in texts]
    for number, key in enumerate(keys[:-1]):
        known.add(hash_key([key.bare], key.case), number)
    found = known.find(hash_key([keys[-1].bare], keys[-1].case))
    wanted = [n for n, text in enumerate(texts[:-1]) if same(text, texts[-1])]
    assert (found is None) == (not wanted)
    assert found is None or found in wanted


@pytest.mark.parametrize(
    ("options", "repeat"),
    [
        (["rr", "Rr", "RR"], False),
        (["mW", "MW"], False),
        (["-1", "+1", "1"], False),
        (["WW or ww", "WW or Ww"], False),
        (["Let's eat, Ann", "Let's eat Ann"], False),
        (["10^2", "10\u00b2"], True),
        (["5 \u2212 2", "5 - 2"], True),
        (["\uff21 cat", "A cat"], True),
        (["Paris", "paris "], True),
        (["a  dog", "a dog"], True),
        (["a \u200bdog", "a dog"], True),
        (["caf\u00e9", "cafe\u0301"], True),
    ],
)
def test_options_repeat_where_nothing_tells_them_apart(options: list[str], repeat: bool) -> None:
    assert options_repeat(options) is repeat


def test_case_says_nothing_in_a_text_of_one_case() -> None:
    assert case_of("Is Co or kWh or AaBb here?") == "Co kWh AaBb"
    assert case_of("IS CO HERE?") == case_of("is co here?") == case_of("Which Has Only Co?") == ""
    assert case_of("I said: it's NOT the 5TH.") == ""


def test_a_busy_machine_makes_no_formula_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is one of the thread's own time, not of the clock."""
    monkeypatch.setattr("tsqa.text.formulas._MATH_SECONDS", 0.3)

    def slowly(formula: str, **_: object) -> list[object]:
        if "x" in formula:
            while True:
                sum(range(1000))
        time.sleep(1.5)
        return [sympy.Integer(2)]

    monkeypatch.setattr("math_verify.parse", slowly)
    before = signal.getsignal(signal.SIGALRM)
    assert formulas._parse.__wrapped__("2") == (2,)
    assert formulas._parse.__wrapped__("x") == ()
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
