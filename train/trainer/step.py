"""One optimizer step, and the loss that it minimises.

Guarantees: the loss is the mean over the valid tokens of the whole global batch, and its balancing
part the mean over the batch's rows, however the batch is split into micro-batches and ranks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator

from train.data.stream import IGNORED, MicroBatch
from train.trainer.loss_totals import StepSums
from train.trainer.student import Student
from tsqa.recipe import TrainSection


@dataclass
class Stepper:
    """Runs the steps of a student; every rank must make the same calls."""

    accelerator: Accelerator
    student: Student
    section: TrainSection
    sources: int
    """Number of sources."""
    seed: int
    last_rows: list[tuple[int, torch.Tensor]] = field(default_factory=list)
    """Each micro-batch of the last step: its first row in the stream, and its rows' mean losses."""

    def run(
        self, step: int, batches: Sequence[MicroBatch], valid: float, rows: int, rate: float
    ) -> StepSums:
        """Train on this rank's micro-batches of `rows` rows with `valid` tokens over all ranks."""
        for group in self.student.optimizer.param_groups:
            group["lr"] = rate
        world = self.accelerator.num_processes
        torch.manual_seed(noise_seed(self.seed, step, self.accelerator.process_index))
        # DeepSpeed divides by the accumulation steps and averages over the ranks; undo both.
        self.student.engine.set_train_batch_size(rows)
        undo = len(batches) * world
        sums = torch.zeros(3 * self.sources, dtype=torch.float64, device=self.accelerator.device)
        self.last_rows = []
        norm = 0.0
        for number, cpu_batch in enumerate(batches):
            last = number == len(batches) - 1
            self.student.engine.set_gradient_accumulation_boundary(last)
            batch = cpu_batch.to(self.accelerator.device)
            with self.student.routers.watch(batch.padding):
                total, losses = self.student.losses(batch)
            total = total * (undo / max(valid, 1.0))
            if self.section.router is not None:
                weight = self.section.router.loss * undo / rows
                total = total + self.student.routers.take_loss() * weight
            self.student.engine.backward(total)
            if last and self.section.zero_stage == 0:
                norm = self._plain_norm()
            self.student.engine.step()
            self._book(sums, batch, losses)
        reported = self.student.engine.get_global_grad_norm()
        totals = self.reduce([*sums.tolist(), *self.student.routers.take_counts()])
        one, two, three = (n * self.sources for n in (1, 2, 3))
        self.student.routers.update(totals[three:])
        norm = norm if reported is None else float(reported)
        return StepSums(totals[:one], totals[one:two], totals[two:three], norm)

    def reduce(self, values: Sequence[float]) -> list[float]:
        """Sum each number over the ranks."""
        tensor = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        reduced: list[float] = self.accelerator.reduce(tensor, "sum").tolist()
        return reduced

    def row_losses(self) -> list[tuple[int, float]]:
        """Return position in the stream and mean loss of each row of this rank's last step."""
        return [
            (first + number, loss)
            for first, losses in self.last_rows
            for number, loss in enumerate(losses.tolist())
        ]

    def _book(self, sums: torch.Tensor, batch: MicroBatch, losses: torch.Tensor) -> None:
        per_row = losses.double().sum(1)
        valid = (batch.targets != IGNORED).sum(1).double()
        # `sums` is three blocks of one entry per source: losses, valid tokens, padding.
        for block, values in enumerate((per_row, valid, batch.padding.sum(1).double())):
            sums.index_add_(0, batch.sources + block * self.sources, values)
        self.last_rows.append((batch.first_row, per_row / valid.clamp(min=1)))

    def _plain_norm(self) -> float:
        """ZeRO-0 in fp32 reports no norm, and its step clips: compute it just before."""
        gradients = [p.grad for p in self.student.engine.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0


def noise_seed(seed: int, step: int, rank: int) -> int:
    """The seed of a rank's dropout in a step, of 64 bits; of these a CPU reads the lower 32."""
    digest = hashlib.sha256(f"{seed}/{step}/{rank}".encode()).digest()
    return int.from_bytes(digest[:8], "little")
