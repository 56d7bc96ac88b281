"""The stage `train`: rows of tokens -> checkpoints of one arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from train.data.definition import data_of, read_sources, student_of
from tsqa.hub.identify import identify_model, model_config
from tsqa.recipe import Recipe, averaged_points, curve_points, needed
from tsqa.store.artifact import Artifact
from tsqa.store.identity import Json
from tsqa.store.roles import Role, SourceRole
from tsqa.store.stage import Stage


def _config(recipe: Recipe) -> dict[str, Json]:
    """Sources that are not drawn do not count: what they hold may change."""
    mixture = needed(recipe.mixture, "mixture")
    phases: list[Json] = [
        {
            "tokens": phase.tokens,
            "ratios": {name: ratio for name, ratio in phase.ratios.items() if ratio},
        }
        for phase in mixture.phases
    ]
    subsets = {
        name: [source.subset_of, source.size_of]
        for name, source in mixture.sources.items()
        if source.subset_of and name in mixture.drawn
    }
    averaged = averaged_points(recipe)
    sizes: dict[str, Json] = {
        name: source.size_of
        for name, source in mixture.sources.items()
        if source.nearest and name in mixture.drawn
    }
    train = needed(recipe.train, "train")
    elsewhere = {"elsewhere": identify_model(train.elsewhere)} if train.elsewhere else {}
    return {
        "model": model_config(needed(recipe.model, "model")),
        "mixture": {"phases": phases, "subsets": subsets, **({"sizes": sizes} if sizes else {})},
        "train": {**train.data_config(), **elsewhere},
        "seed": recipe.seed,
        "exports": [*curve_points(recipe)],
        # Not by `exports`: models that are added later do not change what was averaged.
        **({"averaged": [*averaged]} if averaged else {}),
    }


def _inputs(recipe: Recipe) -> Sequence[Role]:
    return (
        *data_of(needed(recipe.model, "model").path),
        "tokenizer",
        *map(SourceRole, read_sources(recipe)),
    )


def _recheck(recipe: Recipe, made: Artifact, inputs: Mapping[Role, Artifact]) -> None:
    """Refuse a run that drew more epochs than `max_repetition` now allows."""
    from train.data.mixture import check_repeats
    from train.data.token_files import read_token_sources, token_folders

    if all(SourceRole(name) in inputs for name in read_sources(recipe)):
        sources = read_token_sources(token_folders(inputs))["sources"]
        check_repeats(recipe, {name: source["rows"] for name, source in sources.items()})


TRAIN = Stage(
    "train",
    4,
    _config,
    None,
    inputs=_inputs,
    models=student_of,
    recheck=_recheck,
    content=("hf/*",),
    more="exports",
)
TRAIN_ELSEWHERE = replace(
    TRAIN, module="train.checkpoints.elsewhere", reads_throughout=True, more=""
)
"""Of an arm that was trained elsewhere."""


def train_stage(recipe: Recipe) -> Stage:
    """How the recipe's model comes to be."""
    return TRAIN_ELSEWHERE if needed(recipe.train, "train").elsewhere else TRAIN
