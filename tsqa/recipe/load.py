"""From a YAML file to a recipe: `extends`, overrides, validation.

Promises: a recipe that is returned is valid whole; every error names file, line, key, value and
fix, and all that validation finds is listed at once; an unknown key gets the nearest valid name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from tsqa.errors import RecipeError
from tsqa.recipe.ratios import is_ratio, set_ratio
from tsqa.recipe.recipe import Recipe


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load, extend, override and validate a recipe; raise RecipeError listing every problem."""
    tree = _load_tree(path, ())
    for override in overrides:
        _apply_override(tree, override)
    try:
        values = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise RecipeError(f"{path}: {error}") from error
    origins = _origins(path)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        overridden = {o.split("=", 1)[0] for o in overrides}
        problems = [_describe(problem, path, origins, overridden) for problem in error.errors()]
        raise RecipeError("\n".join(problems)) from error


def _load_tree(path: Path, chain: tuple[Path, ...]) -> Any:
    if not path.is_file():
        raise RecipeError(f"{path}: no such recipe", "give the path of a YAML file")
    if path.resolve() in chain:
        raise RecipeError(f"{path}: `extends` goes in a circle")
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: expected keys and values, found {type(values).__name__}")
    base = values.pop("extends", None)
    if not isinstance(base, str | None):
        raise RecipeError(f"{path}: extends = {base!r}: expected the path of one recipe")
    _resolve_recipe_paths(values, path.parent)
    try:
        tree = OmegaConf.create(values)
    except OmegaConfBaseException as error:
        raise RecipeError(f"{path}: {error}") from error
    if base is None:
        return tree
    inherited = _load_tree(path.parent / base, (*chain, path.resolve()))
    if "ablation" in values:  # axes of both would multiply
        inherited.pop("ablation", None)
    return OmegaConf.merge(inherited, tree)


def _resolve_recipe_paths(node: Any, folder: Path) -> None:
    """Make `recipe:` keys relative to the file that holds them, as `extends:` is."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "recipe" and isinstance(value, str):
                node[key] = str(folder / value)
            else:
                _resolve_recipe_paths(value, folder)
    elif isinstance(node, list):
        for value in node:
            _resolve_recipe_paths(value, folder)


def _apply_override(tree: Any, override: str) -> None:
    """Set `key.path=value` in the tree; the value is YAML, or text where it is not YAML."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise RecipeError(
            f"override `{override}` is not key.path=value", "for example train.lr=1e-3"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:  # {data}/x.jsonl opens a YAML mapping
        value = text
    try:
        mixture = OmegaConf.to_container(tree.get("mixture") or OmegaConf.create(), resolve=False)
        assert isinstance(mixture, dict)
        if "phases" in mixture and "sources" in mixture and is_ratio(key, dict(mixture)):
            set_ratio(mixture["phases"], key, value)
            key, value = "mixture.phases", mixture["phases"]
        OmegaConf.update(tree, key, value, merge=key != "ablation", force_add=True)
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise RecipeError(f"override `{override}`: {error}") from error


def _origins(path: Path) -> dict[str, str]:
    """Map `a.b.0.c` to the `file:line` that sets it, in this file or in one that it extends."""
    own: dict[str, str] = {}
    replaced: list[str] = []

    def walk(node: yaml.Node, prefix: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name, origin = f"{prefix}{key.value}", f"{path}:{key.start_mark.line + 1}"
                if name in own:
                    raise RecipeError(
                        f"{origin}: {name}: given twice (first at {own[name]})", "keep one"
                    )
                own[name] = origin
                walk(value, name + ".")
        else:
            replaced.append(prefix)
            if isinstance(node, yaml.SequenceNode):
                for number, value in enumerate(node.value):
                    own[f"{prefix}{number}"] = f"{path}:{value.start_mark.line + 1}"
                    walk(value, f"{prefix}{number}.")

    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, yaml.SafeLoader)
    if root is None:
        return own
    walk(root, "")
    base = yaml.safe_load(text).get("extends")
    inherited = _origins(path.parent / base) if base is not None else {}
    kept = {k: v for k, v in inherited.items() if not k.startswith(tuple(replaced))}
    return {**kept, **own}


def _describe(
    problem: Mapping[str, Any], path: Path, origins: Mapping[str, str], overridden: set[str]
) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    message = str(problem["msg"]).removeprefix("Value error, ")
    value = problem.get("input")
    shown = "" if isinstance(value, dict) else f" = {value!r}"
    fix = ""
    if problem["type"] == "extra_forbidden":
        names = sorted(_field_names(Recipe, location[:-1]))
        near = difflib.get_close_matches(location[-1], names, n=1)
        message = "unknown key"
        fix = f"did you mean `{near[0]}`?" if near else f"valid keys here: {', '.join(names)}"
    elif problem["type"] == "missing":
        message, shown, fix = "required key is missing", "", "add it"
    override = next((k for k in _ancestors(location) if k in overridden), None)
    if override:
        origin = f"override {key}"
    else:
        place = next((origins[k] for k in _ancestors(location) if k in origins), path)
        origin = f"{place}: {key or 'recipe'}"
    return f"{origin}{shown}: {message}" + (f"\n  fix: {fix}" if fix else "")


def _ancestors(location: Sequence[str]) -> Iterator[str]:
    for end in range(len(location), 0, -1):
        yield ".".join(location[:end])


def _field_names(model: type[BaseModel], location: Sequence[str]) -> set[str]:
    """The keys that are valid below a location of the schema."""
    for depth, part in enumerate(location):
        declared = model.model_fields.get(part)
        if declared is None:
            continue
        nested = [a for a in _flatten(declared.annotation) if isinstance(a, type)]
        models = [a for a in nested if issubclass(a, BaseModel)]
        if models:
            return _field_names(models[0], location[depth + 1 :])
    return {f.alias or name for name, f in model.model_fields.items()}


def _flatten(annotation: Any) -> Iterator[Any]:
    arguments = get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _flatten(argument)
