"""The models that a stage and its audit will load, and what they ask of them, checked before any
work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tsqa.errors import RecipeError
from tsqa.hub.model_folder import (
    check_positions,
    check_text_only,
    check_vocabulary,
    check_weights,
    is_folder,
    load_config,
    load_tokenizer,
)
from tsqa.hub.pins import PINS
from tsqa.parallel.ray_cluster import require_ray
from tsqa.pipeline.node import Node
from tsqa.recipe import ModelSection, Recipe, needed
from tsqa.store.roles import trained_model
from tsqa.teachers.config import teacher_key, teachers_of

_SHARDED = ("decontaminate", "nearest", "tokenize")
"""Stages that work on shards of sources."""


@dataclass(frozen=True)
class ModelUse:
    """A model (a folder, or an ID of the hub) and the length of what it will be given."""

    path: str
    key: str
    """Of the recipe, in messages."""
    length: int | None
    length_key: str
    trust_remote_code: bool
    own_tokenizer: bool
    """Whether it reads text by the tokenizer in its folder."""
    is_trained: bool = False
    kind: Literal["causal", "tagger", "sentences"] = "causal"
    """Of what it gives: the next token, a label of each token, a vector of a text."""

    @property
    def is_here(self) -> bool:
        """Whether it is a folder; the files of a model of the hub are not here before its stage."""
        return is_folder(self.path)


def model_uses(node: Node) -> list[ModelUse]:
    """What a stage loads; not the models that recipes train."""
    recipe = node.recipe
    if node.stage in ("train", "evaluate"):
        return _student(node, recipe)
    section = {"generate": recipe.generate, "filter": recipe.filter}.get(node.stage)
    if section is None:
        return []
    uses = []
    for role, teacher in teachers_of(section).items():
        key = teacher_key(role)
        if teacher.loads_model and _is_given(teacher.model):
            uses.append(
                _use(
                    teacher.model,
                    f"{key}.model.path",
                    teacher.max_model_len,
                    f"{key}.max_model_len",
                )
            )
    return [*uses, *_of_meanings(recipe), *audit_uses(recipe)] if node.stage == "filter" else uses


def audit_uses(recipe: Recipe) -> list[ModelUse]:
    """What the audit that follows the filter loads besides."""
    if recipe.audit is None:
        return []
    uses = []
    if recipe.audit.gradients:
        model = str(Path(recipe.audit.gradients.model))
        uses.append(ModelUse(model, "audit.gradients.model", None, "", False, own_tokenizer=True))
    if recipe.audit.names:
        model = str(Path(recipe.audit.names.model))
        uses.append(ModelUse(model, "audit.names.model", None, "", False, True, kind="tagger"))
    return uses


def is_missing(use: ModelUse) -> bool:
    """Whether a model is neither on this machine nor, as far as can be asked, on the hub."""
    return not use.is_here and PINS.pin("model", use.path) is None


def refuse_missing(use: ModelUse) -> None:
    """Raise RecipeError where there is no such model, as far as can be asked."""
    if is_missing(use):
        raise RecipeError(
            f"{use.key} = {use.path}: no such folder, and not to be had from the hub",
            "correct the path, make or fetch the model first, or check the network and "
            "HF_HUB_OFFLINE",
        )


def check_use(use: ModelUse) -> None:
    """Raise CheckpointError, DataError or RecipeError where a folder cannot be used as asked."""
    if use.kind == "sentences":
        return  # sentence-transformers has folders of many forms, and tells by loading them
    if use.kind == "tagger":
        from tsqa.quality.names.tagger import check_tagger

        check_tagger(use.path)
        return
    config = load_config(use.path, use.key, use.trust_remote_code)
    if use.is_trained:
        check_text_only(config, f"{use.key} = {use.path}")
    check_weights(use.path, use.key, use.trust_remote_code)
    if use.length is not None:
        check_positions(config, use.length, use.length_key)
    if use.own_tokenizer:
        tokenizer = load_tokenizer(use.path, use.key, use.trust_remote_code)
        check_vocabulary(tokenizer, config.get_text_config().vocab_size, f"{use.key} = {use.path}")


def refuse_missing_ray(node: Node) -> None:
    """RecipeError where a stage is to work on a Ray cluster and Ray is not installed."""
    recipe = node.recipe
    wanted = []
    section = {"generate": recipe.generate, "filter": recipe.filter}.get(node.stage)
    if section is not None:
        teachers = teachers_of(section).items()
        wanted += [f"{teacher_key(role)}.cluster" for role, each in teachers if each.cluster]
    if node.stage == "filter" and recipe.filter and recipe.filter.cluster:
        wanted.append("filter.cluster")
    if node.stage in _SHARDED and recipe.mixture and recipe.mixture.tokenize_cluster:
        wanted.append("mixture.tokenize_cluster")
    for key in wanted:
        require_ray(key)


def _student(node: Node, recipe: Recipe) -> list[ModelUse]:
    model = recipe.model
    elsewhere = recipe.train.elsewhere if recipe.train else None
    if node.stage == "train" and model and elsewhere:
        trusts = model.trust_remote_code
        return [ModelUse(elsewhere, "train.elsewhere", None, "", trusts, own_tokenizer=False)]
    if model is None or not _is_given(model):
        return []
    if node.stage == "train":
        length = needed(recipe.train, "train").sequence_length
        own_tokenizer = recipe.tokenizer is None
        use = _use(model, "model.path", length, "train.sequence_length", own_tokenizer)
        return [replace(use, is_trained=True)]
    if trained_model(node.inputs):
        return []  # it scores what the recipe trains
    return [_use(model, "model.path", needed(recipe.eval, "eval").max_length, "eval.max_length")]


def _of_meanings(recipe: Recipe) -> list[ModelUse]:
    """The models that compare texts; a bare name, such as `all-MiniLM-L6-v2`, is left to
    sentence-transformers, which knows whose it is."""
    section = needed(recipe.filter, "filter")
    named = {
        "filter.dedup.semantic.model": section.dedup.semantic,
        "filter.decontaminate.semantic.model": section.decontaminate.semantic,
    }
    return [
        ModelUse(str(Path(found.model)), key, None, "", False, False, kind="sentences")
        for key, found in named.items()
        if found and (is_folder(found.model) or "/" in found.model)
    ]


def _is_given(model: ModelSection) -> bool:
    return model.path is not None and not model.path.startswith("{data}")


def _use(
    model: ModelSection, key: str, length: int | None, length_key: str, own_tokenizer: bool = True
) -> ModelUse:
    path = str(Path(str(model.path)))
    return ModelUse(path, key, length, length_key, model.trust_remote_code, own_tokenizer)
