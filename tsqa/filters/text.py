"""One notion of sameness for the whole pipeline: how questions and answers are normalised."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def words(text: str) -> list[str]:
    """Lower-case words and numbers, without punctuation, compatibility forms folded."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def normalise(text: str) -> str:
    """The words of a text, joined by single spaces."""
    return " ".join(words(text))


def parse_number(text: str) -> Decimal | None:
    """Read `18`, `1,250.0`, `$3` or `40%` as a number; anything else is None."""
    bare = re.sub(r"(?<=\d),(?=\d{3})", "", text.strip().strip("$%. "))
    if not _NUMBER.fullmatch(bare):
        return None
    try:
        return Decimal(bare)
    except InvalidOperation:
        return None


def normalise_answer(text: str) -> str:
    """A key under which equal answers meet: numbers by value, text by its words."""
    number = parse_number(text)
    if number is not None:
        return format(number.normalize(), "f")
    return normalise(text)
