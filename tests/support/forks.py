"""Children of one process that has imported torch and our stages: a second each, and not fifteen.

Imports take most of the time of a tiny training run. The process that forks is a clean one, without
the threads of pytest; what a child of it prints goes into a log.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "WANDB_MODE": "disabled",
    "HF_HUB_OFFLINE": "1",
    "COLUMNS": "1000",  # nothing that a test looks for is wrapped
}
_LOADED = (
    *("tests.support.forks", "tsqa.pipeline.run", "tsqa.seeds.stage", "tsqa.store.tracking"),
    *("train.__main__", "train.tokens.tokenize", "train.trainer.loop", "eval.harness.metrics"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"),
    *("transformers.models.nemotron_h.modeling_nemotron_h", "transformers.trainer_utils"),
    *("transformers.tokenization_utils_tokenizers", "datasets", "pyarrow.parquet", "tokenizers"),
)
"""What the stages import."""
if not Path("/dev/nvidiactl").exists():  # it looks for GPUs, which no fork keeps
    _LOADED = (*_LOADED, "tests.support.loaded_deepspeed")


def start_fork(
    run: Callable[[], object],
    argv: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> BaseProcess:
    """Start `run`, a function of a module, in a child that prints to `log`."""
    context = get_context("forkserver")
    context.set_forkserver_preload(list(_LOADED))
    with mock.patch.dict(os.environ, ENVIRONMENT):
        forkserver.ensure_running()
    child = context.Process(target=_run, args=(run, list(argv), log, dict(environment or {})))
    child.start()
    return child


def _run(
    run: Callable[[], object], argv: list[str], log: Path, environment: dict[str, str]
) -> None:
    code = 98
    try:
        handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # shells take it from background
        sys.stdout = sys.stderr = os.fdopen(handle, "w", buffering=1)
        sys.argv = argv
        os.environ.update(environment)
        code = int(run() or 0)  # type: ignore[call-overload]
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - whatever it is, its code must say so
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)
