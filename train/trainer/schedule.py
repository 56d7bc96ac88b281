"""Batch sizes and learning rate in closed form: pure functions of tokens seen.

Guarantees: neither depends on the number of processes, on micro-batches or on where a run resumed;
the batches together take every row of the stream once.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from itertools import accumulate

from tsqa.recipe import TrainSection


@dataclass(frozen=True)
class BatchSchedule:
    """Stretches of steps with one batch size each; without a ramp there is one."""

    rows: tuple[int, ...]
    """Rows that each stretch takes from the stream."""
    batches: tuple[int, ...]
    """Rows per global batch in each stretch; each divides the stretch's rows."""

    @property
    def total_rows(self) -> int:
        return sum(self.rows)

    @property
    def steps(self) -> int:
        return sum(rows // batch for rows, batch in zip(self.rows, self.batches, strict=True))

    def batch(self, step: int) -> range:
        """Return the rows of the stream that a step (from 0) takes, over all ranks."""
        counts = [rows // batch for rows, batch in zip(self.rows, self.batches, strict=True)]
        ends = list(accumulate(counts))
        if not 0 <= step < ends[-1]:
            raise IndexError(step)
        stretch = bisect.bisect_right(ends, step)
        size = self.batches[stretch]
        within = step - (ends[stretch] - counts[stretch])
        first = sum(self.rows[:stretch]) + within * size
        return range(first, first + size)


def batch_schedule(train: TrainSection, total_rows: int) -> BatchSchedule:
    """Lay `total_rows` (whole global batches) out over the ramp and the full batch.

    A stretch ends at the first whole full batch at or after its `until`.
    """
    full = train.global_batch_rows
    rows, batches = [], []
    taken = 0
    for stage in train.batch_ramp:
        end = min(math.ceil(stage.until * (total_rows // full)) * full, total_rows)
        if end > taken:
            rows.append(end - taken)
            batches.append(stage.global_batch_tokens // train.sequence_length)
            taken = end
    if total_rows > taken:
        rows.append(total_rows - taken)
        batches.append(full)
    return BatchSchedule(tuple(rows), tuple(batches))


def learning_rate(train: TrainSection, batch: range, total_rows: int) -> float:
    """Return the rate of the step over the rows `batch`: the schedule at its middle token."""
    progress = (batch.start + batch.stop) / (2 * total_rows)
    schedule = train.schedule
    low = schedule.min_lr_ratio
    if progress < schedule.warmup:
        begin = schedule.start_lr_ratio
        return train.lr * progress / schedule.warmup * (1 - begin) + train.lr * begin
    if schedule.kind == "constant":
        return train.lr
    if schedule.kind == "wsd":
        begin = 1 - schedule.decay
        fallen = max(0.0, (progress - begin) / schedule.decay) if schedule.decay else 0.0
        if schedule.decay_shape == "sqrt":
            # Haegele et al., Scaling laws and compute-optimal training beyond fixed training
            # durations (2024).
            fallen = math.sqrt(fallen)
        return train.lr * (1 - (1 - low) * fallen)
    fallen = (progress - schedule.warmup) / (1 - schedule.warmup)
    if schedule.kind == "cosine":
        return train.lr * (low + (1 - low) * (1 + math.cos(math.pi * fallen)) / 2)
    return train.lr * (1 - (1 - low) * fallen)
