"""The stage `tokenize`: every source of the mixture -> rows of tokens."""

from __future__ import annotations

from tsqa.hub.identify import identify_data, identify_model, model_config
from tsqa.recipe import ModelSection, Recipe, SourceSection, needed, stream_check
from tsqa.store.identity import Json
from tsqa.store.stage import Stage


def student_of(recipe: Recipe) -> dict[str, ModelSection]:
    """The model that the recipe trains, by its role."""
    return {"model": needed(recipe.model, "model")}


def _config(recipe: Recipe) -> dict[str, Json]:
    sources = needed(recipe.mixture, "mixture").tokenized
    check = stream_check(recipe)
    return {
        "tokenizer": _tokenizer_config(recipe),
        "model": None if recipe.tokenizer else model_config(needed(recipe.model, "model")),
        "sources": {
            name: _source_config(source, f"mixture.sources.{name}.path")
            for name, source in sources.items()
        },
        "decontaminate": check.data_config() if check else None,
        "sequence_length": needed(recipe.train, "train").sequence_length,
    }


def _tokenizer_config(recipe: Recipe) -> Json:
    section = recipe.tokenizer
    if section is None:
        return None
    return {
        **section.data_config(),
        "path": identify_model(section.path),
        "train_on": [identify_data(path, "tokenizer.train_on") for path in section.train_on],
    }


def _source_config(source: SourceSection, key: str) -> dict[str, Json]:
    config = source.data_config()
    config["path"] = identify_data(source.path, key, source.revision)
    for later in ("permute", "subset_of", "size_of"):
        if config[later] is None:
            del config[later]
    return config


def _inputs(recipe: Recipe) -> tuple[str, ...]:
    return ("data", "filter", "benchmarks") if stream_check(recipe) else ("data", "filter")


TOKENIZE = Stage(
    "tokenize",
    5,
    _config,
    "train.data.tokenize",
    sections=("mixture", "train", "filter"),
    inputs=_inputs,
    models=student_of,
    reads_throughout=True,
)
