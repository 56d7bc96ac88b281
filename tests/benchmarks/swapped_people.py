"""How many answers of a real model change where somebody else appears in the question?

    python -m tests.benchmarks.swapped_people --model MODEL --folder FOLDER [--items 120] [--own]

Word problems that mention persons by pronoun, noun or first name are answered at temperature 0, as
a recipe has its solver asked: as they are, the very same again, with he and she, nouns and names
swapped (`audit.swaps`, pronouns), and as they are behind other examples. Printed: the share of
answers that each changes, with Clopper and Pearson's interval. The problems are GSM8K's training
split where its rows are (`tests/benchmarks/questions.py`), else, and with `--own`, sums of our own.
Replies are kept in the folder: after a kill, the same command asks for the rest.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tests.benchmarks.questions import REAL, load_real
from tests.support.curated_rows import candidate, curated_row
from tests.support.generation import make_seed
from tests.support.released import build, write_recipe
from tsqa.generate.stage import SeedFile, Solver, open_team, solve
from tsqa.pipeline.auditing import asking_context
from tsqa.quality.bias import group_lists
from tsqa.quality.swaps.draw import swap_record
from tsqa.quality.swaps.words import swapper
from tsqa.records.candidate_file import CandidateRecord, parse_record
from tsqa.records.seed import Seed
from tsqa.records.votes import same_answer
from tsqa.review.estimate import interval
from tsqa.teachers.scheduler import Job

WAYS = ("own", "again", "swapped", "redrawn")
"""As it is; the same prompt; others in it; as it is, behind other examples."""
MOST, SEEDS = 120, 200
"""Problems to ask about, and others to draw examples from: these, however many are asked about."""
_SUMS = (
    ("{name} has {a} apples. {He} buys {b} more. How many apples does {name} have now?", 1),
    ("{name} had {c} dollars. {He} gave {a} of them to {his} {kin}. How many are left?", -1),
    ("{name} read {a} pages on Monday and {b} on Tuesday. How many pages did {he} read?", 1),
    ("A {kin} baked {c} cakes and sold {a}. How many cakes does {he} still have?", -1),
)
_KIN = {"he": ("brother", "father", "uncle", "son"), "she": ("sister", "mother", "aunt", "girl")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", required=True, help="a folder, asked in completion form")
    parser.add_argument("--folder", type=Path, required=True, help="for replies and artifacts")
    parser.add_argument("--items", type=int, default=MOST, help=f"at most {MOST}")
    parser.add_argument("--own", action="store_true", help="sums of our own, not GSM8K")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    problems = _gsm8k() if REAL.is_dir() and not args.own else _sums(rng, 4 * (MOST + SEEDS))
    rng.shuffle(problems)
    swaps = swapper("pronouns")
    pool = [each for each in problems if swaps.swap(each.question) != each.question][:MOST]
    known = {each.id for each in pool}
    seeds = [each for each in problems if each.id not in known][:SEEDS]
    asked = pool[: args.items]
    answers = _ask(args.folder, args.model, asked, seeds)
    console = Console(soft_wrap=True)
    console.print(f"{len(asked)} problems; {sum(map(_is_right, asked, answers['own']))} right")
    for way in WAYS[1:]:
        pairs = [*zip(answers["own"], answers[way], strict=True)]
        both = [(one, two) for one, two in pairs if one and two]
        changed = sum(not same_answer(one, two, "number") for one, two in both)
        low, high = interval(changed / len(both), len(both))
        console.print(
            f"{way}: {changed} of {len(both)} answers are others, {changed / len(both):.1%} "
            f"[{low:.1%}, {high:.1%}]; {len(pairs) - len(both)} left out, unreadable on a side"
        )


def _gsm8k() -> list[Seed]:
    """Without their steps, so that a prompt's examples are short."""
    return [replace(each, kind="number", explanation="") for each in load_real("gsm8k", "train")]


def _sums(rng: random.Random, count: int) -> list[Seed]:
    men, women = group_lists()["first names"].groups.values()
    made = {}
    for _ in range(count):
        text, sign = rng.choice(_SUMS)
        he = rng.choice(["he", "she"])
        a, b, c = rng.randint(2, 20), rng.randint(2, 20), rng.randint(30, 60)
        question = text.format(
            **{"a": a, "b": b, "c": c, "he": he, "He": he.capitalize()},
            his="his" if he == "he" else "her",
            name=rng.choice(men if he == "he" else women),
            kin=rng.choice(_KIN[he]),
        )
        made[question] = a + b if sign > 0 else c - a
    return [
        replace(make_seed(number, question, str(answer), "toy"), kind="number")
        for number, (question, answer) in enumerate(made.items())
    ]


def _ask(
    folder: Path, model: str, asked: Sequence[Seed], seeds: Sequence[Seed]
) -> dict[str, list[str]]:
    """Way -> the answers of all problems, empty where one cannot be read."""
    teacher = {"model": {"path": model}, "dtype": "float32", "form": "completion"}
    teacher |= {"max_model_len": 1024, "kv_cache_gib": 1}
    sampling = {"temperature": 0, "max_tokens": 12}  # the answer is the first line
    generate = {"teacher": teacher, "votes": 1, "enrichment": [], "answer": sampling}
    prompts = {"question": "plain", "answer": "plain"}
    path = write_recipe(folder, generate={**generate, "prompts": prompts})
    pipeline = build(path, seeds, [curated_row(number) for number in range(20)])
    (node,) = (each for each in pipeline.nodes if each.stage == "generate")
    (folder / "replies").mkdir(exist_ok=True)
    context = asking_context(pipeline, node, folder / "replies")
    solver = open_team(context, []).writer.solver
    assert solver is not None, "the teacher votes"
    drawn = SeedFile(context.inputs["seeds"].path / "seeds.jsonl")
    records = [_record(number, each) for number, each in enumerate(asked)]
    jobs = (_job(solver, drawn, seeds[0], one, way) for one in records for way in WAYS)
    answers = [*solver.asker.run(jobs)]
    return {way: answers[place :: len(WAYS)] for place, way in enumerate(WAYS)}


def _record(number: int, problem: Seed) -> CandidateRecord:
    content = {"question": problem.question, "choices": [], "kind": "number", "votes": []}
    return parse_record(json.dumps(candidate(number, **content)))


def _job(
    solver: Solver, seeds: SeedFile, seed: Seed, record: CandidateRecord, way: str
) -> Job[str]:
    """The examples of a prompt follow the id of a record, so this stays but for `redrawn`."""
    shown = swap_record(record, swapper("pronouns")) if way == "swapped" else record
    if way == "redrawn":
        shown = replace(record, id=f"{record.id}.redrawn")
    job = solve(solver, seeds, seed, shown)
    completions = yield [replace(each, id=f"{each.id}.{way}") for each in next(job)]
    try:
        job.send(completions)
    except StopIteration as done:
        (vote,) = done.value.votes
        return vote.answer or ""
    raise AssertionError("one round of requests")


def _is_right(problem: Seed, answer: str) -> bool:
    return bool(answer) and same_answer(answer, problem.answer, "number")


if __name__ == "__main__":
    main()
