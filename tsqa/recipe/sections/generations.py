"""The section `generations`: models that learn from models, and where that is stopped."""

from __future__ import annotations

from pydantic import Field

from tsqa.recipe.sections.base import RUNTIME, Section, Share


class StopSection(Section):
    """Begin no further generation of an arm where the whole 95% interval of a measure is above its
    limit. Each measure is 0 where text or model are as with people's text alone."""

    errors: Share | None = Field(None, json_schema_extra=RUNTIME)
    """Share of items that are wrong or no question of their task, by the oracle of the toy tasks
    (`data`); null: no limit."""
    tail: Share | None = Field(None, json_schema_extra=RUNTIME)
    """Share that is lost of the seeds' own coverage of their tail, the fifth of them that is least
    like others; null: no limit."""
    diversity: Share | None = Field(None, json_schema_extra=RUNTIME)
    """Share that is lost of the seeds' Vendi score; null: no limit."""
    loss: float | None = Field(None, gt=0, json_schema_extra=RUNTIME)
    """Nats per token by which the model's loss on held-out rows of people's sources
    (`train.heldout_rows`) is above that of the recipe's own teacher; null: no limit."""


class GenerationsSection(Section):
    """`tsqa generations`: in each arm, the teacher of a generation is the model that the generation
    before trained. The recipe's teacher is that of generation 1."""

    count: int = Field(3, ge=1, json_schema_extra=RUNTIME)
    """Generations of each arm."""
    stop: StopSection = Field(StopSection(), json_schema_extra=RUNTIME)
    """Limits of the measures."""
