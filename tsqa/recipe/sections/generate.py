"""The section `generate`: who writes the new questions and answers, from which prompts.

Guarantees: every field decides the data, except those that are `RUNTIME`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from tsqa.names import PlainName
from tsqa.recipe.sections.base import ADDED, RUNTIME, Section, Seed, Share, refuse_unread
from tsqa.recipe.sections.models import SamplingSection, TeacherSection

Enrichment = Literal["reasoning", "knowledge", "context", "distractors"]
Temperature = Annotated[float, Field(ge=0)]


class PromptsSection(Section):
    """Prompts: the name of a shipped set, a folder of Jinja files, or one file for all kinds."""

    question: str = "similar"
    """How a new question is asked for. similar: with instructions; varied: the same with
    `generate.attributes`; plain: for base models."""
    answer: str = "enrich"
    """How an answer is asked for. enrich: with its reasoning and more; plain: the answer alone;
    grounded: from the passage alone."""
    passage: str = Field("rqa", json_schema_extra=ADDED)
    """How a question about a passage of `seeds.documents` is asked for. rqa: one that is answered
    with the passage; fact_seeking: one that is clear without it, which the student does not see."""


class RephraseSection(Section):
    """Passages of `seeds.documents` are told again in other forms, in place of questions about
    them. Nobody votes: `filter.faithfulness` compares each rephrasing with its passage."""

    styles: list[str] | dict[str, Share] = ["faq", "table", "tutorial", "math"]
    """Forms, all equally often or by share: shipped prompts, or Jinja files of your own. One is
    drawn per rephrasing, by seed and number."""

    @property
    def files(self) -> dict[str, str]:
        """Name of a style, which is that of a file without its folder and ending -> as given."""
        return {PurePath(style).stem: style for style in self.styles}

    @property
    def shares(self) -> dict[str, float]:
        """Name of a style -> its share."""
        if isinstance(self.styles, dict):
            return dict(zip(self.files, self.styles.values(), strict=True))
        return dict.fromkeys(self.files, 1 / len(self.styles))

    @field_validator("styles", mode="after")
    @classmethod
    def _styles_can_be_drawn(
        cls, given: list[str] | dict[str, float]
    ) -> list[str] | dict[str, float]:
        if not given:
            raise ValueError("name a style")
        names = [PurePath(style).stem for style in given]
        if len(set(names)) < len(names):
            raise ValueError("two styles have one name: a file's is its name without the ending")
        total = math.fsum(given.values()) if isinstance(given, dict) else 1.0
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"the shares sum to {total:g}; make them sum to 1")
        return given


class CascadeSection(Section):
    """A stronger teacher answers again where the votes of the first disagree."""

    teacher: TeacherSection
    """The stronger teacher."""
    agreement: float = Field(0.6, gt=0, le=1)
    """Answer again where the winning answer has a smaller share of the votes than this."""


class SolverSection(Section):
    """A model that answers the questions, beside others or alone."""

    teacher: TeacherSection
    """The model that answers."""
    votes: int | None = Field(None, ge=1)
    """Its answers per question; null: `generate.votes`."""
    weight: float = Field(1.0, gt=0)
    """What each of its votes counts."""
    answer: SamplingSection | None = None
    """Sampling of its answers; null: `generate.answer`."""
    prompt: str | None = None
    """Its prompts for answers; null: `generate.prompts.answer`."""


@dataclass(frozen=True)
class Solving:
    """How one model answers the questions of a recipe, with all defaults filled in."""

    role: str
    teacher: TeacherSection
    votes: int
    weight: float
    sampling: SamplingSection
    prompt: str
    key: str = "generate.prompts.answer"
    """Where the recipe names the prompt."""
    below: float | None = None
    """Only where the votes so far agree less than this; its votes then count alone."""


class GenerateSection(Section):
    """Each seed becomes new questions, and each question gets several enriched answers."""

    teacher: TeacherSection | None = None
    """The model that writes the questions, unless `writer` does, and answers them, unless `solvers`
    do. null: both are given."""
    writer: TeacherSection | None = Field(None, json_schema_extra=ADDED)
    """The model that writes the questions; null: `teacher`."""
    solvers: list[SolverSection] = Field([], json_schema_extra=ADDED)
    """The models that answer; none: `teacher` does."""
    cascade: CascadeSection | None = None
    """A stronger teacher for the questions on which the votes disagree; null: none."""
    rephrase: RephraseSection | None = Field(None, json_schema_extra=ADDED)
    """Have `teacher` rephrase passages of `seeds.documents`; null: have it ask about them."""
    per_seed: int = Field(4, ge=1)
    """Questions, or rephrasings, to ask for per seed; the dataset and its cost grow in
    proportion."""
    shots: int = Field(2, ge=1)
    """Seeds of the same task shown as examples in a prompt."""
    votes: int = Field(5, ge=1)
    """Answers sampled per question; `filter.agreement` needs several to tell right from wrong."""
    enrichment: list[Enrichment] = ["reasoning", "knowledge", "context", "distractors"]
    """What to write with an answer; an empty list: the answer alone."""
    question: SamplingSection = SamplingSection(temperature=1.0)
    """Sampling of questions, or of rephrasings."""
    attributes: dict[PlainName, list[str] | dict[str, Share]] = Field({}, json_schema_extra=ADDED)
    """What each new question is asked to be, such as {persona: [a nurse, a cook], difficulty:
    {easy: 0.3, hard: 0.7}}: names with values, all equally often or by share. One value of each is
    drawn per question, by seed and number; `prompts.question: varied` shows them."""
    temperatures: list[Temperature] = Field([], json_schema_extra=ADDED)
    """Sampling temperatures of questions, drawn like an attribute; none: `question.temperature`."""
    answer: SamplingSection = SamplingSection(temperature=0.8, max_tokens=1024)
    """Sampling of answers."""
    prompts: PromptsSection = PromptsSection()
    """Which prompts are used."""
    canaries: int = Field(0, ge=0, json_schema_extra=ADDED)
    """Seeds that prompts show with an invented name and number. What repeats one is rejected, and
    `tsqa audit` says which share came back; if none of 72 does, it is below 5%."""
    allow_failed: Share = Field(0.0, json_schema_extra=RUNTIME)
    """Share of requests that may fail for good; beyond it the stage stops. Shown on the card."""
    seed: Seed = 0
    """Random seed of the examples shown and of the sampling."""

    @property
    def writing(self) -> tuple[str, TeacherSection]:
        """Role and model that write the questions."""
        if self.writer is not None:
            return "writer", self.writer
        assert self.teacher is not None, "the validator"
        return "teacher", self.teacher

    @property
    def solving(self) -> list[Solving]:
        """Those who answer, in the order in which they are asked."""
        if self.rephrase is not None:
            return []
        shared = (self.votes, 1.0, self.answer, self.prompts.answer)
        found = [
            Solving(
                f"solver{number}",
                each.teacher,
                each.votes or self.votes,
                each.weight,
                each.answer or self.answer,
                each.prompt or self.prompts.answer,
                f"generate.solvers.{number}.prompt" if each.prompt else "generate.prompts.answer",
            )
            for number, each in enumerate(self.solvers)
        ]
        if self.teacher is not None and not found:
            found = [Solving("teacher", self.teacher, *shared)]
        if self.cascade is not None:
            strong = self.cascade
            found.append(Solving("cascade", strong.teacher, *shared, below=strong.agreement))
        return found

    @field_validator("attributes", mode="after")
    @classmethod
    def _values_can_be_drawn(
        cls, given: dict[str, list[str] | dict[str, float]]
    ) -> dict[str, list[str] | dict[str, float]]:
        for name, values in given.items():
            if not values:
                raise ValueError(f"{name} has no values")
            if len(set(values)) < len(values):
                raise ValueError(f"{name} has a value twice")
            if any(len(value.splitlines()) > 1 for value in values):
                raise ValueError(f"{name}: a value is one line")
            total = math.fsum(values.values()) if isinstance(values, dict) else 1.0
            if not math.isclose(total, 1.0, abs_tol=1e-6):
                raise ValueError(f"the shares of {name} sum to {total:g}; make them sum to 1")
        return given

    @field_validator("temperatures", mode="after")
    @classmethod
    def _no_value_twice(cls, given: list[float]) -> list[float]:
        if len(set(given)) < len(given):
            raise ValueError("holds a value twice")
        return given

    @model_validator(mode="after")
    def _roles_are_filled(self) -> Self:
        named = [name for name in ("writer", "solvers") if getattr(self, name)]
        if self.teacher is None and len(named) < 2:
            missing = "solvers" if named == ["writer"] else "writer" if named else "teacher"
            raise ValueError(f"give `{missing}`, or one `teacher` for both questions and answers")
        if self.teacher is not None and len(named) == 2:
            raise ValueError("`teacher` has nothing to do beside `writer` and `solvers`: remove it")
        asked = [("question", self.writing[1], self.question)]
        asked += [(each.role, each.teacher, each.sampling) for each in self.solving]
        for name, teacher, sampling in asked:
            if problem := teacher.misfit(sampling, name):
                raise ValueError(problem)
        role, writer = self.writing
        if self.temperatures and "temperature" in writer.request.omit:
            raise ValueError(
                f"temperatures would not be sent: {role}.request.omit holds temperature; "
                "leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _votes_are_asked_for(self) -> Self:
        own = [each.votes is not None for each in self.solvers]
        if own and all(own) and self.cascade is None:
            refuse_unread(self, ["votes"], "is read by none of `solvers`: each has its own")
        return self

    @model_validator(mode="after")
    def _votes_can_differ(self) -> Self:
        for each in self.solving:
            if each.votes > 1 and (reason := each.teacher.greedy(each.sampling)):
                raise ValueError(
                    f"votes {each.votes} of the {each.role} are one answer {each.votes} times, "
                    f"whose agreement says nothing: {reason} takes the likeliest token; change "
                    "it, or set votes to 1"
                )
        return self
