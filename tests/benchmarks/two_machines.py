"""Train over two machines (network namespaces; needs root and `ip`): what must hold, and its times.

    python -m tests.benchmarks.two_machines --folder /tmp/machines

The smoke base model by 2 machines x 1 process must give the weights and losses of 1 x 2; machine 1
without the shared folder, and with a copy of it, must end both before the first step; a machine
whose process is killed in a step must end the job with a message that names it, and a restart must
end as the undisturbed run. Prints a line a case; exits 1 where one fails.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.support.paths import REPOSITORY
from tests.support.train_runs import ENVIRONMENT, command, finished, metrics
from tests.support.two_machines import Machine, two_machines

RECIPE = REPOSITORY / "recipes" / "smoke" / "base.yaml"
_LONGEST = 600.0
"""Seconds that a job may take on a busy machine."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True)
    made = folder / "made"
    arguments = ["-m", "tsqa.cli.app", "tokenize", str(RECIPE), f"runs={made}"]
    subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, env=ENVIRONMENT, check=True)
    alone = _copy(made, folder / "alone")
    begun = time.monotonic()
    subprocess.run(
        command(RECIPE, f"runs={alone}", processes=2), cwd=REPOSITORY, env=ENVIRONMENT, check=True
    )
    print(f"1 x 2: {time.monotonic() - begun:.0f} s", flush=True)
    with two_machines() as machines:
        held = [
            _equal(machines, alone, _copy(made, folder / "equal")),
            _hidden(machines, _copy(made, folder / "empty"), None),
            _hidden(machines, _copy(made, folder / "copied"), made),
            _killed(machines, alone, _copy(made, folder / "killed")),
        ]
    return 0 if all(held) else 1


Machines = tuple[Machine, Machine]
Jobs = list[subprocess.Popen[bytes]]


def _equal(machines: Machines, alone: Path, runs: Path) -> bool:
    codes, seconds, _ = _train(machines, runs)
    return _say("2 x 1", seconds, codes == [0, 0] and _same(alone, runs), f"codes {codes}")


def _hidden(machines: Machines, runs: Path, own: Path | None) -> bool:
    """Machine 1 sees an empty folder, or its own copies, where machine 0 has the runs."""
    codes, seconds, logs = _train(machines, runs, hidden=runs, own=own)
    wanted = f"does not see in {runs}"
    fine = (
        codes == [1, 1]
        and all(wanted in log and "machine 1 (" in log for log in logs)
        and not [*runs.glob("artifacts/train/*.partial/metrics.jsonl")]
    )
    what = "own copies" if own else "no shared folder"
    return _say(what, seconds, fine, f"codes {codes}")


def _killed(machines: Machines, alone: Path, runs: Path) -> bool:
    """Kill the process of machine 1 after the first checkpoint, then start the job again."""

    def kill(jobs: Jobs) -> None:
        while not [*runs.glob("artifacts/train/*.partial/checkpoints/step-*5")]:
            if any(job.poll() is not None for job in jobs):
                return
            time.sleep(0.01)
        for process in psutil.Process(jobs[1].pid).children(recursive=True):
            if "RANK" in process.environ():
                process.send_signal(signal.SIGKILL)

    codes, seconds, logs = _train(machines, runs, disturb=kill)
    named = "lost in a step: machine 1 (" in logs[0]
    ended = _say("a process killed", seconds, named and 0 not in codes, f"codes {codes}")
    codes, seconds, _ = _train(machines, runs)
    again = _say("started again", seconds, codes == [0, 0] and _same(alone, runs), f"codes {codes}")
    return ended and again


def _train(
    machines: Machines,
    runs: Path,
    hidden: Path | None = None,
    own: Path | None = None,
    disturb: Callable[[Jobs], None] = lambda jobs: None,
) -> tuple[list[int], float, list[str]]:
    """Exit codes, seconds to the last end, and what each machine printed, on one line."""
    arguments, begun = [str(RECIPE), f"runs={runs}"], time.monotonic()
    logs = [runs.with_suffix(f".{machine.number}.log") for machine in machines]
    jobs = [
        machines[0].start(arguments, logs[0]),
        machines[1].start(arguments, logs[1], hidden, own),
    ]
    try:
        disturb(jobs)
        codes = [job.wait(_LONGEST) for job in jobs]
    finally:
        for job in jobs:
            job.kill()
            job.wait()
    return codes, time.monotonic() - begun, [" ".join(log.read_text().split()) for log in logs]


def _same(alone: Path, runs: Path) -> bool:
    first, second = finished(alone), finished(runs)
    weights = [(a.path / "hf" / "model.safetensors").read_bytes() for a in (first, second)]
    return weights[0] == weights[1] and metrics(first) == metrics(second)


def _copy(made: Path, runs: Path) -> Path:
    shutil.copytree(made, runs)
    return runs


def _say(case: str, seconds: float, held: bool, detail: str) -> bool:
    print(f"{case}: {'as promised' if held else 'FAILED'}, {seconds:.0f} s, {detail}", flush=True)
    return held


if __name__ == "__main__":
    sys.exit(main())
