"""Stops a run whose loss is not a number or has jumped, before its next checkpoint.

Guarantees: the error names the last good checkpoint and the worst rows of the batch,
`bad_batch.json` lists every row with its documents, and all ranks stop at the same step.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from accelerate.utils import gather_object

from train.checkpoints.checkpoint import Checkpoints
from train.data.plan import MixturePlan
from train.data.stream import TokenStore
from train.trainer.loss_totals import StepSums
from train.trainer.step import Stepper
from tsqa.errors import EngineError
from tsqa.store.jsonl import write_json

BAD_BATCH = "bad_batch.json"
_SHOWN = 3


@dataclass(frozen=True)
class BatchRow:
    """A row of a bad batch."""

    row: int
    """Position in the stream."""
    source: str
    index: int
    """Number of the row in its source."""
    loss: float

    @property
    def badness(self) -> float:
        """The loss, by which rows are sorted; a loss that is not a number is worst."""
        return math.inf if math.isnan(self.loss) else self.loss


@dataclass(frozen=True)
class LossGuard:
    """Watches the losses of one run."""

    stepper: Stepper
    plan: MixturePlan
    store: TokenStore
    checkpoints: Checkpoints
    max_spike: float | None
    out: Path

    def check(self, step: int, sums: StepSums, mean: float | None) -> None:
        """Raise EngineError if loss or gradient are not finite, or the loss exceeds the limit.

        `mean` is the recent loss before this step; None at the first step.
        """
        reason = self._reason(sums, mean)
        if reason is None:
            return
        rows = self._rows()
        if self.stepper.accelerator.is_main_process:
            write_json(self.out / BAD_BATCH, [self._with_documents(row) for row in rows])
        worst = ", ".join(f"{row.source} row {row.index} ({row.loss:.4g})" for row in rows[:_SHOWN])
        saved = self.checkpoints.present()
        raise EngineError(
            f"step {step}: {reason}\n  worst of {len(rows)} rows: {worst}; all with their "
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

    def _rows(self) -> list[BatchRow]:
        """The rows of the step over all ranks, the worst first."""
        found = []
        for position, loss in gather_object(self.stepper.row_losses()):
            row = self.plan.row(position)
            found.append(BatchRow(position, self.plan.sources[row.source], row.index, loss))
        return sorted(found, key=lambda row: row.badness, reverse=True)

    def _with_documents(self, row: BatchRow) -> dict[str, object]:
        source = self.plan.sources.index(row.source)
        documents = self.store.origins(*self.plan.locate(source, row.index))
        # JSON has no number for these.
        loss = row.loss if math.isfinite(row.loss) else str(row.loss)
        return asdict(row) | {"loss": loss, "documents": documents}
