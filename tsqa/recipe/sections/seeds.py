"""The sections `data` and `seeds`: the training splits that everything starts from.

Promises: seeds come from somewhere, and no own dataset takes the name of another source.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tsqa.names import PlainName, TaskName
from tsqa.recipe.sections.base import Section, Seed, Share

AnswerKind = Literal["choice", "number", "short_text", "long_text", "code", "boolean"]


class DataSection(Section):
    """Data that the harness builds itself, reachable as `{data}/...` in every path below."""

    builder: Literal["miniature"]
    seed: Seed = 0
    train_per_family: int = Field(300, ge=4)
    """Training documents per task family: the seeds."""
    test_per_family: int = Field(100, ge=4)
    """Test documents per task family, disjoint from the training split."""
    teacher_documents: int = Field(20_000, ge=0)
    """Few-shot documents for the teacher's own training; none holds a test question."""


class ColumnsSection(Section):
    """Column of an own dataset -> field of a seed; a dotted name reaches into nested records."""

    question: str
    answer: str
    choices: str | list[str] | None = None
    """A column that holds them all (a list, also as JSON or Python in a CSV), or one for each."""
    context: str | None = None
    explanation: str | None = None
    subject: str | None = None
    tests: str | None = None
    """Code that fails unless the answer is right; for answers of kind `code`."""
    id: str | None = None


class DatasetSection(Section):
    """Seeds from an own dataset: a hub id, or local JSONL(.gz), JSON, parquet or CSV."""

    name: PlainName
    """The task name of its seeds."""
    path: str
    """A file, a folder of files of one format, or a hub id."""
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    columns: ColumnsSection
    answer: Literal["auto", "index", "letter", "text"] = "auto"
    """What the answer column holds where there are choices: the option's text, its letter or label
    (A, B, C, or a number from 1), or an index from 0. auto: whatever it can be in one way only."""
    kind: AnswerKind | None = None
    """None: told from each document."""
    capability: str | None = None
    language: str = "en"
    licence: str | None = None


class BudgetSection(Section):
    """How many seeds each capability and task gives."""

    total: int = Field(ge=1)
    temperature: float = Field(1.0, gt=0)
    """A pool of n documents weighs n ** (1 / temperature): 1 is proportional, large is equal."""
    capabilities: dict[str, Share] = {}
    """Share of the total per capability; those not named share the rest by their weights."""


class SeedsSection(Section):
    """Training splits of lm-eval tasks and of own datasets, normalised to Seed records."""

    tasks: list[TaskName] = []
    include: str | None = None
    """Folder of lm-eval task YAMLs; None means lm-eval's own tasks."""
    datasets: list[DatasetSection] = []
    taxonomy: str | None = None
    """YAML that maps tasks to capabilities; its entries win over the shipped ones."""
    max_per_task: int = Field(1000, ge=1)
    budget: BudgetSection | None = None
    allow_leaks: list[str] = []
    """Tasks to seed from although they share documents with an evaluated split. Recorded in
    every artifact downstream."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _some_source(self) -> Self:
        if not self.tasks and not self.datasets:
            raise ValueError("give tasks, datasets, or both")
        names = [dataset.name for dataset in self.datasets]
        twice = sorted({name for name in names if names.count(name) > 1 or name in self.tasks})
        if twice:
            raise ValueError(f"two sources have the name {', '.join(twice)}")
        return self
