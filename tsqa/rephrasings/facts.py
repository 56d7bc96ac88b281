"""The numbers and proper names of a text, and the numbers that its calculations give.

Guarantees: nothing is raised on any text; work is linear in it. A number is an exact value, in
digits or English words, so that `1,250`, `1250.0` and `1.25 thousand` meet. A name is a word with a
capital within a sentence: one that only ever begins a sentence or a cell, or stands in a heading,
goes unseen, and German, where every noun has a capital, has none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from fractions import Fraction

from tsqa.text.normalise import compose, find_words
from tsqa.text.numbers import NUMBER_WORDS, take_numeral

_LONGEST_NUMERAL = 60
_SMALL = 2
"""`one` and `two` say too often something else than a number."""
_ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"),
    *("tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth"),
    *("seventeenth", "eighteenth", "nineteenth", "twentieth"),
)
_DIGITS = re.compile(r"(?<![^\W_])\d(?:[\d,.]*\d)?")
_SPOKEN = re.compile(rf"\b(?:{'|'.join(sorted(NUMBER_WORDS, key=len, reverse=True))})\b", re.I)
_COUNTED = re.compile(
    r"^[ \t>*#]*(?:(?:step|part|question|q|answer|a|section)[ \t]*)?\d{1,2}(?=[.):*](?!\d))",
    re.IGNORECASE | re.MULTILINE,
)
"""The number of a step or a question: it counts what is written, and says nothing."""

_TERM = r"\$?\d[\d,]*(?:\.\d+)?%?(?: ?[^\W\d_]+){0,2}"
_CALCULATION = re.compile(rf"({_TERM}(?: ?[-+*/] ?{_TERM}){{1,8}}) ?= ?\$?(\d[\d,]*(?:\.\d+)?)")
_PART = re.compile(r"[-+*/]|\d[\d,]*(?:\.\d+)?")

_CAPITAL = re.compile(r"[^\W\d_]+")
_OPENING = " \t*_#>|\"'`()[]\u201c\u2018\u00ab\u201e\u2022-\u2013\u2014"
_ENDS = ".!?:;|\n\u3002\uff01\uff1f\u2026"
_TITLE = re.compile(r"\b[A-Z][a-z]{0,2}\.[ ]?$")
"""Before a name, not the end of a sentence: `Dr. `, `J. `."""
_HEADING_WORDS = 12
_NOUNS_HAVE_CAPITALS = ("de", "lb")
_NO_NAMES = frozenset({"i", "faq", "faqs", "ok"})


def find_numbers(text: str) -> dict[Fraction, str]:
    """Value -> as written; without the numbers that count steps or questions."""
    text = _COUNTED.sub("", compose(text))
    found: dict[Fraction, str] = {}
    for match in _DIGITS.finditer(text):
        rest = text[match.end() : match.end() + _LONGEST_NUMERAL]
        taken = take_numeral(match[0] + ("" if rest[:1] in (",", ".") else rest))
        for value in _plain_values(match[0]) if taken is None else [taken[0]]:
            found.setdefault(value, match[0])
    end = 0
    for match in _SPOKEN.finditer(text):
        if match.start() < end:
            continue
        rest = text[match.start() : match.start() + _LONGEST_NUMERAL]
        taken = take_numeral(rest)
        if taken is None:
            continue
        end = match.start() + len(rest) - len(taken[2])
        if taken[0].denominator == 1 and taken[0] > _SMALL:
            found.setdefault(taken[0], match[0])
    return found


def stated_values(text: str) -> set[Fraction]:
    """All values that a text can be said to hold: `3 million` is also the 3 of a column in
    millions, `nineteenth` is 19, and `one` is 1."""
    composed = compose(text)
    values = set(find_numbers(text))
    for match in _DIGITS.finditer(composed):
        values.update(_plain_values(match[0]))
    for word in find_words(composed):
        if word in _ORDINALS:
            values.add(Fraction(_ORDINALS.index(word) + 1))
        elif (taken := take_numeral(word) if word in NUMBER_WORDS else None) is not None:
            values.add(taken[0])
    return values


def calculated_values(text: str, given: Collection[Fraction]) -> set[Fraction]:
    """What the calculations of a text give that are right and begin with what is given.

    A result that is rounded may differ by half of its last digit.
    """
    known = set(given)
    for match in _CALCULATION.finditer(compose(text)):
        parts = _PART.findall(match[1].replace("%", ""))
        operands = [Fraction(part.replace(",", "")) for part in parts[::2]]
        if len(parts) % 2 == 0 or not all(operand in known for operand in operands):
            continue
        exact, said = _calculate(operands, parts[1::2]), match[2].replace(",", "")
        if exact is None:
            continue
        digits = len(said.partition(".")[2])
        if abs(exact - Fraction(said)) <= Fraction(1, 2 * 10**digits) * bool(digits):
            known.add(Fraction(said))
    return known


def find_names(text: str, language: str) -> dict[str, str]:
    """Folded name -> as written, of the words with a capital within a sentence."""
    if language in _NOUNS_HAVE_CAPITALS:
        return {}
    found: dict[str, str] = {}
    for line in _prose_lines(compose(text)):
        for match in _CAPITAL.finditer(line):
            word = match[0]
            if len(word) < 2 or not word[0].isupper() or word.casefold() in _NO_NAMES:
                continue
            is_title = _TITLE.search(line[: match.end() + 1])
            if not is_title and not _begins_sentence(line, match.start()):
                found.setdefault(fold_name(word), word)
    return found


def names_held(text: str) -> set[str]:
    """Every word of a text as `find_names` folds names, whatever its case."""
    return {fold_name(match[0]) for match in _CAPITAL.finditer(compose(text))}


def fold_name(word: str) -> str:
    """`Galen`, `GALEN` and, in the plural, `Americans` and `American` are one."""
    folded = word.casefold()
    return folded[:-1] if len(folded) > 3 and folded.endswith("s") else folded


def _plain_values(digits: str) -> list[Fraction]:
    """The number that digits with points and commas are; its parts, as of 192.168.0.1, if none."""
    plain = re.sub(r",(?=\d{3}(?!\d))", "", digits)
    parts = [plain] if re.fullmatch(r"\d+(?:\.\d+)?", plain) else re.findall(r"\d+", plain)
    return [Fraction(part) for part in parts]


def _prose_lines(text: str) -> Iterator[str]:
    """The lines but headings and the heads of tables, in which any word may have a capital."""
    lines = text.split("\n")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not re.fullmatch(r"[ |:-]*-{3}[ |:-]*", following) and not _is_heading(line):
            yield line


def _is_heading(line: str) -> bool:
    bare = line.strip(" \t*_")
    if bare.startswith("#"):
        return True
    if "|" in bare or bare.endswith((".", "!", "?", ";", ",")):
        return False
    long = [word for word in bare.split() if len(word) > 3]
    is_short = len(long) > 1 and len(bare.split()) <= _HEADING_WORDS
    return is_short and all(word[0].isupper() for word in long)


def _begins_sentence(line: str, start: int) -> bool:
    before = line[:start].rstrip(_OPENING)
    between = line[len(before) : start]
    if not before or re.fullmatch(r"\d{1,2}[.):]?", before):
        return True
    if _TITLE.search(line[:start]):
        return False
    if before[-1] in _ENDS or "|" in between:
        return True
    # What is quoted begins anew, and so does what follows a dash.
    return bool(re.search('["\u201c\u00ab\u201e]$|\\s[-\u2013\u2014]\\s?$', between))


def _calculate(operands: list[Fraction], signs: list[str]) -> Fraction | None:
    """Products before sums; None where it divides by nothing."""
    sums, current = Fraction(0), operands[0]
    for sign, operand in zip(signs, operands[1:], strict=True):
        if sign in "+-":
            sums, current = sums + current, operand if sign == "+" else -operand
        elif sign == "*":
            current *= operand
        elif not operand:
            return None
        else:
            current /= operand
    return sums + current
