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
# The letter x between numbers is a sign; 0x1F is no product.
_TIMES = re.compile(r"([0-9])(?<!\b0)(?: [xX] |[xX])(?=[0-9])")
_SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b"
_RAISED = re.compile(rf"[{_SUPERSCRIPTS}]+")
_FRACTION = re.compile("(?<=\\d)(?=[\u00bc-\u00be\u2150-\u215f])")
_RAISED_OR_FRACTION = re.compile(f"[{_SUPERSCRIPTS}\u00bc-\u00be\u2150-\u215f]")
_PLAIN = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),
    **dict.fromkeys("\u00d7\u00b7\u22c5\u2219\u2217", "*"),
    **dict.fromkeys("\u00f7\u2044\u2215", "/"),
    **dict.fromkeys("\u2a7d\u2266", "\u2264"),
    **dict.fromkeys("\u2a7e\u2267", "\u2265"),
}
_SPELLED_OTHERWISE = re.compile(f"[{''.join(_PLAIN)}]")


def compose(text: str) -> str:
    """The text in one spelling of its signs and compatibility forms; case and layout stay."""
    if not text.isascii():
        if _RAISED_OR_FRACTION.search(text):
            text = _FRACTION.sub(" ", _RAISED.sub(_lower_raised, text))
        text = unicodedata.normalize("NFKC", text)
        text = _SPELLED_OTHERWISE.sub(lambda match: _PLAIN[match[0]], text)
    return _TIMES.sub(r"\1*", text) if "x" in text or "X" in text else text


def words(text: str) -> list[str]:
    """Lower-case words and numbers, without punctuation, compatibility forms folded.

    By these a text is looked for; whether two texts are the same, `tsqa.filters.sameness` tells.
    """
    return find_words(compose(text))


def find_words(composed: str) -> list[str]:
    if composed.isascii():
        return _ASCII_WORD.findall(composed.lower())
    found: list[str] = _WORD.findall(composed.casefold())
    return found


def normalise(text: str) -> str:
    """The words of a text, joined by single spaces."""
    return " ".join(words(text))


def _lower_raised(match: re.Match[str]) -> str:
    """A power after `^`; the charge of an ion as it is."""
    raised = match[0]
    return raised if raised[-1] in "\u207a\u207b" else f"^{raised}"


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
