"""The answer that a reply gives: of which kind it is, cleaned, and as one of the options.

Promises: nothing here raises on any text; an option is named by its letter, by its words, or by
both where they agree, and otherwise by nothing; a letter never reaches the data, since each vote
shows the options in another order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tsqa.boxes import boxed_content, boxed_contents
from tsqa.filters.formulas import as_formula, list_items
from tsqa.filters.text import normalise
from tsqa.quantities import looks_like_range_or_date, read_quantity, state_quantity
from tsqa.recipe import AnswerKind
from tsqa.replies import fenced_code, repeats

_MAX_SHORT_WORDS = 6
"""A number with its unit, or a name; what is longer is a sentence."""

STATED = re.compile(r"\b(?:answer|option|choice) (?:is|would be|must be)\b:?", re.IGNORECASE)
_NEXT_SENTENCE = re.compile(r"[.!] (?=(?:This|That|It|Because|Since|The|So|Therefore|We)\b)")
_LETTER = re.compile(
    r"(?:(?:option|choice|answer) )?[(\[]?(?P<letter>[A-Za-z])"
    r"(?:[)\]][.:]?|[.:,](?=\s|$)|(?= [-\u2013\u2014] )|$)(?P<rest>.*)",
    re.DOTALL | re.IGNORECASE,
)
_SECOND_LETTER = re.compile(r"\s*(?:and|or|,|&|/)?\s*[(\[]?[A-Za-z](?:[)\].,]|$)")
_WORD_GOES_ON = re.compile(r"[\w%+*#]|[-.,/:^]\w")
_SIGNS = re.compile(r"\d|[+*/=<>^%$#]|(?<!\w)-")
_JOINED = re.compile(r"\W{0,3}(?:or|and)\b")
_MENTION = re.compile(
    r"\b(?P<noun>(?i:option|choice|answer|answer is):? )[*]{0,2}\(?(?P<named>[A-Z])\b\)?[*]{0,2}"
    r"|\((?P<bracketed>[A-Z])\)"
    r"|^(?P<bullet>[ \t]{0,8}(?:[-*+] )?)[*]{0,2}\(?(?P<leading>[A-Z])[.):]\)?[*]{0,2}[ \t]+",
    re.MULTILINE,
)
_ABOUT = re.compile(r"\\approx(?:eq)?(?![a-zA-Z])")
_NAME = re.compile(
    r"[A-Za-z]\w{0,20}(?: [A-Za-z]\w{0,20}){0,4}"
    r"|[a-zA-Z](?:_\{?\w{1,9}\}?)?(?:\([\w, ]{1,9}\))?"
)
_UNKNOWN = re.compile(
    r"(?<![A-Za-z\\])[b-hj-zB-HJ-Z](?![A-Za-z])|[<>\u2264\u2265\u2260|]|\\(?:[lg]eq?|neq?)\b"
)
_CORRECTION = re.compile(
    r"\b(?:wait|actually|correction|corrected|mistake|mistaken|error|sorry|instead|recheck|re-check"
    r"|rechecking|check again|on second thought|should be|should have been|let me re\w*|let's re\w*"
    r"|no,|not right|wrong|incorrect|rather)",
    re.IGNORECASE,
)
_YES_NO = re.compile(
    r"(?:(?:it|this|that|the (?:statement|answer|claim)) is )?(?P<word>yes|no|true|false)\b",
    re.IGNORECASE,
)
_ABBREVIATION = re.compile(r"[A-Za-z]\.[A-Za-z]\.$")
_TEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\{([^{}]*)\}")
_TEX_INLINE = re.compile(r"\$([^$\s]+)\$(?!\d)|\\\((.+?)\\\)")
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


def read_answer(text: str, kind: AnswerKind, choices: Sequence[str]) -> Reading:
    """Read what stands where the answer belongs, be it the bare answer or a sentence with it."""
    if repeats(text):
        return Reading(error="repeats itself")
    if kind != "code" and _disagreeing_boxes(text):
        return Reading(error="several boxes")
    match kind:
        case "choice" if choices:
            return _choose(text, choices)
        case "number":
            return _read_number(_concluded(text))
        case "boolean":
            return _read_boolean(_concluded(text))
        case "long_text":
            answer = tidy(text)
        case "code":
            answer = read_code(text)
        case _:
            answer = _concluded(text)
    return Reading(answer=answer) if answer else Reading(error="no answer")


def read_code(text: str) -> str:
    """The program in a text: what its longest fence holds, or all of it."""
    block = fenced_code(text)
    return block[0] if block else text.strip("\n")


def name_options(text: str, choices: Sequence[str]) -> str:
    """Letters replaced by the options they stand for: each vote shows another order."""

    def name(match: re.Match[str]) -> str:
        letter = match["named"] or match["bracketed"] or match["leading"]
        index = ord(letter) - ord("A")
        if index >= len(choices):
            return match[0]
        option = choices[index]
        is_said = text[match.end() :].lstrip(" *:.)").casefold().startswith(option.casefold())
        if match["leading"]:
            return match["bullet"] + ("" if is_said else f"{option}: ")
        kept = match["noun"] if (match["noun"] or "").lower().startswith("answer is") else ""
        return kept if is_said else f'{kept}"{option}"'

    return _MENTION.sub(name, text)


def _disagreeing_boxes(text: str) -> bool:
    """Whether a text boxes different results, none of which corrects the ones before it."""
    boxes = boxed_contents(text)
    contents = {re.sub(r"\s+", "", content) for _, _, content in boxes}
    if len(contents) < 2:
        return False
    (_, end, _), (begin, _, _) = boxes[-2:]
    return not _CORRECTION.search(text, end, begin)


def tidy(text: str) -> str:
    """A longer text without the rules, blank lines and torn bold marks that labels leave behind."""
    text = re.sub(r"[ \t]+$", "", text.strip(), flags=re.MULTILINE)
    text = re.sub(r"(?:\n\s*-{3,})+\Z", "", text)
    text = re.sub(r"\n{3,}", "\n\n", text)
    if text.count("**") % 2:
        text = text.removesuffix("**").removeprefix("**")
    return text.strip()


def _choose(text: str, choices: Sequence[str]) -> Reading:
    """The option that a text names, by its letter, by its words, or by both if they agree."""
    said = re.sub(r"^(?:it is|it's|this is|that is) ", "", _concluded(text), flags=re.IGNORECASE)
    letter = _LETTER.match(said)
    index = ord(letter["letter"].upper()) - ord("A") if letter else len(choices)
    worded = _find_option(text, choices)
    worded = _find_option(said, choices) if worded is None else worded
    if letter is None or index >= len(choices):
        worded = _find_prefix(said, choices) if worded is None else worded
        if worded is None:
            return Reading(error="names no option")
        return Reading(answer=choices[worded], index=worded)
    if worded is None:
        worded = _find_option(letter["rest"], choices)
    if worded is None and _SECOND_LETTER.match(letter["rest"]):
        return Reading(error="names two options")
    if worded is None:
        worded = _find_prefix(letter["rest"], choices)
    if worded not in (None, index):
        return Reading(error="letter and words name different options")
    return Reading(answer=choices[index], index=index)


def _find_option(text: str, choices: Sequence[str]) -> int | None:
    """The one option that a text equals: as cleaned, else as a number, else by its words."""
    for key in (_folded, _numeric, _worded):
        keys = [key(choice) for choice in choices]
        wanted = key(text)
        if wanted and len(set(keys)) == len(keys) and wanted in keys:
            return keys.index(wanted)
    return None


def _find_prefix(text: str, choices: Sequence[str]) -> int | None:
    """The longest option with which a text begins, unless it goes on with `or` or `and`."""
    said = _folded(text)
    found = [
        (len(option), index)
        for index, option in enumerate(map(_folded, choices))
        if option and said.startswith(option) and not _WORD_GOES_ON.match(said, len(option))
    ]
    if not found:
        return None
    length, index = max(found)
    return None if _JOINED.match(said, length) else index


def _folded(text: str) -> str:
    return " ".join(_clean(text).casefold().replace("\u2212", "-").split())


def _worded(text: str) -> str:
    """The words alone; empty where signs tell more than words, as in -5, C++ and x < y."""
    return "" if _SIGNS.search(text) else normalise(text)


def _numeric(text: str) -> str:
    found = read_quantity(_clean(text))
    return "" if found is None or found.unit not in ("", "%") else f"{found.value} {found.unit}"


def _read_number(text: str) -> Reading:
    """A number with its unit, a formula whole, or the one number that a plain sentence states."""
    value = _right_side(text.replace("\u2212", "-"))
    found = read_quantity(value)
    if found is not None:
        return Reading(answer=found.text)
    if looks_like_range_or_date(value):
        return Reading(error="not a number")
    formula = as_formula(value)
    if formula:
        several = len(set(list_items(formula))) > 1
        return Reading(error="several numbers") if several else Reading(answer=value)
    stated, error = state_quantity(value)
    return Reading(answer=stated.text) if stated else Reading(error=error)


def _right_side(text: str) -> str:
    """What a calculation, or a name, comes to: 20 of 4 * 5 = 20, and 3 of x = 3."""
    text = _ABOUT.sub("\u2248", text)
    left, equals, right = text.rpartition("\u2248" if "\u2248" in text else "=")
    if not equals or left[-1:] in tuple("<>!=:") or re.search(r"[,;]\s|\b(?:or|and)\b", text):
        return text
    sides = [side.strip().strip("$").strip() for side in re.split(r"[=\u2248]", left)]
    is_result = all(
        _NAME.fullmatch(side) or (re.search(r"\d", side) and not _UNKNOWN.search(side))
        for side in sides
    )
    if is_result and any(map(str.isdigit, right)):
        return right.strip().removesuffix("$").strip()
    return text


def _read_boolean(text: str) -> Reading:
    match = _YES_NO.match(text)
    if not match:
        return Reading(error="not yes or no")
    said = set(normalise(text).split()) if len(text.split()) <= 4 else set()
    if said & {"yes", "true"} and said & {"no", "false"}:
        return Reading(error="both yes and no")
    return Reading(answer="yes" if match["word"].lower() in ("yes", "true") else "no")


def _concluded(text: str) -> str:
    """What a text ends up saying: in its last box, after `####`, after `the answer is`, or all."""
    boxed = boxed_content(text)
    if boxed:
        return _clean(boxed)
    text = text.rpartition("####")[2]
    _, *after = STATED.split(text)
    stated = after[-1].strip().partition("\n")[0] if after else ""
    return _clean(_NEXT_SENTENCE.split(stated)[0] or text)


def _clean(text: str) -> str:
    """A short answer without markdown, LaTeX wrappers, quotes and its final full stop."""
    text = re.sub(r"(?<!\w)\*\*|\*\*(?!\w)", "", text.strip())
    text = _TEX_TEXT.sub(r"\1", text)
    text = _TEX_INLINE.sub(lambda match: match[1] or match[2], text)
    for written, meant in ((r"\$", "$"), (r"\%", "%"), ("{,}", ","), (r"\,", " "), (r"\!", "")):
        text = text.replace(written, meant)
    before = ""
    while text != before:
        before = text
        text = text.strip().removeprefix("= ")
        if len(text.split()) <= _MAX_SHORT_WORDS and not _ABBREVIATION.search(text):
            text = text.removesuffix(".")
        for opening, closing in _WRAPPERS:
            inner = text[len(opening) : -len(closing)]
            if text == f"{opening}{inner}{closing}" and inner and opening not in inner:
                text = inner
    return text.strip()
