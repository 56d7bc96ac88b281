"""Draw the items to review, by strata: what became of them, task, capability, agreement of votes.

Guarantees: the recipe's seed and the rows alone decide the draw; a larger sample takes the same
items first; every stratum states how many items it stands for; the sample names the very dataset
that it was drawn from.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tsqa.curated.files import read_curated, read_rejected
from tsqa.curated.lineage import find_candidates
from tsqa.errors import DataError
from tsqa.records.candidate_file import CandidateRecord
from tsqa.records.rows import CuratedRow, RejectedRow
from tsqa.review.estimate import needed_for_width
from tsqa.review.items import (
    ACCEPTED,
    ReviewItem,
    hash_texts,
    read_rejected_candidate,
    show_accepted,
    show_rejected,
)
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import write_json, write_jsonl
from tsqa.store.own_files import read_own, read_own_lines

SAMPLE, ITEMS = "sample.json", "items.jsonl"
_BITS = 128
_LEAST_DRAWN = 2
"""Items of a stratum, without which its spread is not known; smaller strata are merged."""
_OTHERS = "(others)"
_BY_SHARES = "difficulty"
"""The step that rejects to keep shares, which no reader can call right or wrong."""

Band = Literal["all", "most", "some", "none"]


@dataclass(frozen=True)
class Cell:
    """What tells strata apart."""

    outcome: str
    task: str
    capability: str
    agreement: str


@dataclass(frozen=True, kw_only=True)
class Stratum(Cell):
    size: int
    """Items of the dataset, or of its rejects."""
    drawn: int

    @property
    def shown(self) -> str:
        """Without the outcome."""
        votes = "" if self.agreement in (_OTHERS, "none") else f", votes agree: {self.agreement}"
        other = self.task == _OTHERS
        return "small strata together" if other else f"{self.task}, {self.capability}{votes}"


@dataclass(frozen=True)
class Wanted:
    """How many items to draw."""

    width: float = 0.1
    """Of the 95% interval of the error rate of accepted items."""
    assumed: float = 0.1
    """The error rate for which that width holds."""
    per_filter: int = 20
    """Rejected items of each filter."""
    finite: bool = False
    """Whether the interval is for this dataset alone, not for what the recipe would make."""


@dataclass(frozen=True, kw_only=True)
class ReviewSample:
    recipe: str
    fingerprint: str
    """Of the filter artifact."""
    dataset: str
    """Sum of the hashes of its accepted items, hexadecimal: equal for equal datasets."""
    seed: int
    wanted: Wanted
    steps: list[str]
    """Of the filters, in order."""
    strata: list[Stratum]
    unreadable: int
    """Rejected items without a question or an answer; nobody reviews them."""
    by_shares: int
    """Items left out to keep shares of difficulty, neither right nor wrong."""

    @property
    def accepted(self) -> int:
        return sum(stratum.size for stratum in self.strata if stratum.outcome == ACCEPTED)


def draw(
    artifact: Artifact, generate: Artifact | None, recipe: str, seed: int, wanted: Wanted
) -> tuple[ReviewSample, list[ReviewItem]]:
    """Draw from a filter artifact; the items in the order in which everybody reviews them."""
    sizes, census = _count(artifact.path)
    if not any(cell.outcome == ACCEPTED for cell in sizes):
        raise DataError(f"{artifact.path}: no accepted items to review")
    drawn = allocate(sizes, wanted)
    places = {cell: place for place, cell in enumerate(drawn)}
    merged = {cell: _home(cell, places) for cell in sizes}
    totals: Counter[Cell] = Counter()
    for cell, size in sizes.items():
        totals[merged[cell]] += size
    chosen = _choose(artifact.path, seed, merged, drawn)
    strata = [Stratum(**vars(cell), size=totals[cell], drawn=drawn[cell]) for cell in drawn]
    rows = [(place, row) for cell, place in places.items() for row in chosen[cell]]
    records = find_candidates(generate, [r.id for _, r in rows if isinstance(r, CuratedRow)])
    items = [_show(row, records, place) for place, row in rows]
    items.sort(key=lambda item: _rank(seed, f"order/{item.id}"))
    sample = ReviewSample(
        recipe=recipe,
        fingerprint=artifact.fingerprint,
        dataset=f"{census.dataset:x}",
        seed=seed,
        wanted=wanted,
        steps=[row["step"] for row in artifact.summary["funnel"]],
        strata=strata,
        unreadable=census.unreadable,
        by_shares=census.by_shares,
    )
    return sample, items


def write_sample(folder: Path, sample: ReviewSample, items: Iterable[ReviewItem]) -> None:
    """The items first: a sample without them is none, and never are they those of another."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SAMPLE).unlink(missing_ok=True)
    write_jsonl(folder / ITEMS, map(asdict, items))
    write_json(folder / SAMPLE, asdict(sample))


def read_sample(folder: Path) -> tuple[ReviewSample, list[ReviewItem]]:
    """The sample of a folder of reviews; DataError where there is none or it is damaged."""
    path = folder / SAMPLE
    if not path.is_file():
        raise DataError(f"{path}: no sample", "draw one: tsqa review RECIPE; decisions stay")
    sample, path = read_own(path, ReviewSample), folder / ITEMS
    items = [*read_own_lines(path, ReviewItem, _again(folder), "forbid")]
    drawn = Counter(item.stratum for item in items)
    if [drawn[place] for place in range(len(sample.strata))] != [s.drawn for s in sample.strata]:
        problem = f"{path}: its {len(items)} items are not those that {SAMPLE} counts"
        raise DataError(problem, _again(folder))
    return sample, items


def _again(folder: Path) -> str:
    return f"delete {folder / SAMPLE} and draw again: tsqa review RECIPE; decisions stay"


def allocate(sizes: Mapping[Cell, int], wanted: Wanted) -> dict[Cell, int]:
    """Stratum -> items to draw: in proportion within an outcome, at least two of each.

    A cell whose part would be below two joins the small others of its outcome.
    """
    found: dict[Cell, int] = {}
    outcomes: dict[str, dict[Cell, int]] = defaultdict(dict)
    for cell, size in sizes.items():
        outcomes[cell.outcome][cell] = size
    for outcome in sorted(outcomes, key=lambda name: (name != ACCEPTED, name)):
        total = sum(outcomes[outcome].values())
        if outcome == ACCEPTED:
            bound = total if wanted.finite else None
            count = min(total, needed_for_width(wanted.width, wanted.assumed, bound))
        else:
            count = min(total, wanted.per_filter)
        merged: Counter[Cell] = Counter()
        for cell, size in outcomes[outcome].items():
            small = count * size / total < _LEAST_DRAWN and count < total
            merged[Cell(outcome, *[_OTHERS] * 3) if small else cell] += size
        order = sorted(merged, key=lambda cell: tuple(vars(cell).values()))
        for cell in order:
            share = math.ceil(count * merged[cell] / total - 1e-9)
            found[cell] = min(merged[cell], max(share, _LEAST_DRAWN)) if count else 0
    return found


def band_of(agreement: float | None) -> Band:
    """How far the votes agreed, in a few words."""
    if agreement is None:
        return "none"
    if agreement > 1 - 1e-9:
        return "all"
    return "most" if agreement >= 0.75 - 1e-9 else "some"


def dataset_term(item_id: str, texts: str) -> int:
    """What an accepted item adds to the sum that names its dataset."""
    return _rank(0, f"{item_id}/{texts}")


def add_terms(terms: Iterable[int]) -> int:
    """The sum that names a dataset, in whatever order."""
    return sum(terms) % (1 << _BITS)


@dataclass
class _Census:
    dataset: int = 0
    unreadable: int = 0
    by_shares: int = 0


def _count(folder: Path) -> tuple[dict[Cell, int], _Census]:
    sizes: Counter[Cell] = Counter()
    census = _Census()
    for cell, row in _cells(folder, census):
        sizes[cell] += 1
        if isinstance(row, CuratedRow):
            terms = census.dataset, dataset_term(row.id, hash_texts(row))
            census.dataset = add_terms(terms)
    return dict(sizes), census


def _cells(folder: Path, census: _Census) -> Iterator[tuple[Cell, CuratedRow | RejectedRow]]:
    """Every row that can be reviewed, with its stratum."""
    for row in read_curated(folder):
        yield Cell(ACCEPTED, row.task, row.capability, band_of(row.agreement)), row
    for rejected in read_rejected(folder):
        if rejected.step == _BY_SHARES:
            census.by_shares += 1
            continue
        candidate = read_rejected_candidate(rejected)
        if candidate is None:
            census.unreadable += 1
            continue
        band = band_of(candidate.voted)
        yield Cell(rejected.step, rejected.task, rejected.capability, band), rejected


def _home(cell: Cell, places: Mapping[Cell, int]) -> Cell:
    return cell if cell in places else Cell(cell.outcome, *[_OTHERS] * 3)


def _choose(
    folder: Path, seed: int, merged: Mapping[Cell, Cell], drawn: Mapping[Cell, int]
) -> dict[Cell, list[CuratedRow | RejectedRow]]:
    """Of each stratum the rows of lowest rank, which is a random draw."""
    heaps: dict[Cell, list[tuple[int, int, CuratedRow | RejectedRow]]] = {c: [] for c in drawn}
    for number, (cell, row) in enumerate(_cells(folder, _Census())):
        home = merged[cell]
        entry = (-_rank(seed, row.id), number, row)
        if len(heaps[home]) < drawn[home]:
            heapq.heappush(heaps[home], entry)
        else:
            heapq.heappushpop(heaps[home], entry)
    return {cell: [row for _, _, row in heap] for cell, heap in heaps.items()}


def _rank(seed: int, name: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogatepass"), digest_size=16)
    return int.from_bytes(digest.digest(), "big")


def _show(
    row: CuratedRow | RejectedRow, records: Mapping[str, CandidateRecord], place: int
) -> ReviewItem:
    if isinstance(row, CuratedRow):
        return show_accepted(row, records.get(row.id), place)
    shown = show_rejected(row, place)
    assert shown is not None, "only what can be read is drawn"
    return shown
