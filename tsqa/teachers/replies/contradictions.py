"""An answer that its own explanation contradicts.

Guarantees: nothing is raised on any text; an explanation that turns, converts, rounds or only looks
at what is no answer contradicts none; work is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tsqa.recipe import AnswerKind
from tsqa.teachers.replies.answer import Reading, are_one, read_answer
from tsqa.teachers.replies.answer_lines import CONCLUDES, NOT_PLAIN
from tsqa.teachers.replies.choice import concluded_letter, is_named
from tsqa.teachers.replies.judgement_reply import read_verdict
from tsqa.teachers.replies.stated_answer import last_statement, numerals
from tsqa.text.quantities import read_quantity

_TURNS = re.compile(r"\b(?:but|however|wait|actually|instead|yet|although|though)\b", re.I)
_CLAIMED = re.compile(
    r"\b(?:the|this) (?:statement|claim|assertion) is (?:therefore |thus |clearly )?"
    r"(?P<said>(?:not )?(?:true|false|correct|incorrect))[.!*_\s]*\Z",
    re.IGNORECASE,
)
_CALLED_WRONG = re.compile(
    r"\W{0,4}(?:this|that|it)(?: (?:option|choice|answer|one))? is (?:clearly |simply |just )?"
    r"(?:wrong|incorrect|false|not (?:correct|right|true))\b(?! (?:to|that|for|about|of|in|on)\b)",
    re.IGNORECASE,
)
_ASKS_FOR_WRONG = re.compile(
    r"\b(?:not|except|wrong|incorrect|false|untrue|no|mistakes?|errors?|least|never|cannot|corrects?"
    r"|misconceptions?|myths?|fallac(?:y|ies)|inaccurate|invalid|misleading|impossible|disprove[ds]?"
    r"|refute[ds]?|lies?|lying)\b"
    r"|n['\u2019]t\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")
_EQUALS = re.compile("[=\u2248]")
_RESULT = re.compile("[=\u2248]|\\b(?:so|thus|therefore|hence|giving|leaving)\\b,? ", re.IGNORECASE)
_SCALES = {100, 1000, 60}
"""Between a share and a percentage, or two units."""


def is_contradicted(
    fields: Mapping[str, list[str]],
    readable: Sequence[Reading],
    kind: AnswerKind,
    choices: Sequence[str],
    question: str,
    *,
    is_apart: bool,
) -> bool:
    """Whether the explanation ends up with another answer, or calls the option wrong.

    Not where it turns away from what it states, or where something wrong is asked for.
    `is_apart`: it is a field of its own, and not the lines around a bare answer.
    """
    explained = fields.get("reasoning", [])
    if kind not in ("choice", "number", "boolean"):
        return False
    answer = readable[0].answer or ""
    is_asked = any(map(_ASKS_FOR_WRONG.search, (question, answer)))
    if kind == "choice" and not is_asked and any(map(_CALLED_WRONG.match, explained)):
        return True
    if kind == "boolean" and not _ASKS_FOR_WRONG.search(question):
        claimed = [match["said"] for text in explained if (match := _CLAIMED.search(text))]
        if any(read_verdict(one)[0] != (answer == "yes") for one in claimed):
            return True
    said = [(text, last_statement(text)) for text in explained]
    kept = [one for text, one in said if one and not _TURNS.search(text, text.rfind(one))]
    concluded = [read_answer(one, kind, choices) for one in kept]
    if is_apart and kind == "choice" and not is_asked:
        ended = (_concluded_option(text, choices) for text in explained)
        concluded += [Reading(choices[one], one) for one in ended if one is not None]
    if is_apart and kind == "number":
        concluded += [Reading(one) for text in explained if (one := _other_result(text, answer))]
    if kind == "number":
        concluded = [each for each in concluded if not _differ_in_unit(answer, each.answer or "")]
    return not are_one([*readable, *(each for each in concluded if not each.error)], kind)


def _concluded_option(text: str, choices: Sequence[str]) -> int | None:
    """The option that ends an explanation, `so B is right`, or that its one sentence names."""
    *before, last = _SENTENCE_END.split(text.strip())
    index = concluded_letter(last.rstrip("."), choices)
    if index is None and not before and not NOT_PLAIN.search(last):
        named = [place for place in range(len(choices)) if is_named(place, last, choices)]
        index = named[0] if len(named) == 1 else None
    return index


def _other_result(text: str, answer: str) -> str:
    """The number that an explanation comes to, where the answer is none of its numbers."""
    last = _SENTENCE_END.split(text.strip())[-1]
    is_result = _EQUALS.search(last) or CONCLUDES.match(last)
    if not is_result or numerals(answer) <= numerals(text):
        return ""
    read = read_answer(last, "number", []).answer or _RESULT.split(last)[-1].strip()
    found, given = read_quantity(read), read_quantity(answer)
    if found is None or given is None:
        return ""
    sizes = sorted((abs(found.value), abs(given.value)))
    is_rounded = sizes[1] - sizes[0] < 1 and 1 in (found.value.denominator, given.value.denominator)
    is_near = 100 * (sizes[1] - sizes[0]) < sizes[1]
    is_scaled = bool(sizes[0]) and sizes[1] / sizes[0] in _SCALES
    return "" if is_rounded or is_near or is_scaled else found.text


def _differ_in_unit(left: str, right: str) -> bool:
    """Whether two numbers have units that cannot be compared here: 1.5 hours, 90 minutes."""
    units = {found.unit for one in (left, right) if (found := read_quantity(one)) and found.unit}
    return len(units) > 1
