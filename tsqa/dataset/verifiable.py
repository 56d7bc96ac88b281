"""The verifiable part of a curated dataset as JSONL, for RL with verifiable rewards.

Each line is `{id, question, answer, verifier}`; `verifier.type` says how an answer is checked:
`math` (equal as numbers or formulas), `boolean`, `exact` (equal words), `choice` (an option's
letter or text; with `choices` and `index`), `code` (a program that passes `tests`).

Promises: an answer that its own verifier refuses is not exported; what is left out is counted by
reason; the file appears whole or not at all.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tsqa.dataset.files import read_curated
from tsqa.recipe import CodeSection
from tsqa.records.votes import same_answer
from tsqa.sandbox.code import run_tests
from tsqa.store.jsonl import write_jsonl
from tsqa.text.sameness import answer_key, option_form

_READ = [
    *("id", "kind", "question", "context", "choices"),
    *("answer", "answer_index", "tests"),
]
_TYPES = {
    "number": "math",
    "boolean": "boolean",
    "short_text": "exact",
    "choice": "choice",
    "code": "code",
}
_KINDS: Mapping[str, Any] = {"math": "number", "boolean": "boolean", "exact": "short_text"}
_LETTER = re.compile(r"\(?([A-Za-z])[).:]?")


def export_verifiable(artifact_path: Path, out: Path) -> dict[str, int]:
    """Write the verifiable items of a filter artifact to `out`.

    Returns the number of lines by verifier, and of items left out as `left out: <reason>`. Code
    is not run again: the filters ran it.
    """
    counts: Counter[str] = Counter()
    write_jsonl(out, _records(artifact_path, counts))
    return dict(counts)


def verify(record: Mapping[str, Any], answer: str, code: CodeSection | None = None) -> bool:
    """Whether an answer (bare, without prose) is right, for a line of the export.

    Programs run under the limits of `code`, or under the usual ones.
    """
    verifier = record["verifier"]
    match verifier["type"]:
        case "choice":
            return bool(_choose(answer, verifier["choices"]) == verifier["index"])
        case "code":
            return not run_tests(answer, verifier["tests"], code or CodeSection())
        case kind:
            return same_answer(record["answer"], answer, _KINDS[kind])


def _records(artifact_path: Path, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    for row in read_curated(artifact_path, _READ):
        record = _record(row)
        if record is None:
            counts[f"left out: {row['kind']}"] += 1
        elif record["verifier"]["type"] != "code" and not verify(record, record["answer"]):
            counts[f"left out: {row['kind']} that its verifier cannot read"] += 1
        else:
            counts[record["verifier"]["type"]] += 1
            yield record


def _record(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The line of an item; None when nothing can check its answer."""
    kind = _TYPES.get(row["kind"])
    verifier: dict[str, Any] = {"type": kind}
    if kind is None:
        return None
    if kind == "choice":
        verifier |= {"choices": row["choices"], "index": row["answer_index"]}
    if kind == "code":
        verifier["tests"] = row["tests"]
    options = zip(string.ascii_uppercase, row["choices"], strict=False)
    question = [row["context"], row["question"], "\n".join(f"{k}. {text}" for k, text in options)]
    return {
        "id": row["id"],
        "question": "\n\n".join(part for part in question if part),
        "answer": row["answer"],
        "verifier": verifier,
    }


def _choose(answer: str, choices: list[str]) -> int | None:
    """The option that an answer names by its text, or else by its letter."""
    for form in (option_form, answer_key):
        keys = [form(choice) for choice in choices]
        if keys.count(form(answer)) == 1:
            return keys.index(form(answer))
    match = _LETTER.fullmatch(answer.strip())
    place = string.ascii_uppercase.index(match[1].upper()) if match else len(choices)
    return place if place < len(choices) else None
