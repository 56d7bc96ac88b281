"""What is written as a number, and nothing else: the value, the unit, and the text that says it.

Guarantees: a number is read only where the whole text is one, with its unit, or where a plain
sentence states it; whatever could alter a number (than, at least, about, half of, a loss of, a
range, a date, an ordinal ...) makes the text no number, so that a literal is never plucked out of
what means something else. Values are exact. Nothing here raises on any text, and work is linear
in it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from tsqa.text.normalise import lower_powers
from tsqa.text.numbers import MAX_CHARACTERS, WHOLE, take_numeral
from tsqa.text.units import (
    ALTERING_BEFORE,
    CURRENCIES,
    RATE_WORDS,
    is_altered,
    is_altered_elsewhere,
    read_unit,
    spoken_unit,
    unit_of,
)

_VULGAR = re.compile("[\u00bc-\u00be\u2150-\u215e]")
_MINUS = re.compile("[\u2212\ufe63\uff0d]|[\u2010-\u2014](?=[\\d.$\u20ac\u00a3\u00a5])")
_THIN_SPACES = re.compile("(?<=\\d)[\u00a0\u2009\u202f'\u2019](?=\\d{3}(?!\\d))")
_LATEX_SPACES = re.compile(r"\\[,;:! ]|\\(?:left|right|displaystyle|quad|qquad)(?![a-zA-Z])")
_LATEX_FRACTION = re.compile(
    r"\\[dtc]?frac\s*(?:\{\s*(?P<a>-?[\d.,]+)\s*\}|(?P<b>\d))\s*"
    r"(?:\{\s*(?P<c>[\d.,]+)\s*\}|(?P<d>\d))"
)
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|operatorname|mbox)\s*\{([^{}]*)\}")
_LATEX_DEGREES = re.compile(r"\s*\^\s*(?:\{\s*)?\\(?:circ|degree)\s*\}?")
_DELIMITED = re.compile(r"\$\$?([^$]*)\$\$?|\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)

_SIGN_OF = {
    "us$": "$",
    "usd": "$",
    "eur": "\u20ac",
    "gbp": "\u00a3",
    "rs": "\u20b9",
    "inr": "\u20b9",
}
_NAMED_CURRENCY = re.compile(r"^(US\$|USD|EUR|GBP|INR|Rs)\.? ?(?=[-+]?[\d.])", re.IGNORECASE)
_SYMBOL = "[$\u20ac\u00a3\u00a5\u20b9]"
_SIGN = re.compile(r"(?:(?P<word>minus|negative|plus|positive) |(?P<mark>[-+]))", re.IGNORECASE)
_BELOW = {"minus": -1, "negative": -1, "-": -1}

_STATING = re.compile(
    r"\b(?:is|are|was|were|be|equals?|equalled|totals?|has|have|had|gets?|got|makes?|made|costs?"
    r"|weighs?|weighed|needs?|needed|takes?|took|pays?|paid|spends?|spent|earns?|earned|sells?|sold"
    r"|buys?|bought|eats?|ate|reads?|gives?|gave|becomes?|became|leaves|remains?|contains?|holds?"
    r"|bakes?|baked|collects?|collected|drives?|drove|walks?|walked|runs?|ran|uses?|used|saves?"
    r"|saved|receives?|received|scores?|scored|produces?|produced|measures?|yields?|comes? to"
    r"|amounts? to|adds up to|works|worked|plants?|planted|picks?|picked|draws?|drew|catches|caught"
    r"|finds?|found|keeps?|kept|must be|will be|would be):?\s+"
    r"(?:now |then |therefore |thus |also |still |exactly |only |just |precisely |simply "
    r"|a total of |in total |altogether )*$",
    re.IGNORECASE,
)
_STATING_ELSEWHERE = re.compile(
    r"\b(?:ist|sind|betr\u00e4gt|ergibt|kostet|est(?: de)?|sont|vaut|co\u00fbte|es(?: de)?|son"
    r"|cuesta|\u00e9"
    r"|s\u00e3o|custa|\u00e8|sono|costa|\u0440\u0430\u0432\u043d[\u0430\u043e]?|\u0441\u043e\u0441\u0442\u0430\u0432\u043b\u044f\u0435\u0442)\s+"
    r"(?:also |somit |genau |donc |exactement |exactamente |portanto )?$",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"\d{1,9}(?: ?(?P<unit>[^\s\d.,;:!?-]{1,15}))?[.!]?", re.IGNORECASE)
"""A whole number and at most one word: what points and commas mean depends on the language."""
_LABELLED = re.compile(r"[A-Za-z][A-Za-z ]{0,40}[:=] ?$")
_POWER = r"(?: ?(?:[x\u00d7*\u00b7]|\\times|\\cdot) ?10 ?\^ ?\{?[-+]?\d{1,4}\}?)?"
_RATE = re.compile(r"^ ?/ ?(?=[A-Za-z])")
_LITERAL = re.compile(rf"(?<![\w.,/:^-])[-+]?{_SYMBOL}? ?[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+){_POWER}")
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}")
_RANGE = re.compile(rf"(?:{WHOLE}|\d+\.\d+) ?(?:[-\u2010-\u2015~]|to) ?(?:{WHOLE}|\d+\.\d+)")
_SHARE_OF = re.compile(r"\s*of\b.*\b(?:is|are|was|were|has|have|had)\b", re.IGNORECASE)
"""`Half of them are red` tells of a share; `half of the cake` may be one."""
_REMAINDER = re.compile(r"\d+ ?[rR] ?\d+")


@dataclass(frozen=True)
class Quantity:
    """A number as written, with its unit."""

    value: Fraction
    unit: str
    """In one form for all its spellings; empty where there is none."""
    text: str
    """What to keep: the numeral, spelled in digits, and its unit as written."""


def read_quantity(text: str) -> Quantity | None:
    """Read a text that is a number with its unit, and nothing else; None for any other."""
    if len(text) > MAX_CHARACTERS:
        return None
    bare = plain_notation(text)
    bare = bare.removesuffix(".") if not bare.endswith("..") else bare
    found = None if _REMAINDER.fullmatch(bare.strip()) else _read_whole(bare.strip())
    if found is None:
        return None
    value, unit, shown = found
    kept = text.strip().replace("\u2212", "-")
    # What is written in plain digits stays; words and shorthand are spelled out.
    is_plain = bool(re.match(rf"[-+]?{_SYMBOL}?[-+]?\.?\d", kept) and "\\" not in kept)
    is_plain = is_plain or bool(re.fullmatch(r"-?\\[dt]?frac\{\d+\}\{\d+\}", kept))
    return Quantity(value, unit, kept.removesuffix(".") if is_plain else shown)


def state_quantity(sentence: str) -> tuple[Quantity | None, str]:
    """Find the one number that a plain sentence states: (number, why there is none)."""
    bare = plain_notation(sentence[: MAX_CHARACTERS + 1])
    literals = list(_LITERAL.finditer(bare))
    values = {re.sub(r"[\s,$+\u20ac\u00a3\u00a5]", "", one[0]).rstrip(".") for one in literals}
    if len(values) > 1:
        return None, "several numbers"
    if not values or len(sentence) > MAX_CHARACTERS:
        return None, "not a number"
    literal = literals[0]
    before, after = bare[: literal.start()], bare[literal.start() :].strip()
    if not _STATING.search(before) and not _LABELLED.fullmatch(before):
        plain = _PLAIN.fullmatch(after) if _STATING_ELSEWHERE.search(before) else None
        is_stated = plain and not is_altered_elsewhere(before, plain["unit"] or "")
        elsewhere = read_quantity(after) if is_stated else None
        return (elsewhere, "") if elsewhere else (None, "not a number")
    if is_altered(before, ALTERING_BEFORE) or re.search(
        r"[<>=^\\\u2264\u2265\u2260\u2248\u00b1~]", before[:-2]
    ):
        return None, "not a number"
    found = _read_whole(re.sub(r"[.!]+$", "", after), in_sentence=True)
    if found is None:
        return None, "not a number"
    return Quantity(*found), ""


def looks_like_range_or_date(text: str) -> bool:
    """Whether digits and signs are a span, a date, a time, a ratio or a remainder, not a sum."""
    bare = plain_notation(text).strip().removesuffix(".")
    whole = _RANGE.fullmatch(bare) or _DATE.fullmatch(bare) or _REMAINDER.fullmatch(bare)
    return bool(whole or re.search(r"\d ?: ?\d|\d ?[ap]\.?m\b", bare, re.IGNORECASE))


def plain_notation(text: str, fraction: str = " {}/{} ") -> str:
    """Write minus signs, fractions, exponents and LaTeX's wrappers in one form, on one line."""
    text = lower_powers(text)
    text = _VULGAR.sub(lambda found: f" {unicodedata.normalize('NFKC', found[0])}", text)
    text = _THIN_SPACES.sub("", _MINUS.sub("-", text))
    text = unicodedata.normalize("NFKC", text).replace("\u2044", "/")
    text = " ".join(text.split())
    match = _DELIMITED.fullmatch(text.rstrip(". "))
    if match:
        text = next(group for group in match.groups() if group is not None).strip()
    text = text.replace(r"\$", "$").replace(r"\%", "%").replace("{,}", ",")
    text = _LATEX_DEGREES.sub("\u00b0", _LATEX_TEXT.sub(r" \1", text))
    text = _LATEX_SPACES.sub(" ", text)
    text = _LATEX_FRACTION.sub(
        lambda found: fraction.format(found["a"] or found["b"], found["c"] or found["d"]), text
    )
    text = re.sub(r"(?<=[-+(]) (?=\d+/)", "", text)
    return "".join(
        str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c
        for c in " ".join(text.split())
    )


def _read_whole(text: str, in_sentence: bool = False) -> tuple[Fraction, str, str] | None:
    """(value, unit, what to keep) of sign, currency, numeral and unit."""
    sign, rest = _take_sign(_NAMED_CURRENCY.sub(lambda found: _SIGN_OF[found[1].lower()], text))
    currency = rest[:1] if rest[:1] in CURRENCIES else ""
    if currency:
        rest = rest[1:].lstrip()
        inner, rest = _take_sign(rest)
        if inner and sign:
            return None
        sign = sign or inner
    taken = take_numeral(rest)
    if taken is None:
        return None
    value, shown, tail, is_word = taken
    tail = _RATE.sub(" per ", tail) if currency else tail
    if value < 1 and _SHARE_OF.match(tail):
        return None
    unit = read_unit(tail, in_sentence, is_word)
    rate = unit if currency and unit and unit.split()[0].casefold() in RATE_WORDS else ""
    if unit is None or (currency and unit and unit != currency and not rate):
        return None
    factor = -1 if sign and _BELOW.get(sign) else 1
    mark = "-" if factor < 0 and value else ""
    spoken = spoken_unit(tail, in_sentence)
    kept = f"{mark}{currency}{shown}{'' if spoken in ('', '%') else ' '}{spoken}"
    unit = f"{CURRENCIES[currency]} {rate}".strip() if currency else unit
    return factor * value, unit_of(unit), kept


def _take_sign(text: str) -> tuple[str, str]:
    found = _SIGN.match(text)
    if not found:
        return "", text
    rest = text[found.end() :]
    if found["mark"] and rest[:1] == " ":
        return "", text  # a bullet, perhaps
    return (found["word"] or found["mark"]).lower(), rest
