"""The sheet for auditors: what the data of a release is, under the headings of the EU's template.

The template is that of the AI Act, Article 53(1)(d), for the public summary of training content
(European Commission, 24 July 2025). Guarantees: every statement comes from the manifests, the rows
or the recipe; what they do not say is said to be missing, and listed at the end.
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
from tsqa.text.normalise import count_words

DATA_SHEET = "DATA_SHEET.md"
_TEMPLATE = "data_sheet.md.jinja"
_BILLION, _TEN_TRILLION = 10**9, 10**13
Origin = Literal["benchmark's training split", "own dataset", "own documents"]


@dataclass(frozen=True)
class _Row:
    task: str
    capability: str
    dataset: str
    revision: str
    split: str
    licence: str
    language: str
    text: str


@dataclass
class SizesOfRelease:
    """What the rows say."""

    words: int = 0
    spaced: int = 0
    """Words between spaces."""
    characters: int = 0
    bytes: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    capabilities: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str, str, str, str]] = field(default_factory=Counter)
    """(task, dataset, revision, split, licence) -> items."""

    @property
    def size(self) -> str:
        """The template's range of tokens: at least one between spaces, where most tokenizers split,
        and at most one for each byte; two ranges where these differ."""
        ranges = (
            "less than 1 billion tokens",
            "1 billion to 10 trillion tokens",
            "more than 10 trillion tokens",
        )
        first, last = (
            (count >= _BILLION) + (count > _TEN_TRILLION) for count in (self.spaced, self.bytes)
        )
        return " or ".join(ranges[first : last + 1])


def write_data_sheet(path: Path, release: Release, recipe: Recipe, behind: Behind) -> None:
    """Write the sheet beside the dataset that it describes."""
    measured = SizesOfRelease()
    for row in read_rows(path.parent / CURATED, _Row):
        measured.words += count_words(row.text)
        measured.spaced += len(row.text.split())
        measured.characters += len(row.text)
        measured.bytes += len(row.text.encode())
        measured.languages[row.language] += 1
        measured.capabilities[row.capability] += 1
        measured.sources[row.task, row.dataset, row.revision, row.split, row.licence] += 1
    text = (
        markdown_environment(Path(__file__).parent)
        .get_template(_TEMPLATE)
        .render(
            release=release,
            recipe=recipe,
            measured=measured,
            origins=_origins(recipe, [key[0] for key in measured.sources]),
            public_tasks=tasks_of_library(recipe, [key[0] for key in measured.sources]),
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


def tasks_of_library(recipe: Recipe, tasks: list[str]) -> set[str]:
    """Of lm-eval's own library; whether anything else is public, nobody says."""
    if recipe.seeds is None or recipe.seeds.include:
        return set()
    return {*tasks} - {each.name for each in recipe.seeds.own}
