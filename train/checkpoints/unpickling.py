"""Reads checkpoints as tensors and numbers only: no code that a file names is run.

Guarantees: within `only_data()`, and in `python -m train.checkpoints.unpickling`, which converts a
checkpoint, every `torch.load` (DeepSpeed's accept any pickle) refuses whatever is not plain data or
one of a few records of DeepSpeed; the refusal names what it found.
"""

from __future__ import annotations

import copyreg
import os
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from tsqa.errors import CheckpointError

_FORCED, _RELAXED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_NAMED = re.compile(r"GLOBAL (\S+) was not an allowed|whose module (\S+) is blocked")


@contextmanager
def only_data(folder: str) -> Iterator[None]:
    """Restrict reading to data; CheckpointError if a file of `folder` asks to run code."""
    before = {name: os.environ.pop(name, None) for name in (_FORCED, _RELAXED)}
    os.environ[_FORCED] = "1"
    try:
        with torch.serialization.safe_globals([*_records()]):
            yield
    except pickle.UnpicklingError as error:
        raise refusal(folder, str(error)) from error
    finally:
        os.environ.pop(_FORCED)
        os.environ.update({name: value for name, value in before.items() if value is not None})


def refusal(folder: str, error: str) -> CheckpointError:
    """Make the error for a checkpoint that torch refused with `error`."""
    found = _NAMED.search(error)
    what = f"asks for {found[1] or found[2]}" if found else "is no plain data"
    return CheckpointError(
        f"{folder}: a file of this checkpoint {what}, which could run code; it is not read",
        "use a checkpoint that tsqa wrote, or delete it to start the training anew",
    )


def is_refusal(error: str) -> bool:
    """Whether the output of a conversion reports a refused file."""
    return "Weights only load failed" in error


def _records() -> list[Callable[..., object]]:
    """Classes in DeepSpeed's checkpoints other than tensors, numbers, texts and collections."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]


def write_only_data() -> None:
    """Have DeepSpeed's enum written by its value; early Python 3.11 (Debian 12's 3.11.2) asks for
    `getattr` in its place, which could run any code."""
    from deepspeed.runtime.zero.config import ZeroStageEnum

    copyreg.pickle(ZeroStageEnum, lambda stage: (ZeroStageEnum, (stage.value,)))


def main() -> None:
    """Run DeepSpeed's conversion to the universal form, with its arguments."""
    from deepspeed.checkpoint import ds_to_universal

    write_only_data()
    os.environ.pop(_RELAXED, None)
    os.environ[_FORCED] = "1"
    torch.serialization.add_safe_globals([*_records()])
    ds_to_universal.main(ds_to_universal.parse_arguments())


if __name__ == "__main__":
    main()
