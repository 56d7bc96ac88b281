"""When two texts are the same: equal words, and equal signs between them, and equal case.

Signs count where they carry meaning: operators, relations, the sign of a number, powers, units and
marks on a word (`8 / 4`, `x >= 5`, `-5`, `50%`, `AB+`, `C#`, `f(x + 1)`, `3.5`). Hyphens in words,
dashes, bullets, quotes, emphasis, brackets around prose and `$` (which may be LaTeX's) do not, nor
do the spaces around a sign or which of its spellings was taken (a true minus or a hyphen, a cross,
`x` or `*`, an obelus or `/`, one sign or `>=`).

Case counts where it is all that differs, and only in what may be a symbol: one letter, two that are
no English word (`Co`, `CO`), a genotype (`AaBb`), up to four of mixed case (`kWh`). A text in
capitals, in lower case or with a capital on every word says nothing by its case, and is the same as
any in the same words.

Promise: being the same does not depend on the order of the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import regex

from tsqa.text.hashing import hash_text
from tsqa.text.normalise import compose, find_words

_Value = TypeVar("_Value")

_ORDINARY = frozenset(
    """a i am an as at be by do go he hi if in is it me my no of oh ok on or so to up us vs we
    mr ms dr st nd rd th am pm tv cd all and any are but can did for get had has her him his how its
    let may new not now off old one our out own per she the too two use was way who why yes yet you
    also each from have into just like many more most much only over same some such than that them
    then they this what when will with your""".split()  # noqa: SIM905
)
_FUNCTIONS = frozenset(
    "sin cos tan log ln exp sqrt lim max min mod gcd lcm det and or not".split()  # noqa: SIM905
)

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
_CASED_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_SYMBOL = re.compile(
    r"\d*(?:[^\W\d_]{1,2}|(?i:([^\W\d_])\1([^\W\d_])\2)"
    r"|(?=.*[a-z])[^\W\d_]+[A-Z][^\W\d_]*)"
)
"""One or two letters, a genotype of two genes, or more letters with a capital among small ones."""
_LONG = re.compile(r"[^\W\d_]{4,}")
_BEFORE = re.compile(r"(?:[^\W_]+|\))\Z")
_SIGN_ALONE = re.compile(r"(?<!\S)[^\w\s]\S*")


class Key(NamedTuple):
    """What tells whether a text is the same as another."""

    bare: str
    """Words and signs in order, joined by spaces."""
    case: str = ""
    """The symbols whose case counts; empty where the text says nothing by its case."""


class Hashed(NamedTuple):
    """A key in 16 bytes."""

    bare: int
    cased: int | None
    """None where the text says nothing by its case."""


class Spoken(NamedTuple):
    """The words of a text and the signs between them."""

    words: list[str]
    signs: list[str]
    """One more than there are words: what stands before each, and after the last."""


def make_key(text: str) -> Key:
    return Key(" ".join(tokens(text)), case_of(text))


def same(left: str, right: str) -> bool:
    """Do two texts say the same?"""
    one, other = make_key(left), make_key(right)
    return one.bare == other.bare and agree_in_case(one.case, other.case)


def tell_apart(left: Key, right: Key) -> bool:
    """Are the words of two texts equal, but not their signs or their case?"""
    if left.bare == right.bare:
        return not agree_in_case(left.case, right.case)
    return words_of(left.bare) == words_of(right.bare)


def words_of(bare: str) -> list[str]:
    """The words of a key, without its signs."""
    return _SIGN_ALONE.sub("", bare).split()


def agree_in_case(left: str, right: str) -> bool:
    return not left or not right or left == right


def hash_key(parts: Iterable[str], case: str = "") -> Hashed:
    """The hashed key of a text in several parts."""
    bare = "\n".join(parts)
    return Hashed(hash_text(bare), hash_text(f"{bare}\n\n{case}") if case else None)


def options_repeat(options: Sequence[str]) -> bool:
    """Are two options of one question the same? All signs count, and the case of every symbol."""
    return len(set(map(option_form, options))) < len(options)


def option_form(text: str) -> tuple[str, ...]:
    """What tells an option from the others of its question."""
    text = " ".join(compose(text).split())
    return (text,) if len(text) < 3 else (text.casefold(), *_symbols(text))


def option_key(options: Iterable[str]) -> list[str]:
    """A key of options in any order."""
    return sorted(" ".join(tokens(option)) for option in options)


def tokens(text: str) -> list[str]:
    """Words and signs, in order."""
    found, signs = read(text)
    if not any(signs):
        return found
    pairs = [*zip(signs, found, strict=False), (signs[-1], "")]
    return [token for pair in pairs for token in pair if token]


def read(text: str) -> Spoken:
    """`words` of a text, and the signs around each of them."""
    composed = compose(text)
    found = find_words(composed)
    signs = [""] * (len(found) + 1)
    if _may_hold_signs(composed):
        _place_signs(composed.casefold(), signs)
    return Spoken(found, signs)


def has_signs(text: str) -> bool:
    return any(read(text).signs)


def is_stripped(text: str) -> bool:
    """Has a text lost all of its punctuation, so that it says nothing by its signs?"""
    return not re.search(r"[^\w\s]", text)


def case_of(text: str) -> str:
    """The symbols in a text, in their case; empty where its case says nothing."""
    has_caseless = not text.isascii() and any(c.isalpha() and c.lower() == c.upper() for c in text)
    if not has_caseless and (text.islower() or text.isupper()):
        return ""
    text = compose(text)
    symbols = _symbols(text)
    if not symbols:
        return ""
    long = [word for word in _LONG.findall(text) if word.lower() != word.upper()]
    if long and all(word.isupper() for word in long):
        return ""
    if len(long) > 1 and all(word[0].isupper() for word in long):
        return ""
    return " ".join(symbols)


def _symbols(text: str) -> list[str]:
    return [
        word
        for word in _CASED_WORD.findall(text)
        if (len(word) < 5 or word[0].isdigit())
        and word.lstrip("0123456789").lower() not in _ORDINARY
        and _SYMBOL.fullmatch(word)
        and word.lower() != word.upper()
    ]


class SameTexts(Generic[_Value]):
    """Texts by their hashed keys, each with a value; the first of the same texts stays."""

    def __init__(self) -> None:
        self._known: dict[int, _Value] = {}
        self._cased: dict[int, _Value] = {}
        """The bare keys of those that say something by their case."""

    def add(self, key: Hashed, value: _Value) -> None:
        if key.cased is None:
            self._known.setdefault(key.bare, value)
        else:
            self._known.setdefault(key.cased, value)
            self._cased.setdefault(key.bare, value)

    def find(self, key: Hashed) -> _Value | None:
        if key.cased is None:
            return self._known.get(key.bare, self._cased.get(key.bare))
        return self._known.get(key.cased, self._known.get(key.bare))

    def __contains__(self, key: Hashed) -> bool:
        return self.find(key) is not None


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
    if not operands or not all(map(_is_operand, operands)):
        return False
    before = _BEFORE.search(text[max(0, first.start - 12) : first.start])
    if before and (before[0] == ")" or _is_operand(before[0])):
        return True
    count = sum(mark.kind in ("sign", "comma") for mark in found[start + 1 : end]) + len(operands)
    return text[last.end : last.end + 1] in ("^", "!") or count > 2


def _is_operand(text: str) -> bool:
    has_digit = any(character.isdigit() for character in text)
    return len(text) <= 2 or has_digit or text in _FUNCTIONS
