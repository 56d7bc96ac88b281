"""The verifiable part of a curated dataset as JSONL, for RL with verifiable rewards.

Each line is `{id, question, answer, verifier}`; `verifier.type` says how an answer is checked:
`math` (equal as numbers or formulas), `boolean`, `exact` (equal words), `choice` (an option's
letter or text; with `choices` and `index`), `code` (a program that passes `tests`).

Guarantees: an answer that its own verifier refuses is not exported; what is left out is counted by
reason; the file appears whole or not at all.
"""

from __future__ import annotations

import itertools
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from tsqa.curated.files import CURATED, read_rows
from tsqa.recipe import AnswerKind, CodeSection
from tsqa.records.votes import same_answer
from tsqa.sandbox.code import run_tests
from tsqa.store.jsonl import write_jsonl
from tsqa.text.sameness import answer_key, option_form

_Type = Literal["math", "boolean", "exact", "choice", "code"]
_TYPES: dict[AnswerKind, _Type] = {
    "number": "math",
    "boolean": "boolean",
    "short_text": "exact",
    "choice": "choice",
    "code": "code",
}
_KINDS: dict[_Type, AnswerKind] = {kind: answer_kind for answer_kind, kind in _TYPES.items()}
_LABEL = re.compile(r"\(?([A-Za-z]|[0-9]+)[).:]?")


@dataclass(frozen=True)
class Verifier:
    """How an answer is checked."""

    type: _Type
    choices: list[str] | None = None
    index: int | None = None
    """Of the right option."""
    tests: str | None = None


@dataclass(frozen=True)
class VerifiableItem:
    """A line of the export."""

    id: str
    question: str
    answer: str
    verifier: Verifier


_LINE: TypeAdapter[VerifiableItem] = TypeAdapter(VerifiableItem)


@dataclass(frozen=True)
class _Row:
    """The columns that are exported."""

    id: str
    kind: AnswerKind
    question: str
    context: str
    choices: list[str]
    answer: str
    answer_index: int | None
    tests: str


def export_verifiable(artifact_path: Path, out: Path) -> dict[str, int]:
    """Write the verifiable items of a filter artifact to `out`.

    Returns the number of lines by verifier, and of items left out as `left out: <reason>`. Code
    is not run again: the filters ran it.
    """
    counts: Counter[str] = Counter()
    items = _items(artifact_path, counts)
    write_jsonl(out, (_LINE.dump_python(item, exclude_defaults=True) for item in items))
    return dict(counts)


def read_item(line: bytes | str) -> VerifiableItem:
    """Read a line of the export; ValueError when it has another shape."""
    return _LINE.validate_json(line, strict=True)


def verify(item: VerifiableItem, answer: str, code: CodeSection | None = None) -> bool:
    """Whether an answer (bare, without prose) is right, for a line of the export.

    Programs run under the limits of `code`, or under the usual ones.
    """
    verifier = item.verifier
    match verifier.type:
        case "choice":
            return _choose(answer, verifier.choices or []) == verifier.index
        case "code":
            return not run_tests(answer, verifier.tests or "", code or CodeSection())
        case kind:
            return same_answer(item.answer, answer, _KINDS[kind])


def _items(artifact_path: Path, counts: Counter[str]) -> Iterator[VerifiableItem]:
    for row in read_rows(artifact_path / CURATED, _Row):
        item = _item(row)
        if item is None:
            counts[f"left out: {row.kind}"] += 1
        elif item.verifier.type != "code" and not verify(item, item.answer):
            counts[f"left out: {row.kind} that its verifier cannot read"] += 1
        else:
            counts[item.verifier.type] += 1
            yield item


def _item(row: _Row) -> VerifiableItem | None:
    """The line of an item; None when nothing can check its answer."""
    kind = _TYPES.get(row.kind)
    if kind is None:
        return None
    if kind == "choice":
        verifier = Verifier(kind, choices=row.choices, index=row.answer_index)
    else:
        verifier = Verifier(kind, tests=row.tests if kind == "code" else None)
    labels = _labels(row.choices)
    options = [f"{label}. {text}" for label, text in zip(labels, row.choices, strict=True)]
    question = [row.context, row.question, "\n".join(options)]
    text = "\n\n".join(part for part in question if part)
    return VerifiableItem(row.id, text, row.answer, verifier)


def _choose(answer: str, choices: list[str]) -> int | None:
    """The option that an answer names by its text, or else by its letter."""
    for form in (option_form, answer_key):
        keys = [form(choice) for choice in choices]
        if keys.count(form(answer)) == 1:
            return keys.index(form(answer))
    match = _LABEL.fullmatch(answer.strip())
    labels = _labels(choices)
    return labels.index(match[1].upper()) if match and match[1].upper() in labels else None


def _labels(choices: Sequence[str]) -> list[str]:
    """As in the documents: A to Z, then numbers."""
    found = itertools.chain(string.ascii_uppercase, map(str, itertools.count(27)))
    return list(itertools.islice(found, len(choices)))
