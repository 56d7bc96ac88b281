"""Whether two texts are the same: questions, options and answers.

Questions (`question_key`, `same`) are the same where their words, the signs between them (see
`tsqa.text.signs`) and their case are equal. Case counts only where it is all that differs, and
only in what may be a symbol: one letter, two that are no English word (`Co`, `CO`), a genotype
(`AaBb`), up to four of mixed case (`kWh`). A text in capitals, in lower case or with a capital on
every word says nothing by its case, and is the same as any in the same words.

Options (`option_form`) are compared with the others of one question, so every sign counts, and
the case of every symbol.

Answers (`answer_key`) stand alone, with no sentence around them: numbers are compared by value, and
signs and symbols by `tsqa.text.answer_tokens`, whatever the rest of the text says by its case.

Guarantee: being the same does not depend on the order of the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from tsqa.text.answer_tokens import answer_tokens
from tsqa.text.hashing import hash_text
from tsqa.text.normalise import compose, seen
from tsqa.text.numbers import format_number, parse_number
from tsqa.text.signs import tokens

_Value = TypeVar("_Value")

_ORDINARY = frozenset(
    """a i am an as at be by do go he hi if in is it me my no of oh ok on or so to up us vs we
    mr ms dr st nd rd th am pm tv cd all and any are but can did for get had has her him his how its
    let may new not now off old one our out own per she the too two use was way who why yes yet you
    also each from have into just like many more most much only over same some such than that them
    then they this what when will with your""".split()  # noqa: SIM905
)
_CASED_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_SYMBOL = re.compile(
    r"\d*(?:[^\W\d_]{1,2}|(?i:([^\W\d_])\1([^\W\d_])\2)"
    r"|(?=.*[a-z])[^\W\d_]+[A-Z][^\W\d_]*)"
)
"""One or two letters, a genotype of two genes, or more letters with a capital among small ones."""
_LONG = re.compile(r"[^\W\d_]{4,}")
_SIGN_ALONE = re.compile(r"(?<!\S)[^\w\s]\S*")


class TextKey(NamedTuple):
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


def question_key(text: str) -> TextKey:
    """Make the key of a question, a passage or another longer text."""
    return TextKey(" ".join(tokens(text)), case_of(text))


def same(left: str, right: str) -> bool:
    """Whether two questions are the same."""
    one, other = question_key(left), question_key(right)
    return one.bare == other.bare and agree_in_case(one.case, other.case)


def tell_apart(left: TextKey, right: TextKey) -> bool:
    """Whether the words of two texts are equal, but not their signs or their case."""
    if left.bare == right.bare:
        return not agree_in_case(left.case, right.case)
    return words_of(left.bare) == words_of(right.bare)


def words_of(bare: str) -> list[str]:
    """List the words of a key, without its signs."""
    return _SIGN_ALONE.sub("", bare).split()


def agree_in_case(left: str, right: str) -> bool:
    """Whether the case of two texts (see `case_of`) does not tell them apart."""
    return not left or not right or left == right


def hash_key(parts: Iterable[str], case: str = "") -> Hashed:
    """Hash the key of a text in several parts."""
    bare = "\n".join(parts)
    return Hashed(hash_text(bare), hash_text(f"{bare}\n\n{case}") if case else None)


def answer_key(text: str) -> str:
    """Make the key under which equal answers meet: numbers by value, text by words and signs.

    Unlike `normalise` it keeps what tells answers apart: operators, relations, signs, decimal
    points, percent and degree signs, and case where case is all there is (Co and CO, mW and MW,
    pH); not the capital of an ordinary word, nor text that is all capitals.
    """
    number = None if "%" in text else parse_number(text)
    return format_number(number) if number is not None else answer_tokens(text)


def options_repeat(options: Sequence[str]) -> bool:
    """Whether two options of one question are the same."""
    return len(set(map(option_form, options))) < len(options)


def option_form(text: str) -> tuple[str, ...]:
    """Make what tells an option from the others of its question."""
    text = " ".join(compose(seen(text)).split())
    return (text,) if len(text) < 3 else (text.casefold(), *_symbols(text))


def option_key(options: Iterable[str]) -> list[str]:
    """Make one key of options in any order."""
    return sorted(" ".join(tokens(option)) for option in options)


def is_stripped(text: str) -> bool:
    """Whether a text has lost all punctuation, so that it says nothing by its signs."""
    return not re.search(r"[^\w\s]", text)


def case_of(text: str) -> str:
    """List the symbols in a text, in their case; empty where its case says nothing."""
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
        """Keep a value under a key, unless the same text has one."""
        if key.cased is None:
            self._known.setdefault(key.bare, value)
        else:
            self._known.setdefault(key.cased, value)
            self._cased.setdefault(key.bare, value)

    def find(self, key: Hashed) -> _Value | None:
        """Return the value of the first text that is the same; None where there is none."""
        if key.cased is None:
            return self._known.get(key.bare, self._cased.get(key.bare))
        return self._known.get(key.cased, self._known.get(key.bare))

    def __contains__(self, key: Hashed) -> bool:
        return self.find(key) is not None
