"""The section `generate`: who writes the new questions and answers, from which prompts.

Promises: every field decides the data, except those of a teacher that are `RUNTIME`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tsqa.recipe.sections.base import Section, Seed, Share
from tsqa.recipe.sections.models import SamplingSection, TeacherSection

Enrichment = Literal["reasoning", "knowledge", "context", "distractors"]


class PromptsSection(Section):
    """Names of the shipped prompt sets, or paths: a folder of Jinja files, or one for all kinds."""

    question: str = "similar"
    answer: str = "enrich"


class CascadeSection(Section):
    """A stronger teacher answers again where the votes of the first disagree."""

    teacher: TeacherSection
    agreement: float = Field(0.6, gt=0, le=1)
    """Candidates whose winning answer has a smaller share of the votes are answered again."""


class GenerateSection(Section):
    """Seed -> new questions -> k enriched answers each."""

    teacher: TeacherSection
    cascade: CascadeSection | None = None
    per_seed: int = Field(4, ge=1)
    shots: int = Field(2, ge=1)
    """Seeds of the same task shown in a prompt."""
    votes: int = Field(5, ge=1)
    enrichment: list[Enrichment] = ["reasoning", "knowledge", "context", "distractors"]
    """What an answer carries beside itself; an empty list is the answer alone."""
    question: SamplingSection = SamplingSection(temperature=1.0)
    answer: SamplingSection = SamplingSection(temperature=0.8, max_tokens=1024)
    prompts: PromptsSection = PromptsSection()
    allow_failed: Share = 0.0
    """Share of a teacher's requests that may end without an answer; it is on the card."""
    seed: Seed = 0
