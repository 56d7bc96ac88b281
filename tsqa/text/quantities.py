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

MAX_CHARACTERS = 400
"""A longer text is no number with a unit, and no plain sentence that states one."""
_MAX_DIGITS = 400
_MAX_EXPONENT = 400
_MAX_UNIT_WORDS = 6

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

_CURRENCIES = {
    "$": "dollar",
    "\u20ac": "euro",
    "\u00a3": "pound",
    "\u00a5": "yen",
    "\u20b9": "rupee",
}
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
_WHOLE = r"\d{1,3}(?:,\d{3})+(?![\d,])|\d+(?!,?\d)"
_DECIMAL = rf"(?:(?:{_WHOLE})(?:\.\d+)?(?!\.?\d)|\.\d+)"
_NUMERAL = re.compile(
    rf"(?P<whole>\d+)(?: and | ?& ?| |-)(?P<up>\d+) ?[/\u2044] ?(?P<down>\d+)(?![\d/.,]*\d)"
    rf"|(?P<over>{_WHOLE}) ?[/\u2044] ?(?P<under>{_WHOLE})(?![\d/.,]*\d)"
    rf"|(?P<mantissa>{_DECIMAL})(?: ?(?:[x\u00d7*\u00b7]|\\times|\\cdot) ?10 ?\^ ?"
    r"\{?(?P<power>[-+]?\d{1,4})\}?"
    r"|[eE](?P<exponent>[-+]?\d{1,4}))(?![\w.])"
    rf"|(?P<decimal>{_DECIMAL})"
)
_SIGN = re.compile(r"(?:(?P<word>minus|negative|plus|positive) |(?P<mark>[-+]))", re.IGNORECASE)
_BELOW = {"minus": -1, "negative": -1, "-": -1}

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
_NUMBER_WORDS = frozenset({*_UNITS, *_TENS, *_MULTIPLIERS, *_PARTS, *(f"{p}s" for p in _PARTS)})

_ALTERING_LIST = """
about above after ago almost and approx approximately around before behind below between
but by-product cubed debt decrease decreased deficit divided double down either equal
even except exceeds factorial fell fewer from greater hardly if least less loss lose
loses losing lost max maximum maybe merely min minimum minus modulo more most multiplied
nearly neither never no nor not odd or out over owed owes perhaps plus possibly power
probably ratio roughly short smaller square-root squared than through times to triple
twice under unless until unlike up upto versus vs wrong without th st nd rd o'clock mod
root or so larger higher lower twofold am pm noon midnight binary octal hexadecimal hex remainder
"""
_ALTERING = frozenset(_ALTERING_LIST.split())
"""Words that make a number beside them another number, or none."""
_ALTERING_BEFORE_LIST = """
about almost approx approximately around between decreased deficit divided double doubled fell
fewer half hardly if incorrect least less loss maximum maybe minimum minus more most multiplied
nearly negative neither never no nor not over owed owes perhaps possibly probably roughly short
square squared than triple tripled twice under unless until up without wrong
"""
_ALTERING_BEFORE = frozenset(_ALTERING_BEFORE_LIST.split())
"""Of these, the ones that reach a number from before it in a sentence."""
_MONTHS_LIST = """
january february march april may june july august september october november december
jan feb mar apr jun jul aug sep sept oct nov dec monday tuesday wednesday thursday
friday saturday sunday
"""
_MONTHS = frozenset(_MONTHS_LIST.split())
_UNIT_ENDS_LIST = """
in on at for with left remaining remain remains total totally altogether overall now
each every apiece there here that which who because since as when where while during if
is are was were will would can exactly only so then today tomorrow together everyone all
the this these those them he she it they we i you his her its their our your my
"""
_UNIT_ENDS = frozenset(_UNIT_ENDS_LIST.split())
_RATE_WORDS = ("per", "a", "an", "/")
"""Where a unit ends and the rest of the phrase begins."""
_UNIT_WORD = re.compile(
    r"[\u00b0\u2103\u2109\u03a9\u00b5\u03bc%]?[^\W\d_]*(?:(?:\^\{?-?|-)?[1-4]\}?|[\u00b2\u00b3])?"
    r"(?:[/\u00b7*][^\W\d_]+(?:\^?\{?-?[1-4]\}?|[\u00b2\u00b3])?)*(?:['\u2019-][^\W\d_]+)*"
)
_ATTACHED = re.compile(r"[^\W\d_]+")
_SINGLE_LETTERS = frozenset("mgshlLKJWVNAFC")
"""Units of one letter; other letters, as in 5x, are variables."""
_VARIABLES = re.compile(r"[xyz]{2,4}|[abckmnpt][xy]|ab|ac|bc|abc|pq|mn|uv|d[xyt]")
"""Letters side by side that are a product, as in 5xy, and no unit."""
_TIME_OR_RANK = re.compile(r"(?:st|nd|rd|th|s|k|pm|am|p\.?m|a\.?m)\b", re.IGNORECASE)
_SAME_UNITS = {
    "%": "percent per-cent pct percentage",
    "dollar": "$ dollars usd us-dollars us-dollar bucks buck",
    "euro": "\u20ac euros eur",
    "pound": "\u00a3 gbp",
    "cent": "cents \u00a2",
    "\u00b0c": "\u2103 \u00b0C \u00b0-C celsius degrees-celsius degree-celsius degrees-c degrees-C",
    "\u00b0f": "\u2109 \u00b0F \u00b0-F fahrenheit degrees-fahrenheit degrees-f degrees-F",
    "\u00b0": "degree degrees",
    "kelvin": "kelvins K",
    "m": "metre metres meter meters",
    "km": "kilometre kilometres kilometer kilometers Km KM kms",
    "cm": "centimetre centimetres centimeter centimeters CM cms",
    "mm": "millimetre millimetres millimeter millimeters MM",
    "kg": "kilogram kilograms kilo kilos Kg KG kgs",
    "g": "gram grams gm gms",
    "mg": "milligram milligrams",
    "l": "L litre litres liter liters",
    "ml": "mL millilitre millilitres milliliter milliliters ML",
    "s": "second seconds sec secs",
    "min": "minute minutes mins",
    "h": "hour hours hr hrs",
    "day": "days",
    "foot": "feet ft",
    "inch": "inches in",
    "mile": "miles mi",
    "mph": "miles-per-hour mile-per-hour miles/hour miles-an-hour mi/h",
    "km/h": "kph kmh kilometers-per-hour kilometres-per-hour km-per-hour kilometers/hour",
    "m/s": "metres-per-second meters-per-second m-per-s meters/second",
    "m^2": "m\u00b2 m2 square-meters square-metres square-meter square-metre sq-m",
    "cm^2": "cm\u00b2 cm2 square-centimeters square-centimetres sq-cm",
    "m^3": "m\u00b3 m3 cubic-meters cubic-metres",
    "cm^3": "cm\u00b3 cm3 cubic-centimeters cubic-centimetres cc",
}
_ALIASES = {alias: unit for unit, names in _SAME_UNITS.items() for alias in (unit, *names.split())}

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
_LABELLED = re.compile(r"[A-Za-z][A-Za-z ]{0,40}[:=] ?$")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_LITERAL = re.compile(rf"(?<![\w.,/:^-])[-+]?{_SYMBOL}? ?[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}")
_RANGE = re.compile(rf"(?:{_WHOLE}|\d+\.\d+) ?(?:[-\u2010-\u2015~]|to) ?(?:{_WHOLE}|\d+\.\d+)")
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
    """The number that a text is, as a whole, with its unit; None for anything else."""
    if len(text) > MAX_CHARACTERS:
        return None
    bare = plain_notation(text)
    bare = bare.removesuffix(".") if not bare.endswith("..") else bare
    found = None if _REMAINDER.fullmatch(bare.strip()) else _read_whole(bare.strip())
    if found is None:
        return None
    value, unit, shown = found
    kept = text.strip().replace("\u2212", "-")
    # What is written in plain digits stays as it is; words and shorthand are spelled out.
    is_plain = bool(re.match(rf"[-+]?{_SYMBOL}?[-+]?\.?\d", kept) and "\\" not in kept)
    is_plain = is_plain or bool(re.fullmatch(r"-?\\[dt]?frac\{\d+\}\{\d+\}", kept))
    return Quantity(value, unit, kept.removesuffix(".") if is_plain else shown)


def state_quantity(sentence: str) -> tuple[Quantity | None, str]:
    """(the one number that a plain sentence states, why there is none)."""
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
        return None, "not a number"
    if _is_altered(before, _ALTERING_BEFORE) or re.search(
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
    """One line in which minus signs, fractions, exponents and LaTeX's wrappers have one form."""
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


def unit_of(text: str) -> str:
    """One form of a unit: synonyms meet, and case counts only where it is short."""
    words = text.strip().rstrip(".").split()
    kept: list[str] = []
    for word in words:
        folded_word = word.casefold().strip(".,")
        if (folded_word in _UNIT_ENDS and words != ["in"]) or folded_word == "of":
            break
        kept.append(word.strip(".,"))
    if not kept:
        return ""
    # mW and MW, mHz and MHz are other units; Metres and metres are not.
    folded = [word if _is_symbol(word) else word.casefold() for word in kept]
    for joined in ("-".join(kept), "-".join(folded)):
        if joined in _ALIASES:
            return _ALIASES[joined]
    return " ".join(
        _ALIASES.get(word, word.removesuffix("s") if len(word) > 3 else word) for word in folded
    )


def _read_whole(text: str, in_sentence: bool = False) -> tuple[Fraction, str, str] | None:
    """(value, unit, what to keep) of sign, currency, numeral and unit."""
    sign, rest = _take_sign(_NAMED_CURRENCY.sub(lambda found: _SIGN_OF[found[1].lower()], text))
    currency = rest[:1] if rest[:1] in _CURRENCIES else ""
    if currency:
        rest = rest[1:].lstrip()
        inner, rest = _take_sign(rest)
        if inner and sign:
            return None
        sign = sign or inner
    taken = _take_numeral(rest)
    if taken is None:
        return None
    value, shown, tail, is_word = taken
    unit = _read_unit(tail, in_sentence, is_word)
    rate = unit if currency and unit and unit.split()[0].casefold() in _RATE_WORDS else ""
    if unit is None or (currency and unit and unit != currency and not rate):
        return None
    factor = -1 if sign and _BELOW.get(sign) else 1
    mark = "-" if factor < 0 and value else ""
    spoken = _spoken_unit(tail, in_sentence)
    kept = f"{mark}{currency}{shown}{'' if spoken in ('', '%') else ' '}{spoken}"
    unit = f"{_CURRENCIES[currency]} {rate}".strip() if currency else unit
    return factor * value, unit_of(unit), kept


def _take_sign(text: str) -> tuple[str, str]:
    found = _SIGN.match(text)
    if not found:
        return "", text
    rest = text[found.end() :]
    if found["mark"] and rest[:1] == " ":
        return "", text  # a bullet, perhaps
    return (found["word"] or found["mark"]).lower(), rest


def _take_numeral(text: str) -> tuple[Fraction, str, str, bool] | None:
    """(value, its digits, the text after it, whether it was a word) of a numeral at the start."""
    found = _NUMERAL.match(text)
    if found is None:
        spoken = _take_words(text)
        if spoken is None:
            return None
        value, tail = spoken
        shown = f"{value.numerator}/{value.denominator}" if 0 < value < 1 else format_value(value)
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
        return value, format_value(value), tail[half.end() :], True
    scale = re.match(rf" (?P<name>{'|'.join(_MULTIPLIERS)})\b", tail, re.IGNORECASE)
    if scale:
        value *= _MULTIPLIERS[scale["name"].lower()]
        return value, format_value(value), tail[scale.end() :], True
    return value, shown, tail, False


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


def format_value(value: Fraction) -> str:
    """The shortest exact spelling: `18`, `0.75`, or `1/3` where no decimal is exact."""
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


def _take_words(text: str) -> tuple[Fraction, str] | None:
    """(value, rest) of a number in words at the start: `twenty-five`, `three quarters`."""
    matches = list(re.finditer(r"[A-Za-z]+|[^\sA-Za-z-]+", text[:MAX_CHARACTERS]))
    tokens = [match[0].lower() for match in matches]
    place, value = _cardinal(tokens, 0)
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
        place, scaled = _cardinal(["one", *tokens[1:]], 0)
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


def _cardinal(tokens: list[str], place: int) -> tuple[int, int | None]:
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


def _read_unit(tail: str, in_sentence: bool, is_word: bool) -> str | None:
    """The unit after a numeral, as written; None where what follows alters or continues it."""
    if not tail.strip():
        return ""
    if not tail[0].isspace():
        if tail[0] in "%\u00b0\u2103\u2109\u00a2\u2030" + "".join(_CURRENCIES):
            pass
        elif is_word or not _is_attached_unit(tail):
            return None
    rest = tail.strip()
    if rest[:1] in _CURRENCIES:
        return rest if len(rest) == 1 else None
    phrase = _spoken_unit(rest, in_sentence=False)
    others = rest[len(phrase) :]
    if len(rest.split()) > (40 if in_sentence else _MAX_UNIT_WORDS):
        return None
    if re.search(r"\d", re.sub(r"(?<=[A-Za-z\u00b0])\^?\{?-?[1-4]\}?(?!\d)", "", rest)):
        return None
    if _is_altered(rest) or (not in_sentence and re.search(r"[<>=+|\\!?;:]", others)):
        return None
    for word in phrase.split():
        if not _UNIT_WORD.fullmatch(word.strip(".,")):
            return None
        base = re.split(r"[\^{\u00b2\u00b3\d]", word, maxsplit=1)[0]
        if len(base) == 1 and base.isalpha() and base not in _SINGLE_LETTERS | {"a"}:
            return None
        if _VARIABLES.fullmatch(base):
            return None
    return phrase


def _spoken_unit(tail: str, in_sentence: bool) -> str:
    """The words of a unit at the start of a text, as written."""
    kept: list[str] = []
    for word in tail.split():
        folded = word.casefold().strip(".,;!?")
        is_inches = folded == "in" and tail.split() == [word]
        if (folded in _UNIT_ENDS and folded != "a" and not is_inches) or folded == "of":
            break
        kept.append(word)
        if word[-1:] in ",;.!?" and len(word) > 1:
            kept[-1] = word.rstrip(",;!?") if word[-1] != "." else word.removesuffix(".")
            break
    return " ".join(kept[:4] if in_sentence else kept)


def _is_attached_unit(tail: str) -> bool:
    found = _ATTACHED.match(tail)
    if not found or _TIME_OR_RANK.match(tail):
        return False
    letters = found[0]
    if len(letters) == 1:
        return letters in _SINGLE_LETTERS
    return True


def _is_altered(text: str, altering: frozenset[str] = _ALTERING) -> bool:
    words = [word.casefold() for word in _WORD.findall(text)]
    if any(word in altering or word.endswith("n't") for word in words):
        return True
    # A date stands beside its number; elsewhere a month or a day only says when.
    if not _MONTHS.isdisjoint((*words[:2], *words[-2:])) and len(words) <= 2:
        return True
    return any(part in _NUMBER_WORDS for word in words for part in word.split("-"))


def _is_symbol(word: str) -> bool:
    return len(word) <= 2 or (len(word) == 3 and not (word.islower() or word.istitle()))
