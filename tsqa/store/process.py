"""Child processes: they never outlive the run that started them, and share its GPUs."""

from __future__ import annotations

import ctypes
import os
import signal

from tsqa.errors import EngineError

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, however it dies (see prctl(2))."""
    parent = os.getppid()
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def share_gpus(copies: int, each: int, keys: str) -> list[dict[str, str]]:
    """What each copy's environment says of its `each` GPUs; nothing for a lone copy or on a CPU.

    EngineError, which names the recipe's `keys`, where there are too few.
    """
    visible = _visible_gpus() if copies > 1 else []
    if not visible:
        return [{}] * copies
    if len(visible) < copies * each:
        raise EngineError(
            f"{copies} copies of a model on {each} GPUs each need {copies * each} GPUs; "
            f"{len(visible)} are visible",
            f"lower {keys}",
        )
    starts = range(0, copies * each, each)
    return [{"CUDA_VISIBLE_DEVICES": ",".join(visible[i : i + each])} for i in starts]


def _visible_gpus() -> list[str]:
    """Names as CUDA_VISIBLE_DEVICES spells them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(i) for i in range(count)]
