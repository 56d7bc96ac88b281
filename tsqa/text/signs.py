"""The signs between the words of a question, where they carry meaning.

Operators, relations, the sign of a number, powers, units and marks on a word count (`8 / 4`,
`x >= 5`, `-5`, `50%`, `AB+`, `C#`, `f(x + 1)`, `3.5`). Hyphens in words, dashes, bullets, quotes,
emphasis, brackets around prose and `$` (which may be LaTeX's) do not, nor do the spaces around a
sign or which of its spellings was taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import regex

from tsqa.text.normalise import compose, find_words

_CONNECTIVES = frozenset({"and", "or", "not", "xor", "nor", "nand"})
_FUNCTIONS = _CONNECTIVES | frozenset(
    "sin cos tan log ln exp sqrt lim max min mod gcd lcm det".split()  # noqa: SIM905
)
_TRUTH = frozenset({"true", "false"})
"""Operands of a connective, and of nothing else: `(true and false) or true`."""

# Whether a text may hold signs at all, in searches that begin with fixed characters.
_CERTAIN = re.compile(r"[+*/<>=^%#&|~(\[{]")
_FACTORIAL = re.compile(r"!(?=\s*[-+*/=<>?.,)!^])")
_FOREIGN = re.compile(r"[^\w\s\x00-\x7f\u2014\u2018-\u201f\u2026]")
_POINT = re.compile(r"\.(?=\d)")
_DASH = re.compile(r"-(?=[\d.]|\W|$|[^\W\d_](?![^\W\d_]))")
_BULLET = re.compile(
    r"^[ \t]*(?:[-+*>\u2022\u25aa\u25cf\u25cb\u25a0\u25a1\u25e6]|#{1,6})[ \t]+(?=[^\W\d_]{2})", re.M
)
_RULE = re.compile(r"[-=*~#]{4,}|^[ \t]*-{3}[ \t]*$", re.M)
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]+?)(?<=[^\s*])\1(?![\w*])")

# Letters as operands stand alone: x - y, not e-mail.
_LONE = r"\p{L}(?!\p{L})"
_AFTER_LONE = r"(?<!\p{L}\p{L})(?<=\p{L})"
_OPERAND = rf"(?:\.?\d|[(\[\u221a]|{_LONE})"
_MINUS = "|".join(
    (
        rf"(?<![^\s(\[{{=<>\u2264\u2265\u2260\u00b1+*/^:;,|-])-(?={_OPERAND})",  # -5, (-x)
        r"(?<=[=<>\u2264\u2265\u2260(+*/^]\s?)-(?=\s\d)",  # x = - 5
        rf"(?<=[\d)\]%\u00b0]|{_AFTER_LONE})-(?=-?{_OPERAND})",  # 5-2, x-2
        rf"(?<=(?:[\d)\]%\u00b0]|{_AFTER_LONE})\s+)-(?=\s+-?{_OPERAND})",  # 5 - 2, x - y
        r"(?<=(?<!\w)\p{L}{1,2}|\p{L}\d)-(?![\w-])",  # AB-, Cl-
    )
)
# Where a sign may begin; whether one does, `_SIGN` tells.
_PLACE = re.compile(
    r"[-+*/<>=^%#&|~!'()\[\]{}\u2019]|(?<=\d)\.(?=\d)|(?<![\w.])\.(?=\d)|[,;](?=[ \d])"
    r"|[^\w\s\x00-\x7f\u2014\u2018\u201a-\u201f\u2026]"
)
_SIGN = regex.compile(
    rf"""(?P<sign> <=>|<->|-+> | => | >= | =< | <= | =/= | != | ={{1,3}} | \+/-+ | \*\*
        | {_MINUS}
        | (?<!\p{{L}}{{2}})/ | /(?!\p{{L}}{{2}})
        | \.
        | (?<=[\d)]|(?<!\w)\p{{L}})!(?=\s*[-+*/=<>?.,)!^])
        | (?<=(?<!\w)\p{{L}})['\u2019]+(?=\s?\()
        | [+*<>=^%\#&|~\u00b0\u2030\u2032\u2033\u00a2-\u00a5\u20a0-\u20bf\u266d\u266e\u2640\u2642]
        | \p{{Sm}} | [\u25a0-\u25ff\u2605\u2606] )
    | (?P<open>[(\[{{]) | (?P<close>[)\]}}]) | (?P<comma>[,;](?!\d{{3}}))""",
    regex.VERBOSE | regex.V1,
)
_SPELLINGS = {
    **dict.fromkeys((">=",), "\u2265"),
    **dict.fromkeys(("<=", "=<"), "\u2264"),
    **dict.fromkeys(("!=", "=/="), "\u2260"),
    **dict.fromkeys(("->", "-->", "\u27f6"), "\u2192"),
    **dict.fromkeys(("=>", "\u27f9"), "\u21d2"),
    **dict.fromkeys(("+/-",), "\u00b1"),
    **{"**": "^", "<->": "\u2194", "<=>": "\u21d4"},
}
_BEFORE = re.compile(r"(?:[^\W_]+|\))\Z")


class Spoken(NamedTuple):
    """The words of a text and the signs between them."""

    words: list[str]
    signs: list[str]
    """One more than there are words: what stands before each, and after the last."""


def tokens(text: str) -> list[str]:
    """List the words and signs of a text, in order."""
    found, signs = read(text)
    if not any(signs):
        return found
    pairs = [*zip(signs, found, strict=False), (signs[-1], "")]
    return [token for pair in pairs for token in pair if token]


def read(text: str) -> Spoken:
    """Find the words of a text, and the signs around each of them."""
    composed = compose(text)
    found = find_words(composed)
    signs = [""] * (len(found) + 1)
    if _may_hold_signs(composed):
        _place_signs(composed.casefold(), signs)
    return Spoken(found, signs)


def has_signs(text: str) -> bool:
    """Whether any sign of a text counts."""
    return any(read(text).signs)


@dataclass
class _Mark:
    """A sign, or what may be one."""

    kind: str
    text: str
    start: int
    end: int


def _may_hold_signs(text: str) -> bool:
    return bool(
        _CERTAIN.search(text)
        or ("." in text and _POINT.search(text))
        or ("!" in text and _FACTORIAL.search(text))
        or ("-" in text and _DASH.search(text))
        or (not text.isascii() and _FOREIGN.search(text))
    )


def _place_signs(text: str, signs: list[str]) -> None:
    """Fill in the sign before each word and after the last."""
    text = _EMPHASIS.sub(r"\2", _RULE.sub(" ", _BULLET.sub("", text)))
    found: list[_Mark] = []
    end = 0
    for place in _PLACE.finditer(text):
        match = _SIGN.match(text, place.start()) if place.start() >= end else None
        if match:
            end = match.end()
            sign = _SPELLINGS.get(match[0], match[0])
            found.append(_Mark(match.lastgroup or "", sign, match.start(), end))
    _keep_brackets_of_formulas(text, found)
    count = end = 0
    for mark in found:
        if mark.kind == "sign":
            count += len(find_words(text[end : mark.start]))
            end = mark.end
            signs[count] += mark.text
    signs[0], signs[-1] = signs[0].lstrip("="), signs[-1].rstrip("=")


def _keep_brackets_of_formulas(text: str, found: list[_Mark]) -> None:
    """Make signs of the brackets that group a formula or hold arguments, a pair or an interval."""
    opened: list[int] = []
    for place, mark in enumerate(found):
        if mark.kind == "open":
            opened.append(place)
        elif mark.kind == "close" and opened:
            start = opened.pop()
            if _is_formula(text, found, start, place):
                found[start].kind = mark.kind = "sign"


def _is_formula(text: str, found: list[_Mark], start: int, end: int) -> bool:
    first, last = found[start], found[end]
    operands = find_words(text[first.end : last.start])
    named = [word for word in operands if word not in _TRUTH]
    if len(named) < len(operands) and _CONNECTIVES.isdisjoint(named):
        return False
    if not operands or not all(map(_is_operand, named)):
        return False
    before = _BEFORE.search(text[max(0, first.start - 12) : first.start])
    if before and (before[0] == ")" or _is_operand(before[0])):
        return True
    count = sum(mark.kind in ("sign", "comma") for mark in found[start + 1 : end]) + len(operands)
    return text[last.end : last.end + 1] in ("^", "!") or count > 2


def _is_operand(text: str) -> bool:
    has_digit = any(character.isdigit() for character in text)
    return len(text) <= 2 or has_digit or text in _FUNCTIONS
