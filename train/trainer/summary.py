"""The summary of a finished run, as its manifest holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired

from typing_extensions import TypedDict

from train.data.plan import MixturePlan
from train.trainer.loss_totals import LossTotals


class SourceSummary(TypedDict):
    """Tokens and loss of one source."""

    drawn: int
    padded: int
    loss_bearing: int
    loss: float | None
    """Mean over the last steps; None if these held none of its tokens."""
    epochs: float
    share: float


class TrainSummary(TypedDict):
    """What training returns."""

    tokens: int
    steps: int
    final_loss: float
    seconds: float
    """Over all processes of the run, time between them excluded."""
    tokens_per_second: float
    parameters: int
    plan: str
    sources: dict[str, SourceSummary]
    heldout: dict[str, float]
    execution: dict[str, int | str | bool]
    """Settings that are in no fingerprint, and change the result by rounding alone."""
    averaged: NotRequired[list[int]]
    """Tokens of the models whose mean is the run's; losses are those of the last of them."""


def summarise(
    plan: MixturePlan,
    totals: LossTotals,
    heldout: Mapping[str, float],
    steps: int,
    seconds: float,
    parameters: int,
    execution: Mapping[str, int | str | bool],
) -> TrainSummary:
    """Make the summary of a run whose last step is done."""
    tokens = plan.total_rows * plan.sequence_length
    losses, final = totals.tail_losses()
    return {
        "tokens": tokens,
        "steps": steps,
        "final_loss": final,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(tokens / seconds, 1),
        "parameters": parameters,
        "plan": plan.note(),
        "sources": {
            draw.source: {
                "drawn": draw.tokens,
                "padded": int(totals.padding[number]),
                "loss_bearing": int(totals.valid[number]),
                "loss": losses[number],
                "epochs": draw.epochs,
                "share": draw.share,
            }
            for number, draw in enumerate(plan.describe())
        },
        "heldout": dict(heldout),
        "execution": dict(execution),
    }
