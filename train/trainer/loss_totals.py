"""Losses and tokens per source: since the last log line, over the last steps, in total."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from train.checkpoints.manifest import LossState

_DECAY = 0.99


@dataclass(frozen=True)
class StepSums:
    """Sums of one optimizer step over all ranks; lists hold one entry per source."""

    losses: Sequence[float]
    """Cross-entropy summed over tokens, without balancing and z-losses."""
    valid: Sequence[float]
    """Tokens that bear a loss."""
    padding: Sequence[float]
    norm: float
    """Norm of the whole gradient, before clipping."""

    @property
    def loss(self) -> float:
        """The mean over valid tokens."""
        return sum(self.losses) / max(sum(self.valid), 1.0)


class LossTotals:
    """Sums that are equal on all ranks; checkpoints hold them, so that a resume continues them."""

    def __init__(self, sources: int, state: LossState | None) -> None:
        """`state` is that of a checkpoint, None at the start of a run."""
        zeros = [0.0] * sources
        if state is None:
            start = [zeros, zeros]
            state = {"window": start, "tail": start, "valid": zeros, "padding": zeros, "mean": None}
        self._window = state["window"]
        self._tail = state["tail"]
        self.valid = state["valid"]
        self.padding = state["padding"]
        self.mean = state["mean"]
        """The loss, averaged exponentially over about the last hundred steps."""
        self.steps: int = 0
        """Steps of this process since the last log line, for the speed."""
        self.last = float("nan")
        self._norm = float("nan")

    def add(self, sums: StepSums, in_tail: bool) -> None:
        """Add one step."""
        self._window = [_plus(self._window[0], sums.losses), _plus(self._window[1], sums.valid)]
        if in_tail:
            self._tail = [_plus(self._tail[0], sums.losses), _plus(self._tail[1], sums.valid)]
        self.valid = _plus(self.valid, sums.valid)
        self.padding = _plus(self.padding, sums.padding)
        earlier = sums.loss if self.mean is None else self.mean
        self.mean = _DECAY * earlier + (1 - _DECAY) * sums.loss
        self._norm = sums.norm
        self.steps += 1

    def close_window(self, names: Sequence[str]) -> dict[str, float]:
        """Return the metrics since the last call, and start anew."""
        losses, self.last = _means(self._window)
        self._window = [[0.0] * len(names), [0.0] * len(names)]
        self.steps = 0
        record = {"train/loss": self.last, "train/grad_norm": self._norm}
        if len(names) > 1:
            pairs = zip(names, losses, strict=True)
            record |= {f"train/loss/{name}": loss for name, loss in pairs if loss is not None}
        return record

    def tail_losses(self) -> tuple[list[float | None], float]:
        """Return the mean loss of each source, and of all, over the last steps."""
        return _means(self._tail)

    def state(self) -> LossState:
        """Return what a checkpoint must hold."""
        return {
            "window": self._window,
            "tail": self._tail,
            "valid": self.valid,
            "padding": self.padding,
            "mean": self.mean,
        }


def _plus(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a + b for a, b in zip(one, other, strict=True)]


def _means(sums: Sequence[Sequence[float]]) -> tuple[list[float | None], float]:
    losses, tokens = sums
    means = [a / b if b else None for a, b in zip(losses, tokens, strict=True)]
    return means, sum(losses) / max(sum(tokens), 1.0)
