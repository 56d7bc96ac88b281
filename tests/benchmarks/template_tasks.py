"""Invented benchmarks whose documents fill the slots of a few sentences, after five public ones.

    python -m tests.benchmarks.template_tasks

prints what is found of every fourth test document, and of the training split, as a candidate and in
the token stream.
Training and test split are drawn alike and share no document: what fills the slots is the item.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import chain

from tests.benchmarks.disguises import DISGUISES
from tests.support.generation import make_seed
from tsqa.decontaminate.index import EvaluatedIndex
from tsqa.decontaminate.planted_leaks import KINDS
from tsqa.recipe import DecontaminateSection
from tsqa.records.candidate import Candidate, seed_as_candidate
from tsqa.records.seed import Seed

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_NAMES = [
    "Aino",
    "Basil",
    "Cora",
    "Dmitri",
    "Esme",
    "Felipe",
    "Greta",
    "Hamid",
    "Ines",
    "Jonas",
    "Kiara",
    "Lorenz",
    "Mirela",
    "Nadim",
    "Odette",
    "Pavel",
    "Renata",
    "Stig",
    "Tamar",
    "Viggo",
]
_SETS = {
    "shelf": ("books", "red blue green gray white black yellow orange purple brown"),
    "branch": ("birds", "owl falcon raven quail robin crow hawk cardinal hummingbird jay"),
    "fruit stand": (
        "fruits",
        "apples pears mangoes plums kiwis loquats peaches melons grapes figs",
    ),
}
_PLAYS = [
    "kicked the ball into the top corner",
    "took a penalty",
    "hit a double off the wall",
    "caught the pass in the end zone",
    "made a free throw",
    "was called for slashing",
    "turned a triple play",
    "scored on the power play",
    "ran the option",
    "nailed the buzzer beater",
    "stepped out of bounds",
    "bunted foul",
]
_EVENTS = [
    "the cup final",
    "the world series",
    "the superbowl",
    "the playoffs",
    "the semifinal",
    "the third round",
]
_THINGS = ["marbles", "apples", "pencils", "stickers", "shells", "coins", "books", "cards"]
_JOBS = ["baker", "teacher", "farmer", "clerk", "sailor", "judge", "painter", "doctor"]


def load_templates(split: str, count: int = 250) -> dict[str, list[Seed]]:
    """Name -> `count` documents; none of one split is in the other."""
    found = {}
    for name, make in _TASKS.items():
        rng = random.Random(f"{name}/{split}")
        seen = {_key(s) for s in load_templates("test", count)[name]} if split != "test" else set()
        documents: list[Seed] = []
        while len(documents) < count:
            seed = make(rng)
            if _key(seed) not in seen:
                seen.add(_key(seed))
                identity = f"{name}-{split}-{len(documents)}"
                documents.append(replace(seed, id=identity, task=name))
        found[name] = documents
    return found


def _key(seed: Seed) -> str:
    return f"{seed.context}\n{seed.question}"


def _dates(rng: random.Random) -> Seed:
    month, day, year = rng.choice(_MONTHS), rng.randint(1, 28), rng.randint(1930, 2029)
    start = rng.choice(
        (
            f"Today is {month} {day}, {year}.",
            f"Yesterday was {month} {day}, {year}.",
            f"{rng.choice(_NAMES)} scheduled 3 appointments with {rng.randint(2, 6)} people for "
            f"tomorrow ({month} {day}, {year}).",
            f"The concert was scheduled to be on {month} {day}, {year}, but was delayed by one day "
            "to today.",
        )
    )
    when = rng.choice(
        (
            "today",
            "tomorrow",
            "yesterday",
            "one week ago from today",
            "a month ago",
            "24 hours later",
        )
    )
    options = [f"{rng.randint(1, 12):02}/{rng.randint(1, 28):02}/{year}" for _ in range(5)]
    seed = make_seed(0, f"{start} What is the date {when} in MM/DD/YYYY?", options[0])
    return replace(seed, choices=options)


def _orders(rng: random.Random) -> Seed:
    place = rng.choice(list(_SETS))
    plural, names = _SETS[place]
    a, b, c, d, e = rng.sample(names.split(), 5)
    listed = ", ".join(f"a {one} {plural[:-1]}" for one in (a, b, c, d))
    rules = [
        f"The {a} is to the left of the {b}.",
        f"The {c} is the second from the right.",
        f"The {e} is the leftmost.",
        f"The {d} is to the right of the {rng.choice((a, b, c))}.",
    ]
    rng.shuffle(rules)
    question = (
        f"The following paragraphs each describe a set of five objects arranged in a fixed order. "
        f"The statements are logically consistent within each paragraph. On a {place}, there are "
        f"five {plural}: {listed}, and a {e} {plural[:-1]}. {' '.join(rules)}"
    )
    options = [f"The {one} is the rightmost." for one in (a, b, c, d, e)]
    return replace(make_seed(0, question, options[0]), choices=options)


def _sports(rng: random.Random) -> Seed:
    event = f" in {rng.choice(_EVENTS)}" if rng.random() < 0.5 else ""
    name = f"{rng.choice(_NAMES)} {rng.choice(_NAMES)}son"
    question = f'Is the following sentence plausible? "{name} {rng.choice(_PLAYS)}{event}."'
    return replace(make_seed(0, question, rng.choice(("yes", "no"))), choices=["yes", "no"])


def _sums(rng: random.Random) -> Seed:
    """Few stems, several questions and many numbers, as SVAMP's."""
    name, thing = rng.choice(_NAMES[:10]), rng.choice(_THINGS[:5])
    a, b, c = (rng.randint(2, 99) for _ in range(3))
    stem = rng.choice(
        (
            f"{name} had {a} {thing} in a box and {b} {thing} on the table. After a game there "
            f"were {c} more {thing}.",
            f"There are {a} {thing} in {name}'s collection. {name} buys {b} more and gives away "
            f"{c} to friends.",
            f"Each pack of {thing} costs {a} dollars. {name} paid {b} dollars for {c} packs.",
        )
    )
    asked = rng.choice(
        (
            f"How many {thing} does {name} have now?",
            f"How many more {thing} than before does {name} have?",
            f"How much did {name} spend on {thing}?",
        )
    )
    return make_seed(0, f"{stem} {asked}", str(a + b + c))


def _parities(rng: random.Random) -> Seed:
    people = rng.sample(_NAMES, 3)
    deeds = [f"{one} {rng.choice(('flips', 'does not flip'))} the coin." for one in people]
    seed = make_seed(0, f"A coin is heads up. {' '.join(deeds)} Is the coin still heads up?", "yes")
    return replace(seed, choices=["yes", "no"])


def _pronouns(rng: random.Random) -> Seed:
    first, second = rng.sample(_JOBS, 2)
    verb = rng.choice(("called", "met", "thanked", "visited", "warned", "helped", "paid", "asked"))
    reason = rng.choice(("was late", "had a question", "needed help", "was kind", "made a mistake"))
    question = (
        "In the following sentences, explain the antecedent of the pronoun, or state that it is "
        f"ambiguous. Sentence: The {first} {verb} the {second} because they {reason}."
    )
    options = [f"The {first} {reason}", f"The {second} {reason}", "Ambiguous"]
    return replace(make_seed(0, question, options[0]), choices=options)


_TASKS: dict[str, Callable[[random.Random], Seed]] = {
    "as date understanding": _dates,
    "as logical deduction": _orders,
    "as sports understanding": _sports,
    "as SVAMP": _sums,
    "as coin flips": _parities,
    "as disambiguation": _pronouns,
}


def main() -> None:
    tests, others = load_templates("test"), load_templates("train")
    index = EvaluatedIndex([*chain.from_iterable(tests.values())], DecontaminateSection())
    kinds = {name: KINDS[name] for name in ("verbatim", "html", "names_swapped", "numbers_swapped")}
    for task, documents in tests.items():
        rows = [("training", [seed_as_candidate(seed) for seed in others[task]])]
        for kind, plant in {**kinds, **DISGUISES}.items():
            rows.append((kind, [leak for leak in map(plant, documents[::4]) if leak]))
        for kind, found in rows:
            if found:
                print(f"{task}, {kind} (n = {len(found)}): {both_shares(index, found)}", flush=True)


def both_shares(index: EvaluatedIndex, found: list[Candidate]) -> str:
    """Write the share found of candidates, and of the same within other text."""
    texts = [f"It is known that: {one.full_text} So it is." for one in found]
    both = (index.check(found), index.check_texts(texts))
    return " / ".join(
        f"{sum(verdict is not None for verdict in own) / len(found):.1%}" for own in both
    )


if __name__ == "__main__":
    main()
