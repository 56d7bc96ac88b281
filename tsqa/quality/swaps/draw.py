"""The items whose people are swapped: drawn from a finished dataset, at most one of each seed."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from tsqa.curated.files import read_curated
from tsqa.errors import DataError
from tsqa.quality.sample import draw_groups
from tsqa.quality.swaps.words import Swapper, swapper
from tsqa.recipe import SwapKind
from tsqa.records.candidate import Candidate, read_candidate
from tsqa.records.candidate_file import CandidateRecord, parse_record
from tsqa.records.rows import CuratedRow
from tsqa.store.jsonl import JsonlIndex

_SPARE = 2
"""Of the items that are looked up so many times as are wanted: some do not swap."""


@dataclass(frozen=True)
class SwapPair:
    """An item of the dataset, and the same with others in it."""

    item: Candidate
    swapped: Candidate


def draw_pairs(
    filtered: Path, generated: Path, kind: SwapKind, count: int, seed: int
) -> list[SwapPair]:
    """Up to `count` English items that mention somebody of the kind, in a random order.

    Left out are rephrasings, which ask nothing, and items that a reviewer edited.
    """
    swaps = swapper(kind)
    rows = (row for row in read_curated(filtered) if _mentions(row, swaps))
    try:
        drawn = draw_groups(
            *(rows, lambda row: row.seed_id, lambda row: row.id, seed, _SPARE * count)
        )
    except DataError:  # none mentions any
        return []
    with closing(JsonlIndex(generated / "candidates.jsonl")) as records:
        found = (
            next(filter(None, (_pair(row, records, swaps) for row in group)), None)
            for group in drawn.rows.values()
        )
        return [*islice(filter(None, found), count)]


def _mentions(row: CuratedRow, swaps: Swapper) -> bool:
    if row.language != "en" or not row.question:
        return False
    texts = (row.context, row.question, *row.choices)
    return any(swaps.swap(text) != text for text in texts)


def _pair(row: CuratedRow, records: JsonlIndex, swaps: Swapper) -> SwapPair | None:
    """None where the candidate is not there any more as it is in the dataset, or where two of its
    options become one."""
    found = records.find(row.id)
    if found is None:
        return None
    item = read_candidate(parse_record(json.dumps(found)))
    if (item.question, item.answer) != (row.question, row.answer):
        return None
    swapped = swap_candidate(item, swaps)
    return None if len({*swapped.choices}) < len({*item.choices}) else SwapPair(item, swapped)


def swap_candidate(item: Candidate, swaps: Swapper) -> Candidate:
    """The candidate, and the record behind it, with others in all texts that a model is shown."""
    record = swap_record(item.record, swaps)
    return replace(
        item,
        answer=swaps.swap(item.answer),
        reasoning=swaps.swap(item.reasoning),
        question=record.question,
        context=record.context,
        ground=record.ground,
        choices=record.choices,
        source=record,
    )


def swap_record(record: CandidateRecord, swaps: Swapper) -> CandidateRecord:
    """Without its votes, whose answers are options of the own text."""
    return replace(
        record,
        question=swaps.swap(record.question),
        context=swaps.swap(record.context),
        ground=swaps.swap(record.ground),
        choices=[*map(swaps.swap, record.choices)],
        votes=[],
    )
