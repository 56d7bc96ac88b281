"""Questions of a real model with and without `generate.attributes` and `temperatures`: how many can
be read, how many repeat another, how many of the seeds' neighbourhoods they reach.

    python -m tests.benchmarks.diversity --model models/smollm2-135m --out FOLDER

The model is asked in completion form after training questions of arc_easy and gsm8k; openings and
attributes (persona and difficulty) are those of `recipes/dataset/varied.yaml`. A
neighbourhood is hit when a question is nearer (TF-IDF) to this training question than to the others
of a pool of 200 of its task. Intervals: 95%, resampling seeds; for neighbourhoods, resampling the
pool. Replies are kept in the folder, so that the same command after an interrupt asks only for
those that are missing; without `--model` the questions there are counted again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest
from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]

from tests.benchmarks.questions import load_real
from tests.support.generation import artifact, make_context
from tests.support.paths import REPOSITORY
from tsqa.dedup.minhash import find_duplicates
from tsqa.filters.statistics import DistinctNgrams
from tsqa.generate.stage import SeedFile, open_team, write_candidate
from tsqa.recipe import (
    AnswerKind,
    DedupSection,
    GenerateSection,
    ModelSection,
    PromptsSection,
    Recipe,
    SamplingSection,
    TeacherSection,
    needed,
)
from tsqa.records.candidate import read_candidate
from tsqa.records.seed import Seed
from tsqa.store.jsonl import read_jsonl, write_jsonl
from tsqa.text.normalise import words

VARIED = REPOSITORY / "recipes" / "dataset" / "varied.yaml"
DRAWN = {
    "similar": (),
    "openings": ("opening",),
    "attributes": ("persona", "difficulty"),
    "temperatures": ("temperature",),
    "all": ("opening", "persona", "difficulty", "temperature"),
}
"""Arm -> what is drawn for each of its questions."""
TEMPERATURE, TEMPERATURES = 0.7, [0.5, 0.7, 0.9]
"""Of a small model: those of the recipe are for a large one."""
ARMS = tuple(DRAWN)
TASKS: dict[str, AnswerKind] = {"arc_easy": "choice", "gsm8k": "number"}
POOL = 200
"""Training questions of each task, the first of which are the seeds."""
_ROUNDS = 2_000


@dataclass(frozen=True)
class Written:
    """A question that the model wrote, or why there is none."""

    arm: str
    task: str
    seed_id: str
    asked: str
    """The question with what tells it apart: see `Candidate.asked`."""
    error: str


@dataclass(frozen=True)
class Share:
    count: int
    n: int
    low: float
    high: float

    def __str__(self) -> str:
        shown = f"{100 * self.count / self.n:.1f}% [{100 * self.low:.1f}, {100 * self.high:.1f}]"
        return f"{self.count} of {self.n}, {shown}"


def pool_of(task: str) -> list[Seed]:
    seeds = load_real(task, "train")[:POOL]
    return [replace(seed, kind=TASKS[task]) for seed in seeds]


def ask(
    arms: Sequence[str], model: Path, seeds: Sequence[Seed], per_seed: int, folder: Path
) -> Iterator[Written]:
    """The questions of all arms, seed by seed, of one engine."""
    # Examples are drawn from the whole pool, so that more seeds later ask the same requests first.
    write_jsonl(folder / "seeds.jsonl", (asdict(seed) for task in TASKS for seed in pool_of(task)))
    source = SeedFile(folder / "seeds.jsonl")
    inputs = {"seeds": artifact(folder)}
    writers = {
        arm: open_team(make_context(folder, inputs, generate=_section(arm, model)), []).writer
        for arm in arms
    }
    # Arms may come to put the same request, which is one to the engine: each has its own draws.
    own = {arm: replace(writers[arm].asker, seed=ARMS.index(arm)) for arm in arms}
    labels = [(arm, n) for arm in arms for n in range(per_seed)]
    jobs = (
        write_candidate(replace(writers[arm], asker=own[arm], solver=None), source, seed, n)
        for seed in seeds
        for arm, n in labels
    )
    for (arm, _), record in zip(cycle(labels), own[arms[0]].run(jobs), strict=False):
        asked = "" if record.parse_error else read_candidate(record).asked
        yield Written(arm, record.task, record.seed_id, asked, record.parse_error)


def _section(arm: str, model: Path) -> GenerateSection:
    varied = needed(Recipe.load(VARIED).generate, "generate")
    drawn = {name: varied.attributes[name] for name in DRAWN[arm] if name != "temperature"}
    many = TEMPERATURES if "temperature" in DRAWN[arm] else []
    one = {} if many else {"temperature": TEMPERATURE}
    return GenerateSection(
        teacher=TeacherSection(
            model=ModelSection(path=str(model)),
            form="completion",
            dtype="float32",  # a CPU without instructions for bfloat16 takes minutes for a reply
            max_model_len=1024,
            max_num_seqs=32,
        ),
        question=SamplingSection(**one, top_p=0.9, max_tokens=96),
        prompts=PromptsSection(question="varied" if drawn else "similar"),
        attributes=drawn,
        temperatures=many,
    )


def repeated(written: Sequence[Written]) -> Share:
    """Questions that repeat an earlier one, of those that can be read."""
    readable = [each for each in written if not each.error]
    with tempfile.TemporaryDirectory() as scratch:
        asked = ((f"{number}", each.asked) for number, each in enumerate(readable))
        verdicts = list(find_duplicates(asked, DedupSection(), Path(scratch)))
    flags: dict[str, list[bool]] = {}
    for each, verdict in zip(readable, verdicts, strict=True):
        flags.setdefault(each.seed_id, []).append(verdict is not None)
    return _by_seed(list(flags.values()))


def unreadable(written: Sequence[Written]) -> Share:
    flags: dict[str, list[bool]] = {}
    for each in written:
        flags.setdefault(each.seed_id, []).append(bool(each.error))
    return _by_seed(list(flags.values()))


def reached(written: Sequence[Written]) -> Share:
    """Training questions of the pool that some question is nearest to."""
    hit = set()
    for task in TASKS:
        texts = [each.asked for each in written if each.task == task and not each.error]
        pool = [seed.question for seed in pool_of(task)]
        weigh = TfidfVectorizer(sublinear_tf=True).fit(pool)
        near = (weigh.transform(texts) @ weigh.transform(pool).T).toarray()
        hit |= {(task, int(place)) for place in near[near.max(1) > 0].argmax(1)}
    return wilson(len(hit), POOL * len(TASKS))


def wilson(count: int, n: int) -> Share:
    """A share with its 95% interval after Wilson (1927)."""
    found = binomtest(count, n).proportion_ci(method="wilson")
    return Share(count, n, float(found.low), float(found.high))


def distinct(written: Sequence[Written], count: int) -> dict[str, float]:
    """Distinct-n of as many questions as every arm has."""
    found = DistinctNgrams()
    for each in [each for each in written if not each.error][:count]:
        found.add(words(each.asked))
    return found.shares()


def _by_seed(groups: Sequence[Sequence[bool]]) -> Share:
    sums, sizes = (np.array([f(group) for group in groups]) for f in (sum, len))
    drawn = np.random.default_rng(0).integers(0, len(groups), (_ROUNDS, len(groups)))
    shares = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(shares, (0.025, 0.975))
    return Share(int(sums.sum()), int(sizes.sum()), float(low), float(high))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--per-seed", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    questions = arguments.out / "questions.jsonl"
    if arguments.model:
        arguments.out.mkdir(parents=True, exist_ok=True)
        # One task after the other in turn, so that a part of the seeds has all tasks.
        pools = [pool_of(task)[: arguments.seeds // len(TASKS)] for task in TASKS]
        seeds = [seed for together in zip(*pools, strict=True) for seed in together]
        asked = ask(arguments.arms, arguments.model, seeds, arguments.per_seed, arguments.out)
        with questions.open("w", encoding="utf-8") as out:
            for written in asked:
                out.write(f"{json.dumps(asdict(written))}\n")
                out.flush()
    rows = [Written(**row) for row in read_jsonl(questions)]
    arms = {arm: [row for row in rows if row.arm == arm] for arm in ARMS}
    print_table({arm: written for arm, written in arms.items() if written})


def print_table(arms: Mapping[str, Sequence[Written]]) -> None:
    """Of the seeds that every arm was asked for."""
    shared = set.intersection(*({row.seed_id for row in written} for written in arms.values()))
    arms = {arm: [row for row in rows if row.seed_id in shared] for arm, rows in arms.items()}
    table = Table(title=f"questions of one model after {len(shared)} seeds, by what is drawn")
    for column in ("", "unreadable", "repeat another", "neighbourhoods hit", "distinct-1, -2, -3"):
        table.add_column(column)
    least = min(sum(not row.error for row in written) for written in arms.values())
    for arm, written in arms.items():
        shares = ", ".join(f"{share:.3f}" for share in distinct(written, least).values())
        cells = (unreadable(written), repeated(written), reached(written), shares)
        table.add_row(arm, *map(str, cells))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
