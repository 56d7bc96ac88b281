"""The section `mixture`: the sources of the stream and their ratios, phase by phase.

Promises: a source has exactly one origin; the ratios of a phase sum to 1 in whole basis points;
ratios and subsets name sources that exist.
"""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tsqa.names import SourceName
from tsqa.recipe.sections.base import RUNTIME, Section, Share, Tokens

BASIS_POINTS = 10_000
_DATA_FILES = (".jsonl", ".json", ".gz", ".zst", ".parquet", ".txt", ".md")


class SourceSection(Section):
    """One source of the mixture: files, a Hugging Face dataset, or an earlier stage's dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    path: str | None = None
    """A file or a folder of JSONL(.gz, .zst), parquet or text (.txt, .md), a dataset that
    `datasets` saved to disk, or a hub id, which is streamed."""
    stage: Literal["filter"] | None = Field(None, alias="from")
    subset: str | None = None
    """Of a hub dataset, as are `split` and `revision`; the revision must be given."""
    split: str = "train"
    revision: str | None = None
    text_field: str = "text"
    on_bad: Literal["refuse", "skip"] = "refuse"
    """A record that is not JSON, or has no text in its text_field: refuse the source, or skip the
    record, counted and listed in `<source>.dropped.jsonl`."""
    packing: Literal["split", "whole"] = "split"
    """split: documents one after the other, cut where a row ends. whole: each row holds whole
    documents, best fit first; one that is longer than a row is dropped."""
    permute: Literal["answers"] | None = None
    """Of `from: filter`: each item takes the answer, with all that it carries, of another item of
    the same task and kind: the shape stays, what it teaches does not."""
    subset_of: str | None = None
    """Rows of another source of this mixture: a seeded choice of as many as `size_of` holds."""
    size_of: str | None = None
    """The source whose number of rows counts, so that both repeat equally often."""
    answer_marker: str | None = None
    """Only what follows the first of these in a document bears a loss, such as "Answer:"."""
    max_repetition: float | None = Field(None, gt=0, json_schema_extra=RUNTIME)
    """Epochs over this source beyond which training is refused; None: the mixture's."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        origins = (self.path, self.stage, self.subset_of)
        if sum(origin is not None for origin in origins) != 1:
            raise ValueError("give exactly one of path, from, subset_of")
        if (self.subset_of is None) != (self.size_of is None):
            raise ValueError("subset_of and size_of go together")
        if self.permute and self.stage != "filter":
            raise ValueError("permute needs `from: filter`: only its items have answers")
        if self.answer_marker == "":
            raise ValueError("answer_marker is empty; leave it out to train on whole documents")
        return self


class PhaseSection(Section):
    """A stretch of the stream at fixed ratios (rows are fixed-length, so row = token ratio)."""

    tokens: Tokens
    ratios: dict[str, Share]

    @model_validator(mode="after")
    def _ratios(self) -> Self:
        total = sum(self.ratios.values())
        if abs(total - 1) > 1e-9:
            shown = " + ".join(f"{v:g}" for v in self.ratios.values())
            raise ValueError(f"ratios must sum to 1; {shown} = {total:g}")
        for name, ratio in self.ratios.items():
            if abs(ratio * BASIS_POINTS - round(ratio * BASIS_POINTS)) > 1e-6:
                raise ValueError(f"ratio {ratio} of {name} is finer than one basis point (0.0001)")
        return self


class MixtureSection(Section):
    sources: dict[SourceName, SourceSection] = Field(min_length=1)
    phases: list[PhaseSection] = Field(min_length=1)
    max_repetition: float = Field(4.0, gt=0)
    """Epochs over a source beyond which training is refused."""
    decontaminate: bool = True
    """Leave out the documents of every source that hold an evaluated one (`eval.tasks`)."""
    tokenize_processes: int | None = Field(None, ge=1, json_schema_extra=RUNTIME)
    """None: one for each core."""

    @property
    def tokens(self) -> int:
        """The token budget: that of all phases."""
        return sum(phase.tokens for phase in self.phases)

    @property
    def tokenized(self) -> dict[str, SourceSection]:
        """The sources that hold rows of their own."""
        return {name: source for name, source in self.sources.items() if not source.subset_of}

    @model_validator(mode="after")
    def _ratios_have_keys(self) -> Self:
        for name in self.sources.keys() & MixtureSection.model_fields.keys():
            raise ValueError(
                f"sources.{name}: `mixture.{name}` is a key of its own, and would be the key of "
                "this source's ratio; choose another name"
            )
        return self

    @model_validator(mode="after")
    def _known_subsets(self) -> Self:
        for name, source in self.sources.items():
            for key in ("subset_of", "size_of"):
                other = getattr(source, key)
                if other is not None and other not in self.tokenized:
                    raise ValueError(
                        f"sources.{name}.{key} = {other!r} is no source with rows of its own; "
                        f"use one of {', '.join(self.tokenized)}"
                    )
        return self

    @model_validator(mode="after")
    def _known_sources(self) -> Self:
        for number, phase in enumerate(self.phases):
            for name in phase.ratios:
                if name not in self.sources:
                    raise ValueError(
                        f"phases[{number}].ratios names `{name}`, which is not in sources "
                        f"({', '.join(self.sources)})"
                    )
        return self


def is_hub_id(path: str) -> bool:
    """Whether text that is no path on this machine can name a dataset of the hub: `a` or `a/b`."""
    return bool(re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", path)) and not path.endswith(_DATA_FILES)
