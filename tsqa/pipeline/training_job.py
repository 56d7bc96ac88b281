"""Training as a job: `accelerate launch -m train`, its log, and a bar while it runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tsqa.console import console, progress_bar
from tsqa.errors import PREEMPTED, TERMINATED, EngineError, PreemptedError
from tsqa.pipeline.node import Node
from tsqa.recipe import Recipe, needed
from tsqa.shipped import LAUNCH_CONFIG
from tsqa.spending import Spending, SpentError
from tsqa.store.artifact import Artifact
from tsqa.store.process import die_with_parent
from tsqa.store.roles import Role, SourceRole

_TAIL = 25
_LOOK_SECONDS = 0.3


@dataclass(frozen=True)
class TrainingJob:
    """One arm's training, in processes of its own."""

    node: Node
    overrides: Sequence[str]
    log: Path
    metrics: Path
    """Written by the job as it goes on."""
    title: str
    """Of the bar."""
    spending: Spending = field(default_factory=Spending)
    dollars_per_hour: float = 0.0
    """Of all its processes."""

    def run(self) -> None:
        """Run the job to its end; EngineError with the last lines of its log where it fails.

        SpentError where another second would pass the limit of dollars, and PreemptedError on
        SIGTERM; a checkpoint is saved then, if there was anything to save.
        """
        processes = needed(self.node.recipe.train, "train").processes
        command = [
            *(sys.executable, "-m", "train.launch"),
            *("--config_file", str(LAUNCH_CONFIG)),
            *("--num_processes", str(processes)),
            *("-m", "train", str(self.node.origin), *self.overrides),
            *("--arm", str(self.node.arm)),
        ]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        threads = str(max(1, (os.cpu_count() or 1) // processes))
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"OMP_NUM_THREADS": threads, **os.environ},
                preexec_fn=die_with_parent,
            )
            with _passing_on_sigterm(process) as asked:
                is_spent = self._follow(process)
                code = process.wait()
        if code and is_spent:
            raise SpentError(self.spending, f"going on with {self.title}")
        ends = {PREEMPTED: "a checkpoint is saved"}
        if asked:
            early = "it had not begun to train"
            ends |= {0: "it is trained", TERMINATED: early, -signal.SIGTERM: early}
        if code in ends:
            raise PreemptedError(
                f"{self.node.label}: asked to end by SIGTERM; {ends[code]}",
                f"run the same command again to continue (exit code {PREEMPTED})",
            )
        if code:
            shown = "\n    ".join(_own_lines(self.log)[-_TAIL:])
            raise EngineError(
                f"{self.node.label}: `accelerate launch -m train` ended with code {code}; "
                f"last lines of {self.log}:\n    {shown}",
                "see these lines; a rerun continues from the last checkpoint",
            )

    def _follow(self, process: subprocess.Popen[bytes]) -> bool:
        """Show a bar from the metrics that the job writes, until it ends; whether it was stopped
        because of its price."""
        before, is_spent, begun = self.spending.dollars, False, time.monotonic()
        total = needed(self.node.recipe.mixture, "mixture").tokens
        with progress_bar() as bar:
            task = bar.add_task(f"  {self.title} tokens", total=total, note="starting")
            while process.poll() is None:
                time.sleep(_LOOK_SECONDS)
                hours = (time.monotonic() - begun) / 3600
                self.spending.dollars = before + hours * self.dollars_per_hour
                bar.update(task, dollars=self.spending.dollars - before)
                next_look = _LOOK_SECONDS / 3600 * self.dollars_per_hour
                if not is_spent and not self.spending.affords(next_look):
                    is_spent = True
                    process.terminate()  # the ranks save
                last = _last_metrics(self.metrics)
                if last:
                    note = f"loss {last['train/loss']:.3f}"
                    bar.update(task, completed=last["train/tokens"], note=note)
        return is_spent


def print_mixture_plan(recipe: Recipe, inputs: Mapping[Role, Artifact]) -> None:
    """Print what a training run will draw; too little data is refused before it starts."""
    from train.data.mixture import check_repeats, chosen_twice, plan_table
    from train.data.token_files import read_token_sources, token_folders

    sources = read_token_sources(token_folders(inputs))["sources"]
    plan = check_repeats(recipe, {name: source["rows"] for name, source in sources.items()})
    padding = {name: source["padding"] for name, source in sources.items()}
    console.print(plan_table(plan, padding))
    for name, others in chosen_twice(recipe).items():
        count = inputs[SourceRole(name)].summary["sources"][name]["documents"]
        told = f"its {count:,} documents were chosen from text that is also drawn as"
        console.print(f"  {name}: {told} {', '.join(others)}", markup=False)


@contextlib.contextmanager
def _passing_on_sigterm(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Let SIGTERM end the job, which saves, and not this command while the job still runs.

    Yields a list to which each such signal is added.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def pass_on(number: int, _: object) -> None:
        asked.append(number)
        process.terminate()

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


def _own_lines(log: Path) -> list[str]:
    """The job's own lines: what torchrun adds about its failed child says nothing new."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    ends = [number for number, line in enumerate(lines) if "multiprocessing/api.py" in line]
    return lines[: ends[0]] if ends else lines


def _last_metrics(path: Path) -> dict[str, float] | None:
    """The last whole line of a growing JSONL file."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - 4096))
            lines = handle.read().split(b"\n")[:-1]
        record: dict[str, float] = json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return None
    return record
