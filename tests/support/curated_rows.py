"""Invented rows of the curated dataset, of its rejects, and the candidates behind them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tsqa.records.rows import CuratedRow, RejectedRow


def candidate(number: int, **changes: Any) -> dict[str, Any]:
    """A candidate as generate writes it: three votes, two for the right option."""
    name = f"toy:{number}.q0"
    choices = ["metre", "litre", "gram"]
    votes = [
        {
            "id": f"{name}.a{i}",
            "order": order,
            "answer": answer,
            "index": None if answer is None else choices.index(answer),
            "error": "" if answer else "no answer line",
            "reasoning": "length is measured in metres",
            "knowledge": "SI units",
            "context": "",
            "distractors": "a litre measures volume",
            "dropped": [],
            "text": f"Answer: {answer}",
            "teacher": "teacher",
        }
        for i, (order, answer) in enumerate(
            [([2, 0, 1], "metre"), ([0, 1, 2], "metre"), ([1, 2, 0], None)]
        )
    ]
    return {
        "id": name,
        "task": "toy",
        "family": "toy",
        "capability": "knowledge",
        "subject": "physics",
        "language": "en",
        "kind": "choice",
        "licence": "cc-by-sa-4.0",
        "dataset": "org/toy",
        "revision": "abc",
        "split": "train",
        "seed_id": f"toy:{number}",
        "seed_hash": "00ff",
        "seed_ids": [f"toy:{number + 1}", f"toy:{number}"],
        "seed_question": f"What is rope {number} measured in?",
        "question": f"Which unit measures the length of rope {number}?",
        "context": "",
        "choices": choices,
        "tests": "",
        "parse_error": "",
        "votes": votes,
        "usage": {
            "teacher": {"prompt_tokens": 90, "output_tokens": 30},
            "cascade": {"prompt_tokens": 0, "output_tokens": 0},
        },
        "prompts": {
            "question": {"id": "similar-choice", "version": 1, "sha256": "aa" * 32},
            "answer": {"id": "enrich-choice", "version": 2, "sha256": "bb" * 32},
        },
        "sampling": {
            "question": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 256},
            "answer": {"temperature": 0.8, "top_p": 1.0, "max_tokens": 512},
        },
        "form": "chat",
        "teacher": {"model": "teacher-7b", "engine": "vllm", "form": "chat"},
        **changes,
    }


def lineage(number: int, **changes: Any) -> str:
    """The column `lineage` of `candidate(number)`."""
    whole = candidate(number)
    same = "seed_ids seed_hash prompts sampling form teacher usage"
    made = {
        **{key: whole[key] for key in same.split()},
        "winning_vote": f"{whole['id']}.a0",
        "votes": [vote["id"] for vote in whole["votes"]],
        **changes,
    }
    return json.dumps(made, sort_keys=True)


def curated_row(number: int, **changes: Any) -> CuratedRow:
    """The row of `candidate(number)` when it is accepted."""
    whole = candidate(number)
    same = (
        "id task family capability subject language kind licence dataset revision split seed_id "
        "question context choices tests"
    )
    row = CuratedRow(
        **{key: whole[key] for key in same.split()},
        answer="metre",
        answer_index=0,
        reasoning="length is measured in metres",
        knowledge="SI units",
        item_context="",
        distractors="a litre measures volume",
        text=f"Question: {whole['question']}\nAnswer: metre",
        rendering="qa",
        agreement=2 / 3,
        scores=json.dumps({"copy": 0.2, "decontamination": 0.1}),
        lineage=lineage(number),
    )
    return replace(row, **changes)


def rejected_row(number: int, **changes: Any) -> RejectedRow:
    """The row of `candidate(number)` when the vote rejects it."""
    whole = candidate(number)
    row = RejectedRow(
        **{key: whole[key] for key in ("id", "task", "family", "capability", "kind", "question")},
        answer="metre",
        step="agreement",
        reason="votes disagree",
        score=2 / 3,
        match="",
        record=json.dumps(whole),
    )
    return replace(row, **changes)
