"""The loss of a micro-batch: the cross-entropy of each target, and the z-loss.

Promises: whole logits or some at a time, the loss and its gradients are the same but for the order
of additions. Some at a time (`train.loss_chunk`), a micro-batch never holds all its logits: with
131,072 words those of 8,192 tokens are 4 GiB, several times over.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from train.data.stream import IGNORED, MicroBatch, collate
from train.model.isolation import forward_arguments
from tsqa.errors import EngineError

_PROBE_LENGTH = 8


class TokenLosses:
    """An engine's losses; built on all ranks alike, once the engine is."""

    def __init__(self, engine: Any, config: Any, chunk: int | None, z_loss: float) -> None:
        """`chunk` is the tokens whose logits are held at once, None for all; see the recipe."""
        self._engine, self._config = engine, config
        self._chunk, self._z_loss = chunk, z_loss
        self._targets = self._losses = torch.empty(0)
        if chunk is not None:
            self._replace_head(engine.module.get_output_embeddings(), chunk)

    def __call__(self, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """What to minimise, summed over the valid tokens: () float32; and the cross-entropy of
        each token, 0 where it is no target: (rows, length) float32, without gradient."""
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
    def _replace_head(self, head: Any, chunk: int) -> None:
        """Let the output layer return what to minimise; refuse a model that wants its logits.

        It must happen within the engine's forward pass, or DeepSpeed loses the weight's gradient.
        """

        def loss(hidden: torch.Tensor) -> torch.Tensor:
            total, self._losses = _ChunkedLoss.apply(  # type: ignore[no-untyped-call]
                hidden.flatten(0, 1), head.weight, self._targets, chunk, self._z_loss,
                torch.is_grad_enabled(),
            )  # fmt: skip
            minimised: torch.Tensor = total
            return minimised

        plain = isinstance(head, torch.nn.Linear) and head.bias is None
        if plain:
            device = next(self._engine.module.parameters()).device
            batch = collate([torch.arange(1, 1 + _PROBE_LENGTH).numpy()], [0], 0).to(device)
            given = torch.linspace(-100, 100, head.out_features, device=device)
            head.forward = lambda hidden: given.expand(*hidden.shape[:-1], -1)
            logits = self._engine(**forward_arguments(self._config, batch)).logits
            plain = bool((logits == given).all())
        if not plain:
            raise EngineError(
                f"train.loss_chunk: a {self._config.model_type} does more for its logits than "
                "multiply by a matrix",
                "leave train.loss_chunk out",
            )
        head.forward = loss


class _ChunkedLoss(torch.autograd.Function):
    """Cross-entropy and z-loss of hidden (tokens, width) under weight (vocabulary, width).

    Where `wanted`, gradients are taken with the loss, as the logits are at hand then: the fused
    linear cross-entropy of Liger Kernel (2410.10989), without its kernels.
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
            place = targets[part].where(valid, 0)[:, None]
            log_z = logits.logsumexp(-1)
            losses[part] = (log_z - logits.gather(1, place)[:, 0]) * valid
            total += losses[part].sum() + z_loss * (log_z.square() * valid).sum()
            if to_hidden is None or to_weight is None:
                continue
            # d loss = softmax - one-hot; d log_z = softmax.
            gradient = logits.sub_(log_z[:, None]).exp_()
            gradient *= (valid * (1 + 2 * z_loss * log_z))[:, None]
            gradient.scatter_add_(1, place, -valid[:, None].float())
            gradient = gradient.to(weight.dtype)
            to_hidden[part] = gradient @ weight
            to_weight += gradient.T @ hidden[part]
        context.save_for_backward(to_hidden, to_weight)
        context.dtype = weight.dtype
        context.mark_non_differentiable(losses)
        return total, losses

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor, _: Any) -> tuple[Any, ...]:
        to_hidden, to_weight = context.saved_tensors
        scale = gradient.to(to_hidden.dtype)
        return to_hidden * scale, (to_weight * gradient).to(context.dtype), *[None] * 4
