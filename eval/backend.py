"""The only file that speaks lm-eval: load a model once, then evaluate it task by task.

Promises: float32 on a CPU, the checkpoint's own dtype on a GPU; fixed seeds; a task that cannot be
loaded is a DataError that names it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lm_eval
import lm_eval.api.task
import torch
import transformers
from lm_eval.models.huggingface import HFLM

from tsqa.errors import CheckpointError, DataError
from tsqa.lm_tasks import task_library

# The stage has its own bar; lm-eval offers no switch for this one.
lm_eval.api.task.tqdm = functools.partial(lm_eval.api.task.tqdm, disable=True)


class _Model(HFLM):  # type: ignore[misc]
    """HFLM that reports requests done through lm-eval's cache hook, not through tqdm."""

    on_progress: Callable[[str], None]
    _done = 0
    _total = 0

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:
        self._begin(requests)
        return super().loglikelihood(requests, disable_tqdm=True)

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> Any:
        self._begin(requests)
        return super().generate_until(requests, disable_tqdm=True)

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        """Called by lm-eval for each answered request."""
        self._done += 1
        if self._done % 16 == 0 or self._done == self._total:
            self.on_progress(f"{self._done:,} / {self._total:,} requests")

    def _begin(self, requests: Any) -> None:
        self._done, self._total = 0, len(requests)
        self.cache_hook = self


def load(
    checkpoint: str,
    *,
    batch_size: int,
    trust_remote_code: bool,
    on_progress: Callable[[str], None],
) -> Any:
    """Load a Hugging Face checkpoint for lm-eval."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    gpu = torch.cuda.is_available()
    try:
        model = _Model(
            pretrained=checkpoint,
            dtype="auto" if gpu else "float32",
            device="cuda" if gpu else "cpu",
            batch_size=batch_size,
            trust_remote_code=trust_remote_code,
        )
    except Exception as error:
        raise CheckpointError(
            f"{checkpoint}: does not load: {type(error).__name__}: {error}",
            "train again, or fix model.path",
        ) from error
    model.on_progress = on_progress
    return model


def leaf_tasks(names: Sequence[str], include: Path | None) -> list[str]:
    """The tasks behind task, group and tag names, each once, in order."""
    manager = task_library(include).manager
    leaves: dict[str, None] = {}
    for name in names:
        if name not in manager.all_tasks:
            place = f"in {include}" if include else "in lm-eval"
            raise DataError(
                f"eval.tasks: {name}: no such task {place}",
                "known there: " + ", ".join(sorted(manager.all_subtasks)[:20]),
            )
        try:
            loaded: Mapping[str, Any] = manager.load([name])["tasks"]
        except Exception as error:
            raise _broken(name, error) from error
        leaves.update(dict.fromkeys(loaded))
    return list(leaves)


def evaluate_task(
    model: Any,
    name: str,
    include: Path | None,
    *,
    num_fewshot: int | None,
    limit: int | None,
    seed: int,
) -> dict[str, Any]:
    """lm-eval's raw result for one task."""
    try:
        raw: dict[str, Any] = lm_eval.simple_evaluate(
            model=model,
            tasks=[name],
            num_fewshot=num_fewshot,
            limit=limit,
            task_manager=task_library(include).manager,
            bootstrap_iters=0,
            log_samples=True,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    except Exception as error:
        raise _broken(name, error) from error
    return raw


def _broken(name: str, error: Exception) -> DataError:
    return DataError(
        f"eval.tasks: {name} cannot be evaluated: {type(error).__name__}: {error}",
        "check the task's YAML and data files",
    )
