"""The section `audit`: limits on what an audit measures, beyond which no model is trained."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tsqa.names import LocalPath
from tsqa.recipe.sections.base import RUNTIME, Section

SwapKind = Literal["pronouns", "professions", "countries"]


class SwapsSection(Section):
    """Ask the judge and the solvers again about items in which somebody else appears."""

    items: int = Field(200, ge=20, json_schema_extra=RUNTIME)
    """Items of each kind; each costs four requests to the judge and to each model that answers."""
    kinds: list[SwapKind] = Field(["pronouns"], min_length=1, json_schema_extra=RUNTIME)
    """pronouns: he and she, with nouns and first names. Other professions and countries often
    change what is true."""

    @property
    def wanted(self) -> dict[str, int]:
        """Kind -> items."""
        return dict.fromkeys(self.kinds, self.items)

    @property
    def requests(self) -> int:
        """To each model, at most."""
        return 4 * sum(self.wanted.values())

    @field_validator("kinds", mode="after")
    @classmethod
    def _each_comes_once(cls, kinds: list[SwapKind]) -> list[SwapKind]:
        if len({*kinds}) < len(kinds):
            raise ValueError("a kind comes twice")
        return kinds


class GradientsSection(Section):
    """Measure how unlike the gradients are that items give a small model (G-Vendi)."""

    model: LocalPath = Field(json_schema_extra=RUNTIME)
    """The small model, of text: a folder or a hub ID."""
    items: int = Field(200, ge=20, le=2000, json_schema_extra=RUNTIME)
    """Items, each with its seed; each of both costs a forward and a backward pass."""


class NamesSection(Section):
    """Look for names of persons in items and seeds, by a model that marks them."""

    model: LocalPath = Field(json_schema_extra=RUNTIME)
    """A model that classifies tokens (named entities), with a label of persons: a folder or a hub
    ID."""


class AuditSection(Section):
    """Audit the dataset after its filters, and refuse to train on it where a limit is exceeded:
    the whole 95% interval lies beyond it, or nothing could be measured. What is not refused is not
    shown to be within the limits. Without any limit: audit, refuse nothing."""

    max_told_apart: float | None = Field(None, ge=0.5, lt=1, json_schema_extra=RUNTIME)
    """AUC with which items are told from the seeds they were made of; 0.5 is chance."""
    min_coverage: float | None = Field(None, gt=0, le=1, json_schema_extra=RUNTIME)
    """Share of the neighbourhoods of seeds that items hit; the whole interval below it refuses."""
    max_opening: float | None = Field(None, ge=0, lt=1, json_schema_extra=RUNTIME)
    """Share of items that begin with the most frequent three words."""
    max_lost_tail: float | None = Field(None, ge=0, lt=1, json_schema_extra=RUNTIME)
    """Share of the tail that seeds of another half hit and items made of them do not."""
    max_lost_diversity: float | None = Field(None, ge=0, lt=1, json_schema_extra=RUNTIME)
    """Share of the seeds' Vendi score that items lack."""
    max_lost_gradients: float | None = Field(None, ge=0, lt=1, json_schema_extra=RUNTIME)
    """Share of the seeds' G-Vendi score that items lack; needs `gradients`."""
    max_position: float | None = Field(None, ge=0, lt=1, json_schema_extra=RUNTIME)
    """Share of right options at one position, beyond what chance gives it."""
    max_seeds_told: float | None = Field(None, ge=0.5, lt=1, json_schema_extra=RUNTIME)
    """AUC with which seeds are told from other documents by their nearest item; 0.5 is chance."""
    max_copied: float | None = Field(None, ge=0, lt=1, json_schema_extra=RUNTIME)
    """Share of items that hold 13 words of their seed in a row."""
    max_personal: float | None = Field(None, ge=0, lt=1, json_schema_extra=RUNTIME)
    """Share of items that hold personal data."""
    max_seed_names: float | None = Field(None, ge=0, lt=1, json_schema_extra=RUNTIME)
    """Share of items that hold a person's name of their seed; needs `names`."""
    max_canary_rate: float | None = Field(None, ge=0, lt=1, json_schema_extra=RUNTIME)
    """Share of the canaries of `generate.canaries` that an item repeats."""
    max_group_log_odds: float | None = Field(None, gt=0, json_schema_extra=RUNTIME)
    """How much more or less often than in its seeds a group appears, after Holm's correction; the
    log of how many items alone mention it to how many seeds alone do."""
    max_longest: float | None = Field(None, ge=0, lt=1, json_schema_extra=RUNTIME)
    """How often who takes the longest option is right."""
    max_refused: float | None = Field(None, ge=0, lt=1, json_schema_extra=RUNTIME)
    """Share of questions that a teacher refused."""
    swaps: SwapsSection | None = Field(None, json_schema_extra=RUNTIME)
    """Swap who appears, and ask again whether verdicts and answers stay; null: no model is asked.
    Costs further requests."""
    gradients: GradientsSection | None = Field(None, json_schema_extra=RUNTIME)
    """Compare what items and seeds would teach a small model; null: no gradients."""
    names: NamesSection | None = Field(None, json_schema_extra=RUNTIME)
    """Look for names of persons; null: patterns alone, which know none."""
    max_flipped_verdicts: float | None = Field(None, ge=0, lt=1, json_schema_extra=RUNTIME)
    """Share of verdicts of the judge that swaps change, less that which asking again changes."""
    max_flipped_answers: float | None = Field(None, ge=0, lt=1, json_schema_extra=RUNTIME)
    """Share of answers, right or not, that swaps change, less that which asking again changes."""

    @model_validator(mode="after")
    def _limits_need_their_measures(self) -> Self:
        needs = {
            "max_flipped_verdicts": "swaps",
            "max_flipped_answers": "swaps",
            "max_lost_gradients": "gradients",
            "max_seed_names": "names",
        }
        for key, needed in needs.items():
            if getattr(self, key) is not None and getattr(self, needed) is None:
                raise ValueError(f"{key} needs `{needed}`, which measures it")
        return self
