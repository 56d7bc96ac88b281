"""The embedded data set: six small task families a tiny model can learn in minutes on a CPU.

Guarantees: the same section gives the same bytes; training, test and teacher questions are disjoint
(by normalised question); `true_answer` knows the right answer of any well-formed question, so
that a report can state how much of the synthetic data is true. Human text is the documentation of
the installed Python standard library: real prose, present on every machine.
"""

from __future__ import annotations

import ast
import itertools
import random
import re
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tsqa.errors import DataError
from tsqa.recipe import DataSection, needed
from tsqa.store.jsonl import write_jsonl
from tsqa.store.stage import StageContext
from tsqa.text.normalise import normalise

PREFIX = "mini_"
_SKIPPED_FOLDERS = {"test", "tests", "site-packages", "idlelib", "lib2to3", "__pycache__"}
_MIN_DOC_CHARS = 60
_BLOCKS_PER_DOCUMENT = 4


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _paired(text: str) -> dict[str, str]:
    return {first: second for first, _, second in (pair.partition("/") for pair in text.split())}


_NAMES = _listed(
    "Ann Bob Carl Dora Emma Fred Gina Hugo Iris Jack Kate Liam Mona Nina Omar Paul Rosa Sam Tina "
    "Vera Will Yara Zoe Adam Beth Cora Dan Elsa Finn Gus"
)
_VERBS = _listed("finds buys draws holds hides cleans")
_OBJECTS = _listed(
    "cup hat key map pen bag book coin lamp ring rope sock spoon stone ticket towel kite drum "
    "brush candle basket blanket bottle ladder mirror"
)
_PLACES = _listed(
    "park beach school market station bridge castle farm forest garden harbor hotel kitchen lake "
    "library mill museum office river tower"
)
_DAYS = _listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
_MONTHS = _listed(
    "January February March April May June July August September October November December"
)
_OPPOSITES = _paired(
    "hot/cold big/small fast/slow high/low old/new wet/dry hard/soft full/empty open/closed "
    "dark/light early/late loud/quiet long/short rich/poor strong/weak thick/thin wide/narrow "
    "clean/dirty sweet/sour deep/shallow happy/sad rough/smooth"
)
_OPPOSITES |= {second: first for first, second in _OPPOSITES.items()}
_YOUNG = _paired(
    "dog/puppy cat/kitten cow/calf sheep/lamb horse/foal hen/chick duck/duckling goat/kid "
    "pig/piglet bear/cub frog/tadpole deer/fawn"
)
_UNITS = {
    ("days", "weeks"): 7,
    ("months", "years"): 12,
    ("hours", "days"): 24,
    ("legs", "spiders"): 8,
    ("wheels", "cars"): 4,
    ("eggs", "dozens"): 12,
}


@dataclass(frozen=True)
class Item:
    """One question of a family, with the knowledge that answers it."""

    family: str
    question: str
    answer: str
    explanation: str
    choices: tuple[str, ...] = ()

    def block(self) -> str:
        return f"Question: {self.question}\nAnswer: {self.answer}\nBecause: {self.explanation}"


@dataclass(frozen=True)
class Family:
    """`draw` makes the core of a question, `solve` answers any core of that form."""

    name: str
    is_choice: bool
    draw: Callable[[random.Random], str]
    solve: Callable[[str], tuple[str, str, tuple[str, ...]] | None]
    """Core -> (answer, explanation, wrong answers), or None when it is no question of ours."""


def _neighbour(
    words: tuple[str, ...], core: str, kind: str
) -> tuple[str, str, tuple[str, ...]] | None:
    match = re.fullmatch(rf"which {kind} comes (after|before) (\w+)\?", core)
    if match is None or match[2] not in words:
        return None
    index = words.index(match[2])
    answer = words[(index + (1 if match[1] == "after" else -1)) % len(words)]
    wrong = tuple(word for word in words if word not in (answer, match[2]))
    return answer, f"{match[1].capitalize()} {match[2]} comes {answer}.", wrong


def _draw_day(rng: random.Random) -> str:
    return f"which day comes {rng.choice(('after', 'before'))} {rng.choice(_DAYS)}?"


def _solve_day(core: str) -> tuple[str, str, tuple[str, ...]] | None:
    return _neighbour(_DAYS, core, "day")


def _draw_month(rng: random.Random) -> str:
    return f"which month comes {rng.choice(('after', 'before'))} {rng.choice(_MONTHS)}?"


def _solve_month(core: str) -> tuple[str, str, tuple[str, ...]] | None:
    return _neighbour(_MONTHS, core, "month")


def _draw_opposite(rng: random.Random) -> str:
    return f"what is the opposite of {rng.choice(sorted(_OPPOSITES))}?"


def _solve_opposite(core: str) -> tuple[str, str, tuple[str, ...]] | None:
    match = re.fullmatch(r"what is the opposite of (\w+)\?", core)
    if match is None or match[1] not in _OPPOSITES:
        return None
    answer = _OPPOSITES[match[1]]
    wrong = tuple(word for word in sorted(_OPPOSITES) if word not in (answer, match[1]))
    return answer, f"A thing that is not {match[1]} is {answer}.", wrong


def _draw_young(rng: random.Random) -> str:
    return f"what is a young {rng.choice(sorted(_YOUNG))} called?"


def _solve_young(core: str) -> tuple[str, str, tuple[str, ...]] | None:
    match = re.fullmatch(r"what is a young (\w+) called\?", core)
    if match is None or match[1] not in _YOUNG:
        return None
    answer = _YOUNG[match[1]]
    wrong = tuple(young for young in sorted(_YOUNG.values()) if young != answer)
    return answer, f"A {answer} grows into a {match[1]}.", wrong


def _draw_unit(rng: random.Random) -> str:
    small, large = rng.choice(sorted(_UNITS))
    return f"how many {small} are in {rng.randint(2, 9)} {large}?"


def _solve_unit(core: str) -> tuple[str, str, tuple[str, ...]] | None:
    match = re.fullmatch(r"how many (\w+) are in ([2-9]) (\w+)\?", core)
    if match is None or (match[1], match[3]) not in _UNITS:
        return None
    each = _UNITS[match[1], match[3]]
    answer = str(each * int(match[2]))
    return answer, f"{match[2]} times {each} is {answer}.", ()


def _draw_sequence(rng: random.Random) -> str:
    start, step = rng.randint(1, 20), rng.randint(1, 4)
    shown = ", ".join(str(start + step * index) for index in range(4))
    return f"which number comes next: {shown}?"


def _solve_sequence(core: str) -> tuple[str, str, tuple[str, ...]] | None:
    match = re.fullmatch(r"which number comes next: (\d+), (\d+), (\d+), (\d+)\?", core)
    if match is None:
        return None
    numbers = [int(group) for group in match.groups()]
    steps = {later - earlier for earlier, later in itertools.pairwise(numbers)}
    if len(steps) != 1:
        return None
    step = steps.pop()
    answer = str(numbers[-1] + step)
    return answer, f"Each step adds {step}, and {numbers[-1]} plus {step} is {answer}.", ()


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("day", True, _draw_day, _solve_day),
        Family("month", True, _draw_month, _solve_month),
        Family("opposite", True, _draw_opposite, _solve_opposite),
        Family("young", True, _draw_young, _solve_young),
        Family("unit", False, _draw_unit, _solve_unit),
        Family("sequence", False, _draw_sequence, _solve_sequence),
    )
}


def true_answer(task: str, question: str) -> str | None:
    """The right answer of a question of a miniature task; None when it is not well-formed."""
    family = FAMILIES.get(task.removeprefix(PREFIX))
    core = question.rpartition(" asks ")[2].partition(": ")[2]
    solved = family.solve(core) if family and core else None
    return solved[0] if solved else None


def draw_item(family: Family, rng: random.Random) -> Item:
    """A random question under a random surface; names x things x places make it distinct."""
    core = family.draw(rng)
    asker, asked = rng.sample(_NAMES, 2)
    surface = (
        f"{asker} {rng.choice(_VERBS)} a {rng.choice(_OBJECTS)} at the {rng.choice(_PLACES)} "
        f"and asks {asked}: {core}"
    )
    solved = family.solve(core)
    assert solved is not None, core
    answer, explanation, wrong = solved
    choices: tuple[str, ...] = ()
    if family.is_choice:
        shown = [answer, *rng.sample(wrong, 3)]
        rng.shuffle(shown)
        choices = tuple(shown)
    return Item(family.name, surface, answer, explanation, choices)


def run(context: StageContext) -> dict[str, Any]:
    """Write docs.jsonl, teacher.jsonl, tasks/*.yaml and tasks/data/*.jsonl."""
    section = needed(context.recipe.data, "data")
    final = Path(str(context.out.absolute()).removesuffix(".partial"))
    tasks = context.out / "tasks"
    (tasks / "data").mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for family in FAMILIES.values():
        rng = random.Random(f"{section.seed}:{family.name}")
        for split in ("train", "test"):
            count = getattr(section, f"{split}_per_family")
            items = [_draw_new(family, rng, taken) for _ in range(count)]
            write_jsonl(tasks / "data" / f"{PREFIX}{family.name}.{split}.jsonl", _rows(items))
        config = _task_config(family, final / "tasks" / "data")
        target = tasks / f"{PREFIX}{family.name}.yaml"
        target.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    teacher = write_jsonl(context.out / "teacher.jsonl", _teacher_documents(section, taken))
    docs = write_jsonl(context.out / "docs.jsonl", ({"text": t} for t in standard_library_docs()))
    return {
        "families": len(FAMILIES),
        "train_documents": section.train_per_family * len(FAMILIES),
        "test_documents": section.test_per_family * len(FAMILIES),
        "teacher_documents": teacher,
        "docs": docs,
    }


def standard_library_docs() -> Iterator[str]:
    """Docstrings of the standard library, modules in sorted order, each text once."""
    root = Path(sysconfig.get_path("stdlib"))
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        if _SKIPPED_FOLDERS & set(path.relative_to(root).parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if not isinstance(
                node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            ):
                continue
            text = ast.get_docstring(node) or ""
            if len(text) >= _MIN_DOC_CHARS and text not in seen:
                seen.add(text)
                yield text


def _teacher_documents(section: DataSection, taken: set[str]) -> Iterator[dict[str, str]]:
    rng = random.Random(f"{section.seed}:teacher")
    families = list(FAMILIES.values())
    for _ in range(section.teacher_documents):
        family = rng.choice(families)
        items = [_draw_new(family, rng, taken) for _ in range(_BLOCKS_PER_DOCUMENT)]
        yield {"text": "\n\n".join(item.block() for item in items)}


def _draw_new(family: Family, rng: random.Random, taken: set[str]) -> Item:
    for _ in range(1000):
        item = draw_item(family, rng)
        key = normalise(item.question)
        if key not in taken:
            taken.add(key)
            return item
    raise DataError(
        f"the family `{family.name}` has no more distinct questions",
        "lower data.train_per_family, data.test_per_family or data.teacher_documents",
    )


def _rows(items: list[Item]) -> Iterator[dict[str, Any]]:
    for item in items:
        row: dict[str, Any] = {
            "question": item.question,
            "answer": item.answer,
            "explanation": item.explanation,
        }
        if item.choices:
            row |= {"choices": list(item.choices), "label": item.choices.index(item.answer)}
        yield row


def _task_config(family: Family, data: Path) -> dict[str, Any]:
    name = PREFIX + family.name
    config: dict[str, Any] = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {split: str(data / f"{name}.{split}.jsonl") for split in _SPLITS}
        },
        "training_split": "train",
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "target_delimiter": " ",
        "metadata": {"version": 1.0},
    }
    if family.is_choice:
        return config | {
            "output_type": "multiple_choice",
            "doc_to_choice": "choices",
            "doc_to_target": "label",
            "metric_list": [
                {"metric": metric, "aggregation": "mean", "higher_is_better": True}
                for metric in ("acc", "acc_norm")
            ],
        }
    return config | {
        "output_type": "generate_until",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8, "do_sample": False},
        "metric_list": [
            {
                "metric": "exact_match",
                "aggregation": "mean",
                "higher_is_better": True,
                "ignore_case": True,
            }
        ],
    }


_SPLITS = ("train", "test")
