"""The words, numbers and signs of an answer that tell it from other answers."""

from __future__ import annotations

import re
import unicodedata

import regex

from tsqa.text.normalise import PLAIN_SIGNS, UNSPACED, WORD, lower_powers
from tsqa.text.numbers import format_number, parse_number

_ONE_SIGN = str.maketrans(
    {**PLAIN_SIGNS, **dict.fromkeys("\u2014\ufe63", "-"), **dict.fromkeys("\u2032\u2019", "'")}
)
_ARROW = re.compile("-{1,3}>|[\u27f6\u27a1\u21d2]|={1,3}>")
_BULLET = re.compile(r"^(?:[-*\u2022] )+(?=[^\W\d_])")
_SIGNED = regex.compile(
    rf"(?V1)(?P<number>(?<![\w.,)\]}}])[-+]?(?:\d+(?:[.,:]\d+)*|\.\d+)(?![\w]))"
    rf"|(?P<word>[{UNSPACED}]\p{{M}}*|[\w\p{{M}}--[{UNSPACED}]]+)"
    r"|(?P<bracket>[()])"
    r"|(?P<sign>[-+=<>\p{Sm}\p{Sc}*/^%\u00b0\u2030\u2016\u2308-\u230b#&|~\u00ac!@\\--[$]]"
    r"|(?<=\b[A-Za-z]|(?<!')\b[A-Z]{2,4}|\))'+(?![A-Za-z])"
    rf"|(?<![\w!])!(?=[a-z]\b))"
)
_MARKS = frozenset("-/*!#")
"""Signs that count only next to some tokens."""
_MAX_SYMBOL = 6
"""Letters with digits up to this length are symbols whose case counts: CO2, Co2, CoCl2."""
_CLOCK = re.compile(r"(?<=\d) ?([ap])\.?m\b\.?", re.IGNORECASE)
_INITIALS = re.compile(r"\b(?:[A-Z]\. ?)+[A-Z]\.")
_END = r"[-+]?(?:\d+(?:[./]\d+)?|[A-Za-z]\d?|\\?inf(?:ty|inity)?|\u221e|\\?pi|\u03c0)"
_INTERVAL = re.compile(rf"([\[(])\s*{_END}\s*[,;]\s*{_END}\s*([\])])")
_GROUPS = re.compile(
    r"[+*/^=<>&|!'\u00ac\u2192\u2194\u21d2\u21d4\u2227\u2228\u2295\u2229\u222a]"
    r"|\b(?:and|or|not|xor|nor|nand|implies|iff)\b",
    re.IGNORECASE,
)
"""What brackets may group: `not (a and b)`, `(AB)'`, `log(x + 1)`."""
_KINDS = {"[]": "closed", "[)": "rightopen", "(]": "leftopen"}
"""Brackets of an interval -> a word for them; round ones may hold a point or a remark."""
_SHORT_WORDS_LIST = """
a i o an as at be by do go he if in is it me my no of oh on or so to up us we am ok hi
ha de la le el il un du et en es au da di do em na se si te tu ya y e ou où il ne on sa
ta ma je ce zu er es im um ob so wo da ja
"""
_SHORT_WORDS = frozenset(_SHORT_WORDS_LIST.split())
"""Words of one or two letters whose capital only begins a sentence."""


def answer_tokens(text: str) -> str:
    """Join the words, numbers and signs of an answer that count by single spaces."""
    text = lower_powers(text)
    text = unicodedata.normalize("NFKC", text).translate(_ONE_SIGN)
    text = _CLOCK.sub(lambda found: f" {found[1].lower()}m", text)
    text = _INITIALS.sub(lambda found: re.sub("[. ]", "", found[0]), text)
    text = _ARROW.sub("\u2192", _BULLET.sub("", " ".join(text.split())))
    shouted = [word for word in WORD.findall(text) if word.isalpha()] if text.isupper() else []
    if len(shouted) > 2 or any(len(word) > 3 for word in shouted):
        text = text.lower()
    found: list[str] = []
    sign = ""
    are_grouped = "(" in text and bool(_GROUPS.search(text)) and not _INTERVAL.search(text)
    for match in _SIGNED.finditer(text):
        token: str = match[0]
        if match["word"] and not token.isdecimal():
            token = _fold(token)
        elif match["word"] or match["number"]:
            number = parse_number(token)
            token = token if number is None else format_number(number)
        elif match["bracket"]:
            if not are_grouped:
                continue  # around a remark
        elif token == "!" and text[match.end() : match.end() + 1].isalpha():
            if not text[max(0, match.start() - 1) : match.start()].strip():
                sign = token  # of a condition, as in !x
                continue
        elif token == "-" and text[match.end() : match.end() + 1].isalpha():
            is_joined = text[max(0, match.start() - 1) : match.start()].isalnum()
            if not is_joined:
                sign = token  # of a variable, as in -x: one token, unlike a bullet
                continue
        elif token[0] == "'" and found:
            found[-1] += token
            continue
        found.append(sign + token)
        sign = ""
    found = _without_marks(found)
    if are_grouped and not _GROUPS.search(" ".join(found)):  # by marks alone
        found = _without_marks([token for token in found if token not in "()"])
    found = ["and" if _is_and(found, place) else token for place, token in enumerate(found)]
    first = next((place for place, token in enumerate(found) if token != "-"), 0)
    if first and found[first][0].isalpha():  # else the key of -x would read as a bullet
        found[first - 1 : first + 1] = [f"-{found[first]}"]
    found += filter(None, (_KINDS.get("".join(ends)) for ends in _INTERVAL.findall(text)))
    return " ".join(found) or text


def _without_marks(tokens: list[str]) -> list[str]:
    """Without signs that only join words or mark them: well-known, and/or, COVID-19, **bold**."""
    kept = [token for place, token in enumerate(tokens) if not _is_mark(tokens, place)]
    return kept if len(kept) == len(tokens) else _without_marks(kept)


def _is_and(tokens: list[str], place: int) -> bool:
    beside = [*tokens[max(0, place - 1) : place], *tokens[place + 1 : place + 2]]
    return (
        tokens[place] == "&"
        and len(beside) == 2
        and all(len(token) > 1 and token.isalpha() for token in beside)
    )


def _is_mark(tokens: list[str], place: int) -> bool:
    token = tokens[place]
    if token not in _MARKS:
        return False
    before = tokens[place - 1] if place else ""
    after = tokens[place + 1] if place + 1 < len(tokens) else ""
    match token:
        case "-" | "/":
            is_word = len(before) > 1 and before.isalpha()
            return is_word and (
                (len(after) > 1 and after.isalpha()) or (token == "-" and after.isdigit())
            )
        case "*":
            return not (before[-1:].isalnum() and after[:1].isalnum())
        case "!":
            return not (before[-1:].isdigit() or (len(before) == 1 and before.isalpha()))
        case _:
            return not (before[-1:].isalnum() or after[:1].isalnum())


def _fold(word: str) -> str:
    """Lower case, unless case is what tells a short symbol: CO from Co, mW from MW, pH, mRNA."""
    lower = word.casefold()
    if lower == "percent":
        return "%"
    if any(map(str.isdigit, word)):
        return word if len(word) <= _MAX_SYMBOL else lower
    if len(word) <= 2:
        return lower if lower in _SHORT_WORDS and not (len(word) == 2 and word.isupper()) else word
    has_inner_capital = any(map(str.isupper, word[1:])) and not word.isupper()
    return word if has_inner_capital and len(word) <= 4 else lower
