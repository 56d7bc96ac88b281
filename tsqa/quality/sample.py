"""What an audit compares: seeds, and the items that were made of them.

Guarantees: the recipe's seed and the ids alone decide which seeds are drawn, whatever the order of
the rows; an item is compared with the seed it was made of, in the same form, and memory is bounded
by the number of seeds that are drawn.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from tsqa.curated.files import read_curated
from tsqa.errors import DataError
from tsqa.records.rows import CuratedRow
from tsqa.records.seed import Seed, read_seeds

MOST_SEEDS = 2000
T = TypeVar("T")


@dataclass(frozen=True)
class AuditedText:
    """A seed or an item."""

    id: str
    task: str
    language: str
    kind: str
    context: str
    question: str
    choices: tuple[str, ...]
    answer: str
    answer_index: int | None
    explanations: str
    capability: str = ""

    @property
    def text(self) -> str:
        """What seeds and items both have: all but explanations."""
        return _join(self.context, self.question, *self.choices, self.answer)

    @property
    def asked(self) -> str:
        """The question with its passage, or a passage or rephrasing as it is."""
        return _join(self.context, self.question) or self.answer

    @property
    def whole(self) -> str:
        return _join(self.text, self.explanations)

    @property
    def is_choice(self) -> bool:
        """Whether one of several options is the right one."""
        return len(self.choices) > 1 and self.answer_index is not None

    @property
    def label(self) -> str:
        """The answer as a label, such as `yes`, whatever its case and a full stop."""
        return self.answer.strip().rstrip(".").lower()


@dataclass(frozen=True)
class QualityPair:
    """A seed and one item that was made of it."""

    seed: AuditedText
    item: AuditedText

    @property
    def texts(self) -> tuple[str, str]:
        """Of the item and of its seed, in one form: with options where both have them."""
        if bool(self.item.choices) == bool(self.seed.choices):
            return self.item.text, self.seed.text
        return replace(self.item, choices=()).text, replace(self.seed, choices=()).text


@dataclass(frozen=True)
class QualitySample:
    pairs: list[QualityPair]
    """In a random order; one item of each drawn seed, of which there is a real counterpart."""
    items: list[tuple[str, AuditedText]]
    """All items of the drawn seeds, each with the id of its seed."""
    seeds: dict[str, AuditedText]
    """The drawn seeds that have items."""
    others: list[AuditedText]
    """Drawn from all seeds, in a random order; `seeds` may be among them."""
    seed_count: int
    used_count: int
    """Seeds that have an item."""
    item_count: int
    without_real: list[str]
    """Tasks whose seeds are passages and whose items are questions: no real item is like them."""


def draw_sample(filtered: Path, seeds: Path, seed: int, most: int = MOST_SEEDS) -> QualitySample:
    """Draw at most so many seeds with their items; DataError where there are none."""
    drawn = draw_groups(
        read_curated(filtered), lambda row: row.seed_id, lambda row: row.id, seed, most
    )
    rows = drawn.rows
    found: dict[str, Seed] = {}
    seed_count = 0
    others: list[tuple[int, str, Seed]] = []
    for each in read_seeds(seeds / "seeds.jsonl"):
        seed_count += 1
        if each.id in rows:
            found[each.id] = each
        entry = -rank(seed, f"other/{each.id}"), each.id, each
        if len(others) < most:
            heapq.heappush(others, entry)
        else:
            heapq.heappushpop(others, entry)
    if missing := rows.keys() - found.keys():
        raise DataError(
            f"{seeds}: {len(missing):,} seeds of the items are not there, such as {min(missing)}",
            "filter again: the seeds were made again since",
        )
    texts = {name: of_seed(found[name]) for name in rows}
    like_real = {
        name for name, each in found.items() if not each.is_passage or not rows[name][0].question
    }
    return QualitySample(
        pairs=[QualityPair(texts[n], of_row(rows[n][0])) for n in rows if n in like_real],
        items=[(name, of_row(row)) for name, each in rows.items() for row in each],
        seeds=texts,
        others=[of_seed(each) for _, _, each in sorted(others, key=lambda e: -e[0])],
        seed_count=seed_count,
        used_count=drawn.group_count,
        item_count=drawn.row_count,
        without_real=sorted({found[name].task for name in rows.keys() - like_real}),
    )


def of_seed(seed: Seed) -> AuditedText:
    return AuditedText(
        *(seed.id, seed.task, seed.language, seed.kind, seed.context, seed.question),
        *(tuple(seed.choices), seed.answer, seed.answer_index, seed.explanation),
        capability=seed.capability,
    )


def of_row(row: CuratedRow) -> AuditedText:
    explanations = _join(row.reasoning, row.knowledge, row.item_context, row.distractors)
    return AuditedText(
        *(row.id, row.task, row.language, row.kind, row.context, row.question),
        *(tuple(row.choices), row.answer, row.answer_index, explanations),
        capability=row.capability,
    )


def rank(seed: int, name: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def halves(texts: Iterable[AuditedText]) -> Iterator[QualityPair]:
    """Pairs of seeds of one task, which play seed and item: what chance makes of real ones."""
    waiting: dict[str, AuditedText] = {}
    for each in texts:
        if first := waiting.pop(each.task, None):
            yield QualityPair(first, each)
        else:
            waiting[each.task] = each


@dataclass(frozen=True)
class DrawnGroups(Generic[T]):
    """Rows of at most so many groups, such as the items of seeds."""

    rows: dict[str, list[T]]
    """By group; both in a random order."""
    group_count: int
    row_count: int
    """Of all that there are."""


def draw_groups(
    rows: Iterable[T], group_of: Callable[[T], str], id_of: Callable[[T], str], seed: int, most: int
) -> DrawnGroups[T]:
    """Which groups are drawn their names and the seed decide, whatever else there is."""
    kept: dict[str, list[T]] = {}
    known: set[int] = set()
    bound, count = 1 << 64, 0
    for row in rows:
        count += 1
        group = group_of(row)
        place = rank(seed, group)
        known.add(place)
        if place >= bound:
            continue
        kept.setdefault(group, []).append(row)
        if len(kept) > 2 * most:
            order = sorted(kept, key=lambda name: rank(seed, name))
            bound = rank(seed, order[most])
            kept = {name: kept[name] for name in order[:most]}
    if not kept:
        raise DataError("the dataset has no items to audit")
    drawn = sorted(kept, key=lambda name: rank(seed, name))[:most]
    ordered = {n: sorted(kept[n], key=lambda row: rank(seed, f"item/{id_of(row)}")) for n in drawn}
    return DrawnGroups(ordered, len(known), count)


def _join(*parts: str) -> str:
    return "\n".join(part for part in parts if part)
