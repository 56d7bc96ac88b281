"""Weights as a Hugging Face folder: of the running model, or of any checkpoint on disk.

Guarantees: the folder appears whole or not at all; its tensors are safetensors in the training
precision, under the names that transformers reads.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator

from train.checkpoints.checkpoint import TAG, WHOLE, convert, is_sharded, verify
from train.checkpoints.unpickling import only_data
from train.checkpoints.unwritten import whole_or_told
from tsqa.errors import CheckpointError
from tsqa.hub.model_folder import keep_savable, load_config

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL = "model"
"""Folder next to the checkpoints: the configs and the tokenizer that an export needs."""


def export_model(
    accelerator: Accelerator,
    engine: DeepSpeedEngine,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> None:
    """Write the running model; every rank must call this, as ZeRO-3 gathers the weights."""
    state = accelerator.get_state_dict(engine)
    if accelerator.is_main_process:
        _write(accelerator.unwrap_model(engine), state, tokenizer, folder)
    accelerator.wait_for_everyone()


def save_description(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    checkpoints: Path,
    dtype: torch.dtype,
) -> None:
    """Write the configs, the tokenizer and the code of a model that brings its own, for
    `export_checkpoint`; `dtype` is the run's precision.
    """
    from transformers.dynamic_module_utils import custom_object_save

    folder = checkpoints / MODEL
    temporary = folder.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    model.config.dtype = dtype
    if model.is_remote_code():
        custom_object_save(model, temporary, config=model.config)
    model.config.save_pretrained(temporary)
    keep_savable(model)
    model.generation_config.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def export_checkpoint(checkpoint: Path, folder: Path, trust_remote_code: bool = False) -> None:
    """Write the model of `.../checkpoints/step-N` into a new folder, from its fp32 weights.

    CheckpointError where the checkpoint is damaged, its description is missing, or that holds
    code which `trust_remote_code` does not allow to run.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import GENERATION_CONFIG_NAME

    manifest = verify(checkpoint)
    described = checkpoint.parent / MODEL
    if not described.is_dir():
        raise CheckpointError(
            f"{described}: no such folder", "give a checkpoint below its run's checkpoints folder"
        )
    trust = {"trust_remote_code": trust_remote_code}
    config = load_config(str(described), "the model of the checkpoint", **trust)
    trained_in = config.dtype  # from_config overwrites it
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, **trust)
    if (described / GENERATION_CONFIG_NAME).is_file():  # not beside checkpoints of before
        model.generation_config = GenerationConfig.from_pretrained(described)
    parameters = dict(model.named_parameters())  # tied ones come once
    for name, weights in _weights_of(checkpoint, parameters):
        parameters[name].data = weights.reshape(parameters[name].shape)
    state = manifest["state"]
    for name, bias in state["routers"]["biases"].items():
        model.get_submodule(name).e_score_correction_bias.copy_(torch.tensor(bias))
    for name, parameter in model.named_parameters():
        if name not in state["fp32"]:
            parameter.data = parameter.data.to(trained_in)
    _write(model, model.state_dict(), AutoTokenizer.from_pretrained(described, **trust), folder)


def _weights_of(checkpoint: Path, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """The fp32 weights of a checkpoint by name, flat where ZeRO shards them."""
    if not is_sharded(checkpoint):
        with only_data(str(checkpoint)):
            module = torch.load(checkpoint / TAG / WHOLE, map_location="cpu")["module"]
        yield from ((name, module[name]) for name in names)
        return
    converted = convert(checkpoint)
    for name in names:
        path = converted / TAG / "zero" / name / "fp32.pt"
        if not path.is_file():
            raise CheckpointError(f"{checkpoint}: no weights for {name}")
        saved = torch.load(path, weights_only=True)
        yield name, saved["param"] if isinstance(saved, dict) else saved
    shutil.rmtree(converted)


def _write(
    model: PreTrainedModel,
    weights: dict[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> None:
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.config.use_cache = True
    keep_savable(model)
    with whole_or_told(temporary):
        model.save_pretrained(temporary, state_dict=weights)
        tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
