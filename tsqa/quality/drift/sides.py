"""One side of a comparison of two datasets: the items of drawn seeds, or drawn seeds themselves.

Guarantee: of a seed that both sides have, both draw the items or neither does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tsqa.curated.files import CURATED, DATASET, read_rows
from tsqa.errors import DataError
from tsqa.quality.sample import MOST_SEEDS, AuditedText, draw_groups, of_row, of_seed
from tsqa.records.rows import CuratedRow
from tsqa.records.seed import read_seeds

_SEEDS = "seeds.jsonl"


@dataclass(frozen=True)
class DriftSide:
    title: str
    groups: dict[str, list[AuditedText]]
    """Seed -> its items, or the seed itself; both in a random order."""
    group_count: int
    text_count: int
    """Of all that there are."""


def side_of_items(title: str, folder: Path, seed: int, most: int = MOST_SEEDS) -> DriftSide:
    """Of a filter artifact, a release, or any folder with the shards of a curated dataset."""
    rows = read_rows(_shards_below(folder), CuratedRow)
    drawn = draw_groups(rows, lambda row: row.seed_id, lambda row: row.id, seed, most)
    groups = {name: [of_row(row) for row in found] for name, found in drawn.rows.items()}
    return DriftSide(title, groups, drawn.group_count, drawn.row_count)


def side_of_seeds(title: str, folder: Path, seed: int, most: int = MOST_SEEDS) -> DriftSide:
    """Of a folder with `seeds.jsonl`, such as a seeds artifact."""
    if not (folder / _SEEDS).is_file():
        raise DataError(
            f"{folder}: no {_SEEDS}, and a release keeps no text of its seeds",
            "name a recipe, or the folder of a seeds artifact",
        )
    return side_of_texts(title, map(of_seed, read_seeds(folder / _SEEDS)), seed, most)


def side_of_texts(
    title: str, texts: Iterable[AuditedText], seed: int, most: int = MOST_SEEDS
) -> DriftSide:
    """Each text for itself."""
    drawn = draw_groups(texts, lambda text: text.id, lambda text: text.id, seed, most)
    return DriftSide(title, drawn.rows, drawn.group_count, drawn.row_count)


def _shards_below(folder: Path) -> Path:
    """A dataset may be an artifact, its part `dataset` as on the hub, or the shards alone."""
    for place in (folder / CURATED, folder / Path(CURATED).relative_to(DATASET), folder):
        if place.is_dir() and any(place.glob("*.parquet")):
            return place
    raise DataError(
        f"{folder}: no curated dataset: no shards in {CURATED}",
        "name a recipe, a release, or a folder with the parquet files of a curated dataset",
    )
