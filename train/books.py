"""Losses per source: since the last log line, and over the last steps of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Books:
    """Sums that are equal on all ranks and travel in checkpoints, so that a resume repeats them."""

    def __init__(self, sources: int, state: Mapping[str, Any]) -> None:
        self._count = sources
        self._window: list[float] = list(state.get("window", [0.0] * 2 * sources))
        self._tail: list[float] = list(state.get("tail", [0.0] * 2 * sources))
        self.steps: int = 0
        """Steps of this process since the last log line, for the speed."""
        self.last = float("nan")
        self._norm = float("nan")

    def add(self, sums: Sequence[float], norm: float, in_tail: bool) -> None:
        """Book one step: loss sums of each source, then its valid tokens."""
        self._window = [a + b for a, b in zip(self._window, sums, strict=True)]
        if in_tail:
            self._tail = [a + b for a, b in zip(self._tail, sums, strict=True)]
        self._norm = norm
        self.steps += 1

    def close_window(self, names: Sequence[str]) -> dict[str, Any]:
        """The metrics since the last call; the window starts anew."""
        losses, self.last = self._means(self._window)
        self._window = [0.0] * 2 * self._count
        self.steps = 0
        record: dict[str, Any] = {"train/loss": self.last, "train/grad_norm": self._norm}
        if len(names) > 1:
            pairs = zip(names, losses, strict=True)
            record |= {f"train/loss/{name}": loss for name, loss in pairs if loss is not None}
        return record

    def tail_losses(self) -> tuple[list[float | None], float]:
        """Mean loss of each source, and of all, over the last twentieth of the steps."""
        return self._means(self._tail)

    def state(self) -> dict[str, Any]:
        return {"window": self._window, "tail": self._tail}

    def _means(self, sums: Sequence[float]) -> tuple[list[float | None], float]:
        losses, tokens = sums[: self._count], sums[self._count :]
        means = [a / b if b else None for a, b in zip(losses, tokens, strict=True)]
        return means, sum(losses) / max(sum(tokens), 1.0)
