"""Speed, utilisation, memory and time to the end of a run.

Guarantees: nothing in training depends on these figures, which depend on the machine. Names follow
OLMo-core and torchtitan (`throughput/device/...`); shares are fractions of 1.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from train.model.flops import flops_per_token
from tsqa.recipe import TrainSection

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Meters:
    """The clock of one run; it goes on where an earlier process of the run stopped."""

    def __init__(
        self, model: PreTrainedModel, section: TrainSection, sequence_length: int, devices: int
    ) -> None:
        self._section = section
        self._flops = flops_per_token(model, sequence_length)
        self._devices = devices
        self.start(0.0)

    def start(self, earlier: float) -> None:
        """Begin now; earlier processes of the run took `earlier` seconds."""
        self._begun = self._marked = self._saved = time.perf_counter()
        self._earlier = earlier
        self._tokens = 0
        self._waited = self._pause = 0.0

    def seconds(self) -> float:
        """Return the seconds that the run has taken, earlier processes included."""
        return self._earlier + time.perf_counter() - self._begun

    def add(self, tokens: int) -> None:
        """Count a step's tokens, over all devices."""
        self._tokens += tokens

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time inside out of the speed."""
        begun = time.perf_counter()
        yield
        self._pause += time.perf_counter() - begun

    def save_is_due(self) -> bool:
        """Whether `train.checkpoint_minutes` have passed since the last checkpoint."""
        minutes = self._section.checkpoint_minutes
        return minutes is not None and time.perf_counter() - self._saved >= 60 * minutes

    def saved(self) -> None:
        self._saved = time.perf_counter()

    def close_window(self, waited: float, left: int) -> dict[str, float]:
        """Return the metrics since the last call.

        `waited` is the total seconds that this process has waited for data, `left` the tokens
        still to train on.
        """
        now = time.perf_counter()
        elapsed = max(now - self._marked - self._pause, 1e-9)
        speed = self._tokens / elapsed
        each = speed / self._devices
        record = {
            "train/tokens_per_second": round(speed, 1),
            "throughput/device/tokens_per_second": round(each, 1),
            "throughput/device/tflops": each * self._flops / 1e12,
            "throughput/data_loading_share": (waited - self._waited) / elapsed,
            "throughput/eta_seconds": round(left / max(speed, 1e-9), 1),
            "memory/max_gib": round(_peak_bytes() / 2**30, 3),
        }
        if self._section.peak_tflops is not None:
            used = record["throughput/device/tflops"]
            record["throughput/device/mfu"] = used / self._section.peak_tflops
        self._marked, self._waited, self._tokens, self._pause = now, waited, 0, 0.0
        return record


def _peak_bytes() -> int:
    """Peak memory: reserved on the GPU, or resident without one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
