"""Weights as a Hugging Face folder: of the running model, or of any checkpoint on disk.

Promises: the folder appears whole or not at all; its tensors are safetensors in the training
precision, under the names that transformers reads.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from train.checkpoint import TAG, verify
from tsqa.errors import CheckpointError

MODEL = "model"
"""Folder beside the checkpoints: the config and the tokenizer that an export needs."""


def export_model(accelerator: Accelerator, engine: Any, tokenizer: Any, folder: Path) -> None:
    """Write the running model; collective, as ZeRO-3 gathers it."""
    state = accelerator.get_state_dict(engine)
    if accelerator.is_main_process:
        _write(accelerator.unwrap_model(engine), state, tokenizer, folder)
    accelerator.wait_for_everyone()


def save_description(model: Any, tokenizer: Any, checkpoints: Path) -> None:
    """Write what `export_checkpoint` needs beside the weights."""
    folder = checkpoints / MODEL
    temporary = folder.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.config.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def export_checkpoint(checkpoint: Path, folder: Path) -> None:
    """Write the model of `.../checkpoints/step-N` into a new folder, from its fp32 weights.

    CheckpointError where the checkpoint is damaged or its description is missing.
    """
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    manifest = verify(checkpoint)
    described = checkpoint.parent / MODEL
    if not described.is_dir():
        raise CheckpointError(
            f"{described}: no such folder", "give a checkpoint below its run's checkpoints folder"
        )
    config = AutoConfig.from_pretrained(described)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    weights = get_fp32_state_dict_from_zero_checkpoint(str(checkpoint), TAG)
    missing = model.load_state_dict(weights, strict=False).missing_keys
    unknown = set(missing) - set(dict(model.named_buffers()))
    if unknown and not config.tie_word_embeddings:
        raise CheckpointError(f"{checkpoint}: no weights for {sorted(unknown)[0]}")
    for name, bias in manifest["state"].get("routers", {}).get("biases", {}).items():
        model.get_submodule(name).e_score_correction_bias.copy_(torch.tensor(bias))
    for name, parameter in model.named_parameters():
        if name not in manifest["state"]["fp32"]:
            parameter.data = parameter.data.to(config.dtype)
    _write(model, model.state_dict(), AutoTokenizer.from_pretrained(described), folder)


def _write(model: Any, state: dict[str, torch.Tensor], tokenizer: Any, folder: Path) -> None:
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.config.use_cache = True
    model.save_pretrained(temporary, state_dict=state)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
