"""Losses and tokens per source: since the last log line, over the last steps, and in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_DECAY = 0.99


@dataclass(frozen=True)
class StepSums:
    """What one optimizer step adds up over all ranks; lists hold one entry per source."""

    losses: Sequence[float]
    """Summed over tokens, without what the balancing and z-losses add."""
    valid: Sequence[float]
    """Tokens that bear a loss."""
    padding: Sequence[float]
    norm: float
    """Of the whole gradient, before clipping."""

    @property
    def loss(self) -> float:
        """The mean over valid tokens."""
        return sum(self.losses) / max(sum(self.valid), 1.0)


class Books:
    """Sums that are equal on all ranks and travel in checkpoints, so that a resume repeats them."""

    def __init__(self, sources: int, state: Mapping[str, Any]) -> None:
        zeros = [0.0] * sources
        self._window: list[list[float]] = state.get("window", [zeros, zeros])
        self._tail: list[list[float]] = state.get("tail", [zeros, zeros])
        self.valid: list[float] = state.get("valid", zeros)
        self.padding: list[float] = state.get("padding", zeros)
        self.mean: float | None = state.get("mean")
        """The loss, averaged exponentially over about the last hundred steps."""
        self.steps: int = 0
        """Steps of this process since the last log line, for the speed."""
        self.last = float("nan")
        self._norm = float("nan")

    def add(self, sums: StepSums, in_tail: bool) -> None:
        """Book one step."""
        self._window = [_plus(self._window[0], sums.losses), _plus(self._window[1], sums.valid)]
        if in_tail:
            self._tail = [_plus(self._tail[0], sums.losses), _plus(self._tail[1], sums.valid)]
        self.valid = _plus(self.valid, sums.valid)
        self.padding = _plus(self.padding, sums.padding)
        earlier = sums.loss if self.mean is None else self.mean
        self.mean = _DECAY * earlier + (1 - _DECAY) * sums.loss
        self._norm = sums.norm
        self.steps += 1

    def close_window(self, names: Sequence[str]) -> dict[str, Any]:
        """The metrics since the last call; the window starts anew."""
        losses, self.last = _means(self._window)
        self._window = [[0.0] * len(names), [0.0] * len(names)]
        self.steps = 0
        record: dict[str, Any] = {"train/loss": self.last, "train/grad_norm": self._norm}
        if len(names) > 1:
            pairs = zip(names, losses, strict=True)
            record |= {f"train/loss/{name}": loss for name, loss in pairs if loss is not None}
        return record

    def tail_losses(self) -> tuple[list[float | None], float]:
        """Mean loss of each source, and of all, over the last twentieth of the steps."""
        return _means(self._tail)

    def state(self) -> dict[str, Any]:
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
