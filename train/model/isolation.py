"""Documents packed in one row must not see each other: attention, convolution and SSM state.

Guarantees: after `isolate(model)` and `check_isolation` a model keeps documents apart; otherwise it
is refused. Attention follows position ids that restart; Mamba-2's torch fallbacks ignore `seq_idx`,
so on CPU they are replaced by the versions below; on a GPU the mamba_ssm and causal_conv1d kernels
honour it.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from train.data.stream import MicroBatch, collate
from tsqa.errors import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_PROBE_LENGTH = 48
_LARGEST_PROBED = 1e9
"""Parameters up to which a second model is built to be probed: those that train from scratch."""


def isolate(model: PreTrainedModel, device: torch.device) -> None:
    """Replace the leaking fallbacks of NemotronH; refuse a GPU that has only these."""
    if model.config.model_type != "nemotron_h":
        return
    if device.type == "cpu":
        from transformers.models.nemotron_h import modeling_nemotron_h as module

        # The layers look these names up at every call: the model may exist already.
        module.causal_conv1d_fn = isolated_conv
        module.mamba2_chunk_scan = isolated_scan
        return
    from transformers.utils.import_utils import is_causal_conv1d_available, is_mamba_2_ssm_available

    if not (is_mamba_2_ssm_available() and is_causal_conv1d_available()):
        raise EngineError(
            "packed documents would leak into each other: the Mamba-2 kernels are not installed",
            "pip install mamba-ssm causal-conv1d",
        )


def forward_arguments(config: PreTrainedConfig, batch: MicroBatch) -> dict[str, object]:
    """Make the arguments of a forward pass that keeps documents apart."""
    arguments: dict[str, object] = {
        "input_ids": batch.tokens,
        "position_ids": batch.positions,
        "use_cache": False,
    }
    if config.model_type == "nemotron_h":
        arguments["seq_idx"] = batch.documents.to(torch.int32)
    if "flash" in config._attn_implementation:
        # By position ids alone transformers keeps documents apart in a batch of one row only.
        arguments |= dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), batch.cu_seqlens)
        arguments |= dict.fromkeys(("max_length_q", "max_length_k"), batch.max_seqlen)
    return arguments


@torch.no_grad()
def check_isolation(
    model: torch.nn.Module,
    config: PreTrainedConfig,
    rows: int,
    vocab_size: int,
    eos: int,
    device: torch.device,
) -> None:
    """Change one token of a document; raise EngineError if a logit of its neighbour moves.

    The batch has as many `rows` as in training, all alike: kernels depend on the number of rows.
    """
    usable = [token for token in range(min(vocab_size, 256)) if token != eos]
    row = torch.tensor(usable * (_PROBE_LENGTH // len(usable) + 1))[:_PROBE_LENGTH]
    cut = _PROBE_LENGTH // 2
    row[cut - 1] = eos
    changed = row.clone()
    changed[cut - 2] = usable[-1]
    logits = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for variant in (row, changed):
            torch.manual_seed(0)
            batch = collate([variant.numpy()] * rows, [0] * rows, eos).to(device)
            logits.append(model(**forward_arguments(config, batch)).logits.float())
    before, after = logits
    moved = float((before - after)[:, cut:].abs().max())
    tolerance = 1e-4 if before.dtype == next(model.parameters()).dtype else 3e-2
    if not moved <= tolerance * max(1.0, float(before.abs().max())):
        raise EngineError(
            f"packed documents leak: a change in one document moved its neighbour's logits by "
            f"{moved:.3g} (model_type {config.model_type}, attention "
            f"{config._attn_implementation})",
            "try train.micro_batch_size 1, or leave train.attention out; else use a model_type or "
            "kernels that keep packed documents apart",
        )


def check_architecture(
    model: PreTrainedModel, rows: int, vocab_size: int, eos: int, device: torch.device
) -> None:
    """As `check_isolation`, of another model of its class, in fp32 and with larger random weights.

    A model from scratch may leak less than bf16 rounds, or than is told from rounding in fp32. Not
    with flash attention, which knows no fp32, nor of NemotronH, whose layers are told of documents.
    """
    size = sum(getattr(weight, "ds_numel", weight.numel()) for weight in model.parameters())
    is_flash = "flash" in model.config._attn_implementation
    if is_flash or model.config.model_type == "nemotron_h" or size > _LARGEST_PROBED:
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        with torch.device(device):
            other = type(model)(copy.deepcopy(model.config)).float()
        for weight in other.parameters():
            if weight.dim() >= 2:
                torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
    check_isolation(other, other.config, rows, vocab_size, eos, device)


def isolated_conv(
    hidden_states: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    activation: str | None = None,
    seq_idx: torch.Tensor | None = None,
    **_: object,
) -> torch.Tensor:
    """Causal depthwise convolution whose taps stop at the start of the document."""
    from transformers.activations import ACT2FN

    length, width = hidden_states.shape[-1], weight.shape[-1]
    out = hidden_states * weight[:, -1, None]
    for back in range(1, min(width, length)):
        tap = hidden_states[..., :-back]
        if seq_idx is not None:
            tap = tap * (seq_idx[:, back:] == seq_idx[:, :-back])[:, None].to(tap.dtype)
        out = out + F.pad(tap, (back, 0)) * weight[:, -1 - back, None]
    if bias is not None:
        out = out + bias[:, None]
    if activation is not None:
        out = ACT2FN[activation](out)
    return out.to(hidden_states.dtype)


def isolated_scan(
    hidden_states: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    chunk_size: int,
    D: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    initial_states: torch.Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    return_final_states: bool = False,
    seq_idx: torch.Tensor | None = None,
    **_: object,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Mamba-2's chunked scan with a decay of exactly zero into the first token of a document.

    The log-decay is -inf there. Sums of it only start anew and are never subtracted, so that no
    -inf - -inf becomes NaN.
    """
    batch, length, heads, width = hidden_states.shape
    groups, states = B.shape[2:]
    dt = dt if dt_bias is None else dt + dt_bias.to(dt.dtype)
    dt = torch.clamp(F.softplus(dt) if dt_softplus else dt, *dt_limit).float()
    x = hidden_states.float()
    decay = A.float() * dt
    if seq_idx is not None:
        starts = F.pad(seq_idx[:, 1:] != seq_idx[:, :-1], (1, 0))
        decay = decay.masked_fill(starts[..., None], -torch.inf)
    split = (groups, heads // groups)
    log = _chunks(decay, chunk_size, *split).permute(0, 1, 3, 4, 2)
    scaled = _chunks(x * dt[..., None], chunk_size, *split, width).permute(0, 1, 3, 4, 2, 5)
    keys = _chunks(B.float(), chunk_size, groups, states).transpose(2, 3)
    queries = _chunks(C.float(), chunk_size, groups, states).transpose(2, 3)
    if initial_states is not None:
        initial_states = initial_states.float().reshape(batch, 1, *split, width, states)
    out, final = _scan_chunks(log, scaled, keys, queries, initial_states)
    out = out.permute(0, 1, 4, 2, 3, 5).reshape(batch, -1, heads, width)[:, :length]
    if D is not None:
        out = out + D[..., None] * x
    if return_final_states:
        return out, final.reshape(batch, heads, width, states)
    return out


def _chunks(value: torch.Tensor, size: int, *shape: int) -> torch.Tensor:
    """Cut (batch, length, ...) into chunks, padded with zeros: (batch, chunks, size, *shape)."""
    batch, length = value.shape[:2]
    value = F.pad(value, (0, 0) * (value.dim() - 2) + (0, -length % size))
    return value.reshape(batch, -1, size, *shape)


def _scan_chunks(
    log: torch.Tensor,
    scaled: torch.Tensor,
    keys: torch.Tensor,
    queries: torch.Tensor,
    first: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs (b, c, g, h, l, p), and the state (b, g, h, p, n) after the last chunk.

    b batch, c and z chunks, g group, h head of the group, l position in the chunk, p width of a
    head, n state: `log` (b, c, g, h, l), `scaled` (b, c, g, h, l, p), `keys` and `queries`
    (b, c, g, l, n), `first` (b, 1, g, h, p, n) or None for zeros.
    """
    within = torch.exp(_segment_sum(log))
    scores = (queries @ keys.transpose(-1, -2))[:, :, :, None] * within
    out = scores @ scaled
    # The state that each chunk adds, then the state that each chunk starts from.
    left = (scaled * within[..., -1, :, None]).transpose(-1, -2) @ keys[:, :, :, None]
    left = torch.cat([torch.zeros_like(left[:, :1]) if first is None else first, left], 1)
    total = F.pad(log.sum(-1).movedim(1, -1), (1, 0))
    carried = torch.einsum("bghcz,bzghpn->bcghpn", torch.exp(_segment_sum(total)), left)
    into = torch.exp(log.cumsum(-1))[..., None]
    out = out + into * (queries[:, :, :, None] @ carried[:, :-1].transpose(-1, -2))
    return out, carried[:, -1]


def _segment_sum(values: torch.Tensor) -> torch.Tensor:
    """Return [..., i, j] = values[j + 1] + ... + values[i]; -inf above the diagonal.

    Not as a difference of two running sums: these would both be -inf after a document's start.
    """
    size = values.shape[-1]
    ones = torch.ones(size, size, dtype=torch.bool, device=values.device)
    spread = values[..., None].expand(*values.shape, size).masked_fill(~ones.tril(-1), 0)
    return spread.cumsum(-2).masked_fill(~ones.tril(), -torch.inf)
