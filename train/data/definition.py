"""The stages before training: the tokenizer; for each source of the mixture, `decontaminate`, which
finds its documents that hold evaluated ones, and `tokenize`, documents -> rows of tokens; before
both, for a source with `nearest`, the stage of that name, which chooses its documents."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tsqa.hub.identify import identify_data, identify_model, model_config
from tsqa.recipe import ModelSection, Recipe, SourceSection, needed, renderings_of, stream_check
from tsqa.store.identity import Json
from tsqa.store.roles import Role, SourceRole
from tsqa.store.stage import Stage


def student_of(recipe: Recipe) -> dict[str, ModelSection]:
    """The model that the recipe trains, by its role."""
    return {"model": needed(recipe.model, "model")}


def read_sources(recipe: Recipe) -> list[str]:
    """The sources whose tokens training reads; held-out losses are measured on all of them."""
    mixture = needed(recipe.mixture, "mixture")
    if needed(recipe.train, "train").heldout_rows:
        return list(mixture.tokenized)
    read: set[str | None] = set()
    for name in mixture.drawn:
        source = mixture.sources[name]
        of = source.subset_of or name
        read |= {of, source.size_of, mixture.sources[of].size_of}
    return [name for name in mixture.tokenized if name in read]


def is_checked(recipe: Recipe, name: str) -> bool:
    """Whether the documents of a source are checked here; those of the filter were there."""
    source = needed(recipe.mixture, "mixture").sources[name]
    return source.stage != "filter" and stream_check(recipe) is not None


def decontaminate_stage(source: str) -> Stage:
    """The stage that looks for evaluated documents in a source."""
    return Stage(
        "decontaminate",
        13,
        partial(_check_config, source),
        "train.tokens.decontaminate",
        sections=(f"mixture.sources.{source}", "filter.decontaminate"),
        inputs=partial(_checked_inputs, source),
        reads_throughout=True,
        content=("dropped.txt",),
        part=source,
    )


def nearest_stage(source: str) -> Stage:
    """The stage that chooses the documents of a source with `nearest`."""
    return Stage(
        "nearest",
        1,
        partial(_nearest_config, source),
        "train.tokens.nearest",
        sections=(f"mixture.sources.{source}",),
        inputs=partial(_nearest_inputs, source),
        reads_throughout=True,
        part=source,
    )


def tokenize_stage(source: str) -> Stage:
    """The stage that makes the token rows of a source."""
    return Stage(
        "tokenize",
        6,
        partial(_tokens_config, source),
        "train.tokens.tokenize",
        sections=(f"mixture.sources.{source}", "train", "filter"),
        inputs=partial(_inputs, source),
        reads_throughout=True,
        part=source,
    )


def _source(recipe: Recipe, name: str) -> SourceSection:
    return needed(recipe.mixture, "mixture").sources[name]


def _checked_inputs(name: str, recipe: Recipe) -> Sequence[Role]:
    source = _source(recipe, name)
    return (*data_of(source.path), *_stage_of(source), "benchmarks")


def _check_config(name: str, recipe: Recipe) -> dict[str, Json]:
    source, check = _source(recipe, name), needed(stream_check(recipe), "eval")
    by_words = check.model_copy(update={"semantic": None})
    return {
        **by_words.data_config(),
        **_renderings(recipe, source),
        "source": name,
        **{key: getattr(source, key) for key in ("subset", "split", "text_field", "on_bad")},
        "path": identify_data(source.path, f"mixture.sources.{name}.path", source.revision),
    }


def _nearest_config(name: str, recipe: Recipe) -> dict[str, Json]:
    source = _source(recipe, name)
    near = needed(source.nearest, f"mixture.sources.{name}.nearest")
    pool = _source(recipe, near.pool)
    return {
        **{key: getattr(pool, key) for key in ("subset", "split", "text_field", "on_bad")},
        "path": identify_data(pool.path, f"mixture.sources.{near.pool}.path", pool.revision),
        "model": identify_model(near.model),
        "packing": source.packing,
    }


def _nearest_inputs(name: str, recipe: Recipe) -> Sequence[Role]:
    """`decontaminate` is that of the pool: what holds an evaluated document is never chosen."""
    source = _source(recipe, name)
    near = needed(source.nearest, f"mixture.sources.{name}.nearest")
    data = data_of(_source(recipe, near.pool).path)
    sized = SourceRole(str(source.size_of))
    return (*data, "seeds", "guard", "decontaminate", "tokenizer", sized)


def _tokens_config(name: str, recipe: Recipe) -> dict[str, Json]:
    source = _source(recipe, name)
    config = source.data_config()
    config["path"] = identify_data(source.path, f"mixture.sources.{name}.path", source.revision)
    config.pop("nearest", None)  # its artifact is an input, whatever the folder of its model
    for later in ("permute", "subset_of", "size_of"):
        if config[later] is None:
            del config[later]
    return {
        "source": name,
        **config,
        **_renderings(recipe, source),
        "sequence_length": needed(recipe.train, "train").sequence_length,
    }


def _inputs(name: str, recipe: Recipe) -> Sequence[Role]:
    source = _source(recipe, name)
    return (*data_of(source.path), *_stage_of(source), "decontaminate", "tokenizer")


def _stage_of(source: SourceSection) -> Sequence[Role]:
    if source.stage == "seeds":
        return ("seeds", "guard")  # which names those that are evaluated documents
    if source.nearest:
        return ("nearest",)
    return () if source.stage is None else (source.stage,)


def _renderings(recipe: Recipe, source: SourceSection) -> dict[str, Json]:
    """The templates, for a source whose items are rendered here."""
    if not source.permute and source.stage != "seeds":
        return {}
    return {"renderings": [*renderings_of(recipe)]}


def _tokenizer_config(recipe: Recipe) -> dict[str, Json]:
    section = recipe.tokenizer
    if section is None:
        return {"model": model_config(needed(recipe.model, "model"))}
    return {
        **section.data_config(),
        "path": identify_model(section.path),
        "train_on": [identify_data(path, "tokenizer.train_on") for path in section.train_on],
        "trust_remote_code": needed(recipe.model, "model").trust_remote_code,
    }


def _tokenizer_inputs(recipe: Recipe) -> Sequence[Role]:
    section = recipe.tokenizer
    if section is None:
        return data_of(needed(recipe.model, "model").path)
    return data_of(section.path, *section.train_on)


def data_of(*paths: str | None) -> Sequence[Role]:
    """The data that the recipe builds, where a path leads there."""
    return ("data",) if any((path or "").startswith("{data}") for path in paths) else ()


TOKENIZER = Stage(
    "tokenizer",
    1,
    _tokenizer_config,
    "train.data.tokenizer",
    sections=("tokenizer",),
    inputs=_tokenizer_inputs,
    models=lambda recipe: {} if recipe.tokenizer else student_of(recipe),
    reads_throughout=True,
)
