"""Which lines of a text are its answer: behind a label, or where a text has none.

Guarantees: nothing is raised on any text; where two lines could be the answer, none is: of steps
the last one holds, of options a line with nothing but one, of sentences the one that concludes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tsqa.recipe import AnswerKind
from tsqa.records.votes import classify_answers
from tsqa.teachers.replies.answer import Reading, are_one, bold_number, read_answer
from tsqa.teachers.replies.choice import LETTERS, find_option
from tsqa.teachers.replies.judgement_reply import begins_with
from tsqa.teachers.replies.stated_answer import (
    given_again,
    is_announced,
    last_statement,
    said_instead,
    statements,
)
from tsqa.text.boxes import boxed_content
from tsqa.text.normalise import normalise
from tsqa.text.quantities import read_quantity

_MAX_BARE_WORDS = 30
"""A first line without a label that is longer than this is prose, not an answer."""
_LETTERED = re.compile(r"[ \t]{0,8}[*]{0,2}\(?([A-J])[.):]\)?[*]{0,2} ?\w")
_ITEM = re.compile(r"^[ \t]*(?:[-*\u2022]|\(?\d{1,2}[.)])[ \t]+")
_LISTED = re.compile(
    r"(?:(?:^|\n)[ \t]*[-*\u2022][ \t]+\S[^\n]*){2,}"
    r"|(?:(?:^|\n)[ \t]*\(?\d{1,2}[.)][ \t]+\S[^\n]*){2,}"
)
"""Items below each other, which are one answer or its working, not the first of them."""
_FIRST_STEP = re.compile(r"[\s*_#]*(?:\(?1[.)]\s|step (?:1|one)\b|first(?:ly)?,)", re.IGNORECASE)
_CALCULATES = re.compile(r"[\s*$(\\]*\d[^\n=]{0,99}=")
_NAMES_RESULT = re.compile(r"[\s*$(\\]*[A-Za-z]\w{0,20} ?= ?[^\n=]*$")
_THEN = re.compile(r"^[\s*_]*(?:then|next|now|so|and|finally)\b[,:]? ?", re.IGNORECASE)
_NUMERAL = re.compile(r"\d+(?:[.,]\d+)*")
_IN_ALL = re.compile(
    r"\b(?:altogether|together|in total|in all|left|remain(?:s|ing)?)\b", re.IGNORECASE
)
CONCLUDES = re.compile(
    r"[\s*_#]*(?:so|thus|therefore|hence|consequently|in total|altogether|finally|in conclusion"
    r"|(?:the |final |grand )*(?:total|result|sum|answer))\b",
    re.IGNORECASE,
)
_EQUALS = re.compile("[=\u2248]")
_CHECKS = re.compile(
    r"[\s*_(-]*(?:to )?(?:(?:re|double[- ]?)?check|verif|proof|probe\b)", re.IGNORECASE
)
_VERDICT = re.compile(
    r"[\s*_]*(?:yes|no|true|false)\b[\s*_]*(?:$|[,.;:!\u2014\u2013-])", re.IGNORECASE
)
_MARK_FIRST = re.compile(
    r"^(\W{0,6}[A-J][.):]?[*_]{0,2})\s*([\u2713\u2714\u2705\u2611\u2717\u2718\u274c]\ufe0f?)\s*(\S.*)$"
)
_JUDGED = re.compile(
    r"\W{0,6}(?:option |choice )?(?P<letter>[A-J])(?![A-Za-z])(?P<text>[^\n]*?)(?: is"
    r"|:)?[\s*_(\u2013\u2014-]{0,6}"
    r"(?:(?P<right>[\u2713\u2714\u2705\u2611]\ufe0f?|\b(?:yes|true|correct|right)\b)"
    r"|[\u2717\u2718\u274c]\ufe0f?|\b(?:no|false|incorrect|wrong)\b)"
    r"(?P<after>[)*_.,;:\u2013\u2014-][^\n]*)?\s*",
    re.IGNORECASE,
)
_GLOSS = re.compile(r"\s?(?::| [\u2013\u2014(-])")
_UNDECIDED = re.compile(
    r"\b(?:yes|true|but|wait|actually|partly|partially|maybe|perhaps|possibly|rather|better|although"
    r"|depend\w*)\b",
    re.IGNORECASE,
)
_ASKS_OR_EXPLAINS = re.compile(
    r"\?|\b(?:not|false|wrong)\b|[\u2713\u2714\u2705\u2611\u2717\u2718\u274c]"
)
"""Above the lines that judge options, what they are judged by."""
_ENDS_IN_NAME = re.compile(
    r"(?P<before>(?:(?:so|thus|therefore|hence|consequently),? )?"
    r"(?:(?:of|among) [^.,!?;:\n]{3,40}, )?the [^.,!?;:\n]{2,150}"
    r"\b(?:is|are|was|were|be|equals)) (?:called |indeed |simply )?[*_]{0,2}"
    r"(?P<named>[^.!?;\n]+?)[*_]{0,2}(?: \((?P<letter>[A-J])\))?[*_]{0,2}[.!]?",
    re.IGNORECASE,
)
_IS_BOLD = re.compile(
    r"(?P<before>[^*?\n]*\b(?:is|are|was|were|be|called|by|on|in|at)) \*\*(?P<named>[^*\n]+)\*\*"
    r"(?P<after>[.,;][^*?\n]*)"
)
_CONCLUDES_ELSE = re.compile(
    r"\b(?:so|thus|therefore|hence|which (?:means|makes|gives|implies|tells))\b", re.IGNORECASE
)
NOT_PLAIN = re.compile(
    r"\b(?:no|not|never|none|nor|neither|except|if|whether|could|might|may|maybe|perhaps|would|wrong"
    r"|incorrect|false|unlike|than|but|although|though|while|other|another|some|people|one|and|or"
    r"|options?|choices?|answers?|guess(?:es)?|mistake\w*|errors?|misconceptions?|myths?|traps?"
    r"|poorly|badly|weakly|worse|worst|seldom|rarely"
    r"|distractors?|decoys?|runner-up|opposite|contrary|avoid|bad|question|statement|unlikely|hardly"
    r"|(?:second|third|next)[ -](?:most|\w+st)|(?:least|less) (?:likely|plausible)|once|used to"
    r"|long|(?:believ|think|thought|sa(?:y|id)|claim|assum|pretend|doubt|suppos|seem|appear|consider"
    r"|eliminat|exclud|reject|rul(?:e[ds]?|ing) out|discard|expect|suggest|tempt|compet)\w*)\b"
    r"|n['\u2019]t\b",
    re.IGNORECASE,
)
"""What tells of an option but not that it is the answer: `the trap is`, `the second best is`."""


def first_line(value: str, is_torn: bool, kind: AnswerKind) -> tuple[str, str]:
    """(answer, the text after it) of a labelled answer; nothing where the cut went through it."""
    boxed = boxed_content(value)
    if kind == "long_text" or boxed:
        return ("", "") if is_torn and not boxed else (value, "")
    if kind == "short_text" and (listed := _listed_answer(value.strip())):
        return ("", "") if is_torn else listed
    line, newline, rest = value.strip().partition("\n")
    if kind == "number" and not is_torn and _is_working(value.strip().splitlines()):
        return bare_answer(value, is_torn, kind, [])
    if is_announced(line):
        announced, newline, rest = rest.strip().partition("\n")
        line = f"{line}\n{announced}"
    return ("", "") if is_torn and not newline else (line, rest.strip())


def bare_answer(
    text: str, is_torn: bool, kind: AnswerKind, choices: Sequence[str]
) -> tuple[str, str]:
    """(answer, explanation) of a text without labels: marked in it, or on its first line."""
    if kind == "long_text":
        return ("", "") if is_torn else (text, "")
    working, marker, final = text.rpartition("####")
    if marker:
        marked = [part.strip().partition("\n")[0] for part in text.split("####")[1:]]
        alone = [one for one in marked if kind == "number" and is_alone(one, kind)]
        if len(set(classify_answers(alone, kind))) > 1:
            return "", ""
        answer, rest = first_line(final, is_torn, kind)
        return answer, rest or working.strip()
    if boxed_content(text):
        return text, _working(text)
    first, newline, rest = text.strip().partition("\n")
    if is_torn:
        if kind == "choice" and _options_again(text.splitlines()):
            return "", ""
        return (first, "") if newline and len(first.split()) <= _MAX_BARE_WORDS else ("", "")
    stated = last_statement(text)
    if stated:
        said = [*statements(text), *given_again(text)[:1]]
        several = [read_answer(one, kind, choices) for one in said]
        is_one = _are_one([one for one in several if not one.error], kind)
        if kind == "boolean":
            opposite = read_answer(stated, kind, []).answer != "yes"
            is_one &= not begins_with(opposite, first) or any(said_instead(first))
        return (stated, _working(text)) if is_one else ("", "")
    if kind == "choice":
        judged = _judged_right(text, choices) or _bold_option(text.strip(), choices)
        named = _named_at_end(text.strip(), choices)
        begun = None if judged else read_answer(first, kind, choices).answer
        if judged or named:
            return (judged or named, _working(text)) if begun in (None, named) else ("", "")
    if kind in ("choice", "number", "boolean"):
        lines = [line for line in text.splitlines() if line.strip()]
        if kind == "number" and _is_aside(lines[-1], lines[:-1]):
            text, lines = "\n".join(lines[:-1]), lines[:-1]
        if kind == "number" and _LISTED.match(text.strip()):
            answer = _after_list(text.strip())
            return answer, "\n".join(line for line in lines if answer and line != answer)
        marked = [bold_number(line) for line in lines] if kind == "number" else [""]
        if marked[-1] and not is_alone(lines[-1], kind):
            values = [read_answer(line, kind, []) for line in (lines[0], *filter(None, marked))]
            is_one = are_one([each for each in values if not each.error], kind)
            return (marked[-1], _working(text)) if is_one else ("", "")
        likely = _likely_line(lines, kind, choices)
        if likely is not None:
            return likely, "\n".join(other for other in lines if other != likely)
    if first.rstrip(" \t*_").endswith(":"):  # it announces what is below it
        return (kind == "short_text" and _listed_answer(text.strip())) or ("", "")
    listed = _listed_answer(text.strip()) if kind == "short_text" else None
    first, rest = listed or (first, rest.strip())
    return (first, rest) if len(first.split()) <= _MAX_BARE_WORDS else ("", "")


def _listed_answer(text: str) -> tuple[str, str] | None:
    """(items in one line, the text after them) of a list, also below a line that announces it."""
    first, _, rest = text.partition("\n")
    is_headed = first.rstrip(" \t*_").endswith(":")
    listed = rest.strip() if is_headed else text
    items = _LISTED.match(listed)
    if items is None:
        return None
    texts = [_ITEM.sub("", line) for line in items[0].splitlines() if line.strip()]
    return ", ".join(texts), listed[items.end() :].strip()


def _judged_right(text: str, choices: Sequence[str]) -> str:
    """The one option that lines call right, of at least three, which call all others wrong."""
    lines = [line for line in text.splitlines() if line.strip()]
    if any(map(_ASKS_OR_EXPLAINS.search, lines[: -len(choices)])):
        return ""
    lines = [_MARK_FIRST.sub(r"\1 \3 \2", line.strip().strip("|")) for line in lines]
    judged = [_JUDGED.fullmatch(line) for line in lines[-len(choices) :]]
    letters = [match["letter"] for match in judged if match]
    if len(choices) < 3 or letters != list(LETTERS[: len(choices)]):
        return ""
    found = [match for match in judged if match]
    if any(_UNDECIDED.search(match["after"] or "") for match in found):
        return ""
    texts = zip(
        (match["text"].strip(" |*_:.)-\u2013\u2014") for match in found), choices, strict=True
    )
    said_of = ((said, choices.index(one)) for said, one in texts if said)
    if any(
        index not in (find_option(said, choices), find_option(_GLOSS.split(said)[0], choices))
        for said, index in said_of
    ):
        return ""
    right = [choice for match, choice in zip(found, choices, strict=True) if match["right"]]
    return right[0] if len(right) == 1 else ""


def _bold_option(text: str, choices: Sequence[str]) -> str:
    """The option that is all that stands in bold, in a reply of one plain sentence about it."""
    found = _IS_BOLD.fullmatch(text)
    around = f"{found['before']} {found['after']}" if found else ""
    index = find_option(found["named"], choices) if found else None
    if (
        index is None
        or _CONCLUDES_ELSE.search(around)
        or NOT_PLAIN.search(around.replace(" and ", ", "))
    ):
        return ""
    said = f" {normalise(around)} "
    others = (f" {normalise(one)} " for place, one in enumerate(choices) if place != index)
    return "" if any(other in said for other in others) else choices[index]


def _named_at_end(text: str, choices: Sequence[str]) -> str:
    """The option with which a reply ends, of one plain sentence or one that concludes.

    `The best conductor is copper.`, or below other lines `Hence, the best conductor is copper.`
    """
    before, _, last = text.rpartition("\n")
    found = _ENDS_IN_NAME.fullmatch(last) if not before or CONCLUDES.match(last) else None
    if found is None or NOT_PLAIN.search(found["before"]):
        return ""
    index = find_option(found["named"], choices)
    if index is None or (found["letter"] and LETTERS.index(found["letter"]) != index):
        return ""
    before = f" {normalise(found['before'])} "
    others = (f" {normalise(one)} " for place, one in enumerate(choices) if place != index)
    return "" if any(other in before for other in others) else choices[index]


def _likely_line(lines: Sequence[str], kind: AnswerKind, choices: Sequence[str]) -> str | None:
    """Of the first and the last line the likelier answer; None where neither can be read.

    Of options, a line with nothing but one counts more than a sentence that begins with one;
    where both lines are of the same sort and name different options, or only options are listed,
    none does: empty. Of values, see `_likely_value`.
    """
    # Options said again, one below the other, are no answer.
    again = _options_again(lines) if kind == "choice" else set()
    ends = [line for line in (lines[0], lines[-1]) if line not in again]
    readings = {line: read_answer(line, kind, choices) for line in ends}
    readable = [line for line, reading in readings.items() if not reading.error]
    if kind != "choice":
        return _likely_value(lines, readable, kind) if readable else None
    likely = [line for line in readable if readings[line].is_bare]
    if readable and not likely:  # lines that begin with other options look at each in turn
        readings |= {line: read_answer(line, kind, choices) for line in lines if line not in again}
        likely = [line for line, reading in readings.items() if not reading.error]
    if len({readings[line].index for line in likely}) > 1:
        return ""
    return likely[0] if likely else "" if again else None


def _options_again(lines: Sequence[str]) -> set[str]:
    """The lines of a list of three or more lettered options."""
    listed = {line: match[1] for line in lines if (match := _LETTERED.match(line))}
    return set(listed) if len(set(listed.values())) > 2 else set()


def _likely_value(lines: Sequence[str], readable: Sequence[str], kind: AnswerKind) -> str:
    """Of the first and the last line, as far as they can be read, the one that is the answer.

    Nothing where they differ and it is not clear which is: a line that is a value alone counts
    more than a sentence; of steps of a calculation the last one holds, unless it checks them.
    """
    if kind == "boolean":  # a later `No other ...` or `This is true of ...` is no verdict
        readable = [*readable[:1], *filter(_VERDICT.match, readable[1:])]
    if kind == "number" and len(lines) > 1 and _FIRST_STEP.match(lines[0]):
        readable = [line for line in readable if line != lines[0]]
    if not readable:
        return ""
    if kind == "number" and len(lines) > 2 and _concludes(lines, readable):
        return lines[-1]
    alone = [line for line in readable if is_alone(line, kind)]
    steps = [line for line in lines if _EQUALS.search(line)] if kind == "number" else []
    ends = [line for line in readable if line in steps]
    towards = [line for line in steps if not _CHECKS.match(line)]
    if towards and not ends and not alone and readable == [lines[0]]:
        # A sentence before steps whose result cannot be read may only say what was given.
        readable = [line for line in readable if _says_same(line, towards[-1])]
    likely = [*alone, *(line for line in ends if line == lines[-1])] if alone else readable
    if lines[0] in alone or lines[0] not in ends:
        values = [read_answer(line, kind, []).answer for line in likely]
        return likely[0] if len(set(classify_answers(values, kind))) == 1 else ""
    last = (alone or readable)[-1]
    if last not in {*alone, *ends}:  # a sentence counts where it says what the last step does
        values = [read_answer(line, kind, []).answer for line in (steps[-1], last)]
        if not values[0] or len(set(classify_answers(values, kind))) > 1:
            last = lines[0]
    if last == lines[0] and len(steps) > 1:
        return ""  # a later step, which cannot be read or is not the end, may hold
    return "" if _CHECKS.match(last) else last


def _are_one(readings: Sequence[Reading], kind: AnswerKind) -> bool:
    """Whether several statements give one answer; of words, one may say more than another."""
    if kind == "short_text":
        texts = sorted((f" {normalise(each.answer or '')} " for each in readings), key=len)
        return all(texts[0] in text for text in texts)
    return are_one(readings, kind)


def is_alone(line: str, kind: AnswerKind) -> bool:
    """Whether a line is a value and no sentence with one."""
    if kind == "boolean":
        return len(line.split()) < 3
    return read_quantity(line.strip(" \t*_`$.")) is not None


def _is_working(lines: Sequence[str]) -> bool:
    """Whether a field for the answer begins with steps towards it.

    Without a number or a word that says so, a calculation whose result the last one takes up: a
    line that explains an answer, or checks it, may have an equals sign too.
    """
    if len(lines) < 2 or _FIRST_STEP.match(lines[0]):
        return len(lines) > 1
    steps = [line for line in lines[1:] if _EQUALS.search(line) and not _CHECKS.match(line)]
    if not steps or not _CALCULATES.match(lines[0]):
        return False
    (given, found), (taken, result) = map(_sides, (lines[0], _THEN.sub("", steps[-1])))
    is_calculated = bool(_CALCULATES.match(_THEN.sub("", steps[-1])))
    return is_calculated and bool(found & taken) and not result & given


def _after_list(text: str) -> str:
    """The number that a list of steps and the prose below it come to; empty where it is unclear.

    A sentence counts where it concludes, is a further step, says what the last step does, or ends
    a list without any.
    """
    listed = _LISTED.match(text)
    items = listed[0].strip().splitlines() if listed else []
    below = [line for line in text[listed.end() if listed else 0 :].splitlines() if line.strip()]
    steps = [_ITEM.sub("", line) for line in items if _EQUALS.search(line)]
    if not below:
        last = _ITEM.sub("", items[-1])
        is_result = any(sign.search(last) for sign in (_EQUALS, _IN_ALL)) or CONCLUDES.match(last)
        return last if is_result and not _CHECKS.match(last) else ""
    values = {line: read_answer(line, "number", []).answer for line in below}
    last = next((line for line in reversed(below) if values[line]), "")
    is_step = any(sign.match(last) for sign in (_CALCULATES, _NAMES_RESULT))
    is_end = last == below[-1] and (not steps or is_step or bool(_IN_ALL.search(last)))
    if not last or CONCLUDES.match(last) or is_end:
        return last
    steps += [line for line in below if line != last and _CALCULATES.match(line)]
    is_same = bool(steps) and _says_same(last, steps[-1])
    return last if is_same and not _CHECKS.match(steps[-1]) else ""


def _is_aside(line: str, before: Sequence[str]) -> bool:
    """Whether a line below a calculation turns a unit, `1 week = 7 days`, and takes up no result.

    `3 hours = 45 km` does: it is the next step, though what it takes up may be in words.
    """
    left, equals, right = line.partition("=")
    turned = read_quantity(left.strip()) if equals else None
    steps = [step for step in before if _EQUALS.search(step)]
    if turned is None or turned.value != 1 or not turned.unit or not steps:
        return False
    results = set().union(*(_sides(step)[1] for step in steps))
    return results.isdisjoint(_NUMERAL.findall(f"{left} {right}"))


def _concludes(lines: Sequence[str], readable: Sequence[str]) -> bool:
    """Whether the last line says what steps below the first sentence come to."""
    is_end = lines[-1] in readable and bool(CONCLUDES.match(lines[-1]))
    return is_end and not is_alone(lines[0], "number") and any(map(_EQUALS.search, lines[1:-1]))


def _says_same(line: str, step: str) -> bool:
    """Whether a line and a step give the same number."""
    values = [read_answer(_ITEM.sub("", one), "number", []).answer for one in (line, step)]
    return all(values) and len(set(classify_answers(values, "number"))) == 1


def _sides(step: str) -> tuple[set[str], set[str]]:
    """The numbers of a step before its last equals sign, and behind it."""
    left, _, right = "=".join(_EQUALS.split(step)).rpartition("=")
    return {*_NUMERAL.findall(left)}, {*_NUMERAL.findall(right)}


def _working(text: str) -> str:
    """A text that holds its answer, unless it is a single sentence: that explains nothing."""
    return text if re.search(r"[.!?]\s+\S|\S\s*\n\s*\w", text) else ""
