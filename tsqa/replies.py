"""A teacher's reply taken apart: thoughts, JSON objects, labelled fields, code.

Promises: nothing here raises on any text; a JSON object or a field is what the teacher wrote, never
a guess at what it would have written; work is linear in the text, up to `MAX_CHARACTERS`.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

import json_repair

MAX_CHARACTERS = 200_000
CUT = "cut off at max_tokens"

_NAMES = {
    "question": "question|new question|similar question|problem|new problem",
    "passage": "passage|new passage",
    "context": "context|new context|background|background context",
    "choices": "options|choices|answer options|answer choices",
    "tests": "tests?|unit tests?|test cases?",
    "final": "final answer|\u6700\u7ec8\u7b54\u6848|\u6700\u7d42\u7b54\u6848",
    "answer": "answer|the answer|correct answer|correct option|correct choice|(?:richtige )?antwort"
    "|respuesta(?: correcta)?|(?:bonne )?r\u00e9ponse(?: correcte)?|resposta(?: correta)?"
    "|risposta(?: corretta)?|antwoord|odpowied\u017a|cevap|\u0111\u00e1p \u00e1n|jawaban"
    "|(?:\u043f\u0440\u0430\u0432\u0438\u043b\u044c\u043d\u044b\u0439 )?"
    "\u043e\u0442\u0432\u0435\u0442"
    "|(?:\u6b63\u786e)?\u7b54\u6848|\u6b63\u786e\u9009\u9879|\u6b63\u89e3|\u7b54\u3048"
    "|\u89e3\u7b54|\u56de\u7b54|\uc815\ub2f5|\ub2f5"
    "|\u0627\u0644\u0625\u062c\u0627\u0628\u0629"
    "(?: \u0627\u0644\u0635\u062d\u064a\u062d\u0629)?"
    "|\u0627\u0644\u062c\u0648\u0627\u0628|\u0909\u0924\u094d\u0924\u0930",
    "reasoning": "reasoning|because|explanation|rationale|solution|step-by-step reasoning"
    "|step-by-step solution|step by step|working|why|begr\u00fcndung|erkl\u00e4rung"
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
_FENCE = re.compile(
    r"```[ \t]*(?P<language>[\w+-]*)[ \t]*\n?(?P<body>.*?)(?P<end>```|\Z)", re.DOTALL
)
_THOUGHTS_END = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_THOUGHTS_BEGIN = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_OBJECT = re.compile(
    r"\{\s*(?:(?P<quote>[\"'\u201c])[^\"'\u201c\u201d\n]{1,60}[\"'\u201d]|(?P<bare>\w{1,40}))\s*:"
)
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
# LaTeX commands that begin like a JSON escape: \times is not a tab and "imes".
_LATEX = re.compile(
    r"\\(?:[bf][a-zA-Z]|(?:neq?|nabla|nu|neg|not|notin|nleq|ngeq|right|rightarrow|rangle|rho|rfloor"
    r"|rceil|times|text|textbf|textit|theta|tau|tan|tanh|tfrac|to|top|triangle|underline|cup)"
    r"(?![a-zA-Z]))"
)
_CUT_MARK = "\ue000"


def open_reply(text: str, finish_reason: str) -> tuple[str, str]:
    """(what the teacher said once it had thought, why it cannot be read); one of them is empty."""
    if finish_reason == "prompt_too_long":
        return "", "prompt longer than max_model_len"
    if finish_reason == "content_filter":
        return "", "stopped by the endpoint's content filter"
    if finish_reason.startswith("error"):
        return "", finish_reason
    if len(text) > MAX_CHARACTERS:
        return "", f"longer than {MAX_CHARACTERS:,} characters"
    # The opening tag is often part of the chat template, and so of the prompt.
    said = _THOUGHTS_END.split(text)[-1]
    said, *unfinished = _THOUGHTS_BEGIN.split(said, maxsplit=1)
    if any(character.isalnum() for character in said):
        return said, ""
    if finish_reason == "length":
        return "", CUT
    return "", "thoughts without an end" if unfinished else "empty"


def read_objects(text: str, is_cut: bool, is_code: bool = False) -> list[dict[str, Any]]:
    """The JSON objects in a text, repaired where they are broken; numbers stay as written.

    With `is_cut` the properties that the end of the text went through are left out.
    """
    objects: list[dict[str, Any]] = []
    fixed = _ESCAPE.sub(lambda match: _fix_escape(match, is_code), text)
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, strict=False)
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
    """The field that a label or JSON key names; empty for one that is not known."""
    match = _KEY.fullmatch(key.replace("_", " ").strip())
    return str(match.lastgroup) if match else ""


def split_labels(text: str) -> tuple[str, list[tuple[str, str]]]:
    """(text before the first label, [(field, text up to the next label)]); code has no labels."""
    masked = _FENCE.sub(lambda match: "`" * len(match[0]), text)
    labels = list(_LABEL.finditer(masked))
    starts = [label.start() for label in labels] + [len(text)]
    fields = [
        (str(label.lastgroup), text[label.end() : end])
        for label, end in zip(labels, starts[1:], strict=True)
    ]
    return text[: starts[0]], fields


def fenced_code(text: str) -> tuple[str, bool] | None:
    """(the longest fenced block, whether its fence is closed), or None."""
    blocks = list(_FENCE.finditer(text))
    if not blocks:
        return None
    longest = max(blocks, key=lambda block: len(block["body"]))
    return longest["body"].strip("\n"), bool(longest["end"])


def repeats(text: str) -> bool:
    """Whether a text says the same over and over: zlib packs it below 15% from 300 characters on.

    English prose of that length packs to about half, program code to about a third.
    """
    data = text.encode("utf-8", "surrogatepass")
    return len(data) >= 300 and len(zlib.compress(data)) < 0.15 * len(data)


def as_text(value: Any) -> str:
    """A JSON value as the text it stands for: items of lists and objects on lines of their own."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {as_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "\n".join(map(as_text, value))
    # JSON can spell half a surrogate pair, which no file can hold.
    return "" if value is None else str(value).strip().encode("utf-8", "replace").decode()


def _fix_escape(match: re.Match[str], is_code: bool) -> str:
    escape = match[0]
    is_latex = not is_code and _LATEX.match(match.string, match.start())
    if is_latex or escape[1] not in '"\\/bfnrtu' or escape == "\\u":
        return "\\" + escape
    return escape


def _repaired(text: str, is_cut: bool) -> list[dict[str, Any]]:
    """What can be saved of a broken object; nothing of a runaway one, on which repair is slow."""
    if repeats(text):
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


def _without_cut(value: dict[str, Any], is_closed: bool) -> dict[str, Any]:
    """The object without the property that the cut went through, which is its last."""
    if not value:
        return value
    key, item = value.popitem()
    is_marked = _CUT_MARK in f"{key}{json.dumps(item, ensure_ascii=False)}"
    if not is_marked and (is_closed or isinstance(item, str)):
        value[key] = item
    return value
