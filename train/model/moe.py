"""Routers of a mixture-of-experts model: balanced, counted, and safe to shard.

Guarantees: the expert bias moves by the load of the whole global batch, so that every split into
ranks and micro-batches moves it alike; the balancing loss is a mean over rows, for the same reason;
padding counts in neither; a model without routers is not changed.

Biases after "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts" (2408.15664,
algorithm 1), the loss of each sequence after DeepSeek-V3 (2412.19437, equations 17 to 20).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from typing_extensions import TypedDict

from tsqa.errors import RecipeError
from tsqa.recipe import RouterSection

_BIAS = "e_score_correction_bias"


class RouterState(TypedDict):
    """Each router's expert biases, and its loads since the last log line."""

    biases: dict[str, list[float]]
    window: dict[str, list[float]]


class Routers:
    """The routers of one model, watched while the training loop runs its forward passes."""

    def __init__(self, model: torch.nn.Module, section: RouterSection | None) -> None:
        self.section = section
        self._layers = {n: m for n, m in model.named_modules() if hasattr(m, _BIAS)}
        if section is not None and not self._layers:
            raise RecipeError(
                f"train.router: the model has no router with an expert bias ({_BIAS})",
                "drop train.router, or choose a model such as nemotron_h with moe layers",
            )
        self._padding: torch.Tensor | None = None
        """Of the forward pass in progress; None outside of one, when nothing is counted."""
        self._seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._step: dict[str, torch.Tensor] = {}
        self._window: dict[str, list[float]] = {name: [] for name in self._layers}
        for name, layer in self._layers.items():
            layer.register_forward_hook(_Hook(self, name))

    def __bool__(self) -> bool:
        return bool(self._layers)

    @contextmanager
    def watch(self, padding: torch.Tensor) -> Iterator[None]:
        """Count the forward pass inside, but not its repetition by gradient checkpointing.

        `padding`: (rows, length) bool, the tokens that do not count.
        """
        self._padding = padding
        try:
            yield
        finally:
            self._padding = None

    def take_loss(self) -> torch.Tensor | float:
        """Return the balancing losses since the last call, unweighted sums over rows and layers."""
        # Not in the hook: gradient checkpointing would repeat it.
        seen, self._seen = self._seen, []
        return torch.stack([_balance(*one) for one in seen]).sum() if seen else 0.0

    def take_counts(self) -> list[float]:
        """Return this rank's tokens per layer and expert since the last call, in one list."""
        counts, self._step = self._step, {}
        return [number for name in self._layers for number in counts[name].tolist()]

    @torch.no_grad()
    def update(self, counts: Sequence[float]) -> None:
        """Move each bias against the loads of a step: `take_counts`, summed over the ranks."""
        start = 0
        for name, layer in self._layers.items():
            bias = getattr(layer, _BIAS)
            load = list(counts[start : start + bias.numel()])
            start += bias.numel()
            before = self._window[name] or [0.0] * len(load)
            self._window[name] = [a + b for a, b in zip(before, load, strict=True)]
            if self.section is not None and self.section.bias_rate:
                error = torch.tensor(load, device=bias.device)
                bias += self.section.bias_rate * torch.sign(error.mean() - error)

    def close_window(self) -> dict[str, float | list[float]]:
        """Return per layer since the last call: tokens per expert, idle experts, worst overload.

        The overload (MaxVio of 2408.15664) is the largest load over the mean, less 1.
        """
        record: dict[str, float | list[float]] = {}
        for name, load in self._window.items():
            mean = sum(load) / max(len(load), 1)
            record[f"moe/tokens/{name}"] = load
            record[f"moe/idle_experts/{name}"] = load.count(0.0)
            record[f"moe/max_violation/{name}"] = max(load) / mean - 1 if mean else 0.0
        self._window = {name: [] for name in self._layers}
        return record

    def state(self) -> RouterState:
        """Return what a checkpoint must hold: DeepSpeed's universal checkpoints lose the biases."""
        biases = {name: getattr(layer, _BIAS).tolist() for name, layer in self._layers.items()}
        return {"biases": biases, "window": self._window}

    @torch.no_grad()
    def restore(self, state: RouterState) -> None:
        """Continue from the state of a checkpoint."""
        for name, layer in self._layers.items():
            bias = getattr(layer, _BIAS)
            bias.copy_(torch.tensor(state["biases"][name]))
        self._window = {name: list(state["window"][name]) for name in self._layers}

    def see(self, name: str, logits: torch.Tensor, experts: torch.Tensor) -> None:
        """Count one router's forward pass: logits (tokens, experts), experts (tokens, k)."""
        if self._padding is None:
            return
        count = logits.shape[-1]
        chosen = experts.masked_fill(self._padding.reshape(-1, 1), count)  # behind the experts
        load = torch.bincount(chosen.flatten(), minlength=count + 1)[:count].double()
        self._step[name] = self._step[name] + load if name in self._step else load
        if self.section is not None and self.section.loss:
            self._seen.append((logits, experts, self._padding))


class _Hook:
    """Called by a router after its forward pass."""

    def __init__(self, routers: Routers, name: str) -> None:
        self._routers, self._name = routers, name

    def __call__(
        self,
        module: torch.nn.Module,
        inputs: object,
        outputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ) -> None:
        logits, _, experts = outputs
        self._routers.see(self._name, logits, experts)


def _balance(logits: torch.Tensor, experts: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
    """Summed over rows: share of the row's choices x mean score, over the experts, x their number.

    A row that uses all experts alike adds 1, one that favours some adds more. A row holds a token
    that is no padding: its first.
    """
    rows, count = len(padding), logits.shape[-1]
    flat = experts.reshape(rows, -1)
    told = (~padding).to(torch.float32)
    chosen = torch.zeros(rows, count, device=logits.device)
    chosen.scatter_add_(1, flat, told.repeat_interleave(experts.shape[-1], 1))
    scores = logits.sigmoid().view(rows, -1, count)
    shares = scores / scores.sum(-1, keepdim=True)
    tokens = told.sum(1, keepdim=True)
    share = (shares * told.unsqueeze(-1)).sum(1) / tokens
    return (chosen * count / (tokens * experts.shape[-1]) * share).sum()


def mark_leaves(model: torch.nn.Module) -> None:
    """Make ZeRO-3 gather a block of experts whole: ranks differ in which experts run."""
    blocks = {type(m) for m in model.modules() if hasattr(m, "experts") and hasattr(m, "gate")}
    if blocks:
        from deepspeed.utils import set_z3_leaf_modules

        set_z3_leaf_modules(model, sorted(blocks, key=lambda kind: kind.__name__))
