"""The stage `train`: rows of tokens -> checkpoints of one arm."""

from __future__ import annotations

from collections.abc import Mapping

from train.data.definition import student_of
from tsqa.hub.identify import model_config
from tsqa.recipe import Recipe, curve_points, needed
from tsqa.store.artifact import Artifact
from tsqa.store.identity import Json
from tsqa.store.roles import Role
from tsqa.store.stage import Stage


def _config(recipe: Recipe) -> dict[str, Json]:
    mixture = needed(recipe.mixture, "mixture")
    drawn = mixture.data_config()
    drawn["sources"] = sorted(drawn["sources"])
    del drawn["decontaminate"]  # the tokens say
    subsets = {
        name: [source.subset_of, source.size_of]
        for name, source in mixture.sources.items()
        if source.subset_of
    }
    drawn |= {"subsets": subsets} if subsets else {}
    config: dict[str, Json] = {
        "model": model_config(needed(recipe.model, "model")),
        "mixture": drawn,
        "train": needed(recipe.train, "train").data_config(),
        "seed": recipe.seed,
    }
    points = curve_points(recipe)
    return config | ({"exports": [*points]} if points else {})


def _recheck(recipe: Recipe, made: Artifact, inputs: Mapping[Role, Artifact]) -> None:
    """Refuse a run that drew more epochs than `max_repetition` now allows."""
    if "tokenize" not in inputs:
        return
    from train.data.mixture import plan_of
    from train.data.token_files import read_rows

    plan_of(recipe, read_rows(inputs["tokenize"].path))


TRAIN = Stage(
    "train",
    2,
    _config,
    None,
    inputs=lambda recipe: ("data", "tokenize"),
    models=student_of,
    recheck=_recheck,
    paced_by="model",
)
