"""Made-up items with which a prompt is tried out as it loads.

Promises: they have every variable that a prompt of the role is given, and no other.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from tsqa.recipe import AnswerKind, Enrichment

Role = Literal["question", "answer", "judge", "document"]


def sample(role: Role, kind: AnswerKind, full: bool) -> dict[str, Any]:
    """What a prompt of the role is given, made up; `full` has every field, else few are filled."""
    text = "made up" if full else ""
    choices = ["one", "two", "three"] if kind == "choice" else []
    item = {"question": "Which?", "context": text, "choices": choices}
    seed = {
        "id": "task-0",
        "task": "task",
        "family": "task",
        "capability": text,
        "subject": text,
        "language": "en",
        "kind": kind,
        **item,
        "answer_index": 0 if choices else None,
        "answer": "one",
        "explanation": text,
        "tests": text,
        "dataset": "json",
        "revision": text,
        "split": "train",
        "licence": text,
        "doc_id": 0,
        "content_hash": "0",
    }
    match role:
        case "question":
            return {"shots": [seed, seed] if full else [seed], "kind": kind}
        case "answer":
            enrichment = list(get_args(Enrichment)) if full else []
            shots = [seed, seed] if full else [seed]
            return {**item, "shots": shots, "kind": kind, "enrichment": enrichment}
        case "judge":
            return {**item, "answer": "one", "reasoning": text}
        case "document":
            added = dict.fromkeys(("reasoning", "knowledge", "item_context", "distractors"), text)
            index = 0 if choices else None
            return {**item, "answer": "one", "answer_index": index, "kind": kind, **added}
