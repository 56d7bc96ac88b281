"""The leak audit over a million generated rows: all of a planted set found, rows/s, memory.

    python -m tests.benchmarks.audit_leaks --rows 1000000 --kill

Rows of about 60 words of an invented vocabulary; documents of two invented benchmarks, some short,
are planted in ten disguises that the rules for any text promise to find, each within another row.
`--kill` audits again, ends that with kill -9 when half is done, continues it, and compares.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.support.audit_world import clean_text, documents_of, make_suite
from tests.support.paths import REPOSITORY
from tsqa.decontaminate.planted_leaks import plant_leak

_KINDS = (
    "verbatim",
    "case_and_punctuation",
    "accented",
    "look_alikes",
    "invisible_characters",
    "html",
    "hyphenated",
    "embedded",
    "short",
    "options_reordered",
)
_NAMES = ("north", "south")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--planted", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kill", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        suite = make_suite(folder / "suite", _NAMES, 2000)
        planted = write_rows(folder / "rows.jsonl", suite, arguments.rows, arguments.planted)
        command = [sys.executable, "-m", "tsqa.cli.app", "audit-leaks", str(folder / "rows.jsonl")]
        command += ["--against", str(suite), "--processes", str(arguments.processes), "--out"]
        seconds, peak = run([*command, str(folder / "whole")])
        check(folder / "whole", planted)
        print(
            f"{arguments.rows:,} rows against {2000 * len(_NAMES):,} evaluated documents, "
            f"{arguments.processes} processes: {arguments.rows / seconds:,.0f} rows/s "
            f"({seconds:,.0f} s with the start), at most {peak:,.0f} MiB together; "
            f"all {len(planted):,} planted documents found, and nothing else"
        )
        if arguments.kill:
            kill_at_half([*command, str(folder / "again")], folder / "again.partial")
            run([*command, str(folder / "again")])
            for file in (folder / "whole").iterdir():
                assert file.read_bytes() == (folder / "again" / file.name).read_bytes(), file
            print("ended by kill -9 at half and continued: the same report, byte for byte")


def write_rows(path: Path, suite: Path, rows: int, planted: int) -> Mapping[int, str]:
    """Write the dataset; return line -> the document in it."""
    rng = random.Random(0)
    documents = [document for name in _NAMES for document in documents_of(suite, name)]
    lines = sorted(rng.sample(range(1, rows + 1), planted))
    found = {}
    for number, line in enumerate(lines):
        document = documents[number * len(documents) // planted]
        found[line] = (document, _KINDS[number % len(_KINDS)])
    with path.open("w", encoding="ascii") as out:
        for line in range(1, rows + 1):
            text = clean_text(rng, 60)
            if line in found:
                document, kind = found[line]
                leak = plant_leak(document, kind) or plant_leak(document, "verbatim")
                assert leak is not None
                text = f"{text}\n{leak.full_text}\n{clean_text(rng, 60)}"
            out.write(json.dumps({"text": text}) + "\n")
    return {line: document.id for line, (document, _) in found.items()}


def run(command: list[str]) -> tuple[float, float]:
    """Seconds, and the peak of the resident MiB of all its processes together."""
    started, peak = time.monotonic(), 0.0
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE) as child:
        while child.poll() is None:
            peak = max(peak, resident_mib(child.pid))
            time.sleep(0.5)
        assert child.returncode == 0, child.stderr and child.stderr.read().decode()[-3000:]
    return time.monotonic() - started, peak


def resident_mib(pid: int) -> float:
    try:
        parent = psutil.Process(pid)
        return sum(p.memory_info().rss for p in (parent, *parent.children(True))) / 2**20
    except psutil.Error:  # one ended meanwhile
        return 0.0


def kill_at_half(command: list[str], partial: Path) -> None:
    """End it by kill -9 once half of its shards are finished."""
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as child:
        while True:
            time.sleep(0.2)
            assert child.poll() is None, "it ended before it could be killed"
            begun = len(list(partial.glob("scratch/0*.jsonl")))
            done = len(list(partial.glob("scratch/0*.json")))
            size = sum(file.stat().st_size for file in partial.parent.glob("rows.jsonl"))
            if begun and done >= size / (4 << 20) / 2:
                os.kill(child.pid, signal.SIGKILL)
                return


def check(out: Path, planted: Mapping[int, str]) -> None:
    leaks = [json.loads(line) for line in (out / "leaks.jsonl").read_text().splitlines()]
    found = {(leak["line"], leak["document"]) for leak in leaks}
    shared = {f"{name}-1999" for name in _NAMES}  # the same text in both
    missed = set(planted.items()) - found
    strange = {(line, one) for line, one in found - set(planted.items()) if one not in shared}
    assert not missed and not strange, (len(missed), sorted(missed)[:3], sorted(strange)[:3])


if __name__ == "__main__":
    main()
