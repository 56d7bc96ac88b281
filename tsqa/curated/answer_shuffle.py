"""The format-matched control: curated items that carry the answer of another item.

Guarantees: no item takes its content from itself; donors are items of the same task, kind and
number of options; without options, the answers of a group stay the same as a whole; with options,
the item takes its own option at the donor's place, which is right as often as chance. Nothing is
asked of a model, and the same dataset gives the same bytes.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tsqa.curated.files import CURATED, DatasetWriter, read_curated, read_rows
from tsqa.curated.render import Renderer
from tsqa.errors import DataError
from tsqa.recipe import Recipe, needed
from tsqa.records.rows import CuratedRow, read_lineage


@dataclass(frozen=True)
class Donor:
    """The columns that decide who may give an answer, and those that are taken with it."""

    id: str
    task: str
    kind: str
    choices: list[str]
    answer: str
    answer_index: int | None
    reasoning: str
    knowledge: str
    item_context: str
    distractors: str


def write_permuted(filtered: Path, out: Path, recipe: Recipe) -> Path:
    """Write the permuted dataset of a filter artifact below `out`; return its folder.

    An item without another one of its task, kind and number of options is left out. DataError
    when none is left.
    """
    renderer = Renderer(needed(recipe.filter, "filter").renderings)
    if renderer.shows_trace:
        raise DataError(
            f"{filtered}: its documents show thoughts, which would argue for the answer that the "
            "control takes away",
            "leave out the format_matched control, or thoughts in filter.renderings",
        )
    content = {row.id: row for row in read_rows(filtered / CURATED, Donor)}
    donors = draw_donors(list(content.values()))
    if not donors:
        raise DataError(
            f"{filtered}: no two items share task, kind and number of options: no answer to take",
            "leave the format_matched control out, or curate more items",
        )
    with DatasetWriter(out) as writer:
        for row in read_curated(filtered):
            if row.id in donors:
                writer.curated(permuted_row(row, content[donors[row.id]], renderer))
    return out / CURATED


def draw_donors(rows: Sequence[Donor]) -> dict[str, str]:
    """Item id -> id of the item whose answer it takes: in each group one random cycle."""
    groups: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    for row in rows:
        groups[row.task, row.kind, len(row.choices)].append(row.id)
    donors: dict[str, str] = {}
    for key, ids in groups.items():
        if len(ids) > 1:
            order = sorted(ids)
            random.Random(f"permute/{key}").shuffle(order)
            donors |= dict(zip(order, [*order[1:], order[0]], strict=True))
    return donors


def permuted_row(row: CuratedRow, donor: Donor, renderer: Renderer) -> CuratedRow:
    """The row with the donor's content, rendered anew; its lineage names the donor."""
    answer = donor.answer
    if row.choices:
        assert donor.answer_index is not None, donor.id
        answer = row.choices[donor.answer_index]
    changed = replace(
        row,
        answer=answer,
        answer_index=donor.answer_index,
        reasoning=donor.reasoning,
        knowledge=donor.knowledge,
        item_context=donor.item_context,
        distractors=donor.distractors,
    )
    rendering, text = renderer.render(changed)
    lineage = replace(read_lineage(row.lineage), permuted_from=donor.id)
    return replace(changed, text=text, rendering=rendering, lineage=lineage.to_json())
