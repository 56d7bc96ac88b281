"""The JSON objects of a reply as the fields that were asked for.

Guarantees: nothing is raised on any value; a field that is given twice keeps both values; an object
in place of an answer is the text that it holds, or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tsqa.recipe import AnswerKind
from tsqa.teachers.replies.fields import as_text, field_of, part_text, read_objects

_CHOSEN = {"choice", "option", "selected_option", "chosen_option", "selection"}
"""Keys of the option that an object without an answer names."""
_BESIDE = {"confidence", "reason", "text"}


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
            fields.setdefault(field_of(str(key)), []).append(value)
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
