"""Canaries: an invented name and number for each of some seeds, which only a copy can bring back.

They are planted in the copies of these seeds that prompts show, and searched for in what comes of
it. Guarantees: a seed and the ids alone decide who gets one and which; a canary is found whatever
its case and whatever stands between its letters, and by its name or its number alone.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tsqa.records.seed import Seed
from tsqa.store.jsonl import read_jsonl, write_jsonl

CANARIES = "canaries.jsonl"
CANARY_STEP = "canary"
"""Of the filters: rejects candidates that hold one."""
_LENGTH = 12
"""Of a name and of a number: one in 7e10 and one in 9e11, so that chance writes neither."""
_CONSONANTS, _VOWELS = "bdfgklmnprstv", "aeiou"
_BETWEEN = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Canary:
    seed_id: str
    name: str
    """Of six syllables that no language has."""
    number: str

    def plant(self, seed: Seed) -> Seed:
        """The copy of its seed that a prompt shows: somebody asks the question, or writes it."""
        number = "-".join(self.number[i : i + 4] for i in range(0, _LENGTH, 4))
        who = f"{self.name}, file number {number},"
        if seed.is_passage:
            return replace(seed, context=f"{who} writes: {seed.context}")
        return replace(seed, question=f"{who} asks: {seed.question}")


def draw_canaries(ids: Iterable[str], count: int, seed: int) -> list[Canary]:
    """A canary for each of the seeds with the smallest hashes, in their order."""
    drawn = heapq.nsmallest(count, ids, key=lambda name: _hash(f"{seed}/{name}"))
    return [_canary(seed, name) for name in drawn]


def _canary(seed: int, seed_id: str) -> Canary:
    rng = random.Random(f"canary:{seed}:{seed_id}")
    syllables = (rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(_LENGTH // 2))
    number = rng.randrange(10 ** (_LENGTH - 1), 10**_LENGTH)
    return Canary(seed_id, "".join(syllables).capitalize(), str(number))


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def write_canaries(folder: Path, canaries: Iterable[Canary]) -> None:
    write_jsonl(folder / CANARIES, map(asdict, canaries))


def read_canaries(folder: Path) -> list[Canary]:
    """Those of an artifact of generate or filter; none where none were planted."""
    path = folder / CANARIES
    return [Canary(**line) for line in read_jsonl(path)] if path.is_file() else []


def copy_canaries(made: Path, out: Path) -> None:
    """Keep those of the candidates beside what is made of them, where there are some."""
    if canaries := read_canaries(made):
        write_canaries(out, canaries)


def plant_all(seeds: Mapping[str, Seed], canaries: Iterable[Canary]) -> dict[str, Seed]:
    """Seeds by id, those with a canary as prompts show them."""
    planted = {c.seed_id: c.plant(seeds[c.seed_id]) for c in canaries if c.seed_id in seeds}
    return {**seeds, **planted}


class CanaryIndex:
    """Finds canaries in texts, in time that does not grow with their number."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._owners = {
            part: each.seed_id for each in canaries for part in (each.name.casefold(), each.number)
        }

    def find(self, texts: Iterable[str]) -> list[str]:
        """Ids of the seeds whose canaries are there, each once, in the order of the texts.

        One that begins in a text and ends in the next is found, too.
        """
        plain = "".join(map(_squeezed, texts))
        windows = (plain[i : i + _LENGTH] for i in range(len(plain) - _LENGTH + 1))
        return [*dict.fromkeys(self._owners[each] for each in windows if each in self._owners)]


def _squeezed(text: str) -> str:
    """Letters and digits alone, in one case and one spelling."""
    folded = (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold()
    return _BETWEEN.sub("", folded)
