"""What an audit looks for: the documents that a suite or a recipe evaluates.

Guarantee: they are rendered once and then read from a file, so that an audit that continues looks
for the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ValidationError

from tsqa.errors import RecipeError
from tsqa.pipeline.run import Pipeline
from tsqa.plain_yaml import read_yaml
from tsqa.recipe import EvalSection, load_recipe, read_suite
from tsqa.seeds.sources import load_evaluated
from tsqa.store.atomic import atomic_writer
from tsqa.store.stage import resolve_path
from tsqa.tasks.library import task_library


@dataclass(frozen=True)
class Against:
    """The benchmarks of an audit."""

    name: str
    members: Mapping[str, list[str]]
    """Name in `eval.tasks` -> its leaf tasks."""
    include: Path | None

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(leaf for leaves in self.members.values() for leaf in leaves))


def open_against(name: str) -> Against:
    """Open a suite (a name, or a YAML of one section `eval`) or a recipe."""
    section, include = _open_eval(name)
    library = task_library(include)
    return Against(name, {task: library.expand([task]) for task in section.tasks}, include)


def write_documents(against: Against, path: Path) -> None:
    """Render every evaluated document, unless that was done before."""
    if path.exists():
        return
    with atomic_writer(path) as out:
        for task in against.tasks:
            for document in load_evaluated(task, against.include):
                out.write(json.dumps(asdict(document)) + "\n")


def _open_eval(name: str) -> tuple[EvalSection, Path | None]:
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or list(read_yaml(path).values) == ["eval"]:
        try:
            section = EvalSection.model_validate(read_suite(name))
        except ValidationError as error:
            raise RecipeError(f"{name}: {error.errors()[0]['msg']}", "correct the suite") from error
        return section, Path(section.include) if section.include else None
    recipe = load_recipe(path)
    if recipe.eval is None:
        raise RecipeError(f"{path}: evaluates nothing: it has no section `eval`", "name another")
    include, made = recipe.eval.include, None
    if include and include.startswith("{data}"):
        made = Pipeline(recipe, path, []).run(until="data")["data"]
    return recipe.eval, resolve_path(include, made) if include else None
