"""The section `mixture`: the sources of the stream and their ratios, phase by phase.

Guarantees: a source has exactly one origin; the ratios of a phase sum to 1 in whole basis points;
ratios and subsets name sources that exist.
"""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tsqa.names import DataAddress, LocalPath, SourceName
from tsqa.recipe.sections.base import ADDED, RUNTIME, Section, Share, Tokens, refuse_unread

BASIS_POINTS = 10_000
PEOPLE = "people"
_DATA_FILES = (".jsonl", ".json", ".gz", ".zst", ".parquet", ".csv", ".txt", ".md")
_OF_HUB = ("subset", "split", "revision")
_AS_READ = ("text_field", "on_bad")


class NearestSection(Section):
    """The documents of a source that are nearest to the seeds, each scored by its similarity to the
    seed nearest to it, after BETR (arXiv 2507.12466). No teacher is asked."""

    pool: str
    """The source of the mixture to choose from, one with a `path`."""
    model: LocalPath | None = None
    """A sentence-transformers model, which compares meaning as far as it reads a document; null:
    TF-IDF, the words that document and seed share."""


class SourceSection(Section):
    """One source: files, a Hugging Face dataset, the generated dataset, or part of a source."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    path: DataAddress | None = None
    """A file or a folder of JSONL(.gz, .zst), parquet or text (.txt, .md), here or streamed from
    s3://, gs://, hf:// or https://; a dataset that `datasets` saved to disk, or a hub ID, which is
    streamed."""
    stage: Literal["filter", "seeds"] | None = Field(None, alias="from")
    """filter: the dataset that this recipe generates. seeds: its seeds, rendered like that."""
    subset: str | None = None
    """Subset (configuration) of a hub dataset."""
    split: str = "train"
    """Split of a hub dataset."""
    revision: str | None = None
    """Commit of a hub dataset; required for one."""
    text_field: str = "text"
    """Field of a record that holds its text."""
    on_bad: Literal["refuse", "skip"] = "refuse"
    """What to do with a record that is not JSON or has no text: refuse the source, or skip the
    record and list it in `<source>.dropped.jsonl`."""
    packing: Literal["split", "whole"] = "split"
    """split: join documents and cut at the end of each row. whole: fill each row with whole
    documents, best fit first, and drop those longer than a row."""
    permute: Literal["answers"] | None = None
    """For `from: filter`: exchange the answers among items of the same task and kind. A control
    that keeps the format and teaches nothing true."""
    subset_of: str | None = None
    """Draw the rows at random from this source of the mixture, as many as `size_of` has."""
    nearest: NearestSection | None = Field(None, json_schema_extra=ADDED)
    """Choose whole documents of another source, the nearest to the seeds first, until they hold as
    many rows as `size_of`."""
    size_of: str | None = None
    """The source whose number of rows to draw, so that both repeat equally often."""
    answer_marker: str | None = None
    """Train only on what comes after the first occurrence of this text in a document, such as
    "Answer:"; null: on whole documents."""
    max_repetition: float | None = Field(None, gt=0, json_schema_extra=RUNTIME)
    """Refuse to train for more epochs than this over the source; null: as for the mixture."""
    made_by: str | None = Field(None, json_schema_extra=RUNTIME)
    """Who wrote the text: `people`, or the name of a model. Known where it is `from: filter`; null:
    not declared, which `mixture.human_floor` refuses."""
    generation: int | None = Field(None, ge=1, json_schema_extra=RUNTIME)
    """Of text that a model wrote: 1 where the model was trained on people's text alone, else one
    more than the newest text that it was trained on."""
    family: str | None = Field(None, json_schema_extra=RUNTIME)
    """What kind of text it is, such as web or math, for `mixture.human_floors`."""

    @model_validator(mode="after")
    def _says_who_made_it(self) -> Self:
        known = "from: filter" if self.stage == "filter" else ""
        known = "subset_of" if self.subset_of else "nearest" if self.nearest else known
        if known and (self.made_by is not None or self.generation is not None):
            raise ValueError(f"who made it is known of a source with `{known}`: leave made_by out")
        by_model = self.made_by not in (None, PEOPLE)
        if by_model != (self.generation is not None):
            raise ValueError(
                "made_by (a model) and generation go together; people's text has no generation"
            )
        return self

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        origins = (self.path, self.stage, self.subset_of, self.nearest)
        if sum(origin is not None for origin in origins) != 1:
            raise ValueError("give exactly one of path, from, subset_of, nearest")
        if (self.subset_of is None and self.nearest is None) != (self.size_of is None):
            raise ValueError("subset_of and nearest each go together with size_of")
        if self.permute and self.stage != "filter":
            raise ValueError("permute needs `from: filter`: only its items have answers")
        if self.answer_marker == "":
            raise ValueError("answer_marker is empty; leave it out to train on whole documents")
        return self

    @model_validator(mode="after")
    def _is_read(self) -> Self:
        if self.path is not None:
            refuse_hub_keys(self, self.path)
        elif self.stage:
            refuse_unread(self, _OF_HUB, f"is of a hub dataset, not of `from: {self.stage}`")
        elif self.nearest:
            as_pool = [*_OF_HUB, *_AS_READ]
            refuse_unread(self, as_pool, "is that of `nearest.pool`, whose documents these are")
        elif self.subset_of:
            as_rows = [*_OF_HUB, *_AS_READ, "packing", "answer_marker"]
            refuse_unread(self, as_rows, "is that of `subset_of`, whose rows these are")
        return self


class PhaseSection(Section):
    """A stretch of the stream at fixed ratios (rows are fixed-length, so row = token ratio)."""

    tokens: Tokens
    """Length of the phase in tokens, such as 100B."""
    ratios: dict[str, Share]
    """Source -> its share of the tokens, in steps of 0.0001; the shares sum to 1."""

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
    """The training stream. The key `mixture.<source>` sets the ratio of a source in all phases
    and scales the others; it is for overrides and ablations."""

    sources: dict[SourceName, SourceSection] = Field(min_length=1)
    """Name -> where its documents come from."""
    phases: list[PhaseSection] = Field(min_length=1)
    """Stretches of the stream in order, each at fixed ratios."""
    max_repetition: float = Field(4.0, gt=0, json_schema_extra=RUNTIME)
    """Refuse to train for more epochs than this over a source."""
    decontaminate: bool = True
    """Leave out documents that contain one of `eval.tasks`, in every source."""
    tokenize_processes: int | None = Field(None, ge=1, json_schema_extra=RUNTIME)
    """Processes that tokenize; null: one per core."""
    tokenize_cluster: Literal["ray"] | None = Field(None, json_schema_extra=RUNTIME)
    """ray: they are tasks on the Ray cluster that RAY_ADDRESS names, whose nodes all see `runs` and
    the sources; null: they are on this machine."""
    human_floor: Share | None = Field(None, json_schema_extra=RUNTIME)
    """Refuse to train where people wrote less than this share of the stream's tokens."""
    human_floors: dict[str, Share] = Field({}, json_schema_extra=RUNTIME)
    """The same within a family of sources, such as {math: 0.3}."""

    @property
    def tokens(self) -> int:
        """The token budget: that of all phases."""
        return sum(phase.tokens for phase in self.phases)

    def tokens_of(self, source: str) -> float:
        """Those of all phases that the plan draws from a source."""
        return sum(phase.tokens * phase.ratios.get(source, 0.0) for phase in self.phases)

    @property
    def drawn(self) -> list[str]:
        """The sources that a phase draws from, sorted."""
        return sorted({n for phase in self.phases for n, ratio in phase.ratios.items() if ratio})

    @property
    def tokenized(self) -> dict[str, SourceSection]:
        """The sources that are tokenized: all but those drawn from another."""
        return {name: source for name, source in self.sources.items() if not source.subset_of}

    @model_validator(mode="after")
    def _ratios_have_keys(self) -> Self:
        for name in self.sources.keys() & MixtureSection.model_fields.keys():
            raise ValueError(
                f"sources.{name}: `mixture.{name}` would be the key of this source's ratio, but "
                "is a key already; choose another name"
            )
        return self

    @model_validator(mode="after")
    def _known_families(self) -> Self:
        families = {source.family for source in self.sources.values() if source.family}
        if unknown := sorted(self.human_floors.keys() - families):
            raise ValueError(
                f"human_floors names {', '.join(unknown)}, which is the `family` of no source "
                f"({', '.join(sorted(families)) or 'none has one'})"
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
    def _nearest_of_files(self) -> Self:
        """Chosen from files, at the size of what is not chosen itself: nothing goes in a circle."""
        files = [name for name, source in self.sources.items() if source.path]
        for name, source in self.sources.items():
            if source.nearest and source.nearest.pool not in files:
                raise ValueError(
                    f"sources.{name}.nearest.pool = {source.nearest.pool!r} is no source with a "
                    f"`path`; use one of {', '.join(files) or 'such, which there is none of'}"
                )
            of = self.sources[source.size_of] if source.size_of else None
            if of and of.nearest:
                raise ValueError(
                    f"sources.{name}.size_of = {source.size_of!r} is sized by another itself: name "
                    f"that one, {of.size_of!r}"
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


def refuse_hub_keys(section: Section, path: str) -> None:
    """Raise ValueError where `path` is no hub dataset, and a key says which part of one is meant.

    Of a folder the split may be read: files in it are named after theirs.
    """
    if is_hub_id(path):
        return
    keys = [key for key in _OF_HUB if key != "split" or path.endswith(_DATA_FILES)]
    refuse_unread(section, keys, f"is of a hub dataset, and path = {path} is none")


def is_hub_id(path: str) -> bool:
    """Whether text that is no path on this machine can name a dataset of the hub: `a` or `a/b`."""
    return bool(re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", path)) and not path.endswith(_DATA_FILES)
