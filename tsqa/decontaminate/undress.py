"""A text without what changes its characters and not its reading: the daily dress of web text.

HTML entities and tags, escapes and marks (`encodings.py`), emphasis in LaTeX and Markdown, quoted
lines, zeros after the point of a whole number, invisible characters, accents, and letters of other
scripts that look like Latin ones (Unicode Technical Standard 39, Unicode Security Mechanisms,
section 4).
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Container
from functools import cache, lru_cache

import regex

from tsqa.decontaminate.encodings import decode

_INLINE = (
    "a|abbr|b|bdi|big|cite|code|em|font|hi|i|kbd|mark|mi|mn|mtext|q|s|small|span|strong|sub|tspan|tt|"
    "u|var|wbr"
)
_BLOCK = (
    "article|blockquote|body|br|center|dd|details|div|dl|dt|figure|footer|form|h[1-6]|head|header|"
    "hr|html|img|input|label|li|link|main|meta|nav|ol|option|p|pre|section|select|summary|table|"
    "tbody|td|tfoot|th|thead|title|tr|ul"
)
_TAG = re.compile(
    rf"</?(?:(?P<raised>sup)|(?P<inline>{_INLINE})|{_BLOCK})(?:\s[^<>]*)?/?>", re.IGNORECASE
)
_FORMAT = re.compile(r"\\(?:emph|mathbf|mathrm|text(?:bf|it|rm|tt)?|underline)\{([^{}]*)\}")
_ZEROS = re.compile(r"(?<=\d)\.0+(?!\.?\d)")
_UNDERSCORE = re.compile(r"(?<=\w)_|_(?=\w)")
_AT_LINE_END = re.compile(r"[,;](?=\r?\n)")
"""Brackets around a list are told by its commas, and these by the space after them."""
_QUOTED_LINE = re.compile(r"^[ \t]*>+", re.MULTILINE)
_LETTER = re.compile(
    r"LATIN (?:(?:CAPITAL|SMALL) LETTER|LETTER SMALL CAPITAL|SMALL LETTER DOTLESS)"
    r" ([A-Z])( WITH .+)?"
)
"""Names of the letters that are one of ASCII with something added."""
_INVISIBLE = regex.compile(r"[\p{Cf}\u034f\ufe00-\ufe0f\U000e0100-\U000e01ef]+")
_ACCENTED = re.compile("([A-Za-z])[\u0300-\u036f]+")
_MARKS = frozenset(map(chr, range(0x300, 0x370)))
_ASCII = frozenset(map(chr, range(128)))
_HYPHENATED = re.compile(r"(\w+)[-\u2010]\s*\n\s*(\w+)")
_PRINTABLE = {0xFF01 + n: 0x21 + n for n in range(0x5E)} | {0xA0: 0x20, 0x3000: 0x20}
"""Full width, and spaces that do not break."""
_LATIN_SHARE = 0.3
"""Of all letters; below it a text is one of another script that has Latin words in it."""


def undress(text: str) -> str:
    """Write a text in plain letters, so that both sides of a comparison are dressed alike."""
    text = html.unescape(html.unescape(text))  # an escaped page is often escaped again
    if not text.isascii():  # first, for the marks of lines and escapes are looked for in ASCII
        text = _INVISIBLE.sub("", text).translate(_PRINTABLE)
    if "<" in text:
        text = _TAG.sub(_replace_tag, _without_comments(text))
    text = decode(text)
    if "\\" in text:
        text = _FORMAT.sub(r"\1", text)
    if ".0" in text:
        text = _ZEROS.sub("", text)
    text = text.replace("`", "")
    if "_" in text:
        text = _UNDERSCORE.sub(" ", text)
    if ">" in text:
        text = _QUOTED_LINE.sub("", text)
    if "\n" in text:
        text = _AT_LINE_END.sub(r"\g<0> ", text)
    if text.isascii():
        return text
    others = set(text) - _ASCII
    if not others.isdisjoint(_MARKS):
        text = _ACCENTED.sub(r"\1", text)
    for character in others:
        plain = _plain(character)
        if plain != character:
            text = text.replace(character, plain)
    likes = [like for like in others if like in _look_alikes()]
    if likes and _is_latin(text):
        for like in likes:
            text = text.replace(like, _look_alikes()[like])
    return text


def join_hyphenated(text: str, known: Container[str]) -> str:
    """Join what a line break cut (`infor-` / `mation`) where the whole is a known word."""

    def join(match: re.Match[str]) -> str:
        whole = match[1] + match[2]
        return whole if whole.casefold() in known else match[0]

    return _HYPHENATED.sub(join, text)


def _replace_tag(match: re.Match[str]) -> str:
    if match["raised"]:
        return "" if match[0].startswith("</") else "^"
    return "" if match["inline"] else " "


def _without_comments(text: str) -> str:
    """No pattern: of comments without an end each would be followed to the end of the text."""
    kept, at = [], 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start + 4)) >= 0:
        kept.append(text[at:start])
        at = end + 3
    return "".join([*kept, text[at:]])


def _is_latin(text: str) -> bool:
    letters = sum(map(str.isalpha, text))
    return sum(map(str.isascii, filter(str.isalpha, text))) >= _LATIN_SHARE * letters


@lru_cache(maxsize=2**16)
def _plain(character: str) -> str:
    """A letter without its accents and strokes; nothing for an invisible character."""
    if _INVISIBLE.fullmatch(character):
        return ""
    base = unicodedata.normalize("NFD", character)[0]
    if base.isascii() and base.isalpha():
        return base
    named = _LETTER.fullmatch(unicodedata.name(character, ""))
    if named is None:
        return character
    return named[1] if character.isupper() else named[1].lower()


@cache
def _look_alikes() -> dict[str, str]:
    """Letter -> the one of ASCII that it looks like, of the same case where there is one."""
    from confusable_homoglyphs.confusables import confusables_data

    found: dict[str, str] = {}
    for letter in filter(str.isalpha, map(chr, range(128))):
        for like in (entry["c"] for entry in confusables_data.get(letter, ())):
            if len(like) == 1 and like.isalpha() and not like.isascii():
                plain = "I" if letter == "l" and like.isupper() else letter
                if like not in found or plain.isupper() == like.isupper():
                    found[like] = plain
    return found
