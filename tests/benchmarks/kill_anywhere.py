"""Kill `tsqa run` with SIGKILL at random moments and compare its end with an undisturbed run.

    python -m tests.benchmarks.kill_anywhere --kills 12 --folder /tmp/kills

Prints, per kill, the delay and the stage that was hit; exits 1 when the results differ.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from tests.smoke_runs import finish, results, start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=25.0, help="seconds before a kill")
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    rng = random.Random(arguments.seed)
    killed, alone = arguments.folder / "killed", arguments.folder / "alone"
    hits: Counter[str] = Counter()
    for number in range(arguments.kills):
        delay = rng.uniform(0.5, arguments.longest)
        process = start(killed)
        deadline = time.monotonic() + delay
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        if process.poll() is not None:
            print(f"kill {number + 1}: the run had ended after {number} kills")
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        stage = _running_stage(killed.with_suffix(".log"))
        hits[stage] += 1
        print(f"kill {number + 1:>2}: after {delay:4.1f} s, in {stage}", flush=True)
    finish(killed)
    finish(alone)
    same = results(killed) == results(alone)
    print(f"{sum(hits.values())} kills ({dict(hits)}): results {'equal' if same else 'DIFFER'}")
    return 0 if same else 1


def _running_stage(log: Path) -> str:
    """The stage of the last status line."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    named = [line.split() for line in lines if line.split()[1:2] in (["running"], ["done"])]
    return named[-1][0] if named else "start"


if __name__ == "__main__":
    sys.exit(main())
