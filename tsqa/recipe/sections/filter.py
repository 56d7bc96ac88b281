"""The section `filter`: what a candidate must pass to enter the dataset.

Promises: a filter that costs a model or runs code is off unless it is named; decontamination has
settings but no switch.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tsqa.recipe.sections.base import RUNTIME, Section, Share
from tsqa.recipe.sections.models import TeacherSection


class SemanticSection(Section):
    model: str
    """A sentence-transformers model: a folder or a hub id."""
    threshold: float = Field(0.92, gt=0, le=1)
    """Cosine similarity at which two questions are one."""


class DedupSection(Section):
    method: Literal["minhash", "exact"] = "minhash"
    threshold: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity of word shingles at which two questions are one."""
    semantic: SemanticSection | None = None


class DecontaminateSection(Section):
    ngram: int = Field(13, ge=1)
    """Words in a matching run; items shorter than this are matched whole."""
    similarity: Share = 0.8
    """Share of the evaluated item's words, in order, that a candidate may not reach."""


class TrivialitySection(Section):
    """Reject what needs no skill: answered by all tries of a weak model, or without the context."""

    teacher: TeacherSection | None = None
    """The weak model; None: the teacher itself, asked without the context."""
    tries: int = Field(4, ge=1)
    allow_failed: Share = 0.0
    """Share of its requests that may end without an answer; their items are rejected."""


class JudgeSection(Section):
    """A model grades each item by a rubric; every criterion must reach the score."""

    teacher: TeacherSection
    prompt: str = "judge"
    min_score: int = Field(4, ge=1, le=5)
    allow_failed: Share = 0.0
    """Share of its requests that may end without an answer; their items are rejected."""


class RewardSection(Section):
    """A sequence-classification checkpoint scores question and answer."""

    model: str
    """A folder or a hub id."""
    min_score: float
    batch_size: int = Field(16, ge=1, json_schema_extra=RUNTIME)


class CodeSection(Section):
    """Run the tests of code answers within the boundary that this machine offers, and bounded."""

    seconds: float = Field(5.0, gt=0)
    memory_mib: int = Field(512, ge=64)
    """Of the program, and of its tests."""
    unguarded: bool = Field(False, json_schema_extra=RUNTIME)
    """Run programs also where this machine has no boundary for them."""


class FilterSection(Section):
    min_words: int = Field(1, ge=1)
    max_words: int = Field(400, ge=1)
    """Of the question, its context and the answer with all that it carries."""
    languages: list[str] | None = None
    """ISO 639-1 codes; None: not checked."""
    agreement: float = Field(0.6, gt=0, le=1)
    """Share of the votes that the winning answer needs."""
    copy_similarity: float = Field(0.9, gt=0, le=1)
    """Jaccard similarity of word shingles at which a question is a copy of its seed."""
    triviality: TrivialitySection | None = None
    judge: JudgeSection | None = None
    reward: RewardSection | None = None
    code: CodeSection | None = None
    """None: answers of kind `code` are rejected, since nothing verified them."""
    renderings: list[str] = Field(["qa"], min_length=1)
    """Shipped or own document templates; each item takes one, by its id."""
    dedup: DedupSection = DedupSection()
    decontaminate: DecontaminateSection = DecontaminateSection()

    @model_validator(mode="after")
    def _words_fit(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(
                f"min_words {self.min_words:,} is above max_words {self.max_words:,}: lower it"
            )
        return self
