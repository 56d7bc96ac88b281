"""Where runs are logged: one module per service, all behind the calls of `Sink`.

Only `tsqa.store.tracking` opens a sink. A sink may raise; the stage then goes on without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tsqa.recipe import Recipe
from tsqa.recipe.sections.models import ModelSection
from tsqa.secrets import redact

_LONGEST_TAG = 64
"""Characters; W&B refuses more."""


@dataclass(frozen=True)
class TrackedRun:
    """What is tracked: one stage of an experiment, or the summary of an ablation."""

    experiment: str
    stage: str
    subject: str
    """The arm, or the recipe where the stage is of no arm."""
    fingerprint: str
    config: Mapping[str, object]
    tags: Sequence[str] = ()
    notes: str = ""

    @property
    def id(self) -> str:
        """A function of the artifact, so that a resumed stage continues its own run."""
        return f"{self.stage}-{self.fingerprint}"

    @property
    def name(self) -> str:
        return f"{self.subject} / {self.stage} / {self.fingerprint}"


@dataclass(frozen=True)
class Interval:
    """A change with its interval, in points."""

    label: str
    low: float
    value: float
    high: float


class Sink(Protocol):
    """One open run of a service."""

    def log(self, metrics: Mapping[str, object]) -> None: ...

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None: ...

    def plot(self, name: str, figure: Mapping[str, object]) -> None: ...

    def intervals(self, name: str, rows: Sequence[Interval]) -> None: ...

    def page(self, name: str, path: Path) -> None: ...

    def summary(self, values: Mapping[str, object]) -> None: ...

    def artifact(
        self, path: Path, kind: str, fingerprint: str, inputs: Mapping[str, str]
    ) -> None: ...

    def finish(self, failed: bool) -> None: ...


def tags_of(recipe: Recipe, *, shares: bool) -> list[str]:
    """Recipe, teacher and model; `shares`: of the mixture, for a model that was trained on it."""
    tags = [f"recipe:{recipe.name}"]
    if recipe.generate:
        tags.append(f"teacher:{_name_of(recipe.generate.writing[1].model)}")
        tags += [f"solver:{_name_of(each.teacher.model)}" for each in recipe.generate.solvers]
    if recipe.model:
        tags.append(f"model:{_name_of(recipe.model)}")
    if recipe.mixture and shares:
        total = sum(phase.tokens for phase in recipe.mixture.phases)
        for source in recipe.mixture.sources:
            drawn = sum(p.tokens * p.ratios.get(source, 0.0) for p in recipe.mixture.phases)
            tags.append(f"{source}={drawn / total:.4g}")
    return [redact(tag)[:_LONGEST_TAG] for tag in dict.fromkeys(tags)]


def _name_of(model: ModelSection) -> str:
    if model.path is not None:
        return Path(model.path).name
    return model.recipe or str((model.config or {})["model_type"])
