"""The model ready to train: built, kept from leaking between documents, wrapped by DeepSpeed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator

from train.checkpoints.export import save_description
from train.model.build import build_model
from train.model.isolation import check_architecture, check_isolation, isolate
from train.model.loss import TokenLosses
from train.model.moe import Routers, mark_leaves
from train.model.optimizer import (
    build_optimizer,
    casts_spare,
    compute_norms_in_fp32,
    fp32_parameters,
)
from tsqa.recipe import needed
from tsqa.store.stage import StageContext

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Student:
    """A model in its DeepSpeed engine, and what trains it."""

    engine: DeepSpeedEngine
    optimizer: torch.optim.Optimizer
    losses: TokenLosses
    routers: Routers
    fp32_names: list[str]
    """Parameters that a bf16 run keeps in fp32."""


def prepare_student(
    context: StageContext,
    accelerator: Accelerator,
    tokenizer: PreTrainedTokenizerBase,
    eos: int,
    checkpoints: Path,
) -> Student:
    """Build the model of the recipe and wrap it; every rank must call this.

    The order matters. Before `accelerator.prepare` the model has its bare names, and whole shapes
    and types by which the optimizer groups its parameters; ZeRO-3 replaces the tensors there. After
    it the model runs only through the engine, which gathers weights and tracks gradients.
    """
    section = needed(context.recipe.train, "train")
    model = build_model(context, tokenizer)
    rows, device = section.micro_batch_size, accelerator.device
    check_architecture(model, rows, len(tokenizer), eos, device)
    if section.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    isolate(model, device)
    routers = Routers(model, section.router)
    if section.zero_stage == 3:
        mark_leaves(model)
    if accelerator.is_main_process:
        dtype = torch.float32 if section.precision == "fp32" else torch.bfloat16
        save_description(model, tokenizer, checkpoints, dtype)
    kept = fp32_parameters(model, section)
    compute_norms_in_fp32(model, kept)
    fp32_names = [n for n, p in model.named_parameters() if any(p is k for k in kept)]
    optimizer = build_optimizer(model, section)
    # DeepSpeed casts the whole model in there, parameters that stay in fp32 included.
    with casts_spare(kept):
        engine, optimizer = accelerator.prepare(model, optimizer)
    engine.train()
    # The check reads logits, and `TokenLosses` may replace the layer that makes them.
    check_isolation(engine, model.config, rows, len(tokenizer), eos, device)
    losses = TokenLosses(engine, model.config, section.loss_chunk, section.z_loss)
    return Student(engine, optimizer, losses, routers, fp32_names)
