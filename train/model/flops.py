"""Floating-point operations of a training token, for the model FLOPs utilisation (MFU).

Guarantees: counts follow published formulas, without the repeats of gradient checkpointing: matrix
products and attention after PaLM (2204.02311, appendix B: 6 per weight, 12 x heads x width x length
per attention layer, no discount for causality), the Mamba-2 scan after Megatron-LM
(`num_floating_point_operations`: 7 x inner width x state size, forward); an expert's weights count
by the share of tokens that reach it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_TRAINING = 3
"""Forward once, backward twice."""


def flops_per_token(model: PreTrainedModel, sequence_length: int) -> float:
    """Count the forward and backward operations per token at a sequence length."""
    config = model.config
    forward = 0.0
    for module in model.modules():
        forward += 2 * active_weights(module, config)
        if hasattr(module, "q_proj") and hasattr(module, "k_proj"):
            heads = config.num_attention_heads
            width = getattr(config, "head_dim", None) or config.hidden_size // heads
            forward += 4 * heads * width * sequence_length
        if hasattr(module, "A_log") and hasattr(module, "ssm_state_size"):
            forward += 7 * module.intermediate_size * module.ssm_state_size
    return _TRAINING * forward


def active_weights(module: torch.nn.Module, config: PreTrainedConfig) -> float:
    """A module's weights that multiply one token, without those of its children."""
    if isinstance(module, torch.nn.Embedding):
        return 0.0
    total = 0.0
    for parameter in module.parameters(recurse=False):
        shape = getattr(parameter, "ds_shape", parameter.shape)
        if len(shape) == 3 and not isinstance(module, torch.nn.Conv1d):
            total += math.prod(shape) * config.num_experts_per_tok / shape[0]
        elif len(shape) >= 2:
            total += math.prod(shape)
    return total
