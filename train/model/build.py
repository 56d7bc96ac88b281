"""The student: built from a config with a seed, or loaded from a folder, the hub or a recipe.

Guarantees: weights come from safetensors only, and no code from the hub runs unless the recipe
allows it; parameters that a bf16 run keeps in fp32 are never rounded on loading.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from train.model.optimizer import fp32_parameters
from tsqa.errors import DataError, RecipeError
from tsqa.hub.model_folder import (
    check_files,
    check_positions,
    check_text_only,
    check_vocabulary,
    is_folder,
    refuse_differences,
    vocabulary_size,
)
from tsqa.hub.pins import pinned_folder
from tsqa.recipe import ModelSection, TrainSection, needed
from tsqa.store.stage import StageContext

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def build_model(context: StageContext, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Build or load the model in the training precision; it must fit the tokenizer."""
    section = needed(context.recipe.model, "model")
    train = needed(context.recipe.train, "train")
    if section.config is not None:
        model = _from_config(dict(section.config), tokenizer, context.recipe.seed, train)
        check_positions(model.config, train.sequence_length, "train.sequence_length")
        return model
    origin = pinned_folder(str(section.path), trust_remote_code=section.trust_remote_code)
    if section.recipe is not None:
        if "model" not in context.inputs:
            raise DataError(f"model.recipe {section.recipe}: its trained model is not there")
        origin = str(context.inputs["model"].path / "hf")
    model = _from_folder(origin, tokenizer, section, train)
    check_positions(model.config, train.sequence_length, "train.sequence_length")
    return model


def new_model(values: Mapping[str, object], **options: object) -> PreTrainedModel:
    """Make the model of a transformers config with `model_type`; RecipeError if it is refused."""
    from transformers import AutoConfig, AutoModelForCausalLM

    rest = {name: value for name, value in values.items() if name != "model_type"}
    kind = values["model_type"]
    try:
        config = AutoConfig.for_model(kind, **rest)
        model = AutoModelForCausalLM.from_config(config, **options)
    except Exception as error:  # each model class raises other ones
        raise RecipeError(f"model.config: transformers refuses {kind}: {error}") from error
    check_text_only(model.config, "model.config")
    return model


def _from_config(
    values: dict[str, Any], tokenizer: PreTrainedTokenizerBase, seed: int, train: TrainSection
) -> PreTrainedModel:
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    # Under ZeRO-3 transformers would shard first and initialise after, so that the weights depend
    # on the number of processes. A loaded model is sharded as it is read; a new one is
    # initialised whole, and sharded later.
    unset_hf_deepspeed_config()
    values["vocab_size"] = max(values.get("vocab_size", 0), vocabulary_size(tokenizer))
    for name in ("eos_token_id", "bos_token_id", "pad_token_id"):
        values[name] = getattr(tokenizer, name)
    torch.manual_seed(seed)
    # Initialised in float32, so that both precisions start from the same weights.
    model = new_model(values, dtype=torch.float32, attn_implementation=train.attention)
    return _to_precision(model, train)


def _from_folder(
    origin: str, tokenizer: PreTrainedTokenizerBase, section: ModelSection, train: TrainSection
) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    key = "model.path"
    if is_folder(origin):
        check_files(Path(origin), key)
    elif origin.startswith((".", "/")):
        raise DataError(f"{key} = {origin}: no such folder", "correct the path")
    whole = train.precision == "fp32" or bool(train.fp32_parameters)
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            origin,
            dtype=torch.float32 if whole else torch.bfloat16,
            trust_remote_code=section.trust_remote_code,
            use_safetensors=True,
            attn_implementation=train.attention,
            ignore_mismatched_sizes=True,  # reported by name below
            output_loading_info=True,
        )
    except (OSError, ValueError, ImportError) as error:
        raise RecipeError(f"{key} = {origin}: cannot be loaded: {error}") from error
    check_text_only(model.config, f"{key} = {origin}")
    refuse_differences(found, f"{key} = {origin}")
    check_vocabulary(tokenizer, model.get_input_embeddings().num_embeddings, f"{key} = {origin}")
    return _to_precision(model, train)


def _to_precision(model: PreTrainedModel, train: TrainSection) -> PreTrainedModel:
    """Cast the parameters of a bf16 run, except those that it keeps in fp32.

    Buffers stay in fp32: rotary frequencies and router biases are wrong in bf16.
    """
    if train.precision == "bf16":
        kept = set(map(id, fp32_parameters(model, train)))
        for parameter in model.parameters():
            if id(parameter) not in kept and parameter.dtype == torch.float32:
                parameter.data = parameter.data.to(torch.bfloat16)
        model.config.dtype = torch.bfloat16
    return model
