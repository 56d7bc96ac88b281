"""From a YAML file to a recipe: `extends`, overrides, validation.

Guarantees: a recipe that is returned is valid whole; every error names file, line, key, value and
fix, and all that validation finds is listed at once; an unknown key gets the nearest valid name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tsqa.errors import RecipeError
from tsqa.plain_yaml import parse_value, read_yaml
from tsqa.recipe.ratios import is_ratio, set_ratio
from tsqa.recipe.recipe import Recipe
from tsqa.recipe.reference import nearest_keys
from tsqa.recipe.references import check_references
from tsqa.recipe.sections.ablation import MOST_ARMS

_LONGEST_CHAIN = 32
_LONGEST_SHOWN = 200
"""Characters of a refused value."""
_WRONG_SHAPES = (TypeError, ValueError, LookupError, AttributeError, AssertionError, RecursionError)
"""What a tree raises that is not shaped as a recipe."""


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load, extend, override and validate a recipe; raise RecipeError listing every problem."""
    values, origins = _load_values(path, ())
    try:
        if overrides:
            tree = OmegaConf.create(values)
            for override in overrides:
                _apply_override(tree, override)
            values = cast(dict[str, Any], OmegaConf.to_container(tree, resolve=False))
        if check_references(values, str(path), origins):
            tree = OmegaConf.create(values)
            values = cast(dict[str, Any], OmegaConf.to_container(tree, resolve=True))
    except (OmegaConfBaseException, RecursionError) as error:
        raise RecipeError(f"{path}: {error}") from error
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        overridden = {o.split("=", 1)[0] for o in overrides}
        problems = [_describe(problem, path, origins, overridden) for problem in error.errors()]
        raise RecipeError("\n".join(problems)) from error


def _load_values(path: Path, chain: tuple[Path, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    """The keys of a recipe, and key -> `file:line`, here or in a recipe that it extends."""
    document = read_yaml(path)
    if path.resolve() in chain:
        raise RecipeError(f"{path}: `extends` goes in a circle")
    if len(chain) > _LONGEST_CHAIN:
        raise RecipeError(f"{path}: more than {_LONGEST_CHAIN} recipes extend one another")
    values = document.values
    origins = {key: f"{path}:{line}" for key, line in document.lines.items()}
    base = values.pop("extends", None)
    if base is not None and not (isinstance(base, str) and base.strip()):
        raise RecipeError(
            f"{origins['extends']}: extends = {base!r}: expected the path of one recipe"
        )
    ablation = values.get("ablation")
    arms = ablation.get("arms") if isinstance(ablation, dict) else None
    if isinstance(arms, list) and len(arms) > MOST_ARMS:  # each would take a while to look at
        raise RecipeError(f"{path}: ablation.arms: {len(arms):,} arms; {MOST_ARMS:,} at most")
    _resolve_recipe_paths(values, path.parent)
    if base is None:
        return cast(dict[str, Any], _copied(values)), origins
    target = path.parent / base
    if not _is_file(target):
        fix = f"give the path of a recipe, relative to {path.parent}/"
        raise RecipeError(f"{origins['extends']}: extends = {base}: no such recipe: {target}", fix)
    inherited, before = _load_values(target, (*chain, path.resolve()))
    gone = document.replaced
    if "ablation" in values:  # axes of both would multiply
        inherited.pop("ablation", None)
        gone = (*gone, "ablation.")
    kept = {key: line for key, line in before.items() if not key.startswith(gone)}
    return _merge(inherited, values), {**kept, **origins}


def _merge(
    base: dict[str, Any], values: Mapping[str, Any], within: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A copy of `base` with what `values` sets: of mappings key by key, of all else as a whole."""
    merged = dict(base)
    for key, value in values.items():
        before, place = merged.get(key), (*within, str(key))
        if isinstance(before, dict) and isinstance(value, dict) and not _empties(place, value):
            merged[key] = _merge(before, value, place)
        else:
            merged[key] = _copied(value)
    return merged


def _empties(location: Sequence[str], value: object) -> bool:
    """Whether a value takes all out of a mapping of names, such as `eval.macros: {}`.

    Of a section, `{}` asks for its defaults, and merging it changes nothing.
    """
    return value == {} and _is_mapping(location)


def _is_mapping(location: Sequence[str]) -> bool:
    """Whether the names below a key are the user's own."""
    *sections, last = location
    model: type[BaseModel] = Recipe
    for part in sections:
        declared = model.model_fields.get(part)
        within = _flatten(declared.annotation) if declared else ()
        found = [a for a in within if isinstance(a, type) and issubclass(a, BaseModel)]
        if len(found) != 1:
            return False
        model = found[0]
    declared = model.model_fields.get(last)
    options = (declared.annotation, *get_args(declared.annotation)) if declared else ()
    return any(get_origin(option) is dict for option in options)


def _copied(value: Any) -> Any:
    """Without shared parts, which YAML's aliases are: whoever changes one changes no other."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False


def _resolve_recipe_paths(node: object, folder: Path) -> None:
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


def _apply_override(tree: DictConfig, override: str) -> None:
    """Set `key.path=value` in the tree; the value is YAML, or text where it is not YAML."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise RecipeError(
            f"override `{override}` is not key.path=value", "for example train.lr=1e-3"
        )
    try:
        value = parse_value(text)
        mixture = OmegaConf.to_container(tree.get("mixture") or OmegaConf.create(), resolve=False)
        assert isinstance(mixture, dict)
        if (
            "phases" in mixture
            and "sources" in mixture
            and is_ratio(key, cast(dict[str, object], mixture))
        ):
            set_ratio(mixture["phases"], key, value)
            key, value = "mixture.phases", mixture["phases"]
        if key != "ablation":  # axes of both would multiply
            value = _merge_at(tree, key, value)
        OmegaConf.update(tree, key, value, merge=False, force_add=True)
    except (RecipeError, OmegaConfBaseException, *_WRONG_SHAPES) as error:
        cause = str(error).partition("\n    full_key:")[0]
        fix = "items of a list are named by their number, from 0" if cause != str(error) else ""
        raise RecipeError(f"override `{override}`: {cause}", fix) from error


def _merge_at(tree: DictConfig, key: str, value: object) -> object:
    """What a key of the tree holds once a value is merged into it, as into an extended recipe."""
    before, place = OmegaConf.select(tree, key), tuple(key.split("."))
    if not isinstance(before, DictConfig) or not isinstance(value, dict) or _empties(place, value):
        return value
    held = cast(dict[str, Any], OmegaConf.to_container(before, resolve=False))
    return _merge(held, value, place)


def _describe(
    problem: ErrorDetails, path: Path, origins: Mapping[str, str], overridden: set[str]
) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    message = str(problem["msg"]).removeprefix("Value error, ")
    value = problem.get("input")
    shown = "" if isinstance(value, dict) else f" = {value!r}"
    if len(shown) > _LONGEST_SHOWN:
        shown = f"{shown[:_LONGEST_SHOWN]}..."
    fix = ""
    if problem["type"] == "extra_forbidden":
        names = sorted(_field_names(Recipe, location[:-1]))
        near = difflib.get_close_matches(location[-1], names, n=1)
        if not near and len(location) == 1:  # `lr` for `train.lr`
            near = nearest_keys(key)
        message = "unknown key"
        fix = (
            f"did you mean {' or '.join(f'`{name}`' for name in near)}?"
            if near
            else f"valid keys here: {', '.join(names)}"
        )
        section, _, rest = location[-1].partition(".")
        if rest and section in names:  # `train.lr: 1`, as overrides are written
            fix = f"write it within its section, {section}: {{{rest.replace('.', ': {')}: ..."
            fix += "}" * (rest.count(".") + 1)
    elif problem["type"] == "missing":
        message, shown, fix = "required key is missing", "", "add it"
        if location[0] == "ablation":
            fix += "; an `ablation` takes nothing from that of a recipe that is extended"
    elif problem["type"] == "string_type" and isinstance(value, (bool, int, float)):
        fix = "write it in quotes"
    elif problem["type"] == "literal_error" and isinstance(value, bool):
        fix = "YAML reads yes, no, on and off as true and false: write another of these"
    elif problem["type"] == "list_type" and isinstance(value, (str, int, float)):
        message, fix = "expected a list", f"write [{value}]"
    elif problem["type"] in ("int_parsing", "int_from_float", "int_type"):
        message, fix = "expected a whole number", "write it in digits, such as 3, 450K or 2B"
    elif message == "expected a number":
        fix = "write it in digits, such as 3 or 1e-3"
    override = next((k for k in _ancestors(location) if k in overridden), None)
    if override:
        origin = f"override {key}"
    else:
        line = next((origins[k] for k in _ancestors(location) if k in origins), path)
        origin = f"{line}: {key or 'recipe'}"
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


def _flatten(annotation: object) -> Iterator[object]:
    arguments = get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _flatten(argument)
