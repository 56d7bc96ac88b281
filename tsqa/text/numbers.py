"""Numbers in digits and in words, read from a text and written back exactly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction

MAX_CHARACTERS = 400
"""A longer text is no number with a unit, and no plain sentence that states one."""
_MAX_DIGITS = 400
_MAX_EXPONENT = 400

_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)")
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
WHOLE = r"\d{1,3}(?:,\d{3})+(?![\d,])|\d+(?!,?\d)"
_DECIMAL = rf"(?:(?:{WHOLE})(?:\.\d+)?(?!\.?\d)|\.\d+)"
_NUMERAL = re.compile(
    rf"(?P<whole>\d+)(?: and | ?& ?| |-)(?P<up>\d+) ?[/\u2044] ?(?P<down>\d+)(?![\d/.,]*\d)"
    rf"|(?P<over>{WHOLE}) ?[/\u2044] ?(?P<under>{WHOLE})(?![\d/.,]*\d)"
    rf"|(?P<mantissa>{_DECIMAL})(?: ?(?:[x\u00d7*\u00b7]|\\times|\\cdot) ?10 ?\^ ?"
    r"\{?(?P<power>[-+]?\d{1,4})\}?"
    r"|[eE](?P<exponent>[-+]?\d{1,4}))(?![\w.])"
    rf"|(?P<decimal>{_DECIMAL})"
)

_UNITS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14,
    "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60,
    "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES = {
    "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip
_MULTIPLIERS = {**_SCALES, "hundred": 100, "dozen": 12}
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6,
    "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10, "twelfth": 12, "sixteenth": 16,
    "twentieth": 20, "hundredth": 100, "thousandth": 1000,
}  # fmt: skip
NUMBER_WORDS = frozenset({*_UNITS, *_TENS, *_MULTIPLIERS, *_PARTS, *(f"{p}s" for p in _PARTS)})


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
    """Write a number in its shortest exact spelling: `18`, never `18.0`, `1.8E+1` or `-0`."""
    whole, point, rest = format(number, "f").partition(".")
    text = (whole + point + rest.rstrip("0")).removesuffix(".")
    return text.lstrip("+-") if not number else text


def take_numeral(text: str) -> tuple[Fraction, str, str, bool] | None:
    """Take a numeral from the start: (value, its digits, the text after it, was it a word)."""
    found = _NUMERAL.match(text)
    if found is None:
        spoken = _take_words(text)
        if spoken is None:
            return None
        value, tail = spoken
        shown = f"{value.numerator}/{value.denominator}" if 0 < value < 1 else _format_value(value)
        return value, shown, tail, True
    if len(found[0]) > _MAX_DIGITS:
        return None
    tail = text[found.end() :]
    try:
        value = _value_of(found)
    except (ZeroDivisionError, ValueError):
        return None
    shown = found[0].strip()
    half = re.match(r" and (?:a|one) (half|third|quarter|fourth|fifth)\b", tail, re.IGNORECASE)
    if half and value.denominator == 1:
        value += Fraction(1, _PARTS[half[1].lower()])
        return value, _format_value(value), tail[half.end() :], True
    scale = re.match(rf" (?P<name>{'|'.join(_MULTIPLIERS)})\b", tail, re.IGNORECASE)
    if scale:
        value *= _MULTIPLIERS[scale["name"].lower()]
        return value, _format_value(value), tail[scale.end() :], True
    return value, shown, tail, False


def _format_value(value: Fraction) -> str:
    """Write a value in its shortest exact spelling: `18`, `0.75`, or `1/3` where no decimal is."""
    if value.denominator == 1:
        return str(value.numerator)
    rest = value.denominator
    twos = fives = 0
    while rest % 2 == 0 and twos < 12:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0 and fives < 12:
        rest, fives = rest // 5, fives + 1
    if rest != 1 or max(twos, fives) > 6:
        return f"{value.numerator}/{value.denominator}"
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}"


def _value_of(found: re.Match[str]) -> Fraction:
    def number(name: str) -> Fraction:
        return Fraction(found[name].replace(",", ""))

    if found["whole"]:
        return number("whole") + Fraction(int(found["up"]), int(found["down"]))
    if found["over"]:
        return number("over") / number("under")
    if found["mantissa"]:
        power = int(found["power"] or found["exponent"])
        if abs(power) > _MAX_EXPONENT:
            raise ValueError("too large")
        return number("mantissa") * Fraction(10) ** power
    return number("decimal")


def _take_words(text: str) -> tuple[Fraction, str] | None:
    """(value, rest) of a number in words at the start: `twenty-five`, `three quarters`."""
    matches = list(re.finditer(r"[A-Za-z]+|[^\sA-Za-z-]+", text[:MAX_CHARACTERS]))
    tokens = [match[0].lower() for match in matches]
    place, value = read_cardinal(tokens, 0)
    result: Fraction | None = None if value is None else Fraction(value)
    if tokens[:3] == ["half", "a", "dozen"]:
        place, result = 3, Fraction(6)
    elif tokens[:1] == ["half"]:
        place, result = 1, Fraction(1, 2)
    elif tokens[:1] in (["a"], ["an"]) and len(tokens) > 1 and tokens[1] in _PARTS:
        place, result = 2, Fraction(1, _PARTS[tokens[1]])
    elif tokens[:2] == ["a", "dozen"]:
        place, result = 2, Fraction(12)
    elif tokens[:1] == ["a"] and len(tokens) > 1 and tokens[1] in _MULTIPLIERS:
        place, scaled = read_cardinal(["one", *tokens[1:]], 0)
        result = None if scaled is None else Fraction(scaled)
    elif value is not None and place < len(tokens):
        part = tokens[place]
        singular = part.removesuffix("s") if part != "halves" else "half"
        if value == 1 and part in _PARTS and part != "halves":
            place, result = place + 1, Fraction(1, _PARTS[part])
        elif value != 1 and part != singular and singular in _PARTS:
            place, result = place + 1, Fraction(value, _PARTS[singular])
        elif part == "point" and place + 1 < len(tokens) and tokens[place + 1] in _UNITS:
            digits = ""
            place += 1
            while place < len(tokens) and _UNITS.get(tokens[place], 10) < 10:
                digits, place = digits + str(_UNITS[tokens[place]]), place + 1
            if not digits:
                return None
            result = Fraction(value) + Fraction(int(digits), 10 ** len(digits))
        elif part == "dozen":
            place, result = place + 1, Fraction(value * 12)
        elif part == "and" and tokens[place + 1 : place + 2] in (
            ["a"],
            ["one"],
            ["two"],
            ["three"],
        ):
            name = tokens[place + 2 : place + 3]
            count = {"a": 1, **_UNITS}[tokens[place + 1]]
            singular = name[0].removesuffix("s") if name else ""
            if singular in _PARTS and (count == 1) == (name[0] == singular):
                place += 3
                result = Fraction(value) + Fraction(count, _PARTS[singular])
    if result is None or place == 0:
        return None
    end = matches[place - 1].end()
    return result, text[end:]


def read_cardinal(tokens: Sequence[str], place: int) -> tuple[int, int | None]:
    """(first token after it, value) of a whole number in words."""
    total, current, start = 0, 0, place
    smallest_scale: int | None = None
    allowed = "any"
    while place < len(tokens):
        token = tokens[place]
        if token in _UNITS and allowed in ("any", "unit", "below ten"):
            if allowed == "below ten" and not 0 < _UNITS[token] < 10:
                break
            current, allowed = current + _UNITS[token], "scale"
        elif token in _TENS and allowed in ("any", "unit"):
            current, allowed = current + _TENS[token], "below ten"
        elif token == "hundred" and 0 < current < 100:
            current, allowed = current * 100, "unit"
        elif (
            token in _SCALES
            and current
            and (smallest_scale is None or _SCALES[token] < smallest_scale)
        ):
            smallest_scale = _SCALES[token]
            total, current, allowed = total + current * smallest_scale, 0, "any"
        elif (
            token == "and"
            and (allowed == "unit" or (smallest_scale and not current))
            and place + 1 < len(tokens)
            and (tokens[place + 1] in _TENS or tokens[place + 1] in _UNITS)
        ):
            allowed = "unit"
        else:
            break
        place += 1
    return (place, total + current) if place > start else (start, None)
