"""DeepSpeed without a GPU, imported once for all trainings that fork; it asks a compiler, too."""

from __future__ import annotations

from train.trainer.engine import _use_plain_gloo

_use_plain_gloo()
