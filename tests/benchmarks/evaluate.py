"""Evaluation of a checkpoint: `tsqa eval` beside lm-eval's own command and its bare library call.

    python -m tests.benchmarks.evaluate [--checkpoint FOLDER --include TASKS --tasks a,b]

All score the same checkpoint with the same backend on the same cores, whole processes in
alternating rounds; the median round counts, and the scores must be equal. CPU seconds are there
because others on the machine change them less. lm-eval's command also indexes its own 13,000
tasks, which `tsqa` leaves out where the tasks are a folder: the library call does neither, and is
the fairer measure.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from tests.support.tiny_eval import make_model, make_tasks

Scores = dict[str, float]

_LIBRARY = """
import json, sys
import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
checkpoint, include, tasks, batch, out = sys.argv[1:]
found = lm_eval.simple_evaluate(
    model=HFLM(pretrained=checkpoint, dtype="float32", device="cpu", batch_size=int(batch)),
    tasks=tasks.split(","),
    task_manager=TaskManager(include_path=include, include_defaults=False),
    bootstrap_iters=0,
)
json.dump({"results": found["results"]}, open(out, "w"))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--include", type=Path)
    parser.add_argument("--tasks", default="tiny_choice,tiny_number")
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint = arguments.checkpoint or make_model(folder / "hf")
        include = arguments.include or make_tasks(folder / "tasks", arguments.documents)
        batch = arguments.batch_size

        def ours(out: Path) -> Scores:
            return run_ours(checkpoint, include, arguments.tasks, batch, out)

        def command(out: Path) -> Scores:
            return run_command(checkpoint, include, arguments.tasks, batch, out)

        def library(out: Path) -> Scores:
            return run_library(checkpoint, include, arguments.tasks, batch, out)

        sides = {"tsqa eval": ours, "lm_eval (command)": command, "lm_eval (library)": library}
        wall, cpu, scores = run_rounds(sides, folder, arguments.rounds)
    console = Console()
    console.print(table_of("wall seconds", wall))
    console.print(table_of("CPU seconds", cpu))
    equal = all(found == scores["lm_eval (command)"] for found in scores.values())
    console.print(f"scores identical: {equal}  {json.dumps(scores['tsqa eval'])}")
    if not equal:
        raise SystemExit(f"the scores differ: {scores}")


def run_rounds(
    sides: dict[str, Callable[[Path], Scores]], folder: Path, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, Scores]]:
    """Side -> wall seconds and CPU seconds of each round, and its scores."""
    wall: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    scores: dict[str, Scores] = {}
    for number in range(rounds):
        for side, (name, run) in enumerate(sides.items()):
            out = folder / f"{number}-{side}"
            out.mkdir()
            started, used = time.monotonic(), _cpu_seconds()
            scores[name] = run(out)
            wall[name].append(time.monotonic() - started)
            cpu[name].append(_cpu_seconds() - used)
    return wall, cpu, scores


def table_of(title: str, seconds: dict[str, list[float]]) -> Table:
    table = Table("", "median", "range", "tsqa eval / this", title=f"Whole processes, {title}")
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    for name, found in seconds.items():
        spread = f"{min(found):.1f} to {max(found):.1f}"
        ratio = medians["tsqa eval"] / medians[name]
        table.add_row(name, f"{medians[name]:.2f}", spread, f"{ratio:.3f}")
    return table


def _cpu_seconds() -> float:
    """Of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_ours(checkpoint: Path, include: Path, tasks: str, batch: int, out: Path) -> Scores:
    recipe = {
        "name": "bench",
        "runs": str(out / "runs"),
        "model": {"path": str(checkpoint)},
        "eval": {
            "tasks": tasks.split(","),
            "include": str(include),
            "backend": "hf",
            "batch_size": batch,
        },
        "tracking": {"mode": "disabled"},
    }
    path = out / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    _run([sys.executable, "-m", "tsqa.cli.app", "eval", str(path)])
    [results] = (out / "runs").glob("artifacts/evaluate/*/results.json")
    found = json.loads(results.read_text(encoding="utf-8"))["tasks"]
    return {task: round(result["score"], 9) for task, result in found.items()}


def run_command(checkpoint: Path, include: Path, tasks: str, batch: int, out: Path) -> Scores:
    _run(
        [
            *(
                sys.executable,
                "-m",
                "lm_eval",
                "run",
                "--model",
                "hf",
                "--tasks",
                *tasks.split(","),
            ),
            *("--model_args", f"pretrained={checkpoint},dtype=float32", "--device", "cpu"),
            *("--batch_size", str(batch), "--include_path", str(include)),
            *("--output_path", str(out / "lm_eval"), "--log_samples"),
        ]
    )
    [results] = (out / "lm_eval").rglob("results_*.json")
    return _scores(results)


def run_library(checkpoint: Path, include: Path, tasks: str, batch: int, out: Path) -> Scores:
    results = out / "results.json"
    asked = [str(checkpoint), str(include), tasks, str(batch), str(results)]
    _run([sys.executable, "-c", _LIBRARY, *asked])
    return _scores(results)


def _scores(results: Path) -> Scores:
    """The primary metric of each task in lm-eval's own results."""
    found = json.loads(results.read_text(encoding="utf-8"))["results"]
    scores = {}
    for task, metrics in found.items():
        keys = [
            key for key in metrics if key.startswith(("acc,", "exact_match,", "prob_per_byte,"))
        ]
        preferred = [key for key in keys if "flexible-extract" in key]
        scores[task] = round(float(metrics[(preferred or keys)[0]]), 9)
    return scores


def _run(command: list[str]) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")


if __name__ == "__main__":
    main()
