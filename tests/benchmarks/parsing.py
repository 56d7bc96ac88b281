"""Replies of a real model, read: how many give the answer that a person reads in them, and how
many a wrong one.

    python -m tests.benchmarks.parsing

`tests/data/recorded_answers.jsonl` holds 244 replies of SmolLM2-135M-Instruct (Apache-2.0), asked
with the prompts `similar` and `enrich` in chat and in completion form, sampled at temperature 0.7;
`answer` is what a person reads as the final answer, null where the reply gives none or contradicts
itself. `tests/data/recorded_questions.jsonl` holds its questions: what reads as one is counted.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.support.paths import DATA
from tsqa.generate.echoes import Own, question_without_echo
from tsqa.prompts import load_prompts
from tsqa.records.votes import same_answer
from tsqa.store.jsonl import read_jsonl
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.teachers.replies.question_reply import parse_question

OUTCOMES = ("right", "wrong", "missed", "rightly none")


def judge_answer(record: dict[str, Any]) -> str:
    """One of OUTCOMES; wrong: another answer than the reply's, or one where it gives none."""
    found = parse_answer(
        record["text"], record["finish_reason"], record["kind"], record["choices"]
    ).answer
    if found is None:
        return "missed" if record["answer"] is not None else "rightly none"
    if record["answer"] is None:
        return "wrong"
    if record["choices"]:
        return "right" if found == record["answer"] else "wrong"
    return "right" if same_answer(found, record["answer"], record["kind"]) else "wrong"


def count_answers() -> dict[tuple[str, str], Counter[str]]:
    """(kind, form) -> outcomes."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for record in read_jsonl(DATA / "recorded_answers.jsonl"):
        found.setdefault((record["kind"], record["form"]), Counter())[judge_answer(record)] += 1
    return found


def count_questions() -> dict[tuple[str, str], Counter[str]]:
    """(kind, form) -> how many replies hold a question, and how many none."""
    found: dict[tuple[str, str], Counter[str]] = {}
    prompts = load_prompts("similar", "question", "generate.prompts.question")
    for record in read_jsonl(DATA / "recorded_questions.jsonl"):
        parsed = parse_question(
            record["text"], record["finish_reason"], record["kind"], record["form"], False
        )
        prompt = prompts.of(record["kind"], has_context=False)
        own = Own(prompt.own_words("question", record["kind"], record["form"]))
        parsed = question_without_echo(parsed, own)
        outcome = parsed.error or "read"
        found.setdefault((record["kind"], record["form"]), Counter())[outcome] += 1
    return found


def main() -> None:
    table = Table(title="answers: what a person reads in them, and what the parser does")
    for column in ("kind", "form", "replies", *OUTCOMES):
        table.add_column(column, justify="right")
    total = Counter[str]()
    for (kind, form), outcomes in sorted(count_answers().items()):
        total += outcomes
        counts = [str(outcomes[name]) for name in OUTCOMES]
        table.add_row(kind, form, str(outcomes.total()), *counts)
    table.add_row("all", "", str(total.total()), *(str(total[name]) for name in OUTCOMES))
    console = Console()
    console.print(table)
    for (kind, form), outcomes in sorted(count_questions().items()):
        reasons = ", ".join(f"{name} {count}" for name, count in outcomes.most_common())
        console.print(f"questions, {kind}, {form}: {reasons}")


if __name__ == "__main__":
    main()
