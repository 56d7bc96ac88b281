"""Start, kill and compare runs of the smoke recipe (real vLLM, DeepSpeed and lm-eval)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
RECIPE = "recipes/smoke/recipe.yaml"


def start(runs: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "WANDB_MODE": "offline", "PYTHONUNBUFFERED": "1"}
    with (runs.parent / f"{runs.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tsqa.cli", "run", RECIPE, f"runs={runs}"],
            cwd=REPOSITORY,
            env=environment,
            stdout=log,
            stderr=log,
        )


def finish(runs: Path) -> str:
    """Run to the end; return what this call printed."""
    log = runs.parent / f"{runs.name}.log"
    before = log.stat().st_size if log.exists() else 0
    code = start(runs).wait()
    printed = log.read_bytes()[before:].decode(errors="replace")
    assert code == 0, printed[-4000:]
    return printed


def results(runs: Path) -> dict[str, Any]:
    [compare] = runs.glob("artifacts/compare/*/deltas.json")
    [curated] = runs.glob("artifacts/filter/*/curated.jsonl")
    losses = {
        path.parent.name: [
            (record["train/tokens"], record["train/loss"], record["train/grad_norm"])
            for record in map(json.loads, path.read_text().splitlines())
        ]
        for path in runs.glob("artifacts/train/*/metrics.jsonl")
    }
    return {
        "deltas": json.loads(compare.read_text()),
        "curated": curated.read_text(),
        "losses": losses,
    }
