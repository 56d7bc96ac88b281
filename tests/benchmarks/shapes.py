"""Benchmarks of seven more shapes, in every disguise: programs, stories, tables, pictures, games.

    python -m tests.benchmarks.shapes [--shapes programs functions] [--corpus books.jsonl.gz]

`programs`: a signature and what it is to do, invented; `functions`: those of this Python's library,
with their documentation; `stories`: the beginning of a passage of a book and four ways to go on,
three of other passages; `tables`: what one asks of a Markdown table; `pictures`: rows of emoji that
stand for a film; `pairs`: few brackets to be closed; `games`: reports of one template with a few
general questions. Test and training documents are drawn alike.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import random
import re
import sysconfig
import textwrap
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

from tests.benchmarks.disguises import DISGUISES
from tests.benchmarks.dress import DRESSES
from tests.benchmarks.reading import CORPUS
from tests.benchmarks.template_tasks import both_shares
from tests.support.generation import make_seed
from tsqa.decontaminate.index import EvaluatedIndex
from tsqa.decontaminate.planted_leaks import KINDS, respell
from tsqa.recipe import DecontaminateSection
from tsqa.records.candidate import Candidate, seed_as_candidate
from tsqa.records.seed import Seed

_VERBS = [
    "sort",
    "merge",
    "filter",
    "rotate",
    "count",
    "split",
    "join",
    "group",
    "reverse",
    "compress",
    "flatten",
    "rank",
]
_THINGS = [
    "numbers",
    "words",
    "intervals",
    "prices",
    "temperatures",
    "scores",
    "names",
    "edges",
    "dates",
    "moves",
]
_PLACES = [
    "Bergen", "Brno", "Cork", "Ghent", "Graz", "Leeds", "Lodz", "Malmo", "Nantes", "Porto", "Turin",
    "Utrecht",
]  # fmt: skip
_PLAYERS = [
    "Aino", "Basil", "Cora", "Dmitri", "Esme", "Felipe", "Greta", "Hamid", "Ines", "Jonas", "Kiara",
    "Lorenz", "Mirela", "Nadim", "Odette", "Pavel", "Renata", "Stig", "Tamar", "Viggo",
]  # fmt: skip
_PICTURES = [chr(0x1F400 + 3 * n) for n in range(40)]
_RULES = (
    "those that repeat are kept once, in the order in which they came",
    "an empty list gives an empty list, and no input is changed",
    "equal ones stay in their order, and the largest is dropped",
    "those below the mean are replaced by the mean of their neighbours",
    "the result alternates between small and large, from the smallest on",
    "only every third one counts, from the second on",
    "pairs whose sum is odd are swapped before anything else is done",
    "the first half is taken backwards, the second one as it is",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    makers: dict[str, Callable[[int], list[Seed]]] = {
        "programs": _programs,
        "functions": _functions,
        "stories": lambda size: _stories(arguments.corpus, size),
        **{name: partial(invent, name) for name in INVENTED},
    }
    parser.add_argument("--shapes", nargs="+", default=list(makers))
    arguments = parser.parse_args()
    count = arguments.documents
    shapes = {name: makers[name](2 * count) for name in arguments.shapes}
    tests = {name: own[:count] for name, own in shapes.items()}
    index = EvaluatedIndex([*chain.from_iterable(tests.values())], DecontaminateSection())
    kinds: dict[str, Callable[[Seed], Candidate | None]] = {
        **KINDS,
        **DISGUISES,
        **DRESSES,
        "lines_joined": lambda seed: respell(seed, lambda text: " ".join(text.split())),
        "lines_of_50": lambda seed: respell(seed, lambda text: textwrap.fill(text, 50)),
        "quoted_lines_of_50": lambda seed: respell(seed, _quote),
    }
    for name, documents in tests.items():
        rows = [("training", [seed_as_candidate(seed) for seed in shapes[name][count:]])]
        rows += [(k, [p for p in map(plant, documents) if p]) for k, plant in kinds.items()]
        for kind, found in rows:
            if found:
                print(f"{name}, {kind} (n = {len(found)}): {both_shares(index, found)}", flush=True)


def _quote(text: str) -> str:
    return textwrap.fill(text, 50, initial_indent="> ", subsequent_indent="> ")


def _functions(count: int) -> list[Seed]:
    """Head and documentation of functions, evenly from all that have enough of it."""
    made: dict[str, Seed] = {}
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.FunctionDef) or len(node.body) < 2:
                continue
            lines = ast.get_source_segment(source, node, padded=True) or ""
            question, answer = _parted(lines, node)
            if len((ast.get_docstring(node) or "").split()) >= 15:
                made.setdefault(question, make_seed(len(made), question, answer, "functions"))
    every = list(made.values())
    random.Random("functions").shuffle(every)
    return every[:count]


def _parted(lines: str, node: ast.FunctionDef) -> tuple[str, str]:
    """(head and documentation, body) of a function."""
    begin = node.body[1].lineno - node.lineno
    found = textwrap.dedent(lines).splitlines(keepends=True)
    return "".join(found[:begin]), "".join(found[begin:])


def _programs(count: int) -> list[Seed]:
    rng = random.Random("programs")
    made: dict[str, Seed] = {}
    while len(made) < count:
        verb, thing, size = rng.choice(_VERBS), rng.choice(_THINGS), rng.randint(2, 99)
        rules = " ".join(f"{rule.capitalize()}." for rule in rng.sample(_RULES, 2))
        question = (
            f"def {verb}_{thing}({thing}: list[int], k: int = {size}) -> list[int]:\n"
            f'    """{verb.capitalize()} the {thing} by {size}. {rules}\n\n'
            f"    >>> {verb}_{thing}([{rng.randint(1, 99)}, {rng.randint(1, 99)}], {size})\n"
            f'    [{rng.randint(1, 99)}]\n    """\n'
        )
        answer = f"    return sorted({thing}, key=lambda one: one % {size})[::-1]\n"
        made.setdefault(question, make_seed(len(made), question, answer, "programs"))
    return list(made.values())


def invent(name: str, count: int) -> list[Seed]:
    """So many different documents of a shape of `INVENTED`."""
    rng = random.Random(name)
    made: dict[tuple[str, str], Seed] = {}
    while len(made) < count:
        question, answer, context = INVENTED[name](rng)
        seed = replace(make_seed(len(made), question, answer, name), context=context)
        made.setdefault((question, context), seed)
    return list(made.values())


def _table(rng: random.Random) -> tuple[str, str, str]:
    rows = [
        f"| {rng.randint(1950, 2015)} | {rng.choice(_THINGS)} | {rng.choice(_VERBS)} "
        f"| {rng.randint(1, 90)} |"
        for _ in range(5)
    ]
    asked = rng.choice(("How many years are listed?", "What is the total of the last column?"))
    table = "\n".join(["| Year | Name | Place | Points |", "| --- | :---: | --- | --- |", *rows])
    return asked, str(rng.randint(1, 400)), table


def _picture(rng: random.Random) -> tuple[str, str, str]:
    row = "".join(rng.choices(_PICTURES, k=rng.randint(3, 6)))
    return f"What film do these pictures stand for? {row}", f"the {rng.choice(_THINGS)}", ""


def _pair(rng: random.Random) -> tuple[str, str, str]:
    opened = rng.choices("([{<", k=rng.randint(4, 8))
    closed = "".join({"(": ")", "[": "]", "{": "}", "<": ">"}[one] for one in reversed(opened))
    return f"Close these brackets: {' '.join(opened)}", closed, ""


def _game(rng: random.Random) -> tuple[str, str, str]:
    one, other = rng.sample(_PLACES, 2)
    first, second, third = (rng.randint(3, 60) for _ in range(3))
    kicker, runner, passer = rng.sample(_PLAYERS, 3)
    report = (
        f"{one} received {other} in week {rng.randint(1, 17)}. In the first quarter {kicker} "
        f"kicked a {first}-yard field goal, and {runner} answered with a {second}-yard run. Then "
        f"{passer} added a {third}-yard pass for {other}, and "
        f"{rng.choice(_PLAYERS)} closed with a goal."
    )
    asked = rng.choice(("Which team scored first?", "How many yards was the longest play?"))
    return asked, str(first), report


INVENTED: dict[str, Callable[[random.Random], tuple[str, str, str]]] = {
    "tables": _table,
    "pictures": _picture,
    "pairs": _pair,
    "games": _game,
}
"""Shape -> what draws a question, its answer and its passage."""


def _stories(corpus: Path, count: int) -> list[Seed]:
    with gzip.open(corpus / "books.jsonl.gz", "rt", encoding="utf-8") as lines:
        passages = [json.loads(line)["text"] for line in lines]
    found = []
    for passage in passages[:: max(1, len(passages) // (4 * count))]:
        sentences = re.split(r"(?<=[.!?])\s+", " ".join(passage.split()))
        if len(sentences) >= 4 and len(sentences[2].split()) >= 5:
            found.append((" ".join(sentences[:2]), sentences[2]))
    rng = random.Random("stories")
    rng.shuffle(found)
    seeds = []
    for number, (beginning, ending) in enumerate(found[:count]):
        own = found[: count // 2] if number < count // 2 else found[count // 2 : count]  # a split
        others = [other for _, other in rng.sample(own, 4) if other != ending][:3]
        seed = make_seed(number, beginning, ending, "stories")
        seeds.append(replace(seed, choices=[ending, *others]))
    return seeds


if __name__ == "__main__":
    main()
