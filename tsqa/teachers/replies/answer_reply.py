"""An answer with what explains it, read from a teacher's reply.

Three shapes are read, in this order: a JSON object, fields with labels (plain or markdown), and
bare text as it continues a few-shot prompt.

Guarantees: any text gives a result, never an exception; nothing is invented: a field that is not
there stays empty, and what cannot be read says why. A text cut at max_tokens loses the field that
the cut went through, and only that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tsqa.programs.fences import fenced_code
from tsqa.programs.names import compiles
from tsqa.recipe import AnswerKind
from tsqa.records.votes import classify_answers
from tsqa.teachers.replies.answer import Reading, are_one, read_answer, read_program, tidy
from tsqa.teachers.replies.choice import LETTERS, find_option
from tsqa.teachers.replies.fields import (
    CUT,
    OPENER,
    SECOND_OPTION,
    SHORT_ANSWER,
    SHORT_QUESTION,
    open_reply,
    prose,
    repeats,
    split_labels,
)
from tsqa.teachers.replies.json_objects import is_other_object, known_objects, merged
from tsqa.teachers.replies.judgement_reply import BOTH, begins_with, read_verdict
from tsqa.teachers.replies.option_letters import name_options
from tsqa.teachers.replies.options import are_reordered
from tsqa.teachers.replies.stated_answer import (
    TAKES_BACK,
    given_again,
    is_announced,
    last_statement,
    said_instead,
    statements,
    tagged_answers,
    takes_back,
)
from tsqa.teachers.replies.visible_text import read_thoughts
from tsqa.text.boxes import boxed_content, boxed_contents
from tsqa.text.forbidden import find_unfit
from tsqa.text.normalise import normalise
from tsqa.text.quantities import read_quantity
from tsqa.text.refusals import (
    REFUSAL,
    explains_refusal,
    offers_none,
    refuses,
    says_nothing,
)

_MAX_BARE_WORDS = 30
"""A first line without a label that is longer than this is prose, not an answer."""
EXTRAS = ("reasoning", "knowledge", "context", "distractors")
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
_CONCLUDES = re.compile(
    r"[\s*_#]*(?:so|thus|therefore|hence|consequently|in total|altogether|finally|in conclusion"
    r"|(?:the |final |grand )*(?:total|result|sum|answer))\b",
    re.IGNORECASE,
)
_REASONED = re.compile(r"\A\s*<reasoning>.*?</reasoning>", re.DOTALL | re.IGNORECASE)
"""A field before the answer, in which an object is a draft."""
_NEXT_PROBLEM = re.compile(r"\n[ \t]*(?:Problem|Exercise|Example|Task)\b[^\n:]{0,9}:")
_FENCED = re.compile(r"\s*```[\w+-]*[ \t]*\n(?P<body>.*?)\n?```\s*", re.DOTALL)
_EQUALS = re.compile("[=\u2248]")
_CHECKS = re.compile(
    r"[\s*_(-]*(?:to )?(?:(?:re|double[- ]?)?check|verif|proof|probe\b)", re.IGNORECASE
)
_VERDICT = re.compile(
    r"[\s*_]*(?:yes|no|true|false)\b[\s*_]*(?:$|[,.;:!\u2014\u2013-])", re.IGNORECASE
)
_CONTRADICT = "answers contradict each other"
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
_CONFIDENCE_LINE = re.compile(
    r"\n[ \t*_#>(-]{0,6}confidence(?: level| score)?[*_]{0,2} ?[:=][^\n]{0,40}\s*\Z", re.IGNORECASE
)
_CODE_LINE = re.compile(
    r"^[ \t]*(?:(?:def|class|import|from|return|print|function|const|let|var|public|int|void"
    r"|func|fn"
    r"|package|using|SELECT|template)\b[^.\n]*[\w(]|#include|@\w|<\w|//"
    r"|(?:for|while|if|elif|else|try|except|with|match|case)\b[^\n]*:[ \t]*$)"
    r"|\w\([^()\n]*\)|[;{}=][ \t]*$"
    r"|^[ \t]*[\w.\[\]]+ ?[-+*/]?= ?\S",
    re.MULTILINE,
)
"""What tells a program, also one that does not compile, from a sentence."""
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
    r"(?P<before>(?:(?:of|among) [^.,!?;:\n]{3,40}, )?the [^.,!?;:\n]{2,150}"
    r"\b(?:is|are|was|were|be)) (?:called |indeed |simply )?[*_]{0,2}"
    r"(?P<named>[^.!?;\n]+?)[*_]{0,2}(?: \((?P<letter>[A-J])\))?[*_]{0,2}[.!]?",
    re.IGNORECASE,
)
_NOT_PLAIN = re.compile(
    r"\b(?:no|not|never|none|nor|neither|except|if|whether|could|might|may|maybe|perhaps|would|wrong"
    r"|incorrect|false|unlike|than|but|although|though|while|other|another|some|people|one|and|or"
    r"|options?|choices?|answers?|guess(?:es)?|mistakes?|errors?|misconceptions?|myths?|traps?"
    r"|distractors?|decoys?|runner-up|opposite|contrary|avoid|bad|question|statement|unlikely|hardly"
    r"|(?:second|third|next)[ -](?:best|most)|(?:least|less) (?:likely|plausible)|once|used to|long"
    r"|(?:believ|think|thought|sa(?:y|id)|claim|assum|pretend|doubt|suppos|seem|appear|consider"
    r"|eliminat|exclud|reject|rul(?:e[ds]?|ing) out|discard|expect|suggest|tempt|compet)\w*)\b"
    r"|n['\u2019]t\b",
    re.IGNORECASE,
)
"""What tells of an option but not that it is the answer: `the trap is`, `the second best is`."""
_ASKS_FOR_WRONG = re.compile(
    r"\b(?:not|except|wrong|incorrect|false|untrue|no|mistakes?|errors?|least|never|cannot|corrects?"
    r"|misconceptions?|myths?|fallac(?:y|ies)|inaccurate|invalid|misleading|impossible|disprove[ds]?"
    r"|refute[ds]?|lies?|lying)\b"
    r"|n['\u2019]t\b",
    re.IGNORECASE,
)
_INITIAL = re.compile(r"\s*[A-Z]")
_NO_ANSWER = re.compile(r"(?:not|un(?:known|clear|defined|determined)|impossible|up to)\b", re.I)


@dataclass(frozen=True)
class ParsedAnswer:
    answer: str | None = None
    """As text, one of the choices where there are any; None when it cannot be read."""
    index: int | None = None
    """Into the choices as they were shown."""
    reasoning: str = ""
    knowledge: str = ""
    context: str = ""
    distractors: str = ""
    dropped: tuple[str, ...] = ()
    """Left out: explanations that name options by letters which cannot be resolved, or give the
    prompt back, and thoughts that hold marks."""
    error: str = ""
    trace: str = ""
    """What was thought before, of an answer that can be read."""


def parse_answer(
    text: str,
    finish_reason: str,
    kind: AnswerKind,
    choices: Sequence[str],
    question: str = "",
    thoughts: str = "",
) -> ParsedAnswer:
    """Read an answer and what explains it; `choices` in the order in which they were shown.

    `question` is what was shown with them: letters that it uses are no options' letters.
    `thoughts` came apart from the text; nothing else is read from them.
    """
    parsed = _parse(text, finish_reason, kind, choices, question)
    if parsed.error:
        return parsed
    trace = tidy(prose(thoughts or read_thoughts(text)))
    if find_unfit(trace):
        return replace(parsed, dropped=(*parsed.dropped, "trace"))
    return replace(parsed, trace=trace)


def _parse(
    text: str, finish_reason: str, kind: AnswerKind, choices: Sequence[str], question: str
) -> ParsedAnswer:
    is_cut = finish_reason == "length"
    said, error = open_reply(text, finish_reason)
    if error:
        return ParsedAnswer(error=error)
    stated = _REASONED.sub("", said, count=1)
    objects = known_objects(stated, is_cut, kind, ("answer", "final", *EXTRAS))
    if objects:
        fields = merged(objects, kind)
        fields["after"] = [*_fields_after(fields), said.rpartition("}")[2]]
    elif kind == "code":
        fields = _coded_answer(said, is_cut)
    elif is_other_object(said, kind):
        return ParsedAnswer(error="no answer")
    else:
        fields = _labelled_answer(_unfenced(said), is_cut, kind, choices)
    said_so = dict.fromkeys(fields.get("final") or fields.get("answer") or [])
    given = [text for text in said_so if text.strip()]
    readings = _read_all(given, kind, choices, bool(objects))
    readable = [reading for reading in readings if not reading.error]
    asked = question.rpartition("\n")[2]
    if kind != "code" and _is_refused(given, readable, said if not objects else "", asked):
        return ParsedAnswer(error=REFUSAL)
    if kind in ("choice", "number", "boolean") and fields.get("final"):
        readable += _other_answers(fields, kind, choices)
    if not readable:
        missing = CUT if is_cut else "no answer"
        return ParsedAnswer(error=readings[0].error if readings else missing)
    if not are_one(readable, kind):
        return ParsedAnswer(error=_CONTRADICT)
    by_words = any(find_option(text.strip(), choices) is not None for text in given)
    listed = [value for item in objects for value in item.get("choices", [])]
    if choices and not by_words and are_reordered(said, listed, choices):
        return ParsedAnswer(error="lists the options under other letters")
    answer = readable[0].answer or ""
    after = fields.get("after", []) if kind not in ("code", "long_text") else []
    if any(takes_back(text, given[0], answer) for text in after):
        return ParsedAnswer(error=TAKES_BACK)
    is_opposite = _says_opposite("" if objects else said, answer, choices)
    if is_opposite or _is_contradicted(fields, readable, kind, choices, asked):
        return ParsedAnswer(error=_CONTRADICT)
    answer = answer if kind == "code" or choices else prose(answer)
    extras = {name: _explained(fields.get(name, [])) for name in EXTRAS}
    refused = {name for name, value in extras.items() if explains_refusal(value, asked)}
    refused = set() if offers_none(choices) else refused
    if "reasoning" in refused:
        return ParsedAnswer(error=REFUSAL)
    unfit = find_unfit(answer, is_code=kind == "code")
    unfit = unfit or next(filter(None, map(find_unfit, extras.values())), "")
    if unfit:
        return ParsedAnswer(error=unfit)
    kept = {name: "" if repeats(value) else value for name, value in extras.items()}
    named = {name: "" if name in refused else value for name, value in kept.items()}
    if kind == "choice":
        named = _name_all(named, choices, question)
    dropped = tuple(name for name in EXTRAS if kept[name] and not named[name])
    return ParsedAnswer(answer, readable[0].index, dropped=dropped, **named)


def _name_all(extras: Mapping[str, str], choices: Sequence[str], question: str) -> dict[str, str]:
    return {
        name: name_options(value, choices, question, is_of_options=name == "distractors")
        for name, value in extras.items()
    }


def _read_all(
    given: Sequence[str], kind: AnswerKind, choices: Sequence[str], are_values: bool
) -> list[Reading]:
    if kind == "code" and not are_values:  # the program is out of its fence already
        return [read_program(text) for text in given]
    return [read_answer(text, kind, choices) for text in given]


def _is_refused(
    given: Sequence[str], readable: Sequence[Reading], said: str, question: str
) -> bool:
    """Whether the answer is a refusal; if it names an option, only where it explains that."""
    if any(reading.index is not None for reading in readable):
        return any(explains_refusal(text, question) for text in given)
    texts = [*given, *(reading.answer or "" for reading in readable)]
    if not readable:
        texts.append(said)
    return any(refuses(text, question) for text in dict.fromkeys(texts))


def _other_answers(
    fields: Mapping[str, list[str]], kind: AnswerKind, choices: Sequence[str]
) -> list[Reading]:
    """What stands alone as an answer beside a final one, which does not correct it."""
    if any(takes_back(text, "") for text in fields.get("reasoning", [])):
        return []
    texts = fields.get("answer", [])
    readings = [(text, read_answer(text, kind, choices)) for text in texts]
    return [
        reading
        for text, reading in readings
        if (reading.is_bare if kind == "choice" else not reading.error and _is_alone(text, kind))
    ]


def _is_contradicted(
    fields: Mapping[str, list[str]],
    readable: Sequence[Reading],
    kind: AnswerKind,
    choices: Sequence[str],
    question: str,
) -> bool:
    """Whether the explanation ends up stating another answer, or calls the option wrong.

    Not where it turns away from what it states, or where something wrong is asked for.
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
    if kind == "number":
        concluded = [each for each in concluded if not _differ_in_unit(answer, each.answer or "")]
    return not are_one([*readable, *(each for each in concluded if not each.error)], kind)


def _says_opposite(text: str, answer: str, choices: Sequence[str]) -> bool:
    """Whether a reply begins with the verdict that it does not choose, where options are two."""
    options = {choice.strip(" .").casefold() for choice in choices}
    if options not in ({"true", "false"}, {"yes", "no"}):
        return False
    verdict, error = read_verdict(text)
    if error == BOTH:
        return True
    return verdict is not None and verdict != (answer.strip(" .").casefold() in ("true", "yes"))


def _differ_in_unit(left: str, right: str) -> bool:
    """Whether two numbers have units that cannot be compared here: 1.5 hours, 90 minutes."""
    units = {found.unit for one in (left, right) if (found := read_quantity(one)) and found.unit}
    return len(units) > 1


def _fields_after(fields: Mapping[str, list[str]]) -> list[str]:
    """The working that an object gives after its answer."""
    names = list(fields)
    last = max((names.index(name) for name in ("answer", "final") if name in names), default=0)
    return [text for name in names[last + 1 :] if name == "reasoning" for text in fields[name]]


def _explained(texts: Sequence[str]) -> str:
    """An explanation in one text, without those that only say that there is none."""
    kept = [tidy(prose(text)) for text in texts if not says_nothing(text)]
    return "\n".join(filter(None, kept))


def _labelled_answer(
    text: str, is_cut: bool, kind: AnswerKind, choices: Sequence[str]
) -> dict[str, list[str]]:
    tagged, around = tagged_answers(text)
    if tagged:
        lead, pieces = split_labels(around)
        explained = [("reasoning", lead), *pieces]
        extras = {name: [v for n, v in explained if n == name] for name in EXTRAS}
        return {"answer": tagged, "after": [text.rpartition("answer>")[2]], **extras}
    if kind != "long_text":
        text = _CONFIDENCE_LINE.sub("", text)
    lead, pieces = split_labels(text)
    lead = OPENER.sub("", lead, count=1)
    lead = lead if kind in ("choice", "long_text") else _answered_in_short(lead)
    is_begun = bool(lead.strip())
    for number, (name, _) in enumerate(pieces):
        if name in ("question", "passage") and is_begun:
            # A runaway text goes on with the next item; the one that was asked for is whole.
            pieces, is_cut = pieces[:number], False
            break
        is_begun = is_begun or name in ("answer", "final")
    fields: dict[str, list[str]] = {}
    has_answer = any(name in ("answer", "final") for name, _ in pieces)
    if not (has_answer or is_cut or lead.strip() or kind == "long_text"):
        fields |= _concluded_answer(pieces)
    if not (has_answer or is_cut) and _ends_in_answer(lead, pieces, kind, choices):
        # The lead is read too: an answer there that differs is a contradiction.
        pieces[-1] = ("answer", pieces[-1][1])
    if lead.strip():
        pieces.insert(0, ("reasoning" if has_answer else "bare", lead))
    for number, (name, value) in enumerate(pieces, 1):
        is_torn = is_cut and number == len(pieces)
        if name == "bare":
            answer, rest = _bare_answer(value, is_torn, kind, choices)
        elif name in ("answer", "final"):
            answer, rest = _first_line(value, is_torn, kind)
        else:
            answer, rest = "", ""
            if not is_torn:
                fields.setdefault(name, []).append(value)
        if answer:
            fields.setdefault("final" if name == "final" else "answer", []).append(answer)
            fields["after"] = []
        if answer or ("after" in fields and name in ("bare", "reasoning", "final")):
            after = _after(value, answer, None if name == "bare" else rest) if answer else value
            fields.setdefault("after", []).append(after)
        if rest and not is_torn:
            fields.setdefault("reasoning", []).append(rest)
    return fields


def _answered_in_short(text: str) -> str:
    """What stands under `A:`, up to the next `Q:`, of a text that is in the form of prompts."""
    begun = SHORT_ANSWER.search(text)
    if begun is None or SECOND_OPTION.search(text):
        return text
    before = text[: begun.start()].strip()
    is_initial = not before and "." in begun[0] and _INITIAL.match(text, begun.end())
    # `A. A. Milne` and `A. Lincoln` are names.
    if is_initial or (before and not SHORT_QUESTION.match(before)):
        return text
    return SHORT_QUESTION.split(text[begun.end() :], maxsplit=1)[0].lstrip()


def _unfenced(text: str) -> str:
    """What stands in the fence that holds all of a text."""
    fenced = _FENCED.fullmatch(text)
    return fenced["body"] if fenced and "```" not in fenced["body"] else text


def _ends_in_answer(
    lead: str, pieces: Sequence[tuple[str, str]], kind: AnswerKind, choices: Sequence[str]
) -> bool:
    """Whether the last field is for the working, but holds only the answer: `Solution: 18`."""
    if not pieces or pieces[-1][0] != "reasoning":
        return False
    before = [f"\n{text}" for text in (lead, *(value for _, value in pieces[:-1]))]
    if any(name == "question" for name, _ in pieces) or any(map(_NEXT_PROBLEM.search, before)):
        return False  # it may answer the next problem
    value = pieces[-1][1]
    if kind == "number":
        return read_quantity(value) is not None
    return kind == "choice" and read_answer(value, kind, choices).is_bare


def _concluded_answer(pieces: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """What the last sentence of the reasoning gives as answer, where no field does."""
    reasoning = next((value for name, value in pieces if name == "reasoning"), "")
    own = _NEXT_PROBLEM.split(reasoning, maxsplit=1)[0].strip()
    said = last_statement(own)
    is_last = bool(said) and own.endswith(said)
    return {"answer": [said]} if is_last and not _NO_ANSWER.match(said) else {}


def _first_line(value: str, is_torn: bool, kind: AnswerKind) -> tuple[str, str]:
    """(answer, the text after it) of a labelled answer; nothing where the cut went through it."""
    boxed = boxed_content(value)
    if kind == "long_text" or boxed:
        return ("", "") if is_torn and not boxed else (value, "")
    if kind == "short_text" and (listed := _listed_answer(value.strip())):
        return ("", "") if is_torn else listed
    line, newline, rest = value.strip().partition("\n")
    if kind == "number" and not is_torn and _is_working(value.strip().splitlines()):
        return _bare_answer(value, is_torn, kind, [])
    if is_announced(line):
        announced, newline, rest = rest.strip().partition("\n")
        line = f"{line}\n{announced}"
    return ("", "") if is_torn and not newline else (line, rest.strip())


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


def _bare_answer(
    text: str, is_torn: bool, kind: AnswerKind, choices: Sequence[str]
) -> tuple[str, str]:
    """(answer, explanation) of a text without labels: marked in it, or on its first line."""
    if kind == "long_text":
        return ("", "") if is_torn else (text, "")
    working, marker, final = text.rpartition("####")
    if marker:
        marked = [part.strip().partition("\n")[0] for part in text.split("####")[1:]]
        alone = [one for one in marked if kind == "number" and _is_alone(one, kind)]
        if len(set(classify_answers(alone, kind))) > 1:
            return "", ""
        answer, rest = _first_line(final, is_torn, kind)
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
        named = _judged_right(text, choices) or _named_at_end(text.strip(), choices)
        if named:
            return named, _working(text)
    if kind in ("choice", "number", "boolean"):
        lines = [line for line in text.splitlines() if line.strip()]
        if kind == "number" and _is_aside(lines[-1], lines[:-1]):
            text, lines = "\n".join(lines[:-1]), lines[:-1]
        if kind == "number" and _LISTED.match(text.strip()):
            answer = _after_list(text.strip())
            return answer, "\n".join(line for line in lines if answer and line != answer)
        likely = _likely_line(lines, kind, choices)
        if likely is not None:
            return likely, "\n".join(other for other in lines if other != likely)
    if first.rstrip(" \t*_").endswith(":"):  # it announces what is below it
        return (kind == "short_text" and _listed_answer(text.strip())) or ("", "")
    listed = _listed_answer(text.strip()) if kind == "short_text" else None
    first, rest = listed or (first, rest.strip())
    return (first, rest) if len(first.split()) <= _MAX_BARE_WORDS else ("", "")


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
    if any(said and find_option(said, choices) != choices.index(one) for said, one in texts):
        return ""
    right = [choice for match, choice in zip(found, choices, strict=True) if match["right"]]
    return right[0] if len(right) == 1 else ""


def _named_at_end(text: str, choices: Sequence[str]) -> str:
    """The option with which a reply of one plain sentence ends: `The best conductor is copper.`"""
    found = _ENDS_IN_NAME.fullmatch(text)
    if found is None or _NOT_PLAIN.search(found["before"]):
        return ""
    index = find_option(found["named"], choices)
    if index is None or (found["letter"] and LETTERS.index(found["letter"]) != index):
        return ""
    before = f" {normalise(found['before'])} "
    others = (f" {normalise(one)} " for place, one in enumerate(choices) if place != index)
    return "" if any(other in before for other in others) else choices[index]


def _are_one(readings: Sequence[Reading], kind: AnswerKind) -> bool:
    """Whether several statements give one answer; of words, one may say more than another."""
    if kind == "short_text":
        texts = sorted((f" {normalise(each.answer or '')} " for each in readings), key=len)
        return all(texts[0] in text for text in texts)
    return are_one(readings, kind)


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


def _sides(step: str) -> tuple[set[str], set[str]]:
    """The numbers of a step before its last equals sign, and behind it."""
    left, _, right = "=".join(_EQUALS.split(step)).rpartition("=")
    return {*_NUMERAL.findall(left)}, {*_NUMERAL.findall(right)}


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
        is_result = any(sign.search(last) for sign in (_EQUALS, _IN_ALL)) or _CONCLUDES.match(last)
        return last if is_result and not _CHECKS.match(last) else ""
    values = {line: read_answer(line, "number", []).answer for line in below}
    last = next((line for line in reversed(below) if values[line]), "")
    is_step = any(sign.match(last) for sign in (_CALCULATES, _NAMES_RESULT))
    is_end = last == below[-1] and (not steps or is_step or bool(_IN_ALL.search(last)))
    if not last or _CONCLUDES.match(last) or is_end:
        return last
    steps += [line for line in below if line != last and _CALCULATES.match(line)]
    is_same = bool(steps) and _says_same(last, steps[-1])
    return last if is_same and not _CHECKS.match(steps[-1]) else ""


def _says_same(line: str, step: str) -> bool:
    """Whether a line and a step give the same number."""
    values = [read_answer(_ITEM.sub("", one), "number", []).answer for one in (line, step)]
    return all(values) and len(set(classify_answers(values, "number"))) == 1


def _after(text: str, answer: str, rest: str | None) -> str:
    """What a field says after its answer; `rest`: of a labelled one, after its first line."""
    boxes = boxed_contents(text)
    if boxes or rest is not None:
        return text[boxes[-1][1] :] if boxes else rest or ""
    final = text.rpartition("####")[2].strip()
    first, _, others = final.partition("\n")
    return others if answer in first else final.rpartition(answer)[2]


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
    alone = [line for line in readable if _is_alone(line, kind)]
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


def _concludes(lines: Sequence[str], readable: Sequence[str]) -> bool:
    """Whether the last line says what steps below the first sentence come to."""
    is_end = lines[-1] in readable and bool(_CONCLUDES.match(lines[-1]))
    return is_end and not _is_alone(lines[0], "number") and any(map(_EQUALS.search, lines[1:-1]))


def _is_alone(line: str, kind: AnswerKind) -> bool:
    """Whether a line is a value and no sentence with one."""
    if kind == "boolean":
        return len(line.split()) < 3
    return read_quantity(line.strip(" \t*_`$.")) is not None


def _working(text: str) -> str:
    """A text that holds its answer, unless it is a single sentence: that explains nothing."""
    return text if re.search(r"[.!?]\s+\S|\S\s*\n\s*\w", text) else ""


def _coded_answer(text: str, is_cut: bool) -> dict[str, list[str]]:
    """A program in a fence, or bare; labels count only outside of fences."""
    lead, pieces = split_labels(text)
    marked = next((value for name, value in pieces if name == "answer"), "")
    begin = max(0, text.find(marked)) if marked.strip() else 0
    block = fenced_code(text, begin, begin + len(marked) if marked.strip() else None)
    if block is None:
        program = re.split(r"^Question:", text, flags=re.MULTILINE)[0]
        program = re.sub(r"\A\s*\**Answer:\**[ \t]*", "", program)
        is_code = _CODE_LINE.search(program) and not refuses(program)
        is_program = is_code or compiles(program.strip())
        return {"answer": [program]} if is_program and not is_cut else {}
    program, is_closed = block
    if is_cut and not is_closed:
        return {}
    explanation = OPENER.sub("", lead.partition("```")[0], count=1)
    fields = {"answer": [program], "reasoning": [explanation]}
    for name, value in pieces:
        if name in EXTRAS:
            fields.setdefault(name, []).append(value)
    return fields
