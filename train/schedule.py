"""The learning rate in closed form: a pure function of progress, so resume needs no state."""

from __future__ import annotations

import math

from tsqa.recipe import TrainSection


def learning_rate(train: TrainSection, step: int, steps: int) -> float:
    """The rate of a step (from 0): the schedule at the middle of that step's tokens."""
    progress = (step + 0.5) / steps
    schedule = train.schedule
    low = schedule.min_lr_ratio
    if progress < schedule.warmup:
        return train.lr * progress / schedule.warmup
    if schedule.kind == "constant":
        return train.lr
    if schedule.kind == "wsd":
        begin = 1 - schedule.decay
        fallen = max(0.0, (progress - begin) / schedule.decay) if schedule.decay else 0.0
        return train.lr * (1 - (1 - low) * fallen)
    fallen = (progress - schedule.warmup) / (1 - schedule.warmup)
    if schedule.kind == "cosine":
        return train.lr * (low + (1 - low) * (1 + math.cos(math.pi * fallen)) / 2)
    return train.lr * (1 - (1 - low) * fallen)
