"""vLLM on a CPU beside other work: what its threads' waiting for each other costs, and spinning.

    python -m tests.benchmarks.busy_cores [--requests 300] [--model FOLDER]

Asks one engine alone and beside a busy loop, once as our engines start (OMP_WAIT_POLICY=passive)
and once with GNU OpenMP's own number of spins. Prints output tokens/s; without `--model`, of the
small random Nemotron of `tests.benchmarks.generate`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.generate import MAX_MODEL_LEN, build_model, make_rounds, through_window
from tsqa.recipe import ModelSection, TeacherSection

ROADS = {"wait (ours)": None, "spin (libgomp's own)": "300000"}
"""How threads wait -> GOMP_SPINCOUNT."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    table = Table(title="output tokens/s")
    for column in ("threads", "alone", "beside a busy loop"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as name:
        model = arguments.model or build_model(Path(name) / "model")
        for number, (road, spins) in enumerate(ROADS.items()):
            if spins is not None:
                os.environ["GOMP_SPINCOUNT"] = spins
            found = measure(model, arguments.requests, Path(name) / str(number))
            table.add_row(road, *(f"{speed:,.0f}" for speed in found))
    Console().print(table)


def measure(model: str, requests: int, folder: Path) -> tuple[float, float]:
    """Output tokens/s alone, and beside one process that never waits; a first round warms up."""
    section = TeacherSection(
        model=ModelSection(path=model),
        dtype="float32",
        form="completion",
        max_model_len=MAX_MODEL_LEN,
        max_num_seqs=64,
        kv_cache_gib=1,
    )
    with through_window(section, model, make_rounds(requests, 3), folder) as run:
        run(0)
        alone = run(1)
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as loop:
            try:
                return alone, run(2)
            finally:
                loop.kill()


if __name__ == "__main__":
    main()
