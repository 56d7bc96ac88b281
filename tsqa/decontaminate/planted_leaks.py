"""Leaks planted from evaluated documents, in disguises, to measure what decontamination finds."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace

from tsqa.records.candidate import Candidate
from tsqa.records.seed import Seed
from tsqa.text.normalise import words

SHORT = 13
"""Items with fewer words than this are short."""
_EDITED_EVERY = 8
_RESPELLED = str.maketrans(
    {"-": "\u2212", "*": "\u00d7", "/": "\u00f7"} | {ord("0") + n: 0xFF10 + n for n in range(10)}
)
_CYRILLIC = str.maketrans(
    "aeopcxyiAEOPCXTHMK",
    "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456"
    "\u0410\u0415\u041e\u0420\u0421\u0425\u0422\u041d\u041c\u041a",
)
_NAME = re.compile(r"(?<=[a-z,;:] )[A-Z][a-z]+")
_NAMES = ("Amara", "Bogdan", "Chidi", "Dagny", "Eero", "Farida", "Goran", "Hinata", "Ilse", "Jorma")
_BEFORE = "It rained on the last day of term, so the class stayed in and read old papers aloud."
_AFTER = "Nobody said a word for a while, and then the bell rang and they all went home for lunch."


def plant_leak(document: Seed, kind: str) -> Candidate | None:
    """Make a candidate that leaks a document in a disguise of KINDS; None where it cannot."""
    return KINDS[kind](document)


def _verbatim(document: Seed) -> Candidate:
    return as_candidate(document)


def _recased(document: Seed) -> Candidate:
    question, answer = (
        re.sub(r"[^\w\s]", " ", text).upper() for text in (document.question, document.answer)
    )
    return as_candidate(document, question, [choice.upper() for choice in document.choices], answer)


def _reordered(document: Seed) -> Candidate | None:
    choices = [*document.choices[1:], *document.choices[:1]]
    return as_candidate(document, choices=choices) if len(set(choices)) > 1 else None


def _numbers_swapped(document: Seed) -> Candidate | None:
    question, answer = (
        re.sub(r"\d+", lambda match: str(int(match[0]) + 7), text)
        for text in (document.question, document.answer)
    )
    return (
        as_candidate(document, question, answer=answer) if question != document.question else None
    )


def _names_swapped(document: Seed) -> Candidate | None:
    question, answer = document.question, document.answer
    for number, name in enumerate(dict.fromkeys(_NAME.findall(document.question))):
        other = _NAMES[number % len(_NAMES)]
        question = re.sub(rf"\b{name}\b", other, question)
        answer = re.sub(rf"\b{name}\b", other, answer)
    return (
        as_candidate(document, question, answer=answer) if question != document.question else None
    )


def _signs_respelled(document: Seed) -> Candidate | None:
    """Other characters for minus, times, divided by and the digits."""
    question, answer, *choices = (
        text.translate(_RESPELLED)
        for text in (document.question, document.answer, *document.choices)
    )
    changed = as_candidate(document, question, choices, answer)
    return changed if question != document.question else None


def _accented(document: Seed) -> Candidate:
    return respell(document, lambda text: re.sub("[aeiou]", lambda m: m[0] + "\u0301", text))


def _look_alikes(document: Seed) -> Candidate:
    """Vowels of another script."""
    return respell(document, lambda text: text.translate(_CYRILLIC))


def _invisible(document: Seed) -> Candidate:
    """A zero-width space in every longer word."""
    return respell(document, lambda text: re.sub(r"(\w{3})(?=\w)", "\\1\u200b", text))


def _in_html(document: Seed) -> Candidate:
    def write(text: str) -> str:
        bold = re.sub(r"\b(\w+)\b", r"<b>\1</b>", html.escape(text), count=1)
        return f"<p class='q'>{bold.replace(' ', '&nbsp;')}</p>"

    return respell(document, write)


def _hyphenated(document: Seed) -> Candidate:
    """Long words cut at the end of a line."""
    return respell(document, lambda text: re.sub(r"(\w{4})(\w{3,})", "\\1-\n\\2", text))


def _passage_edited(document: Seed) -> Candidate | None:
    """The passage without its fourth word, and every eighth from there."""
    found = document.context.split()
    if len(found) < _EDITED_EVERY // 2:
        return None
    kept = (word for n, word in enumerate(found, start=_EDITED_EVERY // 2 + 1) if n % _EDITED_EVERY)
    return replace(as_candidate(document), context=" ".join(kept))


def _embedded(document: Seed) -> Candidate:
    item = " ".join([document.context, document.question, *document.choices, document.answer])
    return Candidate(
        id=document.id,
        task=document.task,
        question="What did the pupils do when the bell rang?",
        context=f"{_BEFORE} {item} {_AFTER}",
        answer="They went home",
    )


def _short(document: Seed) -> Candidate | None:
    count = len(words(f"{document.question} {document.answer}"))
    return _embedded(document) if count < SHORT else None


def as_candidate(
    document: Seed,
    question: str | None = None,
    choices: list[str] | None = None,
    answer: str | None = None,
) -> Candidate:
    """A document as an item, with other parts where they are given."""
    return Candidate(
        id=document.id,
        task=document.task,
        question=document.question if question is None else question,
        context=document.context,
        choices=document.choices if choices is None else choices,
        answer=document.answer if answer is None else answer,
    )


def respell(document: Seed, write: Callable[[str], str]) -> Candidate:
    """A document as an item, every part of it written so."""
    question, answer, context, *choices = map(
        write, (document.question, document.answer, document.context, *document.choices)
    )
    return replace(as_candidate(document, question, choices, answer), context=context)


KINDS: dict[str, Callable[[Seed], Candidate | None]] = {
    "verbatim": _verbatim,
    "case_and_punctuation": _recased,
    "options_reordered": _reordered,
    "signs_respelled": _signs_respelled,
    "accented": _accented,
    "look_alikes": _look_alikes,
    "invisible_characters": _invisible,
    "html": _in_html,
    "hyphenated": _hyphenated,
    "numbers_swapped": _numbers_swapped,
    "names_swapped": _names_swapped,
    "passage_edited": _passage_edited,
    "embedded": _embedded,
    "short": _short,
}
