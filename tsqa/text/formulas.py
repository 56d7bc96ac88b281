"""Whether two formulas are the same mathematics, exactly.

Guarantees: equal means equal to 40 digits at every point tried, with the same relation, the same
ends of an interval and the same order of a list; what is not understood is equal only as text.
Nothing is raised and no comparison hangs: towers, huge powers and long texts are only text.

math-verify reads a formula, and sympy evaluates it. math-verify's own verdict is not asked: it
rounds to six digits (1/2^99 meets 1/2^98, a surd its decimals) and takes a list for a set.
"""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from tsqa.text.quantities import plain_notation

# It warns that it keeps no time, which _own_time does.
logging.getLogger("math_verify").setLevel(logging.ERROR)
_MAX_FORMULA = 200
_MATH_SECONDS = 5
_DIGITS = 60
_SAME_DIGITS = 40
_POINTS = ("0.7310585786300049", "1.6180339887498949", "2.6651441426902252")
"""Values for variables: unlike any that a formula would hold."""
_FORMULA = re.compile(
    r"(?:\\[a-zA-Z]+|\\[,;:! {}|]|(?<![a-zA-Z])[a-zA-Z](?![a-zA-Z])"
    r"|[\d\s.,+\-*/^_=()\[\]{}|<>!'])+"
)
_MATH_MARK = re.compile(r"[\d\\+*/^=<>-]")
# Towers, huge powers and factorials: bignum arithmetic that no timeout can interrupt.
_HEAVY = re.compile(r"\^\s*[{(]?[^{}()+\-*/=,\s]*\^|\^[{(\s]*-?\d{4,}|\d{3,}\s*!|!\s*!")
# What the grammar drops or reads as something else: bases, primes, vectors, 1/2x, x2, 5 (3), 2 1/3.
_MISREAD = re.compile(
    r"\d\}?\s*_|'|\\(?:vec|mathbf|hat|bar|overline|underline|dot|mp)\b|\b0[xbo][0-9a-fA-F]"
    r"|/\s*(?:\d+(?:\.\d+)?|[a-zA-Z])\s*(?:[a-zA-Z(]|\\(?:pi|sqrt|frac|theta|sin|cos|tan|log|ln)\b)"
    r"|(?<![\\a-zA-Z])[a-zA-Z]\d|\d \([^a-zA-Z()]*\)|\d\s*\\frac\{\d+\}\{\d+\}"
)
_VECTOR = re.compile(r"\\(?:vec|mathbf)\b")
_SET = re.compile(r"\A\{([^{}\\]*,[^{}]*)\}\Z")
_UNFINISHED = re.compile(r"[+*/^=<>]\s*$|\.\s*\.|\b0[xbo][0-9a-fA-F]|->")
"""Ends where something is to follow, leaves digits to be imagined, is of a program or an arrow."""
_VARIABLE = re.compile(r"(?<=\d)\s*[a-df-hj-zA-DF-HJ-Z](?![a-zA-Z(])")
_NAME = re.compile(r"\\?[a-zA-Z]+")
_AS_LATEX = str.maketrans(
    {
        "\u2265": r" \geq ", "\u2264": r" \leq ", "\u2260": r" \neq ", "\u00d7": "*",
        "\u22c5": "*", "\u00b7": "*", "\u00f7": "/", "\u03c0": r" \pi ",
        "\u221e": r" \infty ", "\u00b1": r" \pm ", "\u222a": r" \cup ", "\u2229": r" \cap ",
        "\u2208": r" \in ", "\u03b8": r" \theta ", "\u2205": r" \emptyset ",
    }
)  # fmt: skip
_TIMES = re.compile(r"\\(?:times|cdot)(?![a-zA-Z])")
_ROOT = re.compile("\u221a\\s*(?:\\(([^()]*)\\)|(\\w+))")
_SIDE_BY_SIDE = re.compile(r"\d\.? \d")
_SINGLE = re.compile(r"\s*[a-zA-Z](?:_\{?\w+\}?|\([a-zA-Z0-9]\))?\s*=(?!=)(?P<value>[^=<>]+)")


def as_formula(text: str) -> str:
    """Write a text as one line of LaTeX where it is only mathematics; empty otherwise."""
    if len(text) > 2 * _MAX_FORMULA:
        return ""
    # 1/2 x would be read as 1/(2x), which \frac{1}{2} x is not.
    shown = plain_notation(text, r"\frac{{{}}}{{{}}}").removesuffix(".").translate(_AS_LATEX)
    shown = shown if _VECTOR.search(shown) else _TIMES.sub("*", shown)
    shown = _SET.sub(r"\\{\1\\}", shown)
    shown = " ".join(_ROOT.sub(lambda found: rf"\sqrt{{{found[1] or found[2]}}}", shown).split())
    if _SIDE_BY_SIDE.search(shown):
        return ""  # numbers side by side are a list, or several sentences
    if len(shown) > _MAX_FORMULA or _UNFINISHED.search(shown):
        return ""
    return shown if _MATH_MARK.search(shown) and _FORMULA.fullmatch(shown) else ""


def is_readable(formula: str) -> bool:
    """Whether a formula can be compared as mathematics."""
    return not (_HEAVY.search(formula) or _MISREAD.search(formula)) and bool(_parse(formula))


@lru_cache(maxsize=4096)
def same_formula(left: str, right: str) -> bool:
    """Whether two formulas, as `as_formula` gives them, say the same."""
    if re.sub(r"\s+", "", left) == re.sub(r"\s+", "", right):
        return True
    if any(pattern.search(one) for pattern in (_HEAVY, _MISREAD) for one in (left, right)):
        return False
    if _differ_in_case(left, right):
        return False
    ours, theirs = _bare(left), _bare(right)
    items, others = list_items(ours), list_items(theirs)
    if len(items) != len(others):
        return False
    if len(items) > 1:
        return all(same_formula(*sorted(pair)) for pair in zip(items, others, strict=True))
    if not _is_same_bracket(ours, theirs):
        return False
    first, second = _parse(ours), _parse(theirs)
    try:
        return bool(first and second) and _same(first[0], second[0])
    except Exception:  # noqa: BLE001 - sympy may raise anything on an expression it cannot evaluate
        return False


def _differ_in_case(left: str, right: str) -> bool:
    """Whether case is all that tells a name of one from a name of the other: e and E, i and I."""
    ours, theirs = set(_NAME.findall(left)), set(_NAME.findall(right))
    here, there = ours - theirs, theirs - ours
    return not {name.casefold() for name in here}.isdisjoint(name.casefold() for name in there)


def _bare(formula: str) -> str:
    """The value that a formula gives to one name, as 3 in x = 3; otherwise the formula."""
    found = _SINGLE.fullmatch(formula)
    return found["value"].strip() if found else formula


def list_items(formula: str) -> list[str]:
    """List the members of a list without brackets, in order."""
    depth, items, start = 0, [], 0
    for place, character in enumerate(formula):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(character, 0)
        if character == "," and depth == 0 and not re.match(r"\d{3}(?!\d)", formula[place + 1 :]):
            items.append(formula[start:place].strip())
            start = place + 1
    return [*items, formula[start:].strip()]


def _is_same_bracket(left: str, right: str) -> bool:
    """A tuple or interval meets only its like: (1, 2) is not [1, 2], nor \\{1, 2\\}."""
    return _brackets(left) == _brackets(right)


def _brackets(formula: str) -> str:
    return "".join(re.findall(r"[\[\]]|\\[{}]", formula)) + "".join(
        "," for _ in re.finditer(r"\([^()]*,[^()]*[)\]]|\[[^\[\]()]*,[^()\[\]]*[)\]]", formula)
    )


@lru_cache(maxsize=4096)
def _parse(formula: str) -> tuple[object, ...]:
    """sympy's reading of a formula; empty where there is none but the text."""
    from math_verify import parse

    try:
        with _own_time():
            found = parse(f"${formula}$", parsing_timeout=None)
    except Exception:  # noqa: BLE001 - its grammar may raise anything on what it does not know
        return ()
    read = tuple(one for one in found if not isinstance(one, str))
    return () if read and _loses_variable(formula, read[0]) else read


def _loses_variable(formula: str, value: object) -> bool:
    """Whether a number came of a formula with a variable: math-verify takes 5t for tonnes."""
    return bool(_VARIABLE.search(formula)) and bool(getattr(value, "is_number", False))


def _same(left: Any, right: Any) -> bool:
    import sympy

    if isinstance(left, sympy.MatrixBase) or isinstance(right, sympy.MatrixBase):
        return (
            isinstance(left, sympy.MatrixBase)
            and isinstance(right, sympy.MatrixBase)
            and left.shape == right.shape
            and _all_same(list(left), list(right))
        )
    if isinstance(left, sympy.Rel) or isinstance(right, sympy.Rel):
        return _same_relation(left, right)
    if isinstance(left, sympy.FiniteSet) and isinstance(right, sympy.FiniteSet):
        return len(left) == len(right) and all(any(_same(a, b) for b in right) for a in left)
    if isinstance(left, sympy.Interval) and isinstance(right, sympy.Interval):
        return bool(
            left.left_open == right.left_open
            and left.right_open == right.right_open
            and _same(left.start, right.start)
            and _same(left.end, right.end)
        )
    if isinstance(left, sympy.Expr) and isinstance(right, sympy.Expr):
        return _same_value(left, right)
    if type(left) is not type(right) or not getattr(left, "args", ()):
        return bool(left == right)
    return _all_same(left.args, right.args)


def _all_same(left: Sequence[object], right: Sequence[object]) -> bool:
    return len(left) == len(right) and all(
        _same(one, other) for one, other in zip(left, right, strict=True)
    )


def _same_relation(left: object, right: object) -> bool:
    import sympy

    if not (isinstance(left, sympy.Rel) and isinstance(right, sympy.Rel)):
        return False
    turned = right.reversed
    for other in (right, turned):
        if left.rel_op == other.rel_op and _all_same(left.args, other.args):
            return True
    return False


def _same_value(left: Any, right: Any) -> bool:
    """Both to many digits, with the same numbers for the same variables."""
    import sympy

    if left.free_symbols != right.free_symbols:
        return False
    left, right = _exact(left), _exact(right)
    names = sorted(left.free_symbols, key=str)
    for shift in range(len(_POINTS) if names else 1):
        values = {
            name: sympy.Rational(_POINTS[(place + shift) % len(_POINTS)]) + place
            for place, name in enumerate(names)
        }
        a, b = (sympy.N(one.subs(values), _DIGITS) for one in (left, right))
        if not (a.is_number and b.is_number) or a.has(sympy.nan) or b.has(sympy.nan):
            return bool(left == right)
        if a == b:
            continue
        size = max(abs(a), abs(b))
        if not size.is_finite or abs(a - b) > size * sympy.Float(10, _DIGITS) ** -_SAME_DIGITS:
            return False
    return True


def _exact(expression: Any) -> object:
    """Decimals as the fractions that they write."""
    import sympy

    floats = {one: sympy.Rational(str(one)) for one in expression.atoms(sympy.Float)}
    return expression.xreplace(floats)


@contextlib.contextmanager
def _own_time() -> Iterator[None]:
    """End what takes more than five seconds of this thread's own time, with TimeoutError.

    math-verify's own limit goes by the clock, and so would call a formula unread where the machine
    is busy. Signals reach the main thread only: others have no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    end = time.thread_time() + _MATH_SECONDS

    def look(*_: object) -> None:
        if time.thread_time() > end:
            raise TimeoutError

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
