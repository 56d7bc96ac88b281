"""By which prompts, models and sampling the items of two versions were made.

Guarantees: read from the rows, so that a release says it without the artifacts behind it; a prompt
is known by its whole content, whatever its version says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tsqa.curated.files import CURATED, read_rows
from tsqa.records.rows import Lineage, read_lineage
from tsqa.store.own_files import damaged

_DIGITS = 12
"""Of a hash, as shown."""


@dataclass(frozen=True)
class MadeWith:
    """What items of one version were made with, and none of the other."""

    way: str
    old: int
    new: int
    """Items."""


@dataclass(frozen=True)
class _Row:
    id: str
    lineage: str


def compare_ways(old: Path, new: Path) -> list[MadeWith]:
    """Of two folders that hold `dataset/`; what all items of both share is left out."""
    before, after = _count(old), _count(new)
    return [MadeWith(way, before[way], after[way]) for way in sorted(before.keys() ^ after.keys())]


def _count(folder: Path) -> Counter[str]:
    found = Counter[str]()
    for row in read_rows(folder / CURATED, _Row):
        try:
            found.update(set(_ways(read_lineage(row.lineage))))
        except ValueError as error:
            raise damaged(folder / CURATED, f"{row.id}: lineage: {error}") from error
    return found


def _ways(made: Lineage) -> Iterator[str]:
    for role, prompt in made.prompts.items():
        digest = prompt.sha256[:_DIGITS]
        yield f"prompt of {role}: {prompt.id} version {prompt.version}, sha256 {digest}"
    for role, sampling in made.sampling.items():
        told = [f"{key} {value}" for key, value in asdict(sampling).items() if value is not None]
        yield f"sampling of {role}: {', '.join(told)}"
    models = {"teacher": made.teacher, "cascade": made.cascade, **made.solvers}
    for role, model in models.items():
        if model is not None:
            yield f"model of {role}: {model.identity}, {model.form}"
