"""How many answers of a small teacher are right, before and after its votes must agree.

    python -m tests.benchmarks.right_items --model models/smollm2-135m --out FOLDER [--form chat]

The model is asked questions whose right answers are known: those of the quickstart's miniature
families, which code computes, and training questions of arc_easy with their keys. Examples are
other questions of the same task, prompts the default ones without explanations, sampling that of
`recipes/real`, three votes. Kept is what `filter.agreement: 0.6` keeps. Intervals: 95%, Wilson.
Replies stay in the folder, so the same command goes on after an interrupt; without `--model` what
is there is counted again.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.diversity import pool_of, wilson
from tests.support.generation import artifact, make_context, make_seed
from tsqa.generate.stage import SeedFile, Solver, open_team, solve
from tsqa.recipe import GenerateSection, ModelSection, SamplingSection, TeacherSection, needed
from tsqa.records.candidate import read_candidate
from tsqa.records.candidate_file import CandidateRecord
from tsqa.records.seed import Seed
from tsqa.records.votes import same_answer
from tsqa.store.jsonl import read_jsonl, write_jsonl
from tsqa.tasks.toy_families import FAMILIES, PREFIX, ToyItem, draw_item
from tsqa.teachers.scheduler import Job

SHOWN = 20
"""Questions of each task that are only examples."""
AGREEMENT = 0.6
TASKS = (*(PREFIX + name for name in FAMILIES), "arc_easy")


@dataclass(frozen=True)
class Answered:
    task: str
    is_answered: bool
    """One answer has more votes than any other."""
    is_kept: bool
    is_right: bool


def questions_of(task: str) -> list[Seed]:
    """Questions with their right answers, in a fixed order."""
    if not task.startswith(PREFIX):
        return pool_of(task)
    rng, family = random.Random(task), FAMILIES[task.removeprefix(PREFIX)]
    return [_as_seed(task, number, draw_item(family, rng)) for number in range(SHOWN + 100)]


def _as_seed(task: str, number: int, item: ToyItem) -> Seed:
    return replace(
        make_seed(number, item.question, item.answer, task),
        kind="choice" if item.choices else "number",
        choices=list(item.choices),
        answer_index=item.choices.index(item.answer) if item.choices else None,
        explanation=item.explanation,
    )


def ask(model: Path, form: str, count: int, folder: Path) -> Iterator[Answered]:
    """Ask `count` questions of each task, one task after the other in turn."""
    pools = {task: questions_of(task) for task in TASKS}
    shown = chain.from_iterable(pool[:SHOWN] for pool in pools.values())
    write_jsonl(folder / "seeds.jsonl", map(asdict, shown))
    seeds = SeedFile(folder / "seeds.jsonl")
    inputs = {"seeds": artifact(folder)}
    team = open_team(make_context(folder, inputs, generate=_section(model, form)), [])
    solver = needed(team.writer.solver, "solver")
    asked = [pools[task][SHOWN + n] for n in range(count) for task in TASKS]

    def jobs() -> Iterator[Job[CandidateRecord]]:
        for number, one in enumerate(asked):
            example = pools[one.task][number % SHOWN]
            yield solve(solver, seeds, example, _as_record(one, solver))

    for one, record in zip(asked, team.writer.asker.run(jobs()), strict=True):
        found = read_candidate(record)
        is_answered = bool(found.answer) and not found.is_tie
        is_kept = is_answered and found.agreement >= AGREEMENT
        is_right = is_answered and same_answer(found.answer, one.answer, one.kind)
        yield Answered(one.task, is_answered, is_kept, is_right)


def _as_record(seed: Seed, solver: Solver) -> CandidateRecord:
    fields = {name: getattr(seed, name) for name in _SHARED}
    return CandidateRecord(
        **fields,
        seed_id=seed.id,
        seed_hash=seed.content_hash,
        seed_ids=[],
        seed_question=seed.question,
        parse_error="",
        votes=[],
        prompts={},
        sampling={},
        usage={},
        form=solver.asker.form,
        teacher=solver.asker.lineage,
    )


_SHARED = (
    *("id", "task", "family", "capability", "subject", "language", "kind", "licence", "dataset"),
    *("revision", "split", "question", "context", "choices", "tests"),
)


def _section(model: Path, form: str) -> GenerateSection:
    return GenerateSection(
        teacher=TeacherSection(
            model=ModelSection(path=str(model)),
            form=form,
            dtype="float32",
            max_model_len=1024,
            max_num_seqs=32,
            kv_cache_gib=1,
        ),
        votes=3,
        enrichment=[],
        answer=SamplingSection(temperature=0.5, top_p=0.9, max_tokens=32),
    )


def print_table(form: str, rows: Sequence[Answered]) -> None:
    table = Table(title=f"answers in {form} form; kept: agreement of {AGREEMENT} or more")
    for column in ("task", "questions", "answered", "right of these", "kept", "right of the kept"):
        table.add_column(column)
    groups = {task: [row for row in rows if row.task == task] for task in TASKS}
    toys = [row for row in rows if row.task.startswith(PREFIX)]
    for name, group in {**groups, "miniature families": toys}.items():
        answered = [row for row in group if row.is_answered]
        kept = [row for row in group if row.is_kept]
        shares = (_right(answered), _right(kept))
        table.add_row(
            name, str(len(group)), str(len(answered)), shares[0], str(len(kept)), shares[1]
        )
    Console(width=150).print(table)


def _right(rows: Sequence[Answered]) -> str:
    return str(wilson(sum(row.is_right for row in rows), len(rows))) if rows else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--form", choices=("completion", "chat"), default="completion")
    parser.add_argument("--questions", type=int, default=16, help="of each of the seven tasks")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    folder: Path = arguments.out / arguments.form
    if arguments.model:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "answered.jsonl").open("w", encoding="utf-8") as out:
            for row in ask(arguments.model, arguments.form, arguments.questions, folder):
                out.write(f"{json.dumps(asdict(row))}\n")
                out.flush()
    print_table(arguments.form, [Answered(**row) for row in read_jsonl(folder / "answered.jsonl")])


if __name__ == "__main__":
    main()
