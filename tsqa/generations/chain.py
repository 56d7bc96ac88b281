"""Each generation of each arm as a recipe, whose teacher is what the one before trained.

Guarantees: a generation is an ordinary recipe in `runs/NAME/generations`, which every command
takes; equal settings give equal files; what could not be measured or served is refused before any
work.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tsqa.errors import RecipeError
from tsqa.names import file_name, plain_name
from tsqa.recipe import (
    PEOPLE,
    Arm,
    GenerationsSection,
    Recipe,
    StopSection,
    arms_of,
    needed,
)
from tsqa.store.atomic import write_text

FOLDER = "generations"


def chain_folder(recipe: Recipe) -> Path:
    return Path(recipe.runs) / recipe.name / FOLDER


def write_chains(recipe: Recipe) -> dict[str, list[Path]]:
    """Write the recipes of all generations; arm -> their files, from generation 1 on."""
    section = recipe.generations
    if section is None:
        raise RecipeError("the recipe has no section `generations`", "add one, such as {count: 3}")
    check_chain(recipe, section)
    arms = arms_of(recipe)
    if len({plain_name(name) for name in arms}) < len(arms):
        raise RecipeError(
            f"generations: two arms are one by their letters and digits: {', '.join(arms)}",
            "give each another `name` in ablation.arms",
        )
    folder = chain_folder(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    return {
        name: _write_chain(arm, recipe.name, section.count, folder) for name, arm in arms.items()
    }


def check_chain(recipe: Recipe, section: GenerationsSection) -> None:
    """RecipeError where a model cannot be replaced, or a limit is on what cannot be measured."""
    _, teacher = needed(recipe.generate, "generate").writing
    if not teacher.loads_model:
        raise RecipeError(
            "generations: the teacher is an endpoint, which does not serve the models trained here",
            "use engine: vllm",
        )
    missing = missing_measures(recipe)
    for name in StopSection.model_fields:
        if getattr(section.stop, name) is not None and name in missing:
            raise RecipeError(
                f"generations.stop.{name}: cannot be measured: {missing[name]}",
                f"change that, or leave the limit out (generations.stop.{name}: null)",
            )


def missing_measures(recipe: Recipe) -> dict[str, str]:
    """Measure -> why this recipe cannot give it."""
    found = {}
    if recipe.data is None:
        found["errors"] = "the right answers are known of the toy tasks alone (section `data`)"
    if not people_sources(recipe):
        found["loss"] = f"no source of the mixture says made_by: {PEOPLE}"
    elif not needed(recipe.train, "train").heldout_rows:
        found["loss"] = "train.heldout_rows is 0"
    if needed(recipe.generate, "generate").rephrase:
        found["errors"] = "rephrasings have no answers"
    return found


def people_sources(recipe: Recipe) -> list[str]:
    """The sources with rows of their own that people wrote, drawn or not."""
    mixture = needed(recipe.mixture, "mixture")
    return [name for name, source in mixture.tokenized.items() if source.made_by == PEOPLE]


def _write_chain(arm: Arm, name: str, count: int, folder: Path) -> list[Path]:
    values = arm.recipe.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, exclude={"ablation", "generations"}
    )
    tree = _seen_from(folder, values)
    _, teacher = needed(arm.recipe.generate, "generate").writing
    first = _seen_from(folder, teacher.model.model_dump(mode="json", exclude_defaults=True))
    files: list[Path] = []
    for number in range(1, count + 1):
        own = tree | {"name": f"{name}-{plain_name(arm.name)}-{number}"}
        if files:
            last = {"recipe": files[-1].name}
            own |= {key: _replaced(key, own[key], first, last) for key in ("generate", "model")}
        file = folder / f"{file_name(arm.name)}-{number}.yaml"
        write_text(file, yaml.safe_dump(own, sort_keys=False, allow_unicode=True))
        files.append(file)
    return files


def _seen_from(folder: Path, tree: Any) -> Any:
    """The tree with paths of recipes as a recipe in the folder spells them."""
    if isinstance(tree, dict):
        return {
            key: os.path.relpath(value, folder)
            if key == "recipe" and isinstance(value, str)
            else _seen_from(folder, value)
            for key, value in tree.items()
        }
    return [_seen_from(folder, one) for one in tree] if isinstance(tree, list) else tree


def _replaced(key: str, tree: Any, first: Mapping[str, Any], last: Mapping[str, Any]) -> Any:
    """The tree with one model in place of another wherever that stands."""
    if key == "model" and all(tree.get(one) == first.get(one) for one in ("recipe", "path")):
        return dict(last)
    if isinstance(tree, dict):
        return {name: _replaced(name, value, first, last) for name, value in tree.items()}
    return [_replaced("", one, first, last) for one in tree] if isinstance(tree, list) else tree
