"""The vote: which answers say the same, and which of them most votes gave.

Promises: the classes do not depend on the order of the votes; two plain numbers meet only when
they are equal; whatever an answer holds, nothing is raised.

Numbers and formulas are compared with math-verify. What it reads too generously is decided here:
`50%` is 1/2 where another vote says 0.5, and 50 otherwise, so that 50 and 0.5 never meet; `18
dollars` and `18` are one answer unless another vote says `18 cents`.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from tsqa.filters.text import format_number, normalise_answer, parse_number
from tsqa.recipe import AnswerKind

_MAX_FORMULA = 200
_MATH_SECONDS = 5
_FORMULA = re.compile(
    r"(?:\\[a-zA-Z]+|\\[,;:! ]|(?<![a-zA-Z])[a-zA-Z](?![a-zA-Z])|[\d\s.,:+\-*/^_=()\[\]{}|<>!'])+"
)
_MATH_MARK = re.compile(r"[\d\\+*/^=<>-]")
_LATEX_MARK = re.compile(r"[\\^=]")
# Towers, huge powers and factorials: bignum arithmetic that no timeout can interrupt.
_HEAVY = re.compile(r"\^\s*[{(]?[^{}()+\-*/=,\s]*\^|\^[{(\s]*-?\d{4,}|\d{3,}\s*!|!\s*!")
_DELIMITED = re.compile(r"\$(.*)\$|\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm)\{([^{}]*)\}")
_SUPERSCRIPTS = re.compile("[\u00b2\u00b3\u00b9\u2070-\u207b]+")
_NUMBER_AND_UNIT = re.compile(r"([-+]?[\d.,]*\d)\s*([^\W\d_]+)[^\d]*")
_MONEY = re.compile("([-+]?)\\s*([$\u20ac\u00a3])\\s*(.+)")
_CURRENCIES = {"$": "dollar", "\u20ac": "euro", "\u00a3": "pound"}
_TRUTH = {"true": "yes", "false": "no"}


@dataclass(frozen=True)
class Vote:
    """The outcome of a count."""

    winner: int | None
    """Position of the first vote that gave the winning answer; None when none is readable."""
    agreement: float
    """Its share of all votes, the unreadable included."""
    is_tie: bool


@dataclass(frozen=True)
class _Quantity:
    value: str
    """A plain number in its normal form, or a formula."""
    unit: str
    is_plain: bool


def count_votes(classes: Sequence[str | None]) -> Vote:
    """The most frequent class; None stands for an unreadable vote."""
    counts = Counter(label for label in classes if label is not None)
    if not counts:
        return Vote(None, 0.0, False)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    label, most = ranked[0]
    is_tie = len(ranked) > 1 and ranked[1][1] == most
    return Vote(list(classes).index(label), most / len(classes), is_tie)


def classify_answers(answers: Sequence[str | None], kind: AnswerKind) -> list[str | None]:
    """One label per answer: equal answers have equal labels, unreadable ones None."""
    labels: dict[str, str] = {}
    quantities: dict[str, _Quantity] = {}
    for answer in {answer for answer in answers if answer}:
        quantity = _read_quantity(answer, kind)
        if quantity is None:
            labels[answer] = _label_text(answer, kind)
        else:
            quantities[answer] = quantity
    labels |= _label_quantities(quantities)
    return [labels[answer] if answer else None for answer in answers]


def same_answer(left: str, right: str, kind: AnswerKind) -> bool:
    first, second = classify_answers([left, right], kind)
    return first is not None and first == second


def is_number(answer: str) -> bool:
    """Whether an answer is a number or a formula, with or without a unit."""
    return _read_quantity(answer, "number") is not None


def _label_text(answer: str, kind: AnswerKind) -> str:
    if kind == "code":
        return answer.strip()
    text = _plain_form(answer)
    if _is_formula(text):
        # Its words alone would not tell 3-2 from 3+2.
        return re.sub(r"\s+", "", text).rstrip(".").casefold()
    key = normalise_answer(text)
    return _TRUTH.get(key, key) if kind == "boolean" else key


def _read_quantity(answer: str, kind: AnswerKind) -> _Quantity | None:
    if kind not in ("number", "short_text"):
        return None
    text, unit = _split_unit(_plain_form(answer), kind)
    number = parse_number(text)
    if number is not None:
        return _Quantity(format_number(number), unit, is_plain=True)
    # In a text, 3-2 may be a score and 1990-1995 a span of years.
    is_math = kind == "number" or _LATEX_MARK.search(text)
    if is_math and _is_formula(text) and _parse_formula(text):
        return _Quantity(text, unit, is_plain=False)
    return None


def _plain_form(answer: str) -> str:
    """One line of compatibility forms, without the delimiters of LaTeX."""
    text = _SUPERSCRIPTS.sub(lambda match: f"^{{{match[0]}}}", answer)
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-")
    text = " ".join(_LATEX_TEXT.sub(r" \1", text).split())
    match = _DELIMITED.fullmatch(text.rstrip("."))
    if match:
        text = next(group for group in match.groups() if group is not None).strip()
    return text.replace("\\$", "$").replace("\\%", "%")


def _split_unit(text: str, kind: AnswerKind) -> tuple[str, str]:
    """(number or formula, its unit: a currency, `%`, or the first word after a number)."""
    bare = text.rstrip(". ")
    if bare.endswith("%"):
        return bare[:-1].strip(), "%"
    money = _MONEY.fullmatch(bare)
    if money:
        return money[1] + money[3], _CURRENCIES[money[2]]
    match = _NUMBER_AND_UNIT.fullmatch(bare) if kind == "number" else None
    if match and parse_number(match[1]) is not None:
        return match[1], match[2].casefold().removesuffix("s")
    return bare, ""


def _label_quantities(quantities: dict[str, _Quantity]) -> dict[str, str]:
    """Classes by value, and by unit where one value comes with several."""
    settled = {
        answer: _settle_percent(quantity, quantities.values())
        for answer, quantity in quantities.items()
    }
    values: dict[_Quantity, str] = {}
    units: dict[str, set[str]] = defaultdict(set)
    for quantity in sorted(settled.values(), key=lambda q: (not q.is_plain, q.value, q.unit)):
        known = (label for other, label in values.items() if _equal(other, quantity))
        values[quantity] = next(known, quantity.value)
        units[values[quantity]] |= {quantity.unit} - {""}
    labels = {}
    for answer, quantity in settled.items():
        value = values[quantity]
        labels[answer] = f"{value} {quantity.unit}" if len(units[value]) > 1 else value
    return labels


def _settle_percent(quantity: _Quantity, others: Iterable[_Quantity]) -> _Quantity:
    if quantity.unit != "%" or not quantity.is_plain:
        return quantity
    share = _Quantity(format_number(Decimal(f"{quantity.value}e-2")), "", is_plain=True)
    is_share = any(other.unit != "%" and _equal(other, share) for other in others)
    return share if is_share else quantity


def _equal(left: _Quantity, right: _Quantity) -> bool:
    if left.value == right.value:
        return True
    if left.is_plain and right.is_plain:
        return False
    return _verify(*sorted((left.value, right.value)))


@lru_cache(maxsize=4096)
def _verify(left: str, right: str) -> bool:
    from math_verify import verify

    return bool(
        verify(list(_parse_formula(left)), list(_parse_formula(right)), timeout_seconds=_seconds())
    )


@lru_cache(maxsize=4096)
def _parse_formula(text: str) -> tuple[Any, ...]:
    from math_verify import parse

    return tuple(parse(f"${text}$", parsing_timeout=_seconds()))


def _is_formula(text: str) -> bool:
    return bool(
        len(text) <= _MAX_FORMULA
        and _MATH_MARK.search(text)
        and not _HEAVY.search(text)
        and _FORMULA.fullmatch(text)
    )


def _seconds() -> int | None:
    """math-verify keeps time by a signal, which only the main thread receives."""
    return _MATH_SECONDS if threading.current_thread() is threading.main_thread() else None
