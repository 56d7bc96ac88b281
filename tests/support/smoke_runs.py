"""Start, kill and compare runs of a recipe (real vLLM, DeepSpeed and lm-eval)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.paths import REPOSITORY
from tsqa.curated.files import read_curated, read_rejected

RECIPE = "recipes/smoke/recipe.yaml"


def log_of(runs: Path) -> Path:
    """What all runs in a folder print, one after the other."""
    return runs.parent / f"{runs.name}.log"


def start(runs: Path, recipe: str = RECIPE, **environment: str) -> subprocess.Popen[bytes]:
    """`tsqa run` in a process group of its own."""
    offline = {**os.environ, "WANDB_MODE": "offline", "PYTHONUNBUFFERED": "1", **environment}
    with log_of(runs).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tsqa.cli.app", "run", recipe, f"runs={runs}"],
            cwd=REPOSITORY,
            env=offline,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def finish(runs: Path, recipe: str = RECIPE, **environment: str) -> str:
    """Run to the end; return what this call printed."""
    log = log_of(runs)
    before = log.stat().st_size if log.exists() else 0
    code = start(runs, recipe, **environment).wait()
    printed = log.read_bytes()[before:].decode(errors="replace")
    assert code == 0, printed[-4000:]
    return printed


def results(runs: Path) -> dict[str, Any]:
    """What must not depend on kills: the dataset, the losses, the deltas."""
    [filtered] = (path.parent for path in runs.glob("artifacts/filter/*/manifest.json"))
    deltas = [json.loads(p.read_text()) for p in runs.glob("artifacts/compare/*/deltas.json")]
    losses = {
        path.parent.name: [
            (record["train/tokens"], record["train/loss"], record["train/grad_norm"])
            for record in map(json.loads, path.read_text().splitlines())
        ]
        for path in runs.glob("artifacts/train/*/metrics.jsonl")
    }
    return {
        "deltas": deltas,
        "curated": list(read_curated(filtered)),
        "rejected": list(read_rejected(filtered)),
        "losses": losses,
    }
