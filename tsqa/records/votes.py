"""The vote: which answers say the same, and which of them most votes gave.

Guarantees: the classes do not depend on the order of the votes; numbers meet only when they are
equal, exactly, and with no unit that another vote contradicts; formulas meet as mathematics (see
`tsqa.text.formulas`), texts by their words and signs (see `answer_key`); whatever an
answer holds, nothing is raised.

Of numbers, `50%` is 1/2 where another vote says 0.5, and 50 otherwise, so that 50 and 0.5 never
meet; `18 dollars` and `18` are one answer unless another vote says `18 cents`. The words that are
kept are those of the unit that most of its votes give (`as_most_say`). In a short text, of which
nobody said that it is a number, a sign of money or percent always counts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tsqa.recipe import AnswerKind
from tsqa.text.formulas import as_formula, is_readable, same_formula
from tsqa.text.numbers import parse_number
from tsqa.text.quantities import looks_like_range_or_date, plain_notation, read_quantity
from tsqa.text.sameness import answer_key
from tsqa.text.units import unit_of

_LATEX_MARK = re.compile(r"[\\^=\u221a\u2264\u2265\u222a\u2229\u221e]|\A\{.*,.*\}\.?\Z")
_MONEY = re.compile("([-+]?)\\s*([$\u20ac\u00a3])\\s*(.+)")
_PERCENT = re.compile(r"\s?per ?cent$", re.IGNORECASE)
_TRUTH = {"true": "yes", "false": "no"}


@dataclass(frozen=True)
class Majority:
    """The outcome of a count."""

    winner: int | None
    """Position of the first vote that gave the winning answer; None when none is readable."""
    agreement: float
    """Its share of the weight of all votes, the unreadable included."""
    is_tie: bool


@dataclass(frozen=True)
class _Quantity:
    value: Fraction | None
    """None of a formula."""
    unit: str
    formula: str
    """What is compared with formulas."""


def count_votes(classes: Sequence[str | None], weights: Sequence[float] | None = None) -> Majority:
    """The class with most weight; None stands for an unreadable vote. Without weights all are 1."""
    exact = [Fraction(str(weight)) for weight in weights or [1] * len(classes)]
    counts: dict[str, Fraction] = defaultdict(Fraction)
    for label, weight in zip(classes, exact, strict=True):
        if label is not None:
            counts[label] += weight
    if not counts:
        return Majority(None, 0.0, False)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    label, most = ranked[0]
    is_tie = len(ranked) > 1 and ranked[1][1] == most
    return Majority(list(classes).index(label), float(most / sum(exact)), is_tie)


def agreeing_models(
    classes: Sequence[str | None], models: Sequence[str], winner: str | None
) -> int:
    """Models whose own most frequent class, without a tie, is the winning one."""
    found = 0
    for model in dict.fromkeys(models):
        own = [each for each, by in zip(classes, models, strict=True) if by == model]
        result = count_votes(own)
        is_theirs = result.winner is not None and own[result.winner] == winner
        found += is_theirs and not result.is_tie
    return found


def as_most_say(
    answers: Sequence[str | None],
    classes: Sequence[str | None],
    winner: int,
    weights: Sequence[float] | None = None,
) -> int:
    """The first vote of the winner's class with the unit that has most weight in it.

    So one vote for `10%` does not speak for two that say `10`, nor the other way round.
    """
    found = {
        place: quantity.unit
        for place, answer in enumerate(answers)
        if answer and classes[place] == classes[winner] and (quantity := read_quantity(answer))
    }
    if len({*found.values()}) < 2:
        return winner
    exact = [Fraction(str(weight)) for weight in weights or [1] * len(answers)]
    counts: dict[str, Fraction] = defaultdict(Fraction)
    for place, unit in found.items():
        counts[unit] += exact[place]
    most = max(counts.values())
    return next(place for place, unit in found.items() if counts[unit] == most)


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
    labels |= _label_quantities(quantities, is_text=kind == "short_text")
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
    if kind == "boolean":
        key = answer_key(answer).casefold()
        return _TRUTH.get(key, key)
    formula = as_formula(answer)
    if formula:
        # Its words alone would not tell 3-2 from 3+2.
        return re.sub(r"\s+", "", formula).rstrip(".")
    return answer_key(answer)


def _read_quantity(answer: str, kind: AnswerKind) -> _Quantity | None:
    if kind == "number":
        found = read_quantity(answer)
        if found is not None:
            return _Quantity(found.value, found.unit, _written(found.value))
    elif kind == "short_text":
        value, unit = _read_plain(answer)
        if value is not None:
            return _Quantity(value, unit, _written(value))
    else:
        return None
    formula = as_formula(answer)
    # In a text, 3-2 may be a score and 1990-1995 a span of years; a number is neither.
    is_math = bool(formula) and (kind == "number" or _LATEX_MARK.search(answer))
    if is_math and not looks_like_range_or_date(answer) and is_readable(formula):
        return _Quantity(None, "", formula)
    return None


def _read_plain(answer: str) -> tuple[Fraction | None, str]:
    """(value, unit) of a bare number, a sum of money or a percentage: all that a text may be."""
    bare = _PERCENT.sub("%", plain_notation(answer).rstrip(". "))
    money = _MONEY.fullmatch(bare)
    unit = unit_of(money[2]) if money else "%" if bare.endswith("%") else ""
    number = parse_number(money[1] + money[3] if money else bare)
    return (None, "") if number is None else (Fraction(number), unit)


def _written(value: Fraction) -> str:
    return (
        str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    )


def _label_quantities(quantities: dict[str, _Quantity], *, is_text: bool) -> dict[str, str]:
    """Classes by value, and by unit: of numbers only where one value comes with several."""
    settled = {
        answer: _settle_percent(quantity, quantities.values())
        for answer, quantity in quantities.items()
    }
    values: dict[_Quantity, str] = {}
    units: dict[str, set[str]] = defaultdict(set)
    for quantity in sorted(settled.values(), key=lambda q: (q.value is None, q.formula, q.unit)):
        known = (label for other, label in values.items() if _equal(other, quantity))
        values[quantity] = next(known, quantity.formula)
        units[values[quantity]] |= {quantity.unit} - {""}
    labels = {}
    for answer, quantity in settled.items():
        value = values[quantity]
        counts = len(units[value]) > 1 or (is_text and quantity.unit)
        labels[answer] = f"{value} {quantity.unit}" if counts else value
    return labels


def _settle_percent(quantity: _Quantity, others: Iterable[_Quantity]) -> _Quantity:
    if quantity.unit != "%" or quantity.value is None:
        return quantity
    value = quantity.value / 100
    share = _Quantity(value, "", _written(value))
    is_share = any(other.unit != "%" and _equal(other, share) for other in others)
    return share if is_share else quantity


def _equal(left: _Quantity, right: _Quantity) -> bool:
    if left.value is not None and right.value is not None:
        return left.value == right.value
    return same_formula(*sorted((left.formula, right.formula)))
