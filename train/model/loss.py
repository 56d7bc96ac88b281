"""The loss of a micro-batch: the cross-entropy of each target, and the z-loss.

Guarantees: in one piece or in chunks (`train.loss_chunk`), the loss and its gradients are the same
but for the order of additions. In chunks, a micro-batch never holds all its logits: with a
vocabulary of 131,072 those of 8,192 tokens take 4 GiB, several times over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from train.data.stream import IGNORED, MicroBatch, collate
from train.model.isolation import forward_arguments
from tsqa.errors import EngineError

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine
    from transformers import PreTrainedConfig

_PROBE_LENGTH = 8


class TokenLosses:
    """The losses of an engine; every rank must build it, as with `chunk` it runs a forward pass."""

    def __init__(
        self, engine: DeepSpeedEngine, config: PreTrainedConfig, chunk: int | None, z_loss: float
    ) -> None:
        """`chunk`: tokens whose logits are held at once, None for all."""
        self._engine, self._config = engine, config
        self._chunk, self._z_loss = chunk, z_loss
        self._targets = self._losses = torch.empty(0)
        if chunk is not None:
            self._replace_head(engine.module.get_output_embeddings(), chunk)

    def __call__(self, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss to minimise, summed over the valid tokens: () float32; and each token's
        cross-entropy, 0 where it is no target: (rows, length) float32, without gradient."""
        self._targets = targets = batch.targets.flatten()
        out = self._engine(**forward_arguments(self._config, batch)).logits
        if self._chunk is not None:
            return out, self._losses.view_as(batch.targets)
        logits = out.float().flatten(0, 1)
        losses = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
        total = losses.sum()
        if self._z_loss:
            valid = targets != IGNORED
            total = total + self._z_loss * (logits.logsumexp(-1).square() * valid).sum()
        return total, losses.detach().view_as(batch.targets)

    @torch.no_grad()
    def _replace_head(self, head: torch.nn.Module, chunk: int) -> None:
        """Make the output layer return the loss; refuse a model that does more with its logits.

        The loss must be taken within the engine's forward pass: DeepSpeed's bf16 optimizer
        silently loses the gradients of weights that are used outside of it.
        """

        def loss(hidden: torch.Tensor) -> torch.Tensor:
            total, self._losses = _ChunkedLoss.apply(  # type: ignore[no-untyped-call]
                hidden.flatten(0, 1), head.weight, self._targets, chunk, self._z_loss,
                torch.is_grad_enabled(),
            )  # fmt: skip
            minimised: torch.Tensor = total
            return minimised

        plain = False
        if isinstance(head, torch.nn.Linear) and head.bias is None:
            device = next(self._engine.module.parameters()).device
            batch = collate([torch.arange(1, 1 + _PROBE_LENGTH).numpy()], [0], 0).to(device)
            # Whatever the model does to its logits (a scale, a soft cap) would show on these.
            probe = torch.linspace(-100, 100, head.out_features, device=device)
            head.forward = lambda hidden: probe.expand(*hidden.shape[:-1], -1)
            logits = self._engine(**forward_arguments(self._config, batch)).logits
            plain = bool((logits == probe).all())
        if not plain:
            raise EngineError(
                f"train.loss_chunk: a {self._config.model_type} does more for its logits than "
                "multiply by a matrix",
                "leave train.loss_chunk out",
            )
        head.forward = loss


class _ChunkedLoss(torch.autograd.Function):
    """Cross-entropy and z-loss of hidden (tokens, width) under weight (vocabulary, width).

    If `wanted`, the gradients are computed with the loss, while the logits exist: the fused linear
    cross-entropy of Liger Kernel (2410.10989), without its kernels.
    """

    @staticmethod
    def forward(
        context: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        chunk: int,
        z_loss: float,
        wanted: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        total = torch.zeros((), device=hidden.device)
        losses = torch.zeros(len(targets), device=hidden.device)
        to_hidden = torch.empty_like(hidden) if wanted else None
        to_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted else None
        for begin in range(0, len(targets), chunk):
            part = slice(begin, begin + chunk)
            logits = (hidden[part] @ weight.T).float()
            valid = targets[part] != IGNORED
            target = targets[part].where(valid, 0)[:, None]
            log_z = logits.logsumexp(-1)
            losses[part] = (log_z - logits.gather(1, target)[:, 0]) * valid
            total += losses[part].sum() + z_loss * (log_z.square() * valid).sum()
            if to_hidden is None or to_weight is None:
                continue
            # d loss = softmax - one-hot; d log_z = softmax.
            gradient = logits.sub_(log_z[:, None]).exp_()
            gradient *= (valid * (1 + 2 * z_loss * log_z))[:, None]
            gradient.scatter_add_(1, target, -valid[:, None].float())
            gradient = gradient.to(weight.dtype)
            to_hidden[part] = gradient @ weight
            to_weight += gradient.T @ hidden[part]
        context.save_for_backward(to_hidden, to_weight)
        context.dtype = weight.dtype
        context.mark_non_differentiable(losses)
        return total, losses

    @staticmethod
    def backward(
        context: Any, gradient: torch.Tensor, _: object
    ) -> tuple[torch.Tensor | None, ...]:
        to_hidden, to_weight = context.saved_tensors
        scale = gradient.to(to_hidden.dtype)
        return to_hidden * scale, (to_weight * gradient).to(context.dtype), *[None] * 4
