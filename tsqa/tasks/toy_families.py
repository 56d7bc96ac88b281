"""The six families of the toy tasks: how a question is drawn, and its right answer.

Guarantee: `true_answer` knows the right answer of any well-formed question, drawn or written.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

PREFIX = "mini_"


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
class ToyItem:
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


def _neighbours(kind: str, words: tuple[str, ...]) -> Family:
    """Which of some words in a circle comes after or before another."""

    def draw(rng: random.Random) -> str:
        return f"which {kind} comes {rng.choice(('after', 'before'))} {rng.choice(words)}?"

    def solve(core: str) -> tuple[str, str, tuple[str, ...]] | None:
        match = re.fullmatch(rf"which {kind} comes (after|before) (\w+)\?", core)
        if match is None or match[2] not in words:
            return None
        index = words.index(match[2])
        answer = words[(index + (1 if match[1] == "after" else -1)) % len(words)]
        wrong = tuple(word for word in words if word not in (answer, match[2]))
        return answer, f"{match[1].capitalize()} {match[2]} comes {answer}.", wrong

    return Family(kind, True, draw, solve)


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
        _neighbours("day", _DAYS),
        _neighbours("month", _MONTHS),
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


def draw_item(family: Family, rng: random.Random) -> ToyItem:
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
    return ToyItem(family.name, surface, answer, explanation, choices)
