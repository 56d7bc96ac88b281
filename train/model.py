"""The student: built from a config with a seed, or loaded from a folder, the hub or a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tsqa.errors import DataError, RecipeError
from tsqa.recipe import needed
from tsqa.stage import StageContext


def build_model(context: StageContext, tokenizer: Any) -> Any:
    """The model in the training precision, its vocabulary and special ids the tokenizer's."""
    section = needed(context.recipe.model, "model")
    precision = needed(context.recipe.train, "train").precision
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if section.config is not None:
        return _from_config(dict(section.config), tokenizer, context.recipe.seed, dtype)
    origin = str(section.path)
    if section.recipe is not None:
        if "model" not in context.inputs:
            raise DataError(f"model.recipe {section.recipe}: its trained model is not there")
        origin = str(context.inputs["model"].path / "hf")
    return _from_folder(origin, tokenizer, dtype, section.trust_remote_code)


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two optimizer groups: no weight decay for biases, norms and other one-dimensional ones.

    ZeRO-3 has flattened its parameters by then, hence `ds_shape`.
    """
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            shape = getattr(parameter, "ds_shape", parameter.shape)
            (decayed if len(shape) >= 2 else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _from_config(values: dict[str, Any], tokenizer: Any, seed: int, dtype: torch.dtype) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    # Under ZeRO-3 transformers would shard first and initialise after, so that the weights depend
    # on the number of processes. A loaded model is sharded as it is read; a new one is made whole.
    unset_hf_deepspeed_config()
    kind = values.pop("model_type")
    values["vocab_size"] = max(values.get("vocab_size", 0), len(tokenizer))
    for name in ("eos_token_id", "bos_token_id", "pad_token_id"):
        values[name] = getattr(tokenizer, name)
    try:
        config = AutoConfig.for_model(kind, **values)
        torch.manual_seed(seed)
        # Initialised in float32, so that both precisions start from the same weights.
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).to(dtype)
    except (ValueError, TypeError, RuntimeError, KeyError, AttributeError) as error:
        raise RecipeError(f"model.config: transformers refuses {kind}: {error}") from error


def _from_folder(origin: str, tokenizer: Any, dtype: torch.dtype, trust: bool) -> Any:
    from transformers import AutoModelForCausalLM

    if origin.startswith((".", "/")) and not Path(origin).is_dir():
        raise DataError(f"model.path {origin}: no such folder")
    try:
        model = AutoModelForCausalLM.from_pretrained(origin, dtype=dtype, trust_remote_code=trust)
    except (OSError, ValueError) as error:
        raise RecipeError(f"model {origin}: cannot be loaded: {error}") from error
    vocabulary = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > vocabulary:
        raise RecipeError(
            f"the tokenizer has {len(tokenizer):,} tokens, model {origin} only {vocabulary:,}",
            "drop the `tokenizer` section to use the model's own",
        )
    return model
