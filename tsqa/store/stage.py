"""What every stage function gets: `run(context) -> summary`, writing into `context.out`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsqa.errors import DataError
from tsqa.recipe import EvalSection, Recipe, SeedsSection
from tsqa.store.artifact import Artifact
from tsqa.store.tracking import Tracker


@dataclass(frozen=True)
class StageContext:
    """The recipe (an arm's own, where there are arms), inputs by role, output directory."""

    recipe: Recipe
    inputs: Mapping[str, Artifact]
    out: Path
    """A `.partial` directory: what a killed run left in it is still there."""
    tracker: Tracker
    config: Mapping[str, Any] = field(default_factory=dict)
    """What decides the stage's data, as its manifest will say."""

    def resolve(self, path: str) -> Path:
        """Turn a recipe path into a real one; `{data}` is the folder the data stage made."""
        if path.startswith("{data}"):
            if "data" not in self.inputs:
                raise DataError(f"{path}: the recipe has no `data` section", "add one")
            return Path(str(self.inputs["data"].path) + path.removeprefix("{data}"))
        return Path(path)

    def task_folder(self, section: SeedsSection | EvalSection) -> Path | None:
        """The folder of task YAMLs that a section names; None means lm-eval's own tasks."""
        return self.resolve(section.include) if section.include else None
