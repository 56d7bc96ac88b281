"""SIGKILL `tsqa run` in every stage and compare its end with that of an undisturbed run.

    python -m tests.benchmarks.kill_anywhere --folder /tmp/kills
    python -m tests.benchmarks.kill_anywhere --folder /tmp/kills --kills 10 \\
        --recipe recipes/local/dataset.yaml

Kills go through the stages in turn (one each unless `--kills` says more), a random moment after
the stage began; prints where each fell, and exits 1 when the final table, the dataset or a
training loss differs.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from tests.smoke_runs import RECIPE, finish, results, start
from tsqa.pipeline import Pipeline
from tsqa.recipe import load_recipe

QUICK = ("seeds", "filter", "tokenize", "compare")
"""Over within a second or two."""
_PATIENCE = 300.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=6.0, help="seconds into a stage")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument("--kills", type=int, help="default: one per stage")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    rng = random.Random(arguments.seed)
    killed, alone = arguments.folder / "killed", arguments.folder / "alone"
    hits: Counter[str] = Counter()
    path = Path(arguments.recipe)
    pipeline = Pipeline(load_recipe(path), path, [])
    stages = [pipeline.label(node) for node in pipeline.nodes]
    for number in range(arguments.kills or len(stages)):
        target = stages[number % len(stages)]
        is_quick = target.rpartition("/")[2] in QUICK
        delay = rng.uniform(0, 0.5 if is_quick else arguments.longest)
        hit = _kill_in(target, delay, killed, arguments.recipe)
        hits[hit] += 1
        print(f"kill {sum(hits.values()):>2}: {delay:4.1f} s into {target}: hit {hit}", flush=True)
    finish(killed, arguments.recipe)
    finish(alone, arguments.recipe)
    same = results(killed) == results(alone)
    print(f"{sum(hits.values())} kills ({dict(hits)}): results {'equal' if same else 'DIFFER'}")
    return 0 if same else 1


def _kill_in(target: str, delay: float, runs: Path, recipe: str) -> str:
    """Start, wait until the stage runs (or is past), then `delay` seconds, kill; return the hit."""
    log = runs.with_suffix(".log")
    before = log.stat().st_size if log.exists() else 0
    process = start(runs, recipe)
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        seen = {line.split()[0] for line in _status_lines(log, before)}
        if target in seen:
            break
        time.sleep(0.02)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    lines = _status_lines(log, before)
    running = lines and lines[-1].split()[1] == "running"
    return lines[-1].split()[0] if running else "between stages"


def _status_lines(log: Path, start_at: int) -> list[str]:
    text = log.read_bytes()[start_at:].decode(errors="replace")
    marks = (["running"], ["done"], ["reused"])
    return [line for line in text.splitlines() if line.split()[1:2] in marks]


if __name__ == "__main__":
    sys.exit(main())
