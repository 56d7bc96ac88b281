"""Units of numbers, and words near a number that make it another number, or none."""

from __future__ import annotations

import re

from tsqa.text.numbers import NUMBER_WORDS

_MAX_UNIT_WORDS = 6
CURRENCIES = {
    "$": "dollar",
    "\u20ac": "euro",
    "\u00a3": "pound",
    "\u00a5": "yen",
    "\u20b9": "rupee",
}

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
"""Words that make the number next to them another number, or none."""
_ALTERING_BEFORE_LIST = """
about almost approx approximately around between decreased deficit divided double doubled fell
fewer half hardly if incorrect least less loss maximum maybe minimum minus more most multiplied
nearly negative neither never no nor not over owed owes perhaps possibly probably roughly short
square squared than triple tripled twice under unless until up without wrong
"""
ALTERING_BEFORE = frozenset(_ALTERING_BEFORE_LIST.split())
"""Of these, the ones that reach a number from before it in a sentence."""
_ALTERING_BEFORE_ELSEWHERE_LIST = """
nicht kein keine keiner nie niemals weder ohne falsch mindestens h\u00f6chstens wenigstens etwa
ungef\u00e4hr circa ca rund fast knapp beinahe vielleicht wahrscheinlich vermutlich
m\u00f6glicherweise mehr weniger minus halb halbe h\u00e4lfte doppelt doppelte dreifache drittel
viertel quadrat wenn falls ob no ni nunca jam\u00e1s casi quiz\u00e1s quiz\u00e1 acaso
aproximadamente probablemente menos m\u00e1s mitad doble triple tercio cuarto cuadrado si falso
incorrecto m\u00ednimo m\u00e1ximo ne pas jamais presque environ peut-\u00eatre probablement moins
moiti\u00e9 tiers quart carr\u00e9 faux n\u00e3o nem quase talvez metade dobro triplo ter\u00e7o
quadrado provavelmente se mais non n\u00e9 mai quasi forse probabilmente meno pi\u00f9 met\u00e0
doppio terzo quarto quadrato almeno \u043d\u0435 \u043d\u0435\u0442 \u043d\u0438
\u043d\u0438\u043a\u043e\u0433\u0434\u0430 \u043f\u043e\u0447\u0442\u0438
\u043f\u0440\u0438\u043c\u0435\u0440\u043d\u043e \u043e\u043a\u043e\u043b\u043e
\u0432\u043e\u0437\u043c\u043e\u0436\u043d\u043e \u0432\u0435\u0440\u043e\u044f\u0442\u043d\u043e
\u043f\u043e\u043b\u043e\u0432\u0438\u043d\u0430 \u0442\u0440\u0435\u0442\u044c
\u0447\u0435\u0442\u0432\u0435\u0440\u0442\u044c \u0432\u0434\u0432\u043e\u0435
\u0431\u043e\u043b\u044c\u0448\u0435 \u043c\u0435\u043d\u044c\u0448\u0435
\u043c\u0438\u043d\u0443\u0441 \u0431\u043e\u043b\u0435\u0435 \u043c\u0435\u043d\u0435\u0435
\u0435\u0441\u043b\u0438 \u043d\u0435\u0432\u0435\u0440\u043d\u043e
\u043a\u0432\u0430\u0434\u0440\u0430\u0442 plus
"""
_ALTERING_BEFORE_ELSEWHERE = frozenset(_ALTERING_BEFORE_ELSEWHERE_LIST.split())
"""The same in German, Spanish, French, Portuguese, Italian and Russian."""
_ALTERING_BEHIND_ELSEWHERE_LIST = """
mehr weniger mal hoch zu zuviel zuwenig uhr gr\u00f6\u00dfer gr\u00f6sser kleiner h\u00f6her
niedriger l\u00e4nger k\u00fcrzer \u00e4lter j\u00fcnger teurer billiger schneller langsamer
schwerer leichter sp\u00e4ter fr\u00fcher m\u00e1s menos veces mayor menor mayores menores plus
moins fois sup\u00e9rieur sup\u00e9rieure inf\u00e9rieur inf\u00e9rieure mais vezes maior maggiore
minore volte pi\u00f9 meno \u0440\u0430\u0437 \u0431\u043e\u043b\u044c\u0448\u0435
\u043c\u0435\u043d\u044c\u0448\u0435 \u0431\u043e\u043b\u0435\u0435 \u043c\u0435\u043d\u0435\u0435
januar februar m\u00e4rz april mai juni juli august september oktober november dezember enero
febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre janvier
f\u00e9vrier mars avril juin juillet ao\u00fbt septembre octobre novembre d\u00e9cembre janeiro
fevereiro mar\u00e7o maio junho julho setembro outubro novembro dezembro gennaio febbraio aprile
maggio giugno luglio settembre ottobre dicembre \u044f\u043d\u0432\u0430\u0440\u044f
\u0444\u0435\u0432\u0440\u0430\u043b\u044f \u043c\u0430\u0440\u0442\u0430
\u0430\u043f\u0440\u0435\u043b\u044f \u043c\u0430\u044f \u0438\u044e\u043d\u044f
\u0438\u044e\u043b\u044f \u0430\u0432\u0433\u0443\u0441\u0442\u0430
\u0441\u0435\u043d\u0442\u044f\u0431\u0440\u044f \u043e\u043a\u0442\u044f\u0431\u0440\u044f
\u043d\u043e\u044f\u0431\u0440\u044f \u0434\u0435\u043a\u0430\u0431\u0440\u044f
"""
_ALTERING_BEHIND_ELSEWHERE = frozenset(_ALTERING_BEHIND_ELSEWHERE_LIST.split())
"""`5 mehr`, `5 veces`, `5 Uhr`, `5 mai`."""
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
"""Where a unit ends and the rest of the phrase begins."""
RATE_WORDS = ("per", "a", "an", "/")
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
    "dollar": "$ dollars usd USD us-dollars us-dollar bucks buck",
    "euro": "\u20ac euros eur EUR",
    "pound": "\u00a3 gbp GBP",
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
    "lb": "lbs",
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
_WHEN = re.compile(r"\b(?:in|on|during|for|with) [A-Z][a-z]+ and [A-Z][a-z]+\b")
"""`in April and May` says when, and adds nothing to the number before it."""
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")


def unit_of(text: str) -> str:
    """Write a unit in one form: synonyms meet, and case counts only where it is short."""
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


def read_unit(tail: str, in_sentence: bool, is_word: bool) -> str | None:
    """Read the unit after a numeral, as written; None where the text alters or continues it."""
    if not tail.strip():
        return ""
    if not tail[0].isspace():
        if tail[0] in "%\u00b0\u2103\u2109\u00a2\u2030" + "".join(CURRENCIES):
            pass
        elif is_word or not _is_attached_unit(tail):
            return None
    rest = tail.strip()
    if rest[:1] in CURRENCIES:
        return rest if len(rest) == 1 else None
    phrase = spoken_unit(rest, in_sentence=False)
    others = rest[len(phrase) :]
    if len(rest.split()) > (40 if in_sentence else _MAX_UNIT_WORDS):
        return None
    if re.search(r"\d", re.sub(r"(?<=[A-Za-z\u00b0])\^?\{?-?[1-4]\}?(?!\d)", "", rest)):
        return None
    if is_altered(_WHEN.sub("", rest) if in_sentence else rest) or (
        not in_sentence and re.search(r"[<>=+|\\!?;:]", others)
    ):
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


def spoken_unit(tail: str, in_sentence: bool) -> str:
    """Take the words of a unit from the start of a text, as written."""
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


def is_altered(text: str, altering: frozenset[str] = _ALTERING) -> bool:
    """Whether a text has words that make the number next to it another number, or none."""
    words = [word.casefold() for word in _WORD.findall(text)]
    if any(word in altering or word.endswith("n't") for word in words):
        return True
    # The month of a date is next to its number; elsewhere a month or a day only says when.
    if not _MONTHS.isdisjoint((*words[:2], *words[-2:])) and len(words) <= 2:
        return True
    return any(
        part in NUMBER_WORDS
        for word in words
        if word not in ("half-life", "half-lives")
        for part in word.split("-")
    )


def is_altered_elsewhere(before: str, unit: str) -> bool:
    """Whether words of other languages than English make a number another number, or none.

    `before`: the sentence up to the number; `unit`: the word behind it.
    """
    words = {word.casefold() for word in _WORD.findall(before)}
    return (
        not words.isdisjoint(_ALTERING_BEFORE_ELSEWHERE)
        or is_altered(before, ALTERING_BEFORE)
        or unit.casefold() in _ALTERING_BEHIND_ELSEWHERE
    )


def _is_attached_unit(tail: str) -> bool:
    found = _ATTACHED.match(tail)
    if not found or _TIME_OR_RANK.match(tail):
        return False
    letters = found[0]
    if len(letters) == 1:
        return letters in _SINGLE_LETTERS
    return True


def _is_symbol(word: str) -> bool:
    return len(word) <= 2 or (len(word) == 3 and not (word.islower() or word.istitle()))
