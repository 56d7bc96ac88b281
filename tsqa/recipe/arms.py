"""The arms of an ablation: one whole, valid recipe per condition and seed.

Guarantees: an arm is the recipe with one seed, what its condition sets, and no ablation; no two
conditions have the same name, or recipes with the same result; an impossible arm is refused with
its name or key.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from tsqa.errors import RecipeError
from tsqa.names import plain_name
from tsqa.recipe.ratios import is_ratio, set_ratio
from tsqa.recipe.recipe import OF_QUESTIONS, Recipe, needed
from tsqa.recipe.sections.ablation import Control, condition_names, settings_of
from tsqa.recipe.sections.filter import FaithfulnessSection
from tsqa.recipe.sections.mixture import NearestSection

_ANY_REPETITION = 1e9
"""Of seeds: few texts for many tokens is what their control is about."""
_RETOLD = 512
"""Tokens of a rephrasing of a passage of 200 words, half as long again; a question needs fewer."""


@dataclass(frozen=True)
class Arm:
    """One training run of an ablation: a condition (what varies) under one seed."""

    name: str
    """The condition, and `,seed=N` where the ablation has several seeds."""
    condition: str
    seed: int
    recipe: Recipe
    values: Mapping[str, object] = field(default_factory=dict)
    """What the condition sets: key of the recipe -> value; `control` if it is a derived control."""


@dataclass(frozen=True)
class _Condition:
    name: str
    values: Mapping[str, object]
    recipe: Recipe


def arms_of(recipe: Recipe) -> dict[str, Arm]:
    """Arm name -> arm. Without an ablation: one arm, `main`."""
    section = recipe.ablation
    if section is None:
        return {"main": Arm("main", "main", recipe.seed, recipe)}
    seeds = section.seeds or [recipe.seed]
    names = condition_names(section)
    conditions: list[_Condition] = []
    for name, combination in zip(names, section.combinations, strict=True):
        values = settings_of(combination)
        conditions.append(_Condition(name, values, _with_values(recipe, values, name)))
    for control in section.controls:
        conditions.append(_matched(recipe, conditions[: len(names)], control))
    _refuse_duplicates(conditions)
    several = len(seeds) > 1
    arms = [
        Arm(
            f"{condition.name},seed={seed}" if several else condition.name,
            condition.name,
            seed,
            condition.recipe.model_copy(update={"seed": seed}),
            condition.values,
        )
        for condition in conditions
        for seed in seeds
    ]
    return {arm.name: arm for arm in arms}


def arm_config(arm: Arm) -> dict[str, object]:
    """What varies as flat keys: `ablation/<key>`, `ablation/condition` and `seed`."""
    values = {f"ablation/{key}": value for key, value in arm.values.items()}
    return {"ablation/condition": arm.condition, **values, "seed": arm.seed}


def control_of(recipe: Recipe) -> str:
    """The condition of the control arms."""
    section = recipe.ablation
    if section is None:
        return "main"
    if isinstance(section.control, str):
        return section.control
    # Spelled as in the axis: a control of 0 is the arm 0.0.
    settings = [settings_of(combination) for combination in section.combinations]
    return condition_names(section)[settings.index(section.control)]


def _with_values(recipe: Recipe, values: Mapping[str, object], name: str) -> Recipe:
    tree = recipe.model_dump(mode="json", by_alias=True, exclude={"ablation"})
    if tree["filter"] and not needed(recipe.generate, "generate").rephrase:
        del tree["filter"]["faithfulness"]  # of human_rephrased alone
    for key, value in values.items():
        if is_ratio(key, tree["mixture"]):
            try:
                set_ratio(tree["mixture"]["phases"], key, value)
            except RecipeError as error:
                raise RecipeError(f"ablation: {name}: {error}") from error
            continue
        node: Any = tree
        parts = key.split(".")
        for depth, part in enumerate(parts):
            if not isinstance(node, dict) or part not in node:
                raise _unknown_key(key, node, parts, depth)
            if depth == len(parts) - 1:
                node[part] = value
            node = node[part]
    return _validated(tree, name)


def _unknown_key(key: str, node: object, parts: Sequence[str], depth: int) -> RecipeError:
    if not isinstance(node, dict):
        section = ".".join(parts[:depth])
        return RecipeError(
            f"ablation: {key}: no such key: `{section}` is {node!r}",
            f"set `{section}` in the recipe, or vary it whole",
        )
    valid = [*node, *node.get("sources", ())]  # `mixture.<source>` is a ratio
    near = difflib.get_close_matches(parts[depth], valid, n=1)
    fix = f"did you mean `{near[0]}`?" if near else f"valid keys here: {', '.join(valid)}"
    return RecipeError(f"ablation: {key}: no such key: `{parts[depth]}`", fix)


def _matched(recipe: Recipe, conditions: Sequence[_Condition], kind: Control) -> _Condition:
    """The control of that kind to the condition that draws most from the synthetic source."""
    section = needed(recipe.ablation, "ablation")
    shares = [_synthetic_tokens(condition.recipe) for condition in conditions]
    richest = conditions[shares.index(max(shares))]
    if not max(shares):
        raise RecipeError(
            f"ablation.controls: {kind}: no condition draws from a source `from: filter`",
            "give one a ratio above 0, or leave the control out",
        )
    tree = richest.recipe.model_dump(mode="json", by_alias=True)
    sources = tree["mixture"]["sources"]
    synthetic = [n for n, s in sources.items() if s["from"] == "filter"]
    match kind:
        case "format_matched":
            for source in synthetic:
                sources[source]["permute"] = "answers"
        case "seeds_repeated":
            own = {"from": "seeds", "permute": None, "max_repetition": _ANY_REPETITION}
            for source in synthetic:
                sources[source] |= own
        case "repeat_matched":
            _put_in_place(tree["mixture"], synthetic, kind, _human(richest.recipe, kind), {})
        case "nearest_human":
            near = section.nearest_human or NearestSection(pool=_human(richest.recipe, kind))
            _put_in_place(tree["mixture"], synthetic, kind, near.pool, near.model_dump())
        case "human_rephrased":
            own_choice = section.nearest_human and section.nearest_human.pool
            human = own_choice or _human(richest.recipe, kind)
            told = needed(recipe.filter, "filter").faithfulness
            tree |= _rephrasing(richest.recipe, human, told)
    name = f"{richest.name},{kind}"
    return _Condition(name, {**richest.values, "control": kind}, _validated(tree, name))


def _human(recipe: Recipe, kind: Control) -> str:
    """The source of human text that the first phase draws most from."""
    mixture = needed(recipe.mixture, "mixture")
    human = [name for name, source in mixture.sources.items() if source.path is not None]
    if not human:
        raise RecipeError(
            f"ablation.controls: {kind} needs a source with a `path`",
            "add human text to mixture.sources",
        )
    return max(human, key=lambda source: mixture.phases[0].ratios.get(source, 0.0))


def _put_in_place(
    mixture: dict[str, Any],
    synthetic: Sequence[str],
    kind: Control,
    human: str,
    nearest: Mapping[str, object],
) -> None:
    """Draw text of a human source in place of the synthetic ones, as many rows: at random, or
    what is nearest to the seeds."""
    drawn = [n for n in synthetic if any(phase["ratios"].get(n) for phase in mixture["phases"])]
    if nearest and len(drawn) > 1:
        raise RecipeError(
            f"ablation.controls: {kind}: {' and '.join(drawn)} are `from: filter`, and would give "
            "way to the same documents",
            "draw from one of them",
        )
    for source in drawn if nearest else synthetic:
        name = f"{source}_nearest" if nearest else f"{source}_as_{human}"
        if name in mixture["sources"]:
            raise RecipeError(
                f"ablation.controls: {kind} makes a source {name}, and mixture.sources has one",
                "give it another name",
            )
        pool = mixture["sources"].get(human, {})
        read_as = {key: pool[key] for key in ("packing", "answer_marker") if key in pool}
        mixture["sources"][name] = {
            **({"nearest": nearest, **read_as} if nearest else {"subset_of": human}),
            "size_of": source,
            "max_repetition": mixture["sources"][source]["max_repetition"],
        }
        for phase in mixture["phases"]:
            if source in phase["ratios"]:
                phase["ratios"][name] = phase["ratios"].pop(source)


def _rephrasing(recipe: Recipe, human: str, told: FaithfulnessSection) -> dict[str, object]:
    """The sections of data of an arm whose teacher tells passages of a human source again.

    All else stays: as many passages as there are seeds at most, sampling, checks of texts. A text
    may have more tokens than a question, up to half of what the teacher reads.
    """
    source = needed(recipe.mixture, "mixture").sources.get(human)
    seeds, generate = needed(recipe.seeds, "seeds"), needed(recipe.generate, "generate")
    chosen = needed(recipe.filter, "filter")
    if source is None or source.path is None:
        raise RecipeError(
            f"ablation.nearest_human.pool = {human!r} is no source with a `path`",
            "name one of mixture.sources",
        )
    if generate.rephrase:
        raise RecipeError(
            "ablation.controls: human_rephrased: the recipe's own data are rephrasings",
            "leave the control out",
        )
    read_as = source.model_dump(include={"path", "subset", "split", "revision", "text_field"})
    tasks = len(seeds.tasks) + len(seeds.own)
    most = seeds.budget.total if seeds.budget else seeds.max_per_task * tasks
    kept = {
        name: section.model_dump(mode="json", by_alias=True, exclude={*OF_QUESTIONS[name]})
        for name, section in (("generate", generate), ("filter", chosen))
    }
    for key in ("similarity", "semantic"):
        kept["filter"]["decontaminate"].pop(key)
    teacher, asked = generate.writing[1], generate.question
    longest = max(asked.max_tokens, min(_RETOLD, teacher.max_model_len // 2))
    kept["generate"]["question"]["max_tokens"] = longest
    kept["filter"].pop("review")  # of the recipe's own items
    return {
        "audit": None,  # of the recipe's own items
        "seeds": {
            "documents": [{"name": plain_name(human) or "human", **read_as}],
            "max_per_task": most,
            "seed": seeds.seed,
            "families": seeds.families,
        },
        "generate": kept["generate"] | {"teacher": teacher, "rephrase": {}},
        "filter": kept["filter"] | {"faithfulness": told},
    }


def _synthetic_tokens(recipe: Recipe) -> float:
    mixture = needed(recipe.mixture, "mixture")
    # Another order of addition could make another of two equal conditions the richest, and change
    # the fingerprints of its controls.
    return sum(
        phase.tokens * ratio
        for phase in mixture.phases
        for name, ratio in phase.ratios.items()
        if mixture.sources[name].stage == "filter"
    )


def _refuse_duplicates(conditions: Sequence[_Condition]) -> None:
    names: set[str] = set()
    recipes: dict[Hashable, str] = {}
    for condition in conditions:
        name = condition.name
        if name in names:
            raise RecipeError(
                f"ablation: two conditions have the name `{name}`",
                "give each of them a `name` in ablation.arms",
            )
        names.add(name)
        first = recipes.setdefault(_frozen(condition.recipe.data_config()), name)
        if first != name:
            raise RecipeError(
                f"ablation: the conditions `{first}` and `{name}` are the same recipe, "
                "but for keys that change no result",
                "leave one out",
            )


def _frozen(value: object) -> Hashable:
    """The same as something that can be looked up; what is equal stays equal."""
    if isinstance(value, Mapping):
        return frozenset((name, _frozen(inner)) for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(inner) for inner in value)
    return value


def _validated(tree: Mapping[str, object], name: str) -> Recipe:
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        message = str(problem["msg"]).removeprefix("Value error, ")
        told = f"{where}: {message}" if where else message  # of several sections: none
        raise RecipeError(f"arm {name}: {told}") from error
