"""The words of a text, in one spelling: compatibility forms, signs, powers and case folded; and how
many there are."""

from __future__ import annotations

import re
import unicodedata

import regex

# Thai, Lao, Burmese, Khmer, kana and Han are written without spaces: each letter is a word.
UNSPACED = "\u0e01-\u0e4e\u0e81-\u0ece\u1000-\u1049\u1780-\u17d3\u3041-\u30ff\u3400-\u9fff"
# Marks belong to their letter: without them most words of the Indic scripts fall apart.
WORD = regex.compile(rf"(?V1)[{UNSPACED}]\p{{M}}*|[\w\p{{M}}--[{UNSPACED}]]+")
_ASCII_WORD = re.compile(r"\w+")
_SPACE = r"\s\x1c-\x1f"
"""What parts words for `str.split`."""
# A letter that is a word takes the punctuation around it along.
_PIECE = regex.compile(
    rf"(?:[^\w{_SPACE}]*[{UNSPACED}]\p{{M}}*(?:[^\w{_SPACE}{UNSPACED}]|\p{{M}})*"
    rf"|[^{_SPACE}{UNSPACED}]+)[{_SPACE}]*"
)
_RAISED_NUMBERS = re.compile("[\u207a\u207b]?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
# The letter x between numbers is a sign; 0x1F is no product.
_TIMES = re.compile(r"(?<=[0-9]) [xX] (?=[0-9])|(?<=[0-9])(?<!\b0)[xX](?=[0-9])")
_SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b"
_RAISED = re.compile(rf"[{_SUPERSCRIPTS}]+")
_FRACTION = re.compile("(?<=\\d)(?=[\u00bc-\u00be\u2150-\u215f])")
_RAISED_OR_FRACTION = re.compile(f"[{_SUPERSCRIPTS}\u00bc-\u00be\u2150-\u215f]")
PLAIN_SIGNS = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),
    **dict.fromkeys("\u00d7\u00b7\u22c5\u2219\u2217", "*"),
    **dict.fromkeys("\u00f7\u2044\u2215", "/"),
    **dict.fromkeys("\u2a7d\u2266", "\u2264"),
    **dict.fromkeys("\u2a7e\u2267", "\u2265"),
}
"""The spellings of a sign -> the one that stands for all."""
_SPELLED_OTHERWISE = re.compile(f"[{''.join(PLAIN_SIGNS)}]")


def compose(text: str) -> str:
    """Write signs and compatibility forms in one spelling; case and layout stay."""
    if not text.isascii():
        if _RAISED_OR_FRACTION.search(text):
            text = _FRACTION.sub(" ", _RAISED.sub(_lower_raised, text))
        text = unicodedata.normalize("NFKC", text)
        text = _SPELLED_OTHERWISE.sub(lambda match: PLAIN_SIGNS[match[0]], text)
    return _TIMES.sub("*", text) if "x" in text or "X" in text else text


def seen(text: str) -> str:
    """A text as a reader sees it: accents composed, invisible characters left out."""
    if text.isascii():
        return text
    composed = unicodedata.normalize("NFC", text)
    return "".join(each for each in composed if unicodedata.category(each) != "Cf")


def words(text: str) -> list[str]:
    """List the lower-case words and numbers of a text, without punctuation.

    These find a text; `tsqa.text.sameness` decides whether two texts are the same.
    """
    return find_words(compose(text))


def find_words(composed: str) -> list[str]:
    """List the words of a text that `compose` has written."""
    if composed.isascii():
        return _ASCII_WORD.findall(composed.lower())
    found: list[str] = WORD.findall(composed.casefold())
    return found


def word_pieces(text: str) -> list[str]:
    """The words with what follows them; joined they are the text without the space before it."""
    pieces: list[str] = _PIECE.findall(text)
    return pieces


def count_words(text: str) -> int:
    """Words between spaces; in scripts without spaces, such as Chinese and Thai, letters."""
    return len(text.split()) if text.isascii() else len(word_pieces(text))


def first_words(text: str, count: int) -> str:
    """The first so many words, single spaces between those that any part."""
    return " ".join("".join(word_pieces(text)[:count]).split())


def normalise(text: str) -> str:
    """Join the words of a text by single spaces."""
    return " ".join(words(text))


def _lower_raised(match: re.Match[str]) -> str:
    """A power after `^`; the charge of an ion unchanged."""
    raised = match[0]
    return raised if raised[-1] in "\u207a\u207b" else f"^{raised}"


def lower_powers(text: str) -> str:
    """Write raised numbers after `^`, so that folding does not make 52 of the square of 5."""
    return _RAISED_NUMBERS.sub(
        lambda found: "^" + unicodedata.normalize("NFKC", found[0]).replace("\u2212", "-"), text
    )
