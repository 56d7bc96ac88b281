"""Stops a run whose loss is not a number or has jumped, before its next checkpoint.

Promises: the error names the last good checkpoint and the worst rows of the batch, and
`bad_batch.json` lists every row with its documents; every rank stops alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object

from train.checkpoints.checkpoint import Checkpoints
from train.data.mixture import MixturePlan
from train.data.stream import TokenStore
from train.trainer.loss_totals import StepSums
from train.trainer.step import Stepper
from tsqa.errors import EngineError
from tsqa.store.jsonl import write_json

BAD_BATCH = "bad_batch.json"
_SHOWN = 3


@dataclass(frozen=True)
class Guard:
    """Watches the losses of one run."""

    stepper: Stepper
    plan: MixturePlan
    store: TokenStore
    checkpoints: Checkpoints
    max_spike: float | None
    out: Path

    def check(self, step: int, sums: StepSums, mean: float | None) -> None:
        """Raise EngineError where loss or gradient are not finite, or the loss beyond the limit.

        `mean` is the recent loss before this step; None at the first.
        """
        reason = self._reason(sums, mean)
        if reason is None:
            return
        named = self._rows()
        if self.stepper.accelerator.is_main_process:
            write_json(self.out / BAD_BATCH, [self._with_documents(entry) for entry in named])
        worst = ", ".join(
            f"{entry['source']} row {entry['index']} ({entry['loss']:.4g})"
            for entry in named[:_SHOWN]
        )
        saved = self.checkpoints.present()
        raise EngineError(
            f"step {step}: {reason}\n  worst of {len(named)} rows: {worst}; all with their "
            f"documents in {self.out / BAD_BATCH}\n"
            f"  last checkpoint: {saved[0] if saved else 'none'}",
            "lower train.lr, or take the documents out of the source",
        )

    def _reason(self, sums: StepSums, mean: float | None) -> str | None:
        if not (math.isfinite(sums.loss) and math.isfinite(sums.norm)):
            return f"the loss is {sums.loss}, its gradient norm {sums.norm}"
        if self.max_spike is None or mean is None or sums.loss <= self.max_spike * mean:
            return None
        return (
            f"the loss is {sums.loss:.4g}, more than train.max_loss_spike {self.max_spike:g} times "
            f"its recent mean {mean:.4g}"
        )

    def _rows(self) -> list[dict[str, Any]]:
        """The rows of the step over all ranks, the worst first."""
        found = []
        for position, loss in gather_object(self.stepper.row_losses()):
            row = self.plan.row(position)
            source = self.plan.sources[row.source]
            found.append({"row": position, "source": source, "index": row.index, "loss": loss})
        return sorted(found, key=_badness, reverse=True)

    def _with_documents(self, entry: dict[str, Any]) -> dict[str, Any]:
        loss = entry["loss"] if math.isfinite(entry["loss"]) else str(entry["loss"])
        source = self.plan.sources.index(entry["source"])
        documents = self.store.origins(*self.plan.place(source, entry["index"]))
        return entry | {"loss": loss, "documents": documents}


def _badness(entry: dict[str, Any]) -> float:
    return math.inf if math.isnan(entry["loss"]) else float(entry["loss"])
