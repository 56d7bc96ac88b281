"""Invented reading benchmarks over real passages, in the shapes of four public ones.

`../shared/data/corpus/*.jsonl.gz` holds the passages (books and speeches); without it they are
invented too. Training and test split never share a passage, but they share their general questions,
as LogiQA's and RACE's do.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tests.support.generation import make_seed
from tests.support.paths import SHARED
from tsqa.records.seed import Seed

CORPUS = SHARED / "data" / "corpus"
_SYLLABLES = ("ba", "do", "fi", "gu", "ka", "le", "mo", "nu", "pi", "ra", "so", "ti", "ve", "zu")
_OF_ARGUMENTS = (
    "Which of the following best refutes the above argument?",
    "Which of the following, if true, most weakens the argument above?",
    "Which of the following, if true, best supports the above conclusion?",
    "The above argument is based on which of the following assumptions?",
    "Which of the following can be inferred from the above statement?",
    "Which of the following best explains the apparent contradiction in the passage?",
    "If the above is true, which of the following must also be true?",
    "If all of the statements in the above passage are true, then which of the following must be "
    "true as well?",
    "Which of the following, if it were added to what the speaker says above, would do the most to "
    "cast doubt on the conclusion that he draws from it?",
)
_OF_TEXTS = (
    "What is the best title for the passage?",
    "What is the passage mainly about?",
    "What can we learn from the passage?",
    "Which of the following statements is true according to the passage?",
    "What does the underlined word in the second paragraph mean?",
    "What is the writer's attitude towards what he describes in the passage?",
    "The passage most probably comes from which of the following sources?",
)


def load_reading(split: str, passages: int, corpus: Path = CORPUS) -> dict[str, list[Seed]]:
    """Shape -> its documents, made of this many passages each (or of as many as there are)."""
    texts = _split_texts(split, corpus)
    share = min(passages, len(texts) // len(_SHAPES))
    found = {}
    for number, (name, shape) in enumerate(_SHAPES.items()):
        rng = random.Random(f"{name}/{split}")
        own = texts[number * share : (number + 1) * share]
        documents = [seed for text in own for seed in shape(text.split(), rng)]
        found[name] = [
            replace(seed, id=f"{name}-{split}-{place}", task=name)
            for place, seed in enumerate(documents)
        ]
    return found


def _split_texts(split: str, corpus: Path) -> list[str]:
    texts = [text for path in sorted(corpus.glob("*.jsonl.gz")) for text in _read(path)]
    texts = [text for text in texts or _invent() if len(text.split()) >= 60]
    random.Random(0).shuffle(texts)
    middle = len(texts) // 2
    return texts[:middle] if split == "test" else texts[middle:]


def _read(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def _invent() -> Iterator[str]:
    rng = random.Random(1)
    words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(3000)]
    for _ in range(2000):
        yield ". ".join(" ".join(rng.choices(words, k=12)) for _ in range(12))


def _general(words: list[str], rng: random.Random, questions: tuple[str, ...]) -> Seed:
    """A passage, one of the questions that fit any, and options that are pieces of the passage."""
    starts = rng.sample(range(len(words) - 12), k=4)
    options = [" ".join(words[start : start + rng.randint(4, 11)]) for start in starts]
    seed = make_seed(0, rng.choice(questions), options[0])
    return replace(seed, choices=options, context=" ".join(words))


def _argument(words: list[str], rng: random.Random) -> list[Seed]:
    return [_general(words[:80], rng, _OF_ARGUMENTS)]


def _argument_in_one(words: list[str], rng: random.Random) -> list[Seed]:
    """Passage and question in one text."""
    seed = _general(words[:80], rng, _OF_ARGUMENTS)
    return [replace(seed, question=f"{seed.context}\n{seed.question}", context="")]


def _article(words: list[str], rng: random.Random) -> list[Seed]:
    return [_general(words[:250], rng, _OF_TEXTS) for _ in range(3)]


def _yes_or_no(words: list[str], rng: random.Random) -> list[Seed]:
    """Short questions of the passage's own words, without capitals."""
    start = rng.randrange(len(words) - 20)
    asked = " ".join(word.strip(".,;:!?").lower() for word in words[start : start + 6])
    seed = make_seed(0, f"is it said that {asked}", rng.choice(("yes", "no")))
    return [replace(seed, choices=["no", "yes"], context=" ".join(words[:120]))]


def _span(words: list[str], rng: random.Random) -> list[Seed]:
    """Four questions a passage, answered by a piece of it."""
    found = []
    for start in rng.sample(range(40), k=4):
        asked, answer = " ".join(words[start : start + 4]), " ".join(words[start + 4 : start + 6])
        seed = make_seed(0, f"Which words come after {asked.strip('.,;')}?", answer)
        found.append(replace(seed, context=" ".join(words[:140])))
    return found


_SHAPES: dict[str, Callable[[list[str], random.Random], list[Seed]]] = {
    "as LogiQA": _argument,
    "as LogiQA, in one text": _argument_in_one,
    "as RACE": _article,
    "as BoolQ": _yes_or_no,
    "as SQuAD": _span,
}
