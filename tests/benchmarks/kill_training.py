"""SIGKILL a 2-process ZeRO-2 training run at random moments; compare with an undisturbed run.

    python -m tests.benchmarks.kill_training --folder /tmp/kills --kills 20

Each kill takes the whole job, or one of its ranks: one in four during its first seconds, the others
up to `--longest` seconds after its first new step, in steps or saves. Prints where each fell; exits
1 unless all losses (by source: they tell rows apart), gradient norms and counts, and the exported
weights are those of the undisturbed run.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

from tests.support.train_runs import ENVIRONMENT, HYBRID, command, metrics, prepare, write_recipe
from tests.support.train_runs import train as train_undisturbed
from tsqa.store.artifact import Artifact

STEPS = 1500
OVERRIDES = (
    f"mixture.phases=[{{tokens: {STEPS * 256}, ratios: {{web: 0.6, qa: 0.4}}}}]",
    "mixture.max_repetition=1000",
    "train.zero_stage=2",
    "train.checkpoint_every=5",
    "train.micro_batch_size=4",
    "train.processes=2",
)
VICTIMS = ("the job", "rank 0", "rank 1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest", type=float, default=4.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    rng = random.Random(arguments.seed)
    recipe = write_recipe(arguments.folder, HYBRID)
    alone, killed = arguments.folder / "alone", arguments.folder / "killed"
    reference = train_undisturbed(recipe, alone, *OVERRIDES, processes=2)
    prepare(recipe, killed)
    hits: Counter[str] = Counter()
    while sum(hits.values()) < arguments.kills:
        victim, in_start = rng.choice(VICTIMS), rng.random() < 0.25
        delay = rng.uniform(0, arguments.longest)
        where = _kill(recipe, killed, victim, delay, in_start)
        if where is None:
            print("the job ended before all kills; use a smaller --longest", flush=True)
            break
        hits[where.partition(",")[0]] += 1
        print(f"kill {sum(hits.values()):>2}: {victim}, {where}", flush=True)
    survivor = train_undisturbed(recipe, killed, *OVERRIDES, processes=2)
    same = metrics(survivor) == metrics(reference) and _weights(survivor) == _weights(reference)
    steps = len(metrics(reference))
    verdict = "equal" if same else "DIFFER"
    print(f"{sum(hits.values())} kills ({dict(hits)}): {steps} steps and the weights {verdict}")
    return 0 if same and sum(hits.values()) == arguments.kills else 1


def _kill(recipe: Path, runs: Path, victim: str, delay: float, in_start: bool) -> str | None:
    """Start the job and kill it; say where it was, None if it had ended."""
    steps_before = _steps_logged(runs)
    process = subprocess.Popen(
        command(recipe, *OVERRIDES, f"runs={runs}", processes=2),
        env=ENVIRONMENT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not in_start and process.poll() is None and _steps_logged(runs) <= steps_before:
        time.sleep(0.01)
    time.sleep(delay)
    steps = _steps_logged(runs)
    if process.poll() is not None:
        return None
    ranks = {
        child.environ().get("RANK"): child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "RANK" in child.environ()
    }
    rank = ranks.get(victim.removeprefix("rank "))
    if rank is None:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        rank.kill()
    process.wait()
    if any(runs.glob("artifacts/train/*.partial/checkpoints/*.tmp")):
        return f"saving, {steps} steps logged"
    return f"{'starting' if in_start else 'training'}, {steps} steps logged"


def _steps_logged(runs: Path) -> int:
    found = list(runs.glob("artifacts/train/*.partial/metrics.jsonl"))
    return len(found[0].read_text().splitlines()) if found else 0


def _weights(artifact: Artifact) -> bytes:
    return (artifact.path / "hf" / "model.safetensors").read_bytes()


if __name__ == "__main__":
    sys.exit(main())
