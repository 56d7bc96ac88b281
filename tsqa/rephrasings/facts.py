"""The numbers and proper names of a text, and the numbers that its calculations give.

Guarantees: nothing is raised on any text; work is linear in it. A number is an exact value, in
digits or English words, so that `1,250`, `1250.0` and `1.25 thousand` meet, and `21st` and
`twenty-first`; its sign and its unit are not read. A name is a word with a
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
_MOST_DIGITS = 400
"""Of a longer number only these are read: Python refuses to read 4,300."""
_SMALL = 2
"""`one` and `two` say too often something else than a number."""
_NINE = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_ORDINALS = {
    word: value
    for value, word in enumerate(
        (
            *(*_NINE, "tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth"),
            *("sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth"),
        ),
        1,
    )
}
_COUNTS_STEPS = 10
"""Ordinals up to this one may count what is written: `Third, conclude`."""
_COMPOUND = re.compile(
    rf"\b(twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)-({'|'.join(_NINE)})\b", re.I
)
_UNITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGITS = re.compile(r"(?<![^\W_])(?:(?<![\w.])\.(?=\d))?\d(?:[\d,.]*\d)?")
_SPOKEN = re.compile(rf"\b(?:{'|'.join(sorted(NUMBER_WORDS, key=len, reverse=True))})\b", re.I)
_COUNTED = re.compile(
    r"^[ \t>*#]*(?:(?:step|part|question|q|answer|a|section)[ \t]*)?\d{1,2}(?=[.):*](?!\d))",
    re.IGNORECASE | re.MULTILINE,
)
"""The number of a step or a question: it counts what is written, and says nothing."""

_AMOUNT = r"\d[\d,]{0,40}(?:\.\d{1,40})?"
_TERM = rf"\$?{_AMOUNT}%?(?: ?[^\W\d_]+){{0,2}}"
_CALCULATION = re.compile(
    rf"(?<![\w,.])({_TERM}(?: ?[-+*/] ?{_TERM}){{1,8}}) ?= ?\$?({_AMOUNT})(?!\d)(%?)"
)
_PART = re.compile(rf"[-+*/]|{_AMOUNT}%?")
_PERCENT = re.compile(r"(?<=\d)(?:\\%| ?per ?cent\b)", re.IGNORECASE)
_PERCENTAGE = re.compile(r"(?<![\w.,])(\d{1,40}(?:\.\d{1,40})?)%")
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}

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
    text = _COUNTED.sub("", _written_alike(text))
    found: dict[Fraction, str] = {}
    end = 0
    for match in _DIGITS.finditer(text):
        if match.start() < end:  # the 4 of 3/4
            continue
        rest = text[match.end() : match.end() + _LONGEST_NUMERAL]
        numeral = match[0] + ("" if rest[:1] in (",", ".") else rest)
        taken = take_numeral(numeral)
        if taken is not None:
            end = match.start() + len(numeral) - len(taken[2])
        for value in _plain_values(match[0]) if taken is None else [taken[0]]:
            found.setdefault(value, match[0])
    for value, written in _spoken(text):
        # One half, a third and the like stand for too much, as one and two do.
        if value > _SMALL if value.denominator == 1 else value.numerator > 1:
            found.setdefault(value, written)
    for word in find_words(text):
        if _ORDINALS.get(word, 0) > _COUNTS_STEPS:
            found.setdefault(Fraction(_ORDINALS[word]), word)
    return found


def stated_values(text: str) -> set[Fraction]:
    """All values that a text can be said to hold: `3 million` is also the 3 of a column in
    millions, `third` is 3, `one` is 1, and 75% are three quarters."""
    alike = _written_alike(text)
    values = set(find_numbers(text))
    for match in _DIGITS.finditer(alike):
        values.update(_plain_values(match[0]))
    for match in _PERCENTAGE.finditer(alike):
        values.add(Fraction(match[1]) / 100)
    for value, written in _spoken(alike):
        values |= {value, value / _SCALES.get(written.split()[-1].lower(), 1)}
    values.update(Fraction(_ORDINALS[word]) for word in find_words(alike) if word in _ORDINALS)
    return values


def calculated_values(text: str, given: Collection[Fraction]) -> set[Fraction]:
    """What the calculations of a text give that are right and begin with what is given.

    A result that is rounded may differ by half of its last digit.
    """
    known = set(given)
    for match in _CALCULATION.finditer(_written_alike(text)):
        parts = _PART.findall(match[1])
        plain = [Fraction(part.rstrip("%").replace(",", "")) for part in parts[::2]]
        is_read = len(parts) % 2 == 1 and not _SPOKEN.search(match[1])
        if not is_read or not all(operand in known for operand in plain):
            continue
        shares = [100 if part.endswith("%") else 1 for part in parts[::2]]
        operands = [operand / share for operand, share in zip(plain, shares, strict=True)]
        exact, said = _calculate(operands, parts[1::2]), match[2].replace(",", "")
        if exact is None:
            continue
        digits = len(said.partition(".")[2])
        exact *= 100 if match[3] else 1
        if abs(exact - Fraction(said)) <= Fraction(1, 2 * 10**digits) * bool(digits):
            known |= {Fraction(said), *find_numbers(match[1])}  # 3 / 4 is a number as well
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


def _written_alike(text: str) -> str:
    """Signs, percentages and ordinals of two words in one spelling: `20%`, `twenty-one`."""
    text = compose(re.sub(r"\\(?:times|cdot)\b", "*", text))
    text = _COMPOUND.sub(lambda m: f"{m[1]}-{_UNITS[_NINE.index(m[2].lower())]}", text)
    return _PERCENT.sub("%", text)


def _spoken(text: str) -> Iterator[tuple[Fraction, str]]:
    """The numbers in words: their values, and as written."""
    end = 0
    for match in _SPOKEN.finditer(text):
        if match.start() < end:
            continue
        rest = text[match.start() : match.start() + _LONGEST_NUMERAL]
        taken = take_numeral(rest)
        if taken is not None:
            end = match.start() + len(rest) - len(taken[2])
            yield taken[0], text[match.start() : end]


def _plain_values(digits: str) -> list[Fraction]:
    """The number that digits with points and commas are; its parts, as of 192.168.0.1, if none."""
    plain = re.sub(r",(?=\d{3}(?!\d))", "", digits)
    parts = [plain] if re.fullmatch(r"\d+(?:\.\d+)?|\.\d+", plain) else re.findall(r"\d+", plain)
    return [Fraction(part[:_MOST_DIGITS].rstrip(".")) for part in parts]


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
