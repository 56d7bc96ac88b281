"""The sheet for auditors: what the data of a release is, in the order of the EU's template.

The template is that of the AI Act, Article 53(1)(d), for the public summary of training content
(European Commission, July 2025). Guarantees: every statement comes from the manifests, the rows or
the recipe; what they do not say is said to be missing, and listed at the end.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tsqa.curated.card import markdown_environment
from tsqa.curated.files import CURATED, read_rows
from tsqa.recipe import Recipe
from tsqa.release.outcomes import Behind
from tsqa.release.records import Release
from tsqa.store.atomic import write_text

DATA_SHEET = "DATA_SHEET.md"
_TEMPLATE = "data_sheet.md.jinja"
_BILLION = 1_000_000_000
Origin = Literal["benchmark's training split", "own dataset", "own documents"]


@dataclass(frozen=True)
class _Row:
    task: str
    dataset: str
    revision: str
    split: str
    licence: str
    language: str
    text: str


@dataclass
class _Measured:
    """What the rows say."""

    words: int = 0
    characters: int = 0
    bytes: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str, str, str, str]] = field(default_factory=Counter)
    """(task, dataset, revision, split, licence) -> items."""

    @property
    def size(self) -> str:
        """The template's range of tokens, of which each has a byte at least."""
        if self.bytes < _BILLION:
            return "less than 1 billion tokens"
        return "not known: tsqa counts words and characters here, and no tokens"


def write_data_sheet(path: Path, release: Release, recipe: Recipe, behind: Behind) -> None:
    """Write the sheet beside the dataset that it describes."""
    measured = _Measured()
    for row in read_rows(path.parent / CURATED, _Row):
        measured.words += len(row.text.split())
        measured.characters += len(row.text)
        measured.bytes += len(row.text.encode())
        measured.languages[row.language] += 1
        measured.sources[row.task, row.dataset, row.revision, row.split, row.licence] += 1
    text = (
        markdown_environment(Path(__file__).parent)
        .get_template(_TEMPLATE)
        .render(
            release=release,
            recipe=recipe,
            measured=measured,
            origins=_origins(recipe, [key[0] for key in measured.sources]),
            read=behind.seeds.manifest.created,
            written=behind.generate.manifest.created,
            funnel=behind.filter.summary["funnel"],
            edited=behind.filter.summary.get("review", {}).get("edited", 0),
            teachers=[part for part in release.licences if part.kind == "teacher"],
        )
    )
    write_text(path, text)


def _origins(recipe: Recipe, tasks: list[str]) -> dict[str, Origin]:
    """Task of the seeds -> where it comes from."""
    found: dict[str, Origin] = dict.fromkeys(tasks, "benchmark's training split")
    if recipe.seeds:
        found |= {each.name: "own dataset" for each in recipe.seeds.datasets}
        found |= {each.name: "own documents" for each in recipe.seeds.documents}
    return found
