"""The sections `data` and `seeds`: the training splits that everything starts from.

Guarantees: seeds come from somewhere, and no own dataset takes the name of another source.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from tsqa.names import DataAddress, LocalPath, PlainName, TaskName
from tsqa.recipe.sections.base import ADDED, RUNTIME, Section, Seed, Share, refuse_unread
from tsqa.recipe.sections.mixture import refuse_hub_keys

AnswerKind = Literal["choice", "number", "short_text", "long_text", "code", "boolean"]


class DataSection(Section):
    """Data that the harness builds itself; the paths of other sections find it as `{data}/...`."""

    builder: Literal["miniature"]
    """miniature: six families of tiny tasks, text that teaches them, and text for the teacher."""
    seed: Seed = 0
    """Random seed of the documents."""
    train_per_family: int = Field(300, ge=4)
    """Training documents per task family, which can become seeds."""
    test_per_family: int = Field(100, ge=4)
    """Test documents per task family, disjoint from the training split."""
    teacher_documents: int = Field(20_000, ge=0)
    """Few-shot documents to train the teacher on; none contains a test question."""


class ColumnsSection(Section):
    """Which column of your dataset holds what; a dotted name reaches into nested records."""

    question: str
    """Column of the question."""
    answer: str
    """Column of the right answer: its text, or which of the choices it is."""
    choices: str | list[str] | None = None
    """One column with the list of choices (in a CSV as JSON or Python), or one column for each."""
    context: str | None = None
    """Column of the passage that the question is about."""
    explanation: str | None = None
    """Column of the reasoning behind the answer, shown to the teacher."""
    subject: str | None = None
    """Column of the subject, such as anatomy."""
    tests: str | None = None
    """Column of code that fails unless the answer is right; for answers of kind `code`."""
    id: str | None = None
    """Column of the document's ID; null: its row number."""

    @model_validator(mode="after")
    def _question_is_one(self) -> Self:
        # An answer may be one of the options, or hold the explanation.
        options = self.choices if isinstance(self.choices, list) else [self.choices]
        others = [self.answer, self.context, self.explanation, self.tests, *options]
        if self.question in others:
            raise ValueError(f"the column {self.question!r} is the question and another part")
        return self


class OwnSection(Section):
    """A source of seeds of your own."""

    name: PlainName
    """Name of its seeds' task."""
    path: DataAddress
    """A file (JSONL(.gz, .zst), JSON, parquet, CSV), a folder of files in one format, their address
    (s3://, gs://, hf://, https://), or a hub ID. Of documents also .txt and .md, each of which is
    one; in a folder without other data."""
    subset: str | None = None
    """Subset (configuration) of a hub dataset."""
    split: str = "train"
    """Split of a hub dataset."""
    revision: str | None = None
    """Branch, tag or commit of a hub dataset; give a commit for a result that can be repeated."""
    capability: str | None = None
    """Capability that the seeds count as in `budget`, such as math; null: from the taxonomy."""
    language: str = "en"
    """ISO 639-1 code of the texts."""
    licence: str | None = None
    """Licence of the data, recorded on the dataset card."""

    LISTED_IN: ClassVar[str]
    """The key of `seeds` that lists such sources."""

    @model_validator(mode="after")
    def _is_read(self) -> Self:
        refuse_hub_keys(self, self.path)
        return self

    @property
    def place(self) -> str:
        """Where it stands in a recipe."""
        return f"seeds.{self.LISTED_IN}: {self.name}"


class DatasetSection(OwnSection):
    """Seeds from a dataset of your own: a hub ID, or local JSONL(.gz), JSON, parquet or CSV."""

    LISTED_IN: ClassVar[str] = "datasets"
    columns: ColumnsSection
    """Which column holds what."""
    answer: Literal["auto", "index", "letter", "text"] = "auto"
    """What the answer column holds if there are choices: the text of a choice, its letter or label
    (A, B, C, or a number from 1), or its index from 0. auto: the only one that fits; refused if
    several fit."""
    kind: AnswerKind | None = None
    """Kind of the answers; null: detected for each document."""

    @model_validator(mode="after")
    def _answers_are_read(self) -> Self:
        if self.columns.choices is None:
            refuse_unread(self, ["answer"], "is of answers among choices: give columns.choices")
        if self.kind not in (None, "code"):
            refuse_unread(self.columns, ["tests"], f"is of `kind: code`, and kind is {self.kind}")
        return self


class DocumentsSection(OwnSection):
    """Documents without questions, such as web pages, whose passages are seeds."""

    LISTED_IN: ClassVar[str] = "documents"
    text_field: str = "text"
    """Field of a record that holds its text."""
    min_words: int = Field(30, ge=1)
    """Fewest words of a passage; shorter ones are counted and left out. Words are what spaces part;
    in scripts without, such as Chinese and Thai, each letter is one."""
    max_words: int = Field(200, ge=1)
    """Most words of a passage. A longer document is cut at ends of sentences into passages of
    about equal length."""
    kind: Literal["short_text", "number", "choice", "boolean", "long_text"] = "short_text"
    """Kind of the answers to ask for."""

    @model_validator(mode="after")
    def _words_fit(self) -> Self:
        if self.max_words < 2 * self.min_words:
            raise ValueError(
                f"max_words {self.max_words:,} is below twice min_words ({self.min_words:,}), so "
                "that cutting would leave passages too short: raise it"
            )
        return self


class BudgetSection(Section):
    """How many seeds each capability and each task gives."""

    total: int = Field(ge=1)
    """Number of seeds in all, such as 10K."""
    temperature: float = Field(1.0, gt=0)
    """Evens out large and small tasks: a task of n documents gets a weight of
    n ** (1 / temperature). 1 is proportional to size; raise it to give small tasks more."""
    capabilities: dict[str, Share] = {}
    """Share of the total for a capability, such as {math: 0.3}; the others share the rest."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        total = sum(self.capabilities.values())
        if total > 1 + 1e-9:
            raise ValueError(f"capabilities sum to {total:g}; lower them to 1 in all, or less")
        return self


class SeedsSection(Section):
    """Training splits of lm-eval tasks, datasets of your own, and passages of documents."""

    tasks: list[TaskName] = []
    """lm-eval tasks whose training split gives seeds; `tsqa seeds list` lists them."""
    include: LocalPath | None = None
    """Folder of lm-eval task YAMLs, in place of lm-eval's own tasks."""
    datasets: list[DatasetSection] = []
    """Datasets of your own to seed from."""
    documents: list[DocumentsSection] = Field([], json_schema_extra=ADDED)
    """Documents to seed from; `generate.prompts.passage` is how their passages are asked about."""
    taxonomy: LocalPath | None = None
    """YAML that maps tasks to capabilities; its entries win over the shipped ones."""
    families: dict[str, str] = Field({}, json_schema_extra=ADDED)
    """Task or dataset, evaluated ones too (globs allowed) -> its family, where no tag of its YAML
    says it. The table splits its macro average by the families that were seeded from."""
    hold_out: list[str] = Field([], json_schema_extra=ADDED)
    """Families that give no seed, while their tasks are evaluated, such as [arc]."""
    max_per_task: int = Field(1000, ge=1)
    """Most seeds of one task or source, also with a `budget`."""
    budget: BudgetSection | None = None
    """Total number of seeds and how tasks share it; null: all up to `max_per_task` of each."""
    allow_leaks: list[str] = []
    """Tasks to seed from although they share documents with an evaluated split; every later
    artifact records them."""
    licences: dict[str, str] = Field({}, json_schema_extra=RUNTIME)
    """For `tsqa release`: task (globs allowed) -> licence, where its dataset states none."""
    refresh: LocalPath | None = Field(None, json_schema_extra=ADDED)
    """Folder of an earlier release whose seeds are taken first and keep what was asked of them, so
    that only new seeds are paid for."""
    seed: Seed = 0
    """Random seed of the choice of documents."""

    @property
    def own(self) -> list[OwnSection]:
        """Your own sources."""
        return [*self.datasets, *self.documents]

    @model_validator(mode="after")
    def _some_source(self) -> Self:
        if not self.tasks and not self.datasets and not self.documents:
            raise ValueError("give tasks, datasets or documents")
        if not self.tasks:
            refuse_unread(self, ["include"], "is where `tasks` are, and none is named")
        names = [source.name for source in self.own]
        twice = sorted({name for name in names if names.count(name) > 1 or name in self.tasks})
        if twice:
            raise ValueError(f"two sources have the name {', '.join(twice)}")
        return self
