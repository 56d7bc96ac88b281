"""The answer of a reply: read as its kind, cleaned, and as one of the options.

Guarantees: nothing here raises on any text; what is in doubt is no answer, and says why.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tsqa.programs.fences import fenced_code
from tsqa.recipe import AnswerKind
from tsqa.records.votes import classify_answers, same_answer
from tsqa.teachers.replies.choice import choose, find_option, is_named
from tsqa.teachers.replies.fields import BLANK, repeats
from tsqa.teachers.replies.judgement_reply import BOTH, begins_with, read_verdict
from tsqa.teachers.replies.stated_answer import (
    TAKES_BACK,
    given_again,
    last_statement,
    only_supposes,
    said_instead,
)
from tsqa.text.boxes import boxed_content, boxed_contents
from tsqa.text.formulas import as_formula, list_items
from tsqa.text.quantities import looks_like_range_or_date, read_quantity, state_quantity

_MAX_SHORT_WORDS = 6
"""A number with its unit, or a name; what is longer is a sentence."""

_ABOUT = re.compile(r"\\approx(?:eq)?(?![a-zA-Z])")
_WHERE = re.compile(r"\d.*\b(?:when|if|where|for|at|with|given|and) [A-Za-z ]{1,40}\Z", re.DOTALL)
"""`12 when height` of `area = 12 when height = 3`."""
_NAME = re.compile(
    r"[A-Za-z]\w{0,20}(?: [A-Za-z]\w{0,20}){0,4}"
    r"|[a-zA-Z](?:_\{?\w{1,9}\}?)?(?:\([\w, ]{1,9}\))?"
)
_UNKNOWN = re.compile(
    r"(?<![A-Za-z\\])[b-hj-zB-HJ-Z](?![A-Za-z])|[<>\u2264\u2265\u2260|]|\\(?:[lg]eq?|neq?)\b"
)
_WITH_UNIT = re.compile(
    r"(?<=\d) (?:[kcmM\u03bc\u00b5]?(?:m|g|s|N|J|W|V|A|K|L|h|C|Pa|Hz)|mol|min)"
    r"(?:\^?-?\d|[\u00b2\u00b3])?(?:[/\u00b7*](?:[kcm]?[mgsh]|mol|min)(?:\^?-?\d|[\u00b2\u00b3])?)*"
    r"(?![A-Za-z\d])"
)
"""`2 kg`, `3 m/s^2` of a calculation whose result has a unit too."""
_CORRECTION = re.compile(
    r"\b(?:wait|actually|correction|corrected|mistake|mistaken|error|sorry|instead|recheck|re-check"
    r"|rechecking|check again|on second thought|should be|should have been|let me re\w*|let's re\w*"
    r"|no,|not right|wrong|incorrect|rather|at first|initially)",
    re.IGNORECASE,
)
_ACTUALLY = re.compile(r"^(?:actually|hm+)[,\u2026.]+ (?=\S)", re.IGNORECASE)
_ASIDE = re.compile(
    r"\A(?:sure|certainly|of course|absolutely|great question|good question)[!.:]\s+(?=\w)"
    r"|(?<=\w), (?:of course|certainly|obviously)\b[!.]?\Z",
    re.IGNORECASE,
)
_MARKED = re.compile(r"^[-*\u2022>] (?=[^\W\d_])")
_TICK = re.compile(r"(?<=\S)\s{0,2}[\u2713\u2714\u2705\u2611]\ufe0f?$")
_MARK_BEFORE = re.compile(
    r"^(?:[\u2713\u2714\u2705\u2611]\ufe0f?|\u27a1\ufe0f?|\U0001f449"
    r"|[\u2192\u21d2\u27f9\u2234]|=>)\s*(?=\S)"
    r"|^>\s*(?=[A-Z]\b|[^\W\d_]{3})"
)
"""`> 5` and `> x` are relations, and no quoted lines."""
_DOUBLE = re.compile(r"\[\[(\d+(?:\.\d+)?|[^\W\d_][^\[\],;]*)\]\]")
"""`[[1, 2]]` is a matrix."""
_EXCLAIMED = re.compile(r"\d![\s*_'\")]*\Z")
_REASON = re.compile(r",? (?:since|because)\b.*", re.DOTALL | re.IGNORECASE)
_EMPHASIS = re.compile(
    r"^(?:(?:so|thus|therefore|hence|consequently|finally|altogether|in total)\b[,:]? (?=\S))?"
    r"(?:(?:exactly|precisely|simply) (?=\S))?",
    re.IGNORECASE,
)
_NOT_ANOTHER = re.compile(
    r"(?:, | \()not -?[$\u20ac\u00a3]?\d[\d.,/]*(?: ?(?:%|[A-Za-z]+))?\)?\.?$", re.IGNORECASE
)
_CHECKED = re.compile(
    r"[.;]\s{1,3}(?:(?:to|we|i|let(?: us|'s)|as a|quick) ){0,3}"
    r"(?:(?:re|double[- ]?)?check|verif).*",
    re.DOTALL | re.IGNORECASE,
)
"""Whose result is another: `x = 4. Check: 2 * 4 = 8`."""
_TURNS = re.compile(r"\b(?:but|however|yet|although|though|instead)\b", re.IGNORECASE)
_AGAIN = re.compile(r"^(?:that is|i\.?e\.?|or|equivalently|which (?:is|equals))[,:]? (?=\S)", re.I)
_IN_BOLD = re.compile(
    r"(?:(?!\b(?i:no|not|nor|none|nobody|nothing|neither|never|cannot)\b|n['\u2019]t\b)[^*\n])*"
    r"\b(?:is|are|was|were|be|called|named|by|equals) (?P<mark>\*\*|__)(?!no[tr]?\b)"
    r"(?P<said>[^*\n]*\w)"
    r"[.!]?(?P=mark)(?:(?:, | \()not (?!(?:only|just|merely|simply|always|necessarily"
    r"|entirely|fully|completely|usually|often|to|until|before|yet)\b)[^*()\n]{1,60}\)?)?[.!]?"
)
_NUMBER_IN_BOLD = re.compile(r"(?P<before>[^*\n]+)\*\*(?P<said>[^*\n]+?)[.!]?\*\*[.!]?")
_CONFIDENCE = re.compile(
    r"(?:[.,;]\s|\s[\[(])\bconfidence(?: level| score)?(?: ?[:=]| is\b)"
    r" ?(?:\.?\d|(?:very |fairly )?(?:high|medium|moderate|low|certain|full)\b)[^\n]{0,20}$",
    re.IGNORECASE,
)
_ROUNDED = re.compile(
    r"(?<=[\w%])(?:, | \()(?:when )?(?:rounded(?: (?:up|down|off))?|(?:correct|accurate)(?= to ))"
    r"(?: ?to (?:(?:the )?(?:nearest )?(?:(?P<none>whole|integer|dollar|unit)|(?P<one>tenth)"
    r"|(?P<two>hundredth|cent))|(?:the )?nearest [a-z\d]"
    r"|(?P<places>\d|one|two|three|four) (?:d|places)"
    r"|(?:\d|one|two|three|four) s)[a-z .]{0,24})?\)?[.]?\Z",
    re.IGNORECASE,
)
_PLACES = {"one": 1, "two": 2, "three": 3, "four": 4}
_TABLE_ROW = re.compile(r"\|[ \t].*[ \t]\|[ \t].*\|")
_REMARK = re.compile(r"(?P<main>[^()\n]*[^()\s]) \((?P<again>[^()\n]+)\)")
_NOT_AVAILABLE = re.compile(r"n\.? ?/ ?a\.?", re.IGNORECASE)
_VARIABLE = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
_LEFT_OPEN = re.compile(
    r"(?:the |your |my |final |correct |short )*answer(?: here| goes here| is)?:?"
    r"|[\[{](?:(?:the |your |my |final |correct |short |insert )*"
    r"(?:answer|response|text|value|word)(?: here| goes here)?)[\]}]"
    r"|[(<](?:(?:the |your |my |final |correct |short |insert )+"
    r"(?:answer|response|text|value|word)(?: here| goes here)?)[)>]"
    r"|t\.?b\.?d\.?",
    re.IGNORECASE,
)
"""A short answer that only shows where one would stand; a single word may be one."""
_ABBREVIATION = re.compile(r"[A-Za-z]\.[A-Za-z]\.$")
_PARTS = re.compile(r"\(?a[).]\s*\S.*\(?b[).]\s*\S", re.IGNORECASE | re.DOTALL)
_UNCOMMITTED = re.compile(
    r"\A(?:i (?:think|believe|guess|suppose)|(?:i(?:'m| am) )?not sure"
    r"|(?:maybe|perhaps|probably|possibly)(?=\W+\w)|(?:it(?:'s| is) )?either\b[^\n]*\bor)\b"
    r"|\A(?!to be\b)(?:[\w.'\u2019-]{3,} ){1,3}or (?!more\b|less\b|later\b|so\b|not\b|both\b)"
    r"[\w.'\u2019-]{3,}(?: [\w.'\u2019-]{3,}){0,2}\Z"
    r"|,? i (?:think|believe|guess|suppose)\W*\Z"
    r"|\Amy (?:best |first |educated )*guess\b"
    r"|(?:[(,.;\u2013\u2014-]\s?|\bbut )(?:but )?(?:i(?:'m| am) )?"
    r"(?:not (?:entirely |completely )?(?:sure|certain)|unsure)\W*\Z"
    r"|\?\W{0,3}\s+\w|[.!]\s[^\n]*\?\W*\Z"
    r"|\A(?:see|as) (?:above|below)\b",
    re.IGNORECASE,
)
"""A short answer that says it is not sure, asks, or only points at another place."""
_RULE = re.compile(r"-{3,}")
_TEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\{([^{}]*)\}")
_TEX_INLINE = re.compile(
    r"\$([^$\s]+|(?=[^$\n\\]*\\[a-zA-Z])[^$\n]+)\$(?!\d)|\\\(((?:(?!\\\().)+?)\\\)"
)
_EMPTY_BOX = re.compile(r"\\boxed\s*\{\s*\}")
_EQUALS = re.compile(r"(?:= \s*)+|=(?=[-+]?[\d.$])")
_WRAPPERS = (
    ("$$", "$$"), ("$", "$"), (r"\[", r"\]"), (r"\(", r"\)"), ("**", "**"),
    ("*", "*"), ("`", "`"), ('"', '"'), ("'", "'"), ("\u201c", "\u201d"),
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    answer: str | None = None
    """One of the choices where there are any; None when it cannot be read."""
    index: int | None = None
    """Into the choices."""
    error: str = ""
    is_bare: bool = False
    """Of a choice: the text is the option's letter or words, and nothing else."""


def read_answer(text: str, kind: AnswerKind, choices: Sequence[str]) -> Reading:
    """Read the text of an answer field: the bare answer, or a sentence with it."""
    if repeats(text):
        return Reading(error="repeats itself")
    if kind != "code" and _disagreeing_boxes(text):
        return Reading(error="several boxes")
    is_marked = "####" in text or bool(boxed_content(text))
    if kind in ("number", "short_text") and not is_marked and only_supposes(text):
        return Reading(error="states no answer of its own")
    again = given_again(text) if kind in ("choice", "number") else []
    twice = [read_answer(part, kind, choices) for part in again]
    if not (any(reading.error for reading in twice) or are_one(twice, kind)):
        return Reading(error="answers contradict each other")
    match kind:
        case "choice" if choices:
            return _choose(text, choices)
        case "number":
            if _EXCLAIMED.search(text) and not boxed_content(text):
                return Reading(error="a number or its factorial")
            return _read_number(_concluded(text))
        case "boolean":
            return _read_boolean(text)
        case "long_text":
            answer = tidy(text)
        case "code":
            return read_program(read_code(text))
        case _:
            bold = _IN_BOLD.fullmatch(text.strip())
            read = _read_words(bold["said"] if bold else _concluded(text))
            if read.answer is None:
                return read
            answer = read.answer
    return Reading(answer=answer) if answer.strip(BLANK) else Reading(error="no answer")


def are_one(readings: Sequence[Reading], kind: AnswerKind) -> bool:
    """Whether readings without errors give one answer."""
    values = classify_answers([each.answer for each in readings], kind)
    return len({(each.index, value) for each, value in zip(readings, values, strict=True)}) < 2


def read_program(text: str) -> Reading:
    """Read a program that stands in no fence any more."""
    if repeats(text):
        return Reading(error="repeats itself")
    answer = text.strip("\n")
    return Reading(answer) if answer.strip(BLANK) else Reading(error="no answer")


def read_code(text: str) -> str:
    """Take the program out of a text: what its fences hold, or all of it."""
    block = fenced_code(text)
    return block[0] if block else text


def _disagreeing_boxes(text: str) -> bool:
    """Whether a text boxes different results, none of which corrects the ones before it."""
    boxes = boxed_contents(text)
    contents = list(dict.fromkeys(re.sub(r"\s+", "", content) for _, _, content in boxes))
    if len(set(classify_answers(contents, "number"))) < 2:
        return False
    (_, end, _), (begin, _, _) = boxes[-2:]
    return not _CORRECTION.search(text, end, begin)


def tidy(text: str) -> str:
    """Drop the rules, blank lines and torn bold marks that labels leave in a longer text."""
    lines = [line.rstrip(" \t") for line in text.strip().split("\n")]
    while len(lines) > 1 and (not lines[-1].strip() or _RULE.fullmatch(lines[-1].strip())):
        lines.pop()
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
    if text.count("**") % 2:
        text = text.removesuffix("**").removeprefix("**")
    return text.strip()


def _choose(text: str, choices: Sequence[str]) -> Reading:
    """The option that a text names, by its letter, by its words, or by both if they agree."""
    cleaned = [_clean(choice) for choice in choices]
    chosen = choose(_clean(text), _concluded(text), cleaned)
    if chosen.index is None:
        index = _computed(_concluded(text), cleaned)
        return Reading(error=chosen.error) if index is None else Reading(choices[index], index)
    for _, said in said_instead(_concluded(text)):
        other = choose(_clean(said), _clean(said), cleaned).index
        if other not in (None, chosen.index):
            return Reading(error=TAKES_BACK)
    return Reading(choices[chosen.index], chosen.index, is_bare=chosen.is_bare)


def _computed(said: str, choices: Sequence[str]) -> int | None:
    """The option that is the result of a calculation, `x = 8 / 2 = 4`, in which no other stands."""
    result = _right_side(said)
    index = find_option(result, choices) if result != said and read_quantity(result) else None
    is_other = any(is_named(n, said, choices) for n in range(len(choices)) if n != index)
    return None if is_other else index


def _read_number(text: str) -> Reading:
    """A number with its unit, a formula whole, or the one number that a plain sentence states."""
    said = text.replace("\u2212", "-")
    if not _CORRECTION.search(said):
        checked = _CHECKED.search(said)
        said = said if checked and _TURNS.search(checked[0]) else _CHECKED.sub("", said)
        said = _REASON.sub("", _EMPHASIS.sub("", said))
        said = _NOT_ANOTHER.sub("", said)
    if _PARTS.match(said):
        return Reading(error="several numbers")
    said = _CONFIDENCE.sub("", said)
    rounded = _ROUNDED.search(said)
    if rounded:
        said = said[: rounded.start()]
        decimals = re.search(r"\.(\d+)\D*\Z", said)
        if len(decimals[1] if decimals else "") > _places(rounded):
            return Reading(error="a number before it is rounded")
    remarked = _REMARK.fullmatch(said)
    if remarked and not _VARIABLE.search(remarked["again"]):
        again = _read_number(_AGAIN.sub("", remarked["again"]))
        main = _read_number(remarked["main"])
        is_said_twice = (
            main.answer and again.answer and same_answer(main.answer, again.answer, "number")
        )
        if is_said_twice:
            return main
        if main.answer and (again.answer or any(map(str.isdigit, remarked["again"]))):
            return Reading(error="several numbers")
    value = _right_side(said)
    found = read_quantity(value)
    if found is not None:
        return Reading(answer=found.text)
    is_row = _TABLE_ROW.fullmatch(value.strip())
    if is_row or looks_like_range_or_date(value) or _NOT_AVAILABLE.fullmatch(value):
        return Reading(error="not a number")
    formula = as_formula(value)
    if formula:
        several = len(set(list_items(formula))) > 1
        return Reading(error="several numbers") if several else Reading(answer=value)
    stated, error = state_quantity(value)
    return Reading(answer=stated.text) if stated else Reading(error=error)


def _places(rounded: re.Match[str]) -> float:
    """The most decimals of a number that is said to be rounded so."""
    if rounded["places"]:
        said = rounded["places"].lower()
        return _PLACES.get(said) or int(said)
    known = next((n for n, name in enumerate(("none", "one", "two")) if rounded[name]), None)
    return math.inf if known is None else known


def bold_number(sentence: str) -> str:
    """The number that alone is bold in a sentence, and ends it: 6 of `9 - 3 leaves **6**`."""
    bold = _NUMBER_IN_BOLD.fullmatch(sentence.strip())
    if bold is None:
        return ""
    clause = re.split(r"[.!?]\s+", bold["before"])[-1]
    before = re.sub(r"\d[\d.,/]*", "n", clause)
    stated, _ = state_quantity(f"{before}{bold['said']}")
    return stated.text if stated else ""


def _right_side(text: str) -> str:
    """What a calculation, or a name, comes to: 20 of 4 * 5 = 20, and 3 of x = 3."""
    text = _ABOUT.sub("\u2248", text)
    left, equals, right = text.rpartition("\u2248" if "\u2248" in text else "=")
    if equals == "\u2248" and re.search(r"\bexact", left):
        return left.strip()
    if not equals or left[-1:] in tuple("<>!=:") or re.search(r"[,;]\s|\b(?:or|and)\b", text):
        return text
    result = read_quantity(right.strip())
    left = _WITH_UNIT.sub("", left) if result and result.unit else left
    sides = [side.strip().strip("$").strip() for side in re.split(r"[=\u2248]", left)]
    # `V = lwh = 3 * 4 * 5 = 60` tells of V; `2x = 6`, `y = 2x = 6` and `x + y = 5` are equations,
    # and of `y = 2x = 6 when x = 3` the last side is no result.
    is_known = [
        _NAME.fullmatch(side) or (re.search(r"\d", side) and not _UNKNOWN.search(side))
        for side in sides
    ]
    is_last = is_known[-1] or equals == "\u2248" or "\u03c0" in right  # computed: of a circle
    is_result = is_last and (_NAME.fullmatch(sides[0]) or all(is_known))
    if is_result and not _WHERE.search(left) and any(map(str.isdigit, right)):
        return right.strip().removesuffix("$").strip()
    return text


def _read_boolean(text: str) -> Reading:
    concluded, begun = _concluded(text), _clean(text)
    verdict, error = read_verdict(concluded)
    if verdict is None:
        return Reading(error=error)
    if concluded != begun and begins_with(not verdict, begun):
        return Reading(error=BOTH)
    return Reading("yes" if verdict else "no")


def _read_words(text: str) -> Reading:
    """A short answer whole, unless it says another one instead, or only where one would stand."""
    text = _ASIDE.sub("", _CONFIDENCE.sub("", _ACTUALLY.sub("", text)))
    text = text if "\n" in text else _MARKED.sub("", text)
    if text.casefold() != "answer" and _LEFT_OPEN.fullmatch(text):
        return Reading(error="no answer")
    if _UNCOMMITTED.search(text):
        return Reading(error="commits to no answer")
    for before, said in said_instead(text):
        sentence = re.split(r"[.!?](?:\s|$)", said, maxsplit=1)[0]
        is_short = len(sentence.split()) <= _MAX_SHORT_WORDS or len(before.split()) <= 3
        if is_short and any(map(str.isalnum, sentence)):
            return Reading(error=TAKES_BACK)
    return Reading(text)


def _concluded(text: str) -> str:
    """What a text ends up saying: in its last box, after `####`, after `the answer is`, or all."""
    boxed = boxed_content(text)
    if boxed:
        return _clean(boxed)
    text = text.rpartition("####")[2]
    return _clean(last_statement(text) or text)


def _clean(text: str) -> str:
    """A short answer without markdown, LaTeX wrappers, quotes and its final full stop."""
    text = re.sub(r"(?<!\w)\*\*|\*\*(?!\w)", "", text.strip())
    text = _TEX_TEXT.sub(r"\1", _EMPTY_BOX.sub("", text))
    text = _TEX_INLINE.sub(lambda match: match[1] or match[2], text)
    for written, meant in ((r"\$", "$"), (r"\%", "%"), ("{,}", ","), (r"\,", " "), (r"\!", "")):
        text = text.replace(written, meant)
    before = ""
    while text != before:
        before = text
        text = _DOUBLE.sub(r"\1", _MARK_BEFORE.sub("", _TICK.sub("", text.strip())))
        begin = _EQUALS.match(text)
        text = text[begin.end() :] if begin else text
        if len(text.split()) <= _MAX_SHORT_WORDS and not _ABBREVIATION.search(text):
            text = text.removesuffix("\u3002")
            text = text if text.endswith("..") else text.removesuffix(".")
        for opening, closing in _WRAPPERS:
            inner = text[len(opening) : -len(closing)]
            if text == f"{opening}{inner}{closing}" and inner and opening not in inner:
                text = inner
    return text.strip()
