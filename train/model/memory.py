"""What a model asks of the memory of a training process, before anything is loaded.

Guarantees: a pure function of a model on the meta device and of the run's settings, part by part;
each formula names its source. Not counted: fragments, and the context of the device.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers.pytorch_utils import Conv1D

from train.model.flops import FUSED, active_weights, attention_width, flops_per_token

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_BUCKET = 500_000_000
"""Elements of DeepSpeed's `reduce_bucket_size`; on a GPU there are two (`overlap_comm`), whose
sums over the ranks are taken in fp32."""
_UP = ("up_proj", "gate_up_proj", "dense_h_to_4h", "c_fc", "fc1")
_OFFLOAD_BUFFERS = 1.5
"""DeepSpeed's `additional_buffer_factor` of offloaded states."""


@dataclass(frozen=True)
class Kept:
    """What a block keeps of each token for its backward pass."""

    elements: float
    """In the type of the training."""
    bytes: float
    """Whatever the type."""

    def of(self, element_bytes: int) -> float:
        return self.elements * element_bytes + self.bytes


@dataclass(frozen=True)
class ModelShape:
    """What the formulas read of a model."""

    total: int
    active: float
    """Parameters that a token passes through, both embeddings included."""
    embedded: int
    """Those of the input embedding."""
    kinds: dict[str, int]
    """Kind of layer -> its parameters."""
    gathered: int
    """The most that ZeRO-3 gathers at once: a block with experts, or one layer."""
    width: int
    vocabulary: int
    blocks: tuple[Kept, ...]
    flops_at_zero: float
    flops_per_position: float

    def flops_per_token(self, sequence_length: int) -> float:
        """As `train.model.flops.flops_per_token`, which is linear in the length."""
        return self.flops_at_zero + self.flops_per_position * sequence_length


@dataclass(frozen=True)
class MemorySettings:
    """What of a run decides its memory."""

    world: int
    zero_stage: int
    micro_batch_size: int
    sequence_length: int
    element_bytes: int
    """2 in a bf16 run, 4 in an fp32 run."""
    offload: str = "none"
    gradient_checkpointing: bool = False
    loss_chunk: int | None = None
    on_gpu: bool = True


@dataclass(frozen=True)
class Memory:
    """Bytes of one process at its peak; `host`: offloaded to the CPU, its share of the node."""

    states: float
    """Parameters, their copy in fp32, the moments of AdamW, and what ZeRO-3 gathers."""
    gradients: float
    activations: float
    logits: float
    buffers: float
    host: float

    @property
    def total(self) -> float:
        return self.states + self.gradients + self.activations + self.logits + self.buffers


def shape_of(model: PreTrainedModel) -> ModelShape:
    """Read the shape of a model, which may be on the meta device."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    embedding = model.get_input_embeddings().weight
    head = model.get_output_embeddings()
    weights = sum(active_weights(module, model.config) for module in model.modules())
    vectors = sum(p.numel() for p in model.parameters() if p.dim() < 2)
    is_tied = head is not None and head.weight is embedding
    blocks = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    at_zero = flops_per_token(model, 0)
    return ModelShape(
        total=sum(p.numel() for p in model.parameters()),
        active=weights + vectors + (0 if is_tied else embedding.numel()),
        embedded=embedding.numel(),
        kinds=_count_kinds(model),
        gathered=max(_gathered(module) for module in model.modules()),
        width=model.config.hidden_size,
        vocabulary=embedding.shape[0],
        blocks=tuple(_kept_by(block, model.config) for block in blocks),
        flops_at_zero=at_zero,
        flops_per_position=flops_per_token(model, 1) - at_zero,
    )


def training_memory(shape: ModelShape, run: MemorySettings) -> Memory:
    """The peak of one process: all that is alive as the backward pass begins or ends."""
    states, gradients, host = model_states(shape.total, shape.gathered, run)
    tokens = run.micro_batch_size * run.sequence_length
    kept = [block.of(run.element_bytes) for block in shape.blocks]
    if run.gradient_checkpointing:
        # One input per block, and the block that is computed again (2205.05198, section 5).
        each = run.element_bytes * shape.width * len(kept) + max(kept, default=0.0)
    else:
        each = sum(kept)
    buffers = 0.0
    if not run.on_gpu:
        buffers, host = host, 0.0  # offloaded to the memory that the process has anyway
    elif run.zero_stage:
        buffers = 8.0 * min(_BUCKET, shape.total)  # two of fp32, or two of bf16 and one of fp32
    logits = logits_bytes(shape, tokens, run.loss_chunk, run.element_bytes)
    return Memory(states, gradients, tokens * each, logits, buffers, host)


def model_states(total: float, gathered: float, run: MemorySettings) -> tuple[float, float, float]:
    """(states, gradients, offloaded) bytes of a process with `total` parameters.

    ZeRO (1910.02054, section 3): stage 1 shards the optimizer's states, 2 also the gradients, 3
    also the parameters. Bytes a parameter as DeepSpeed counts them: parameters 2, gradients 2 and
    again 4 in fp32, master copy and moments 12. `estimate_zero2_model_states_mem_needs`:
    (2 + 18/N) P; `estimate_zero3_model_states_mem_needs`: 18/N P, gradients as 4, and 4 bytes of
    the largest layer that is gathered; offloaded states 1.5 times 16 or 18 bytes.
    An fp32 run: parameters 4, gradients 4, moments 8, and ZeRO's own copies of the first two.
    """
    stage, world = run.zero_stage, run.world
    if run.element_bytes == 4:
        weights, gradients = 4.0, 4.0 if stage == 0 else 8.0
        optimizer = 8.0 if stage == 0 else 12.0
    else:
        weights, gradients, optimizer = 2.0, 4.0 if stage == 3 else 6.0, 12.0
    optimizer /= world if stage >= 1 else 1
    gradients /= world if stage >= 2 else 1
    weights /= world if stage == 3 else 1
    leaf = 2.0 * run.element_bytes * gathered if stage == 3 else 0.0
    if run.offload == "none":
        return total * (weights + optimizer) + leaf, total * gradients, 0.0
    each = 18.0 if run.offload == "parameters" else 16.0
    on_device = 0.0 if run.offload == "parameters" else total * weights
    return on_device + leaf, 0.0, _OFFLOAD_BUFFERS * each * total / world


def logits_bytes(shape: ModelShape, tokens: int, chunk: int | None, element_bytes: int) -> float:
    """Logits, their copy in fp32 and their gradient, as `train.model.loss` makes them.

    In chunks the gradient of the output layer is added up in fp32, and once more for each chunk.
    """
    each = 8 if element_bytes == 4 else 10
    if chunk is None:
        return float(tokens * shape.vocabulary * each)
    head = shape.vocabulary * shape.width * (4 + element_bytes)
    return float(min(chunk, tokens) * shape.vocabulary * (each + 4) + head)


def _kept_by(block: torch.nn.Module, config: PreTrainedConfig) -> Kept:
    """After "Reducing Activation Recomputation" (2205.05198, section 4), by what each layer keeps.

    Attention is fused, so that no scores are kept; the scan of Mamba-2 keeps one state a chunk
    (2405.21060, its kernels), in fp32.
    """
    elements = kept_bytes = 0.0
    for module in block.modules():
        own = {name: tuple(p.shape) for name, p in module.named_parameters(recurse=False)}
        if isinstance(module, torch.nn.LayerNorm):
            elements += 2 * own.get("weight", (0,))[0]  # input and result
        elif "norm" in type(module).__name__.lower() and "weight" in own:
            # Input in fp32 and normalised in fp32; the result is the input of what comes next.
            kept_bytes += 8 * own["weight"][0]
            elements += own["weight"][0]
        elements += _kept_by_attention(module, config)
        if hasattr(module, "A_log") and hasattr(module, "ssm_state_size"):
            inner, state = _number(module, "intermediate_size"), _number(module, "ssm_state_size")
            elements += _outputs(module.in_proj) + _outputs(module.conv1d) + inner
            if hasattr(module, "chunk_size"):  # Mamba-1 has none
                kept_bytes += 4 * inner * state / _number(module, "chunk_size")
        if hasattr(module, "e_score_correction_bias"):
            kept_bytes += 4 * config.hidden_size  # the router reads its input in fp32
        elements += _kept_by_mlp(module, own, config)
    return Kept(elements, kept_bytes)


def _kept_by_attention(module: torch.nn.Module, config: PreTrainedConfig) -> float:
    """Elements per token: queries, keys, values and what is attended."""
    width = attention_width(module, config)
    if not width:
        return 0.0
    if hasattr(module, "kv_b_proj"):
        return 4 * width
    if hasattr(module, "q_proj"):
        return 2 * _outputs(module.q_proj) + 2 * _outputs(module.k_proj)
    return width + _outputs(next(getattr(module, name) for name in FUSED if hasattr(module, name)))


def _kept_by_mlp(
    module: torch.nn.Module, own: dict[str, tuple[int, ...]], config: PreTrainedConfig
) -> float:
    """Elements per token: a gate keeps 4 x its width, squared ReLU 2; experts also their tokens."""
    up = _up_layer(module)
    if up is not None:
        return _outputs(up) * (4 if hasattr(module, "gate_proj") else 2)
    experts = [shape for name, shape in own.items() if len(shape) == 3 and "down" in name]
    if experts:
        _, out, inner = experts[0]
        each = inner * (4 if any("gate" in name for name in own) else 2)
        return float(config.num_experts_per_tok * (2 * out + each))
    return 0.0


def _up_layer(module: torch.nn.Module) -> torch.nn.Module | None:
    """The layer that widens, in an MLP; with its gate, where both are one."""
    named = (getattr(module, name, None) for name in _UP)
    return next((up for up in named if isinstance(up, torch.nn.Linear | Conv1D)), None)


def _number(module: torch.nn.Module, name: str) -> int:
    return int(getattr(module, name))


def _outputs(layer: object) -> int:
    """Of a linear layer or a convolution: the rows of its weight, of GPT-2's the columns."""
    assert isinstance(layer, torch.nn.Module)
    if isinstance(layer, Conv1D):
        return int(layer.nf)
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return weight.shape[0]


def _gathered(module: torch.nn.Module) -> int:
    """What ZeRO-3 gathers for a module: its own parameters, or a whole block of experts."""
    whole = hasattr(module, "experts") and hasattr(module, "gate")
    return sum(p.numel() for p in module.parameters(recurse=whole))


def _count_kinds(model: PreTrainedModel) -> dict[str, int]:
    kinds: Counter[str] = Counter()
    seen: set[int] = set()
    marks = {
        "Mamba-2": lambda m: hasattr(m, "A_log"),
        "attention": lambda m: attention_width(m, model.config) > 0,
        "experts": lambda m: (
            any(p.dim() == 3 for p in m.parameters(recurse=False))
            and not isinstance(m, torch.nn.Conv1d)
        ),
        "MLP": lambda m: _up_layer(m) is not None,
        "embeddings": lambda m: m in (model.get_input_embeddings(), model.get_output_embeddings()),
    }
    for kind, is_kind in marks.items():
        for module in filter(is_kind, model.modules()):
            for parameter in module.parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    kinds[kind] += parameter.numel()
    rest = sum(p.numel() for p in model.parameters() if id(p) not in seen)
    return {**kinds, "norms and routers": rest}
