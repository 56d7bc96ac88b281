"""Question documents for tests and benchmarks: real splits where they are, invented ones elsewhere.

`../shared/data/tasks/<task>/<split>.jsonl` holds the published rows of four benchmarks.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.support.generation import make_seed
from tests.support.paths import SHARED
from tsqa.records.candidate import Candidate
from tsqa.records.seed import Seed
from tsqa.store.jsonl import read_jsonl

REAL = SHARED / "data" / "tasks"
TASKS = ("gsm8k", "arc_easy", "arc_challenge", "openbookqa")
_SYLLABLES = ("ba", "do", "fi", "gu", "ka", "le", "mo", "nu", "pi", "ra", "so", "ti", "ve", "zu")


def load_questions(split: str) -> list[Seed]:
    """All documents of the four benchmarks, or 5,000 invented ones where they are absent."""
    if REAL.is_dir():
        return [seed for task in TASKS for seed in load_real(task, split)]
    rng = random.Random(split)
    return [_invent(rng, number) for number in range(5000)]


def load_real(task: str, split: str) -> list[Seed]:
    rows = read_jsonl(REAL / task / f"{split}.jsonl")
    return [_real_seed(task, number, row) for number, row in enumerate(rows)]


def stream_candidates(seeds: list[Seed], count: int) -> Iterator[Candidate]:
    """`count` candidates; after the first round over the seeds, with numbers of the round."""
    for number in range(count):
        seed = seeds[number % len(seeds)]
        mark = "" if number < len(seeds) else f" {number}"
        yield Candidate(
            id=f"{seed.id}.{number}",
            task=seed.task,
            question=seed.question + mark,
            context=seed.context,
            choices=seed.choices,
            answer=seed.answer,
            reasoning=seed.explanation,
        )


def _real_seed(task: str, number: int, row: dict[str, Any]) -> Seed:
    question = row.get("question") or row["question_stem"]
    if "choices" in row:
        choices = row["choices"]["text"]
        answer = choices[row["choices"]["label"].index(row["answerKey"])]
        return replace(make_seed(number, question, answer, task), choices=choices)
    steps, answer = re.sub(r"<<.*?>>", "", row["answer"]).split("#### ")
    return replace(make_seed(number, question, answer, task), explanation=steps.strip())


def _invent(rng: random.Random, number: int) -> Seed:
    words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 3))) for _ in range(40)]
    question = f"{' '.join(words[: rng.randint(5, 25)])} {rng.randint(1, 99)}?".capitalize()
    choices = [" ".join(words[start : start + 2]) for start in range(25, 33, 2)]
    return replace(make_seed(number, question, choices[1], "invented"), choices=choices)
