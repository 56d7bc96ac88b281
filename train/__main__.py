"""One training process: `accelerate launch --config_file CONFIG -m train RECIPE [KEY=VALUE]...`"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tsqa.store.process import die_with_parent

if TYPE_CHECKING:
    from tsqa.recipe import Recipe


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
    except (TsqaError, OSError) as error:
        if arguments.debug:
            raise
        message = redact(_told(error))
        console.print(Text.assemble(("error", "red"), f" {message}"))
        _tell_launcher(f"error {message}")
        return 1


def _train(path: Path, overrides: list[str], arm: str) -> int:
    from train.ranks import join_ranks
    from tsqa.console import console
    from tsqa.errors import PREEMPTED
    from tsqa.pipeline.run import Training

    ranks = join_ranks()
    recipe = ranks.agree("recipe", partial(_load, path, overrides, arm))
    ranks.check_alike(recipe.model_dump(mode="json", exclude={"runs"}))
    ranks.check_folder(Path(recipe.runs) / "artifacts" / "train")
    training = ranks.agree("stages", partial(Training, recipe, path, arm))
    ranks.check_same("inputs", {"fingerprint of the training": training.node.fingerprint})
    with contextlib.ExitStack() as stack:
        if ranks.from_first("open", partial(training.open, stack)) == training.DONE:
            if ranks.is_first:
                console.print(f"train:{arm} is already there")
            return 0
        context = ranks.agree("join", training.join)

        from train.trainer import loop
        from train.trainer.engine import build_accelerator

        try:
            accelerator = build_accelerator(training.node.recipe)
            summary = loop.run(context, accelerator)
            accelerator.wait_for_everyone()
        except loop.Preempted:
            return PREEMPTED
        except RuntimeError as error:
            ranks.explain(error)
        except BaseException as error:
            ranks.say_last(error)
            raise
        training.commit(summary)
    return 0


def _load(path: Path, overrides: list[str], arm: str) -> Recipe:
    from tsqa.errors import RecipeError
    from tsqa.recipe import arms_of, load_recipe

    recipe = load_recipe(path, overrides)
    arms = arms_of(recipe)
    if arm not in arms:
        raise RecipeError(f"no arm `{arm}`", f"use one of: {', '.join(arms)}")
    return recipe


def _told(error: Exception) -> str:
    from tsqa.errors import os_error_cause

    if not isinstance(error, OSError):
        return str(error)
    cause, fix = os_error_cause(error)
    return f"{cause}\n  fix: {fix + '; then ' if fix else ''}run the same command again to continue"


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
