"""One optimizer step, and the loss that it minimises.

Promises: the loss is the mean over the valid tokens of the whole global batch, and its balancing
part the mean over the batch's rows, however the batch is split into micro-batches and ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator

from train.data.stream import IGNORED, MicroBatch
from train.model.loss import TokenLosses
from train.model.moe import Routers
from train.trainer.loss_totals import StepSums
from tsqa.recipe import TrainSection


@dataclass
class Stepper:
    """The engine and what one step of it needs; the same calls on every rank."""

    accelerator: Accelerator
    engine: Any
    optimizer: Any
    section: TrainSection
    routers: Routers
    losses: TokenLosses
    sources: int
    seed: int
    last_rows: list[tuple[int, torch.Tensor]] = field(default_factory=list)
    """Of the last step: each micro-batch's first row of the stream, and its rows' mean losses."""

    def run(
        self, step: int, batches: Sequence[MicroBatch], valid: float, rows: int, rate: float
    ) -> StepSums:
        """Train on this rank's micro-batches of `rows` rows with `valid` tokens over all ranks."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        world = self.accelerator.num_processes
        torch.manual_seed((self.seed << 40) + step * world + self.accelerator.process_index)
        # DeepSpeed divides by the accumulation steps and averages over the ranks; undo both.
        self.engine.set_train_batch_size(rows)
        undo = len(batches) * world
        sums = torch.zeros(3 * self.sources, dtype=torch.float64, device=self.accelerator.device)
        self.last_rows = []
        norm = 0.0
        for number, cpu_batch in enumerate(batches):
            last = number == len(batches) - 1
            self.engine.set_gradient_accumulation_boundary(last)
            batch = cpu_batch.to(self.accelerator.device)
            with self.routers.watch(len(batch.sources)):
                total, losses = self.losses(batch)
            total = total * (undo / max(valid, 1.0))
            if self.section.router is not None:
                weight = self.section.router.loss * undo / rows
                total = total + self.routers.take_loss() * weight
            self.engine.backward(total)
            if last and self.section.zero_stage == 0:
                norm = self._plain_norm()
            self.engine.step()
            self._book(sums, batch, losses)
        reported = self.engine.get_global_grad_norm()
        totals = self.reduce([*sums.tolist(), *self.routers.take_counts()])
        one, two, three = (n * self.sources for n in (1, 2, 3))
        self.routers.update(totals[three:])
        norm = norm if reported is None else float(reported)
        return StepSums(totals[:one], totals[one:two], totals[two:three], norm)

    def reduce(self, values: Sequence[float]) -> list[float]:
        """Sum each number over the ranks."""
        tensor = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        reduced: list[float] = self.accelerator.reduce(tensor, "sum").tolist()
        return reduced

    def row_losses(self) -> list[tuple[int, float]]:
        """Of the last step on this rank: position in the stream and mean loss of each row."""
        return [
            (first + number, loss)
            for first, losses in self.last_rows
            for number, loss in enumerate(losses.tolist())
        ]

    def _book(self, sums: torch.Tensor, batch: MicroBatch, losses: torch.Tensor) -> None:
        per_row = losses.double().sum(1)
        valid = (batch.targets != IGNORED).sum(1).double()
        for place, values in enumerate((per_row, valid, batch.padding.double())):
            sums.index_add_(0, batch.sources + place * self.sources, values)
        self.last_rows.append((batch.first_row, per_row / valid.clamp(min=1)))

    def _plain_norm(self) -> float:
        """ZeRO-0 in fp32 reports no norm, and clips during its step: take it just before."""
        gradients = [p.grad for p in self.engine.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
