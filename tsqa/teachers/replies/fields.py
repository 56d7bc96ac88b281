"""A teacher's reply taken apart: thoughts, JSON objects, labelled fields, code.

Guarantees: nothing here raises on any text; a JSON object or a field is what the teacher wrote,
never a guess at what it would have written; a field that is given twice keeps both values; work is
linear in the text, up to `MAX_CHARACTERS`.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import json_repair

from tsqa.programs.fences import mask_fences
from tsqa.recipe import AnswerKind
from tsqa.teachers.replies.visible_text import CALL, EMPTY, THINKS, marks_thoughts, read_spoken
from tsqa.text.latex import has_remains, keep_backslashes, keep_commands
from tsqa.text.refusals import REFUSAL

MAX_CHARACTERS = 200_000
CUT = "cut off at max_tokens"
CUT_THOUGHTS = "cut off while thinking"
BLANK = " .?\u2026_-"
"""What a field that says nothing is made of."""

_NAMES = {
    "question": "question|new question|next question|similar question|problem|new problem"
    "|next problem"
    "|(?:neue )?frage|pregunta|pergunta|domanda|vraag|pytanie|soru"
    "|\u0432\u043e\u043f\u0440\u043e\u0441"
    "|\u95ee\u9898|\u554f\u984c|\u9898\u76ee|\u984c\u76ee|\u8cea\u554f|\u554f\u3044"
    "|\uc9c8\ubb38|\ubb38\uc81c|(?:\u0627\u0644)?\u0633\u0624\u0627\u0644|\u092a\u094d\u0930\u0936\u094d\u0928",
    "passage": "passage|new passage",
    "context": "context|new context|background|background context",
    "choices": "options|choices|answer options|answer choices|optionen|antwortm\u00f6glichkeiten"
    "|antwortoptionen|opciones|op\u00e7\u00f5es|opzioni|opcje"
    "|\u0432\u0430\u0440\u0438\u0430\u043d\u0442\u044b(?: \u043e\u0442\u0432\u0435\u0442\u0430)?"
    "|\u9009\u9879|\u9078\u9805|\u9078\u629e\u80a2|\ubcf4\uae30|\uc120\ud0dd\uc9c0"
    "|\u0627\u0644\u062e\u064a\u0627\u0631\u0627\u062a|\u0935\u093f\u0915\u0932\u094d\u092a",
    "tests": "tests?|unit tests?|test cases?",
    "final": "(?:my )?final (?:answer|choice|verdict)|(?:corrected|revised) answer"
    "|\u6700\u7ec8\u7b54\u6848|\u6700\u7d42\u7b54\u6848",
    "answer": "answer|ans|the answer|answer (?:text|letter|option|choice|value)|(?:my )?verdict"
    "|my (?:answer|choice)|correct answer|(?:short|quick) answer|correct option|correct choice"
    "|(?:richtige )?antwort"
    "|respuesta(?: correcta)?|(?:bonne )?r\u00e9ponse(?: correcte)?|resposta(?: correta)?"
    "|risposta(?: corretta)?|antwoord|odpowied\u017a|cevap|\u0111\u00e1p \u00e1n|jawaban"
    "|(?:\u043f\u0440\u0430\u0432\u0438\u043b\u044c\u043d\u044b\u0439 )?"
    "\u043e\u0442\u0432\u0435\u0442"
    "|(?:\u6b63\u786e)?\u7b54\u6848|\u6b63\u786e\u9009\u9879|\u6b63\u89e3|\u7b54\u3048"
    "|\u89e3\u7b54|\u56de\u7b54|\uc815\ub2f5|\ub2f5"
    "|\u0627\u0644\u0625\u062c\u0627\u0628\u0629"
    "(?: \u0627\u0644\u0635\u062d\u064a\u062d\u0629)?"
    "|\u0627\u0644\u062c\u0648\u0627\u0628|\u0909\u0924\u094d\u0924\u0930",
    "reasoning": "reasoning|reason|because|explanation|(?:long|full|detailed) answer"
    "|rationale|solution|step-by-step reasoning"
    "|step-by-step solution|step by step|working|why|l\u00f6sung|soluci\u00f3n|solu\u00e7\u00e3o"
    "|\u0440\u0435\u0448\u0435\u043d\u0438\u0435|begr\u00fcndung|erkl\u00e4rung"
    "|explicaci\u00f3n"
    "|explication|justification|explica\u00e7\u00e3o|spiegazione"
    "|\u043f\u043e\u044f\u0441\u043d\u0435\u043d\u0438\u0435"
    "|\u043e\u0431\u044a\u044f\u0441\u043d\u0435\u043d\u0438\u0435"
    "|\u89e3\u6790|\u5206\u6790|\u7406\u7531|\u89e3\u8aac|\u89e3\u91ca|\uc124\uba85|\ud574\uc124"
    "|\u0627\u0644\u0634\u0631\u062d|\u0627\u0644\u062a\u0641\u0633\u064a\u0631",
    "knowledge": "knowledge|knowledge used|background knowledge|key knowledge|key facts?",
    "distractors": "distractors|wrong options|incorrect options|why not the others"
    "|why (?:each distractor|the others?|the other (?:options|answers|choices)) (?:is|are)"
    " (?:wrong|incorrect)",
}
"""Field -> the labels and JSON keys that teachers give it."""

_NAME = "|".join(f"(?P<{field}>{names})" for field, names in _NAMES.items())
_KEY = re.compile(_NAME, re.IGNORECASE)
# Repetitions are bounded, so that a runaway row of stars costs no more than its length.
_LABEL = re.compile(
    r"^[ \t]{0,8}(?:(?:[-+*>]|\d{1,2}[.)])[ \t]{1,4})?"
    rf"(?P<mark>[#*_]{{1,8}}[ \t]{{0,4}}[*_]{{0,3}})?(?:{_NAME})"
    r"(?:[ \t]\d{1,3})?(?:[ \t]?\([^()\n]{0,60}\))?"
    r"(?:[ \t*_]{0,8}[:\uff1a][*_]{0,3}[ \t]*|(?(mark)[ \t*_]{0,8}$|(?!)))",
    re.MULTILINE | re.IGNORECASE,
)
_OBJECT = re.compile(
    r"\{\s*(?:(?P<quote>[\"'\u201c])[^\"'\u201c\u201d\n]{1,60}[\"'\u201d]|(?P<bare>\w{1,40}))\s*:"
)
_COMMENT = re.compile(r"^[ \t]*//[^\n]*$|(?<=,)[ \t]*(?://[^\n]*$|/\*[^*\n]*\*/)", re.MULTILINE)
"""Which JSON does not have, and models write."""
OPENER = re.compile(
    r"\A\s*(?:sure|certainly|of course|okay|absolutely|great|here(?:'s| is| are))\b[^\n]*[:!.]\n",
    re.IGNORECASE,
)
SHORT_QUESTION = re.compile(r"^[ \t]*\**Q(?: ?\d{1,2})?[:.]\**(?=\s)", re.MULTILINE)
SHORT_ANSWER = re.compile(r"^[ \t]*\**A(?: ?\d{1,2})?[:.]\**(?=\s)", re.MULTILINE)
SECOND_OPTION = re.compile(r"^\W{0,4}B[.:)]", re.MULTILINE | re.IGNORECASE)
"""Where there is one, what is under A is an option, and no answer."""
_CUT_MARK = "\ue000"
_MAX_REPAIRED = 50_000
_NO_TEXT = {
    REFUSAL: REFUSAL,
    "content_filter": "stopped by the endpoint's content filter",
    "tool_calls": CALL,
}
"""Ends of a reply -> why there is nothing to read."""
_TAG = re.compile(r"(?:^[ \t]*<(?P<name>[a-z_ -]{3,30})>|</(?P<end>[a-z_ -]{3,30})>)", re.M | re.I)
_HEADING = re.compile(
    "\\s{0,4}\u3010(\u7b54\u6848|\u89e3\u6790|\u5206\u6790|\u89e3\u7b54|\u7406\u7531|\u9898\u76ee|\u9009\u9879)\u3011[:\uff1a]?"
)
_TEXT_KEYS = ("text", "output_text", "value", "content", "answer", "option", "choice", "statement")
_LABEL_KEYS = ("type", "label", "letter", "key", "id", "index", "number", "is_correct", "correct")
_UNSAID = (
    "thinking",
    "reasoning",
    "redacted_thinking",
    "analysis",
    "tool_use",
    "tool_call",
    "image",
)
"""Types of parts that are no text."""
_CHOSEN = {"choice", "option", "selected_option", "chosen_option", "selection"}
"""Keys of the option that an object without an answer names."""
_BESIDE = {"confidence", "reason", "text"}
_INDEX = {"answer_index", "correct_index", "option_index", "choice_index"}


def prose(text: str) -> str:
    """Write tabs as spaces and ends of lines plainly, unless a command of LaTeX was lost there."""
    if has_remains(text):
        return text
    return text.replace("\t", "    ").replace("\u2028", "\n").replace("\u2029", "\n\n")


def open_reply(text: str, finish_reason: str) -> tuple[str, str]:
    """Return (what the teacher said after its thoughts, why it cannot be read); one is empty."""
    if finish_reason == "prompt_too_long":
        return "", "prompt longer than max_model_len"
    if finish_reason in _NO_TEXT:
        return "", _NO_TEXT[finish_reason]
    if finish_reason.startswith("error"):
        return "", finish_reason
    if len(text) > MAX_CHARACTERS:
        return "", f"longer than {MAX_CHARACTERS:,} characters"
    said, error = read_spoken(text)
    if finish_reason != "length":
        return said, error
    if error == EMPTY and marks_thoughts(text):
        error = THINKS  # MiniMax closes them where it cuts them off
    return said, {EMPTY: CUT, THINKS: CUT_THOUGHTS}.get(error, error)


def read_objects(text: str, is_cut: bool, is_code: bool = False) -> list[dict[str, object]]:
    """Read the JSON objects in a text, repaired where broken; numbers stay as written.

    With `is_cut` the properties that the end of the text went through are left out.
    """
    objects: list[dict[str, Any]] = []
    text = text if is_code else _COMMENT.sub("", text)
    fixed = keep_backslashes(text) if is_code else keep_commands(text)
    decoder = json.JSONDecoder(
        object_pairs_hook=_keep_all,
        **dict.fromkeys(("parse_int", "parse_float", "parse_constant"), str),  # as written
        strict=False,
    )
    begin = _OBJECT.search(fixed)
    while begin:
        end = begin.end()
        if begin["quote"] or field_of(begin["bare"]):  # not a set, such as {x : x > 0}
            try:
                value, end = decoder.raw_decode(fixed, begin.start())
            except (ValueError, RecursionError):
                return objects + _repaired(fixed[begin.start() :], is_cut)
            objects.append(value)
        begin = _OBJECT.search(fixed, end)
    return objects


def field_of(key: str) -> str:
    """Name the field that a label or JSON key means; empty for an unknown one."""
    match = _KEY.fullmatch(key.replace("_", " ").strip())
    return str(match.lastgroup) if match else ""


def known_objects(
    text: str, is_cut: bool, kind: AnswerKind, known: Sequence[str]
) -> list[dict[str, list[object]]]:
    """Read the JSON objects with a known field: all the values of each field."""
    if kind == "code" and "```json" not in text and not text.lstrip().startswith(("{", "[")):
        return []  # the braces are the program's
    objects = []
    for item in read_objects(text, is_cut, is_code=kind == "code"):
        fields: dict[str, list[Any]] = {}
        for key, value in item.items():
            name = "index" if key.casefold() in _INDEX else field_of(str(key))
            fields.setdefault(name, []).append(value)
        if kind == "choice" and not fields.keys() & {"answer", "final"}:
            chosen = [value for key, value in item.items() if key.casefold() in _CHOSEN]
            others = [key for key in item if not (field_of(key) or key.casefold() in _CHOSEN)]
            # Beside another key it may be graded, and called wrong.
            fields |= {"answer": chosen} if chosen and _BESIDE.issuperset(others) else {}
        # An object that the cut left empty is still where the fields were to be.
        if any(name in fields for name in known) or (is_cut and not fields):
            objects.append(fields)
    return objects


def is_other_object(text: str, kind: AnswerKind) -> bool:
    """Whether a whole text is a JSON object without any field that was asked for."""
    bare = text.strip().removeprefix("```json").strip("` \n")
    is_object = bare.startswith(("{", "[{")) and bare.endswith(("}", "}]"))
    return kind != "code" and is_object and bool(read_objects(bare, is_cut=False))


def unnested(fields: Mapping[str, object]) -> Mapping[str, object]:
    """Return the fields of a question, also of one that is an object with its options."""
    inner = fields.get("question")
    if not isinstance(inner, dict):
        return fields
    named = {field_of(str(key)) or str(key).casefold(): value for key, value in inner.items()}
    asked = next((named[key] for key in ("question", "stem", "text") if key in named), None)
    outer = {name: value for name, value in fields.items() if name != "question"}
    return {**named, **outer, "question": asked}


def merged(objects: Sequence[Mapping[str, Any]], kind: AnswerKind) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for item in objects:
        for name, values in item.items():
            is_answer = name in ("answer", "final")
            texts = [_answer_text(value, kind) if is_answer else as_text(value) for value in values]
            fields.setdefault(name, []).extend(texts)
    return fields


def split_labels(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Split into (text before the first label, [(field, text up to the next)]), code aside.

    The name of a field in tags, such as `<reasoning>`, is a label too.
    """
    text = _TAG.sub(_as_label, text) if "</" in text else text
    text = _HEADING.sub("\n\\1\uff1a", text) if "\u3010" in text else text
    labels = list(_LABEL.finditer(mask_fences(text)))
    starts = [label.start() for label in labels] + [len(text)]
    fields = [
        (str(label.lastgroup), text[label.end() : end])
        for label, end in zip(labels, starts[1:], strict=True)
    ]
    return text[: starts[0]], fields


def repeats(text: str) -> bool:
    """Whether a text says the same over and over: zlib packs it below 15% from 300 characters on.

    English prose of that length packs to about half, program code to about a third.
    """
    data = text.encode("utf-8", "surrogatepass")
    return len(data) >= 300 and len(zlib.compress(data)) < 0.15 * len(data)


def as_text(value: object) -> str:
    """Write a JSON value as text: each item of a list or an object on its own line.

    Of an object that is a text with its label or its type, the text.
    """
    try:
        return _flat(value)
    except RecursionError:
        return ""


def part_text(part: Mapping[str, object]) -> object:
    """Return the text of an object that is a text with its label or type; None for any other."""
    named = {str(key).casefold().strip(): item for key, item in part.items()}
    if named.get("type") in _UNSAID:
        return ""
    texts = [key for key in _TEXT_KEYS if key in named]
    if texts and not named.keys() - {*_TEXT_KEYS, *_LABEL_KEYS}:
        return named[texts[0]]
    if named.keys() == {"value", "unit"} or named.keys() == {"value", "units"}:
        value, unit = named.values() if "value" in list(named)[:1] else reversed(named.values())
        return f"{as_text(value)} {as_text(unit)}"
    return None


def _answer_text(value: object, kind: AnswerKind) -> str:
    """The answer that a JSON value gives; empty where an object gives none."""
    if isinstance(value, list) and len(value) == 1:
        return _answer_text(value[0], kind)
    if not isinstance(value, dict) or kind in ("code", "long_text"):
        return as_text(value)
    named = {str(key).casefold().strip(" ()."): item for key, item in value.items()}
    if len(named) > 1 and all(isinstance(item, bool) for item in named.values()):
        right = [str(key) for key, item in value.items() if item]
        return right[0] if kind == "choice" and len(right) == 1 else ""
    label, text = "", part_text(value)
    if len(named) == 1:
        [(label, text)] = named.items()
    elif text is not None:
        labels = ("label", "letter", "key", "option", "choice", "id")
        label = next((as_text(named[key]) for key in labels if key in named), "")
    else:
        fields = {field_of(key): item for key, item in named.items()}
        return as_text(fields.get("final", fields.get("answer")))
    is_letter = kind == "choice" and len(label) == 1 and label.isalpha()
    said = as_text(text)
    return f"{label.upper()}. {said}" if is_letter and said != label else said


def _as_label(tag: re.Match[str]) -> str:
    if tag["end"]:
        return "\n" if field_of(tag["end"]) else tag[0]
    return f"{tag['name'].capitalize()}: " if field_of(tag["name"]) else tag[0]


def _flat(value: object) -> str:
    if isinstance(value, dict):
        said = part_text(value)
        if said is not None:
            return _flat(said)
        return "\n".join(f"{str(key).strip()}: {_flat(item)}" for key, item in value.items())
    if isinstance(value, list):
        are_parts = value and all(isinstance(item, dict) and "type" in item for item in value)
        texts = [_flat(item) for item in value]
        return "\n".join(filter(None, texts) if are_parts else texts)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    # JSON can spell half a surrogate pair, which no file can hold.
    return re.sub("[\ud800-\udfff]", "\ufffd", str(value).strip().replace("\r\n", "\n"))


def _keep_all(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """An object with each value of a key that comes twice; the names of fields are stripped."""
    found: dict[str, Any] = {}
    for key, item in pairs:
        while key in found and found[key] != item and len(key) < 100:
            key += " "
        found[key] = item
    return found


def _repaired(text: str, is_cut: bool) -> list[dict[str, object]]:
    """What can be saved of a broken object; nothing of a runaway one, on which repair is slow."""
    if len(text) > _MAX_REPAIRED or repeats(text):
        return []
    upto = text.rfind("}") + 1 or len(text)
    marked = text + _CUT_MARK if is_cut else text[:upto]
    try:
        value = json_repair.loads(marked, skip_json_loads=True)
        values = value if isinstance(value, list) else [value]
        found = [item for item in values if isinstance(item, dict)]
        if is_cut and found:
            found[-1] = _without_cut(found[-1], is_closed=text.rstrip().endswith(("]", "}")))
        return found
    except (ValueError, RecursionError):
        return []


def _without_cut(value: dict[str, Any], is_closed: bool) -> dict[str, object]:
    """The object without the property that the cut went through, which is its last."""
    if not value:
        return value
    key, item = value.popitem()
    is_marked = _CUT_MARK in f"{key}{json.dumps(item, ensure_ascii=False)}"
    if not is_marked and (is_closed or isinstance(item, str)):
        value[key] = item
    return value
