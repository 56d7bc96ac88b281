"""Share of prompt tokens that a cache of prefixes holds already: the prompts of a real tokenizer.

    python -m tests.benchmarks.prefixes --model models/smollm2-135m

Training questions of arc_easy and gsm8k are seeds, and each stands for the question that is written
after it. The cache keeps whole blocks of 16 tokens, as vLLM's does, and forgets nothing; a prompt
computes its last block again. No engine runs: what it saves in time is not measured.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tests.benchmarks.diversity import pool_of
from tests.support.generation import artifact, make_context
from tsqa.generate.stage import SeedFile, Writer, open_team, write_candidate
from tsqa.recipe import GenerateSection, ModelSection, TeacherSection
from tsqa.records.seed import Seed
from tsqa.store.jsonl import write_jsonl
from tsqa.teachers import Completion, Request

BLOCK = 16
FORMS = ("chat", "completion")
TASKS = ("arc_easy", "gsm8k")


class Prefixes:
    """The blocks of all prompts so far."""

    def __init__(self) -> None:
        self.found = self.tokens = 0
        self._known: set[tuple[int, ...]] = set()

    def add(self, ids: Sequence[int]) -> None:
        whole = [tuple(ids[:end]) for end in range(BLOCK, len(ids) + 1, BLOCK)]
        reusable = [prefix for prefix in whole if len(prefix) < len(ids)]
        held = next((n for n, prefix in enumerate(reusable) if prefix not in self._known), None)
        self.found += BLOCK * (len(reusable) if held is None else held)
        self.tokens += len(ids)
        self._known.update(whole)


def asked_for(
    writer: Writer, source: SeedFile, seed: Seed, number: int
) -> tuple[Request, Sequence[Request]]:
    """The request for a question, and those for its answers, where it is the seed's own again."""
    job = write_candidate(writer, source, seed, number)
    (asked,) = next(job)
    options = [f"{letter}. {text}" for letter, text in zip("ABCDE", seed.choices, strict=False)]
    said = "\n".join((seed.question, *options))
    answers = job.send([Completion(asked.id, said, 0, 0, "stop")])
    job.close()
    return asked, answers


def prompts_of(
    model: Path, seeds: Sequence[Seed], form: str, per_seed: int
) -> Iterator[tuple[Request, Sequence[Request]]]:
    teacher = TeacherSection.model_validate({"model": ModelSection(path=str(model)), "form": form})
    section = GenerateSection(teacher=teacher)
    with tempfile.TemporaryDirectory() as folder:
        write_jsonl(Path(folder) / "seeds.jsonl", map(asdict, seeds))
        source = SeedFile(Path(folder) / "seeds.jsonl")
        inputs = {"seeds": artifact(Path(folder))}
        context = make_context(Path(folder) / "out", inputs, generate=section)
        writer = open_team(context, []).writer
        for seed in seeds:
            for number in range(per_seed):
                yield asked_for(writer, source, seed, number)


def ids_of(tokenizer: PreTrainedTokenizerBase, request: Request) -> list[int]:
    text = request.prompt
    if request.messages:
        turns = [dict(turn) for turn in request.messages]
        text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    ids: list[int] = tokenizer.encode(text)
    return ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=100, help="of each task")
    parser.add_argument("--per-seed", type=int, default=4)
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    table = Table(title="prompt tokens that a cache of prefixes holds already")
    for column in ("task", "form", "questions: tokens a prompt", "held", "answers: tokens", "held"):
        table.add_column(column, justify="right")
    for task in TASKS:
        seeds = pool_of(task)[: arguments.seeds]
        for form in FORMS:
            questions, answers = Prefixes(), Prefixes()
            counts = [0, 0]
            for asked, votes in prompts_of(arguments.model, seeds, form, arguments.per_seed):
                questions.add(ids_of(tokenizer, asked))
                for vote in votes:
                    answers.add(ids_of(tokenizer, vote))
                counts = [counts[0] + 1, counts[1] + len(votes)]
            cells = [
                shown
                for cache, count in zip((questions, answers), counts, strict=True)
                for shown in (
                    f"{cache.tokens / count:.0f}",
                    f"{100 * cache.found / cache.tokens:.1f}%",
                )
            ]
            table.add_row(task, form, *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
