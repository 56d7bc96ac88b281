"""The recipe itself: its sections, how they must fit each other, and what follows from several.

Promises: a section that a stage needs is there, or the recipe is refused.
"""

from __future__ import annotations

import itertools
from typing import Literal, Self, TypeVar

from pydantic import Field, model_validator

from tsqa.errors import RecipeError
from tsqa.names import RecipeName, WandbName
from tsqa.recipe.sections.ablation import AblationSection
from tsqa.recipe.sections.base import RUNTIME, Section, Seed
from tsqa.recipe.sections.evaluate import EvalSection
from tsqa.recipe.sections.filter import DecontaminateSection, FilterSection
from tsqa.recipe.sections.generate import GenerateSection
from tsqa.recipe.sections.mixture import MixtureSection
from tsqa.recipe.sections.models import ModelSection, TokenizerSection
from tsqa.recipe.sections.seeds import DataSection, SeedsSection
from tsqa.recipe.sections.train import TrainSection


class TrackingSection(Section):
    project: WandbName = "tsqa"
    entity: WandbName | None = None
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"


class Recipe(Section):
    """One experiment. Sections that are absent have no stage."""

    name: RecipeName
    runs: str = Field("runs", json_schema_extra=RUNTIME)
    """Folder of artifacts and reports."""
    seed: Seed = 0
    """Initialisation and shuffles of the training run."""
    data: DataSection | None = None
    seeds: SeedsSection | None = None
    generate: GenerateSection | None = None
    filter: FilterSection | None = None
    model: ModelSection | None = None
    tokenizer: TokenizerSection | None = None
    mixture: MixtureSection | None = None
    train: TrainSection | None = None
    eval: EvalSection | None = None
    ablation: AblationSection | None = None
    tracking: TrackingSection = Field(TrackingSection(), json_schema_extra=RUNTIME)

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        chain = ("seeds", "generate", "filter")
        for earlier, later in itertools.pairwise(chain):
            if getattr(self, later) and not getattr(self, earlier):
                raise ValueError(f"the section `{later}` needs the section `{earlier}`")
        for name in ("model", "mixture"):
            if self.train and getattr(self, name) is None:
                raise ValueError(f"the section `train` needs the section `{name}`")
        for name in ("mixture", "ablation"):
            if getattr(self, name) and not self.train:
                raise ValueError(f"the section `{name}` needs the section `train`")
        if self.filter is None and self.mixture:
            for name, source in self.mixture.sources.items():
                if source.stage == "filter":
                    raise ValueError(
                        f"mixture.sources.{name} is `from: filter`, but there is no `filter`"
                    )
        every = self.eval.every_tokens if self.eval else None
        if every and self.train and every < self.train.global_batch_tokens:
            raise ValueError(
                f"eval.every_tokens {every:,} is below train.global_batch_tokens "
                f"{self.train.global_batch_tokens:,}: no step ends there; raise it"
            )
        if self.filter and not self.eval:
            raise ValueError("`filter` needs `eval`: decontamination is against its tasks")
        if self.model and self.model.config is not None and self.tokenizer is None:
            raise ValueError("a model from scratch (model.config) needs a `tokenizer`")
        positions = (self.model.config or {}).get("max_position_embeddings") if self.model else None
        if self.train and isinstance(positions, int) and positions < self.train.sequence_length:
            raise ValueError(
                f"train.sequence_length {self.train.sequence_length:,} is beyond "
                f"model.config.max_position_embeddings {positions:,}; raise the latter"
            )
        if self.model and self.model.config is None and self.tokenizer and self.tokenizer.train_on:
            raise ValueError(
                "tokenizer.train_on makes new tokens, which mean nothing to a model that is "
                "trained already (model.path, model.recipe); leave the section `tokenizer` out"
            )
        return self


def curve_points(recipe: Recipe) -> list[int]:
    """Training tokens, before the end, at which a run is also exported and evaluated."""
    if recipe.eval is None or recipe.eval.every_tokens is None or recipe.train is None:
        return []
    # A run may end up to one batch below its budget, so that it has only whole ones.
    last = needed(recipe.mixture, "mixture").tokens - recipe.train.global_batch_tokens
    return list(range(recipe.eval.every_tokens, last + 1, recipe.eval.every_tokens))


def stream_check(recipe: Recipe) -> DecontaminateSection | None:
    """How the sources of the stream are checked for evaluated documents; None: they are not."""
    if recipe.eval is None or recipe.mixture is None or not recipe.mixture.decontaminate:
        return None
    return recipe.filter.decontaminate if recipe.filter else DecontaminateSection()


S = TypeVar("S", bound=Section)


def needed(section: S | None, name: str) -> S:
    """The section of a recipe that a stage cannot do without; RecipeError where it is absent."""
    if section is None:
        raise RecipeError(f"the recipe has no section `{name}`", "add it")
    return section
