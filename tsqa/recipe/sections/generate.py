"""The section `generate`: who writes the new questions and answers, from which prompts.

Guarantees: every field decides the data, except those that are `RUNTIME`.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tsqa.recipe.sections.base import RUNTIME, Section, Seed, Share
from tsqa.recipe.sections.models import SamplingSection, TeacherSection

Enrichment = Literal["reasoning", "knowledge", "context", "distractors"]


class PromptsSection(Section):
    """Prompts: the name of a shipped set, a folder of Jinja files, or one file for all kinds."""

    question: str = "similar"
    """How a new question is asked for. similar: with instructions; plain: for base models."""
    answer: str = "enrich"
    """How an answer is asked for. enrich: with its reasoning and more; plain: the answer alone."""


class CascadeSection(Section):
    """A stronger teacher answers again where the votes of the first disagree."""

    teacher: TeacherSection
    """The stronger teacher."""
    agreement: float = Field(0.6, gt=0, le=1)
    """Answer again where the winning answer has a smaller share of the votes than this."""


class GenerateSection(Section):
    """Each seed becomes new questions, and each question gets several enriched answers."""

    teacher: TeacherSection
    """The model that writes questions and answers."""
    cascade: CascadeSection | None = None
    """A stronger teacher for the questions on which the votes disagree; null: none."""
    per_seed: int = Field(4, ge=1)
    """Questions to ask for per seed; the dataset and its cost grow in proportion."""
    shots: int = Field(2, ge=1)
    """Seeds of the same task shown as examples in a prompt."""
    votes: int = Field(5, ge=1)
    """Answers sampled per question; `filter.agreement` needs several to tell right from wrong."""
    enrichment: list[Enrichment] = ["reasoning", "knowledge", "context", "distractors"]
    """What to write with an answer; an empty list: the answer alone."""
    question: SamplingSection = SamplingSection(temperature=1.0)
    """Sampling of questions."""
    answer: SamplingSection = SamplingSection(temperature=0.8, max_tokens=1024)
    """Sampling of answers."""
    prompts: PromptsSection = PromptsSection()
    """Which prompts are used."""
    allow_failed: Share = Field(0.0, json_schema_extra=RUNTIME)
    """Share of requests that may fail for good; beyond it the stage stops. Shown on the card."""
    seed: Seed = 0
    """Random seed of the examples shown and of the sampling."""

    @model_validator(mode="after")
    def _votes_can_differ(self) -> Self:
        teachers = {"teacher": self.teacher}
        if self.cascade:
            teachers["cascade"] = self.cascade.teacher
        for key, teacher in teachers.items():
            if self.votes > 1 and (reason := teacher.greedy(self.answer)):
                raise ValueError(
                    f"votes {self.votes} of the {key} are one answer {self.votes} times, whose "
                    f"agreement says nothing: {reason} takes the likeliest token; raise "
                    "answer.temperature, or set votes to 1"
                )
        return self
