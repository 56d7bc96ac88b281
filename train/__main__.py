"""One training process: `accelerate launch --config_file CONFIG -m train RECIPE [KEY=VALUE]...`"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from tsqa.store.process import die_with_parent


def main() -> int:
    """Train one arm; return 0 when its artifact exists, 75 if SIGTERM ended it after a save."""
    parser = argparse.ArgumentParser(prog="train", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key.path=value")
    parser.add_argument("--arm", default="main", help="an arm of the ablation (default: main)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_intermixed_args()
    if "RANK" in os.environ:
        die_with_parent()
    # Threads that spin at barriers halve the speed when another process wants the cores (measured:
    # 3.8 k against 6.9 k tokens/s); waiting costs 5% on an idle machine. Before torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    from rich.text import Text

    from tsqa.console import console
    from tsqa.errors import TsqaError
    from tsqa.secrets import redact

    try:
        return _train(arguments.recipe, arguments.overrides, arguments.arm)
    except TsqaError as error:
        if arguments.debug:
            raise
        message = redact(str(error))
        console.print(Text.assemble(("error", "red"), f" {message}"))
        _tell_launcher(f"error {message}")
        return 1


def _train(path: Path, overrides: list[str], arm: str) -> int:
    from tsqa.errors import RecipeError
    from tsqa.recipe import arms_of, load_recipe

    recipe = load_recipe(path, overrides)
    arms = arms_of(recipe)
    if arm not in arms:
        raise RecipeError(f"no arm `{arm}`", f"use one of: {', '.join(arms)}")

    from train.trainer import loop
    from train.trainer.engine import build_accelerator
    from tsqa.console import console
    from tsqa.pipeline.run import train_context

    accelerator = build_accelerator(arms[arm].recipe)
    with contextlib.ExitStack() as stack:
        if not accelerator.is_main_process:
            accelerator.wait_for_everyone()
        context, commit = stack.enter_context(
            train_context(recipe, path, arm, accelerator.is_main_process)
        )
        if accelerator.is_main_process:
            accelerator.wait_for_everyone()
        if context is None:
            if accelerator.is_main_process:
                console.print(f"train:{arm} is already there")
            return 0
        try:
            summary = loop.run(context, accelerator)
        except loop.Preempted:
            return loop.PREEMPTED
        accelerator.wait_for_everyone()
        commit(summary)
    return 0


def _tell_launcher(message: str) -> None:
    """Have torchrun end its traceback with this message, from the file that it reads."""
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        error = {"message": message, "extraInfo": {"timestamp": str(int(time.time()))}}
        with contextlib.suppress(OSError):
            Path(file).write_text(json.dumps({"message": error}), encoding="utf-8")


def _leave(code: int) -> NoReturn:
    """End at once: gloo's threads abort an orderly shutdown now and then (seen: SIGABRT).

    Everything is written and tracked by then; the system closes open files.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main())
