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
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_RAISED_NUMBERS = re.compile("[\u207a\u207b]?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
_ONE_SIGN = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014\ufe63", "-"),
        **dict.fromkeys("\u00d7\u22c5\u00b7\u2219\u2217", "*"),
        **dict.fromkeys("\u00f7\u2215\u2044", "/"),
        **dict.fromkeys("\u2032\u2019", "'"),
        **dict.fromkeys("\u2a7d", "\u2264"),
        **dict.fromkeys("\u2a7e", "\u2265"),
    }
)
_ARROW = re.compile("-{1,3}>|[\u27f6\u27a1\u21d2]|={1,3}>")
_BULLET = re.compile(r"^(?:[-*\u2022] )+(?=[^\W\d_])")
_SIGNED = regex.compile(
    rf"(?V1)(?P<number>(?<![\w.,)\]}}])[-+]?(?:\d+(?:[.,:]\d+)*|\.\d+)(?![\w]))"
    rf"|(?P<word>[{_UNSPACED}]\p{{M}}*|[\w\p{{M}}--[{_UNSPACED}]]+)"
    r"|(?P<sign>[-+=<>\p{Sm}\p{Sc}*/^%\u00b0\u2030#&|~\u00ac!@\\--[$]]|(?<=\b[A-Za-z])'+(?![A-Za-z])"
    rf"|(?<![\w!])!(?=[a-z]\b))"
)
_MARKS = frozenset("-/*!#")
"""Signs that count only between or beside some neighbours."""
_MAX_SYMBOL = 6
"""Letters with digits up to this length are symbols whose case counts: CO2, Co2, CoCl2."""
_CLOCK = re.compile(r"(?<=\d) ?([ap])\.?m\b\.?", re.IGNORECASE)
_INITIALS = re.compile(r"\b(?:[A-Z]\. ?)+[A-Z]\.")
_SHORT_WORDS_LIST = """
a i o an as at be by do go he if in is it me my no of oh on or so to up us we am ok hi
ha de la le el il un du et en es au da di do em na se si te tu ya y e ou où il ne on sa
ta ma je ce zu er es im um ob so wo da ja
"""
_SHORT_WORDS = frozenset(_SHORT_WORDS_LIST.split())
"""Words of one or two letters whose capital only begins a sentence."""
# The letter x between numbers is a sign; 0x1F is no product.
_TIMES = re.compile(r"(?<=[0-9]) [xX] (?=[0-9])|(?<=[0-9])(?<!\b0)[xX](?=[0-9])")
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
    return _TIMES.sub("*", text) if "x" in text or "X" in text else text


def words(text: str) -> list[str]:
    """Lower-case words and numbers, without punctuation, compatibility forms folded.

    By these a text is looked for; whether two texts are the same, `tsqa.text.sameness` tells.
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
    if "," in bare:
        if not _GROUPED.fullmatch(bare):
            return None
        bare = bare.replace(",", "")
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
    """A key under which equal answers meet: numbers by value, text by its words and signs.

    Unlike `normalise` it keeps what tells answers apart: operators, relations, signs, decimal
    points, percent and degree signs, and case where case is all there is (Co and CO, mW and MW,
    pH); not the capital of an ordinary word, nor text that is all capitals.
    """
    number = None if "%" in text else parse_number(text)
    return format_number(number) if number is not None else signed_words(text)


def lower_powers(text: str) -> str:
    """Raised numbers after `^`, so that folding does not make 52 of the square of 5."""
    return _RAISED_NUMBERS.sub(
        lambda found: "^" + unicodedata.normalize("NFKC", found[0]).replace("\u2212", "-"), text
    )


def signed_words(text: str) -> str:
    """Words, numbers and the signs that count, joined by single spaces."""
    text = lower_powers(text)
    text = unicodedata.normalize("NFKC", text).translate(_ONE_SIGN)
    text = _CLOCK.sub(lambda found: f" {found[1].lower()}m", text)
    text = _INITIALS.sub(lambda found: re.sub("[. ]", "", found[0]), text)
    text = _ARROW.sub("\u2192", _BULLET.sub("", " ".join(text.split())))
    shouted = [word for word in _WORD.findall(text) if word.isalpha()] if text.isupper() else []
    if len(shouted) > 2 or any(len(word) > 3 for word in shouted):
        text = text.lower()
    found: list[str] = []
    sign = ""
    for match in _SIGNED.finditer(text):
        token: str = match[0]
        if match["word"] and not token.isdecimal():
            token = _fold(token)
        elif match["word"] or match["number"]:
            number = parse_number(token)
            token = token if number is None else format_number(number)
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
    found = ["and" if _is_and(found, place) else token for place, token in enumerate(found)]
    first = next((place for place, token in enumerate(found) if token != "-"), 0)
    if first and found[first][0].isalpha():  # else the key of -x would read as a bullet
        found[first - 1 : first + 1] = [f"-{found[first]}"]
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
