"""One notion of sameness for the whole pipeline: how questions and answers are normalised."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation

import regex

_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)")
# Thai, Lao, Burmese, Khmer, kana and Han are written without spaces: each letter is a word.
_UNSPACED = "\u0e01-\u0e4e\u0e81-\u0ece\u1000-\u1049\u1780-\u17d3\u3041-\u30ff\u3400-\u9fff"
# Marks belong to their letter: without them most words of the Indic scripts fall apart.
_WORD = regex.compile(rf"(?V1)[{_UNSPACED}]\p{{M}}*|[\w\p{{M}}--[{_UNSPACED}]]+")
_ASCII_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Lower-case words and numbers, without punctuation, compatibility forms folded."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    found: list[str] = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return found


def normalise(text: str) -> str:
    """The words of a text, joined by single spaces."""
    return " ".join(words(text))


def parse_number(text: str) -> Decimal | None:
    """Read `18`, `1,250.0`, `$3` or `40%` as a number; anything else is None."""
    bare = text.strip().lstrip("$ ").rstrip("$%. ").replace("\u2212", "-")
    bare = re.sub(r"(?<=\d),(?=\d{3})", "", bare)
    if not _NUMBER.fullmatch(bare):
        return None
    try:
        return Decimal(bare)
    except InvalidOperation:
        return None


def format_number(number: Decimal) -> str:
    """The shortest exact spelling of a number: `18`, never `18.0`, `1.8E+1` or `-0`."""
    whole, point, rest = format(number, "f").partition(".")
    text = (whole + point + rest.rstrip("0")).removesuffix(".")
    return text.lstrip("+-") if not number else text


def normalise_answer(text: str) -> str:
    """A key under which equal answers meet: numbers by value, text by its words."""
    for form in (text, normalise(text)):
        number = parse_number(form)
        if number is not None:
            return format_number(number)
    return form
