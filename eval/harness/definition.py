"""The stage `evaluate`: one checkpoint -> its scores."""

from __future__ import annotations

from dataclasses import replace

from tsqa.hub.identify import model_config
from tsqa.recipe import Recipe, needed
from tsqa.store.identity import Json
from tsqa.store.stage import Stage
from tsqa.tasks.fingerprint import identify_tasks, pinned_datasets


def _config(recipe: Recipe) -> dict[str, Json]:
    """What decides the scores of one checkpoint, but not what is made of them."""
    section = needed(recipe.eval, "eval")
    config = section.data_config()
    later = ("macros", "macro", "every_tokens", "bootstrap", "confidence", "seed_spread")
    for key in (*later, *(() if section.groups else ("groups",))):
        del config[key]
    if not section.protocols:  # a later key: scores from before it stay
        del config["protocols"]
    return {
        "model": None,
        **config,
        "tasks": sorted(section.tasks),
        "include": identify_tasks(section.include),
        **pinned_datasets("eval.tasks", section.include, tuple(section.tasks)),
    }


def _untrained_config(recipe: Recipe) -> dict[str, Json]:
    return {**_config(recipe), "model": model_config(needed(recipe.model, "model"))}


EVALUATE = Stage(
    "evaluate",
    3,
    _config,
    "eval.harness.stage",
    sections=("eval",),
    reads_throughout=True,
    content=(),  # arms with equal scores are still different arms
)
EVALUATE_UNTRAINED = replace(EVALUATE, config=_untrained_config)
"""Of the recipe's own model, where no recipe trains it."""
