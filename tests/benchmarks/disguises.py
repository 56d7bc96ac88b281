"""Disguises beyond those that every run measures, planted from the evaluated documents.

No list of synonyms is needed: the rules see only that another word stands there, so that a
`synonym` here is a word of the same benchmark, drawn at random and always the same for a word. It
is harder than a real one, which often shares its stem.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import partial

from tsqa.decontaminate.planted_leaks import as_candidate
from tsqa.records.candidate import Candidate
from tsqa.records.seed import Seed

_WORD = re.compile(r"[A-Za-z]{3,}")
_OTHERS = [
    "able",
    "acre",
    "amber",
    "arch",
    "badge",
    "barn",
    "basin",
    "beacon",
    "bench",
    "birch",
    "blend",
    "bloom",
    "board",
    "brick",
    "brook",
    "bundle",
    "canal",
    "carve",
    "cedar",
    "chalk",
    "charm",
    "chest",
    "cliff",
    "cloak",
    "coral",
    "crest",
    "crown",
    "curve",
    "daisy",
    "depot",
    "drift",
    "ember",
    "fable",
    "fence",
    "ferry",
    "flint",
    "forge",
    "frost",
    "glade",
    "globe",
    "grain",
    "grove",
    "haven",
    "hedge",
    "ivory",
    "jolly",
    "kneel",
    "latch",
    "ledge",
    "linen",
    "lodge",
    "lunar",
    "maple",
    "marsh",
    "medal",
    "mound",
    "noble",
    "oasis",
    "olive",
    "orbit",
    "otter",
    "panel",
    "patch",
    "pearl",
    "perch",
    "plank",
    "plume",
    "porch",
    "quail",
    "quilt",
    "ranch",
    "raven",
    "ridge",
    "river",
    "robin",
    "saddle",
    "scarf",
    "shelf",
    "shore",
    "slate",
    "spark",
    "spire",
    "stump",
    "swirl",
    "thorn",
    "tidal",
    "torch",
    "tulip",
    "urban",
    "valve",
    "velvet",
]
_OCR = (("m", "rn"), ("l", "1"), ("e", "c"), ("h", "b"), ("o", "0"), ("i", "l"), ("t", "f"))
_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = [
    "zero",
    "ten",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
]
_REWRITES = (
    (r"\b[Ww]hich of the following\b", "Out of these, which one"),
    (r"\b[Ww]hat is the\b", "Can you name the"),
    (r"\b[Hh]ow many\b", "what number of"),
    (r"\b[Hh]ow much\b", "what amount of"),
    (r"\b[Ww]hich\b", "what"),
    (r"\bmost likely\b", "probably"),
    (r"\b(\w+) has\b", r"there is with \1"),
    (r"\b(\w+)'s (\w+)\b", r"the \2 of \1"),
    (r"\b[Ii]f\b", "given that"),
    (r"\beach\b", "every"),
    (r"\bis used to\b", "serves to"),
    (r"\bcan be\b", "may be"),
)


def _rebuild(document: Seed, write: Callable[[str], str]) -> Candidate:
    question, answer, *choices = map(write, (document.question, document.answer, *document.choices))
    return as_candidate(document, question, choices, answer)


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?])\s+", text.strip())


def _shuffled(document: Seed) -> Candidate | None:
    found = _sentences(document.question)
    if len(found) < 2:
        return None
    random.Random(document.id).shuffle(found)
    if found == _sentences(document.question):
        found.reverse()
    return as_candidate(document, " ".join(found), document.choices, document.answer)


def _clauses(document: Seed) -> Candidate | None:
    """Clauses of each sentence the other way round, and other words for what questions share."""
    sentences = []
    for sentence in _sentences(document.question):
        clauses = re.split(r", (?:and |but |then )?| (?:because|while|when|and) ", sentence)
        text = ", ".join(reversed(clauses))
        for pattern, other in _REWRITES:
            text = re.sub(pattern, other, text)
        sentences.append(text)
    question = " ".join(sentences)
    if question == document.question:
        return None
    return as_candidate(document, question, document.choices, document.answer)


def _synonyms(document: Seed, share: float) -> Candidate:
    """Another word for this share of all words, of three letters and more."""
    rng = random.Random(document.id)
    text = " ".join([document.question, *document.choices, document.answer])
    distinct = list(dict.fromkeys(_WORD.findall(text)))
    rng.shuffle(distinct)
    left = share * len(text.split())
    chosen: dict[str, str] = {}
    for word in distinct:
        if left < 0.5:
            break
        chosen[word] = rng.choice(_OTHERS)
        left -= len(re.findall(rf"\b{word}\b", text))
    return _rebuild(
        document, lambda part: _WORD.sub(lambda match: chosen.get(match[0], match[0]), part)
    )


def _half(document: Seed) -> Candidate | None:
    found = document.question.split()
    if len(found) < 10:
        return None
    return as_candidate(document, " ".join(found[: (len(found) + 1) // 2]), [], "")


def _options(document: Seed) -> Candidate | None:
    if len(set(document.choices)) < 3:
        return None
    return as_candidate(document, "Choose one.", document.choices, document.answer)


def _scanned(document: Seed) -> Candidate:
    rng = random.Random(document.id)

    def misread(match: re.Match[str]) -> str:
        word = match[0]
        fits = [pair for pair in _OCR if pair[0] in word]
        if rng.random() >= 0.1 or not fits:
            return word
        return word.replace(*rng.choice(fits), 1)

    return _rebuild(document, lambda text: re.sub(r"\w+", misread, text))


def _in_words(document: Seed) -> Candidate | None:
    found = _rebuild(document, lambda text: re.sub(r"\b\d{1,6}\b", _spell_match, text))
    return found if found.question != document.question else None


def _spell_match(match: re.Match[str]) -> str:
    return _spell(int(match[0]))


def _spell(number: int) -> str:
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10] + (f"-{_ONES[number % 10]}" if number % 10 else "")
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = f" and {_spell(number % size)}" if number % size else ""
            return f"{_spell(number // size)} {name}{rest}"
    raise AssertionError(number)


DISGUISES: dict[str, Callable[[Seed], Candidate | None]] = {
    "sentences_shuffled": _shuffled,
    "clauses_rewritten": _clauses,
    "synonyms_10": partial(_synonyms, share=0.1),
    "synonyms_20": partial(_synonyms, share=0.2),
    "synonyms_30": partial(_synonyms, share=0.3),
    "first_half": _half,
    "options_alone": _options,
    "scanned": _scanned,
    "numbers_in_words": _in_words,
}
