"""The section `ablation`: the conditions to compare, and what each is called.

Guarantees: the control is one of the conditions; an unnamed condition is named by all that it
sets, each key by its shortest clear tail; a name is one line of text that means nothing else.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tsqa.names import arm_problem, is_nameable
from tsqa.recipe.sections.base import ADDED, Section, Seed, refuse_unread
from tsqa.recipe.sections.mixture import NearestSection

Control = Literal[
    "format_matched", "repeat_matched", "seeds_repeated", "nearest_human", "human_rephrased"
]
MOST_ARMS = 1_000
"""Conditions times seeds: each is a training run."""
_LONGEST_VALUE = 40
"""Characters of a list or a mapping in the name of an arm."""


class AblationSection(Section):
    """The conditions to compare: the product of `axes`, and those that `arms` lists.

    A condition may set any key of the recipe. `mixture.<source>` sets a ratio and scales the
    others. A key that a condition does not set stays as in the recipe.
    """

    axes: dict[str, list[Any]] = {}
    """Key -> its values, such as {mixture.synthetic: [0, 0.1]}; all combinations are trained."""
    arms: list[dict[str, Any]] = []
    """Single conditions: each maps keys to values, and may have a `name`."""
    seeds: list[Seed] = []
    """Train every condition once per seed; an empty list: with the recipe's `seed`. Several seeds
    show how much of a delta is chance."""
    control: dict[str, Any] | str
    """The condition that all others are compared with: its name, or its keys and values."""
    controls: list[Control] = []
    """Controls to add, derived from the condition with most synthetic tokens. format_matched: its
    items with exchanged answers. repeat_matched: human text instead, cut to as many rows, so that
    it repeats equally often. seeds_repeated: the seeds' own text instead, repeated to as many
    tokens, which is training on the training split. nearest_human: the human documents nearest to
    the seeds instead, as many rows. human_rephrased: passages of the human text instead, told again
    by the same teacher (`generate.rephrase`), in as many tokens."""
    nearest_human: NearestSection | None = Field(None, json_schema_extra=ADDED)
    """What nearest_human chooses from, and how; null: the source with a `path` that the first phase
    draws most from, by TF-IDF. human_rephrased tells passages of the same source."""

    @property
    def combinations(self) -> list[dict[str, object]]:
        """What each condition sets, and its `name` if it has one."""
        product: list[dict[str, object]] = [{}] if self.axes else []
        for key, values in self.axes.items():
            product = [{**c, key: v} for c in product for v in values]
        return [*product, *self.arms]

    @model_validator(mode="after")
    def _some_arms(self) -> Self:
        if not self.axes and not self.arms:
            raise ValueError("give axes, arms, or both")
        for key, values in self.axes.items():
            if not values:
                raise ValueError(f"axis {key} has no values")
        product = math.prod(map(len, self.axes.values())) if self.axes else 0
        count = (product + len(self.arms)) * max(1, len(self.seeds))
        if count > MOST_ARMS:
            raise ValueError(
                f"{count:,} arms ({product + len(self.arms):,} conditions, "
                f"{max(1, len(self.seeds))} seeds); {MOST_ARMS:,} at most: leave values out"
            )
        for keys in (list(self.axes), *self.arms):
            if "seed" in keys:
                raise ValueError("`seed` is no axis, give ablation.seeds: arms are paired by it")
        for name in ("seeds", "controls"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} {values} holds one twice")
        return self

    @model_validator(mode="after")
    def _nearest_is_asked_for(self) -> Self:
        if self.nearest_human and not {"nearest_human", "human_rephrased"} & {*self.controls}:
            raise ValueError("nearest_human is of a control of that name: list it in controls")
        if self.nearest_human and "nearest_human" not in self.controls:
            why = "is read by the control nearest_human alone, which controls does not list"
            refuse_unread(self.nearest_human, ["model"], why)
        return self

    @model_validator(mode="after")
    def _names_mean_nothing_else(self) -> Self:
        for number, arm in enumerate(self.arms):
            if arm.get("name") is None:
                continue
            name = arm["name"]
            given = isinstance(name, str)
            problem = arm_problem(name, given=True) if given else "a name is text: quote it"
            if problem:
                raise ValueError(f"arms[{number}].name = {name!r}: {problem}")
        for combination, name in zip(self.combinations, condition_names(self), strict=True):
            problem = "" if combination.get("name") else arm_problem(name, given=False)
            if problem:
                raise ValueError(f"arm {name!r}: {problem}: give it a `name` in ablation.arms")
        return self

    @model_validator(mode="after")
    def _control_is_an_arm(self) -> Self:
        if isinstance(self.control, str):
            if self.control not in condition_names(self):
                raise ValueError(
                    f"control `{self.control}` is no condition; use one of: "
                    f"{', '.join(condition_names(self))}"
                )
            return self
        if not self.arms:
            for key, values in self.axes.items():
                if key not in self.control:
                    raise ValueError(f"control lacks a value for the axis {key}")
                if self.control[key] not in values:
                    raise ValueError(
                        f"control {key}={self.control[key]} is not in its axis {values}"
                    )
        if self.control not in [settings_of(c) for c in self.combinations]:
            raise ValueError(
                f"control {self.control} is no condition; use the keys and values of one of: "
                f"{', '.join(condition_names(self))}"
            )
        return self


def settings_of(combination: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in combination.items() if key != "name"}


def condition_names(section: AblationSection) -> list[str]:
    """A name for each combination: its own, or what varies, each key by its shortest clear tail."""
    combinations = section.combinations
    tails = key_tails(key for combination in combinations for key in settings_of(combination))
    return [
        str(combination.get("name") or named_values(settings_of(combination), tails))
        for combination in combinations
    ]


def key_tails(keys: Iterable[str]) -> dict[str, str]:
    """Key -> its last part, or as many of its last parts as tell it from the others."""
    known = dict.fromkeys(keys)
    return {key: _shortest_tail(key, known) for key in known}


def named_values(values: Mapping[str, object], tails: Mapping[str, str]) -> str:
    """`tail=value` of each, separated by commas; `recipe` where nothing is set."""
    return ",".join(f"{tails[key]}={_shown(value)}" for key, value in values.items()) or "recipe"


def _shortest_tail(key: str, keys: Collection[str]) -> str:
    parts = key.split(".")
    for size in range(1, len(parts)):
        tail = ".".join(parts[-size:])
        if not any(other != key and f".{other}".endswith(f".{tail}") for other in keys):
            return tail
    return key


def _shown(value: object) -> str:
    """A value as part of a name: short, and another one for another value."""
    if value is None:
        return "none"
    if isinstance(value, (list, Mapping)):
        items = value if isinstance(value, list) else [f"{k}:{v}" for k, v in value.items()]
        text = "+".join(map(str, items)) or "none"
        if len(text) > _LONGEST_VALUE or any(isinstance(i, (list, Mapping)) for i in items):
            return _digest(value)
    else:
        text = str(value)
    return text if is_nameable(text) else _digest(value)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
