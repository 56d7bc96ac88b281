"""Records as generate writes them, for the tests of the filters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tsqa.records.candidate import Candidate, read_candidate
from tsqa.records.candidate_file import parse_record


def vote(name: str, answer: str | None, choices: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    index = choices.index(answer) if answer is not None and choices else None
    return {
        "id": name,
        "order": list(range(len(choices))) or None,
        "answer": answer,
        "index": index,
        "error": "" if answer else "no answer found",
        "reasoning": f"because of {name}",
        "knowledge": "",
        "context": "",
        "distractors": "",
        "dropped": [],
        "text": f"Answer: {answer}",
        "teacher": "teacher",
        **more,
    }


def record(
    name: str, question: str, answers: Sequence[str | None] = ("x", "x", "x"), **more: Any
) -> dict[str, Any]:
    choices = more.get("choices", [])
    return {
        "id": name,
        "task": "mini_day",
        "family": "mini_day",
        "capability": "commonsense",
        "subject": "",
        "language": "en",
        "kind": "short_text",
        "licence": "",
        "dataset": "json",
        "revision": "",
        "split": "train",
        "seed_id": "mini_day-0",
        "seed_hash": "00ff",
        "seed_ids": ["mini_day-1", "mini_day-0"],
        "seed_question": "",
        "question": question,
        "context": "",
        "choices": choices,
        "tests": "",
        "parse_error": "",
        "votes": [vote(f"{name}.a{n}", answer, choices) for n, answer in enumerate(answers)],
        "usage": {"teacher": {"prompt_tokens": 9, "output_tokens": 3}},
        "prompts": {"question": {"id": "plain", "version": 1, "sha256": "aa"}},
        "sampling": {"question": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 24}},
        "form": "completion",
        "teacher": {"model": "m", "engine": "vllm", "form": "completion"},
        **more,
    }


def candidate(question: str, *answers: str | None, name: str = "c", **more: Any) -> Candidate:
    return read(record(name, question, answers or ("x", "x", "x"), **more))


def read(line: dict[str, Any]) -> Candidate:
    """The candidate in a line of candidates.jsonl."""
    return read_candidate(parse_record(json.dumps(line)))
