"""How much faster several processes filter, and what stays with one.

    python -m tests.benchmarks.filter_workers --candidates 20000 --rounds 3

Candidates of a dummy engine; 1 and 2 processes in turn, each run in a process of its own; all
files of the artifacts must be equal. CPU seconds tell more than seconds on a machine that others
use. Then the serial part, the judge of duplicates, over as many questions.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.million_seeds import prepare, run_stage
from tests.benchmarks.questions import load_questions
from tsqa.dedup import minhash
from tsqa.recipe import DedupSection

_MANY = 50_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--folder", type=Path, help="for the data, kept; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        folder.mkdir(exist_ok=True)
        if not (folder / "generate" / "candidates.jsonl").exists():
            prepare(folder, arguments.candidates)
            for stage in ("benchmarks", "seeds", "generate"):
                _run(stage, folder, arguments.candidates, None)
        runs: dict[int, list[tuple[float, float, float]]] = {n: [] for n in arguments.processes}
        made: list[dict[str, bytes]] = []
        for _ in range(arguments.rounds):
            for count, found in runs.items():
                found.append(_run("filter", folder, arguments.candidates, count))
                made.append(_files(folder / "filter"))
                assert made[-1] == made[0], "the number of processes changed a byte"
                made = made[:1]
        _print(runs, arguments.candidates)
    _print_judge(arguments.candidates)


def _print(runs: dict[int, list[tuple[float, float, float]]], candidates: int) -> None:
    table = Table(title=f"{candidates:,} candidates, median of the rounds")
    for column in ("processes", "s", "faster", "CPU s", "of the first"):
        table.add_column(column, justify="right")
    alone = statistics.median(wall for wall, *_ in runs[min(runs)])
    for count, found in runs.items():
        wall, all_cpu, first = (statistics.median(each) for each in zip(*found, strict=True))
        cells = (f"{wall:.1f}", f"{alone / wall:.2f} x", f"{all_cpu:.1f}", f"{first:.1f}")
        table.add_row(str(count), *cells)
    Console().print(table)


def _run(stage: str, folder: Path, count: int, processes: int | None) -> tuple[float, float, float]:
    """(seconds, CPU seconds of all processes, of the first)"""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(
        target=_time, args=(stage, folder, count, processes, theirs)
    )
    child.start()
    theirs.close()
    found: tuple[float, float, float] = ours.recv()
    child.join()
    return found


def _time(stage: str, folder: Path, count: int, processes: int | None, pipe: Any) -> None:
    # The imports are no part of it: a run has done them for its earlier stages.
    import tsqa.filters.stage
    import tsqa.generate.stage
    import tsqa.seeds.stage  # noqa: F401

    before, started = os.times(), time.monotonic()
    run_stage(stage, folder, count, _Nowhere(), processes)
    seconds, after = time.monotonic() - started, os.times()
    first = after.user + after.system - before.user - before.system
    children = after.children_user + after.children_system
    pipe.send((seconds, first + children, first))


class _Nowhere:
    def send(self, _: object) -> None:
        pass


def _files(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _print_judge(count: int) -> None:
    """The judge alone, over questions of which a tenth are duplicates."""
    questions = [seed.question for seed in load_questions("train")]
    items = []
    for number in range(count):
        again = number % 10 == 0 and number > 0
        text = questions[(number - again) % len(questions)]
        mark = (number - again) // len(questions)
        items.append((str(number), " ".join(f"{word}{mark}" for word in text.split())))
    spent = 0.0
    judged = minhash._Judge.verdicts

    def timed(judge: Any) -> Any:
        nonlocal spent
        verdicts = judged(judge)
        while True:
            started = time.process_time()
            verdict = next(verdicts, judge)
            spent += time.process_time() - started
            if verdict is judge:
                return
            yield verdict

    minhash._Judge.verdicts = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as scratch:
        dropped = sum(
            verdict is not None
            for verdict in minhash.find_duplicates(items, DedupSection(), Path(scratch))
        )
    each = spent / count
    Console().print(
        f"judge: {each * 1e6:.1f} us of CPU a question ({count:,}, {dropped:,} dropped); "
        f"{each * _MANY / 3600:.2f} h for {_MANY:,}"
    )


if __name__ == "__main__":
    main()
