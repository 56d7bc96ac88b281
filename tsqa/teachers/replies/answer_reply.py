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
from tsqa.teachers.replies.answer import Reading, are_one, read_answer, read_program, tidy
from tsqa.teachers.replies.answer_lines import bare_answer, first_line, is_alone
from tsqa.teachers.replies.choice import find_option
from tsqa.teachers.replies.contradictions import is_contradicted
from tsqa.teachers.replies.fields import (
    CUT,
    OPENER,
    SECOND_OPTION,
    SHORT_ANSWER,
    SHORT_QUESTION,
    is_other_object,
    known_objects,
    merged,
    open_reply,
    prose,
    repeats,
    split_labels,
)
from tsqa.teachers.replies.judgement_reply import BOTH, read_verdict
from tsqa.teachers.replies.option_letters import name_options
from tsqa.teachers.replies.options import are_reordered
from tsqa.teachers.replies.stated_answer import (
    TAKES_BACK,
    last_statement,
    tagged_answers,
    takes_back,
)
from tsqa.teachers.replies.visible_text import read_thoughts
from tsqa.text.boxes import boxed_contents
from tsqa.text.forbidden import find_unfit
from tsqa.text.quantities import read_quantity
from tsqa.text.refusals import (
    REFUSAL,
    explains_refusal,
    offers_none,
    refuses,
    says_nothing,
)

EXTRAS = ("reasoning", "knowledge", "context", "distractors")
_REASONED = re.compile(r"\A\s*<reasoning>.*?</reasoning>", re.DOTALL | re.IGNORECASE)
"""A field before the answer, in which an object is a draft."""
_NEXT_PROBLEM = re.compile(r"\n[ \t]*(?:Problem|Exercise|Example|Task)\b[^\n:]{0,9}:")
_FENCED = re.compile(r"\s*```[\w+-]*[ \t]*\n(?P<body>.*?)\n?```\s*", re.DOTALL)
_CONTRADICT = "answers contradict each other"
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
    is_opposite = not objects and _says_opposite(said, answer, choices)
    apart = bool(objects) or [*fields][:1] == ["reasoning"]
    is_other = is_contradicted(fields, readable, kind, choices, asked, is_apart=apart)
    if is_opposite or is_other or _is_other_index(fields, readable[0].index):
        return ParsedAnswer(error=_CONTRADICT)
    answer = answer if kind == "code" or choices else prose(answer)
    extras = {name: _explained(fields.get(name, [])) for name in EXTRAS}
    refused = {name for name, value in extras.items() if explains_refusal(value, asked)}
    refused = set() if offers_none(choices) else refused
    if "reasoning" in refused:
        return ParsedAnswer(error=REFUSAL)
    unfits = (find_unfit(answer, is_code=kind == "code"), *map(find_unfit, extras.values()))
    if unfit := next(filter(None, unfits), ""):
        return ParsedAnswer(error=unfit)
    kept = {name: "" if repeats(value) else value for name, value in extras.items()}
    named = {name: "" if name in refused else value for name, value in kept.items()}
    if kind == "choice":
        named = _name_all(named, choices, question)
    dropped = tuple(name for name in EXTRAS if kept[name] and not named[name])
    return ParsedAnswer(answer, readable[0].index, dropped=dropped, **named)


def _is_other_index(fields: Mapping[str, list[str]], index: int | None) -> bool:
    """Whether an index beside the answer, from 0 or from 1, is of another option."""
    # Python reads no number of thousands of digits; its first nine are of no option either.
    given = {int(one[:9]) for one in fields.get("index", []) if one.isdecimal()}
    return index is not None and not given <= {index, index + 1}


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
        if (reading.is_bare if kind == "choice" else not reading.error and is_alone(text, kind))
    ]


def _says_opposite(text: str, answer: str, choices: Sequence[str]) -> bool:
    """Whether a reply begins with the verdict that it does not choose, where options are two."""
    options = {choice.strip(" .").casefold() for choice in choices}
    if options not in ({"true", "false"}, {"yes", "no"}):
        return False
    verdict, error = read_verdict(text)
    if error == BOTH:
        return True
    return verdict is not None and verdict != (answer.strip(" .").casefold() in ("true", "yes"))


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
            answer, rest = bare_answer(value, is_torn, kind, choices)
        elif name in ("answer", "final"):
            answer, rest = first_line(value, is_torn, kind)
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


def _after(text: str, answer: str, rest: str | None) -> str:
    """What a field says after its answer; `rest`: of a labelled one, after its first line."""
    boxes = boxed_contents(text)
    if boxes or rest is not None:
        return text[boxes[-1][1] :] if boxes else rest or ""
    final = text.rpartition("####")[2].strip()
    first, _, others = final.partition("\n")
    return others if answer in first else final.rpartition(answer)[2]


def _coded_answer(text: str, is_cut: bool) -> dict[str, list[str]]:
    """A program in a fence, or bare; labels count only outside of fences."""
    lead, pieces = split_labels(text)
    marked = next((value for name, value in pieces if name == "answer"), "")
    begin = max(0, text.find(marked)) if marked.strip() else 0
    block = fenced_code(text, begin, begin + len(marked) if marked.strip() else None)
    if block is None:
        program = re.split(r"^Question:", text, flags=re.MULTILINE)[0]
        program = re.sub(r"\A\s*\**Answer:\**[ \t]*", "", program)
        announced, _, below = program.partition("\n")
        if announced.rstrip().endswith(":") and compiles(below.strip()) and not compiles(program):
            program = below
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
