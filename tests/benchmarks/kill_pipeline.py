"""SIGKILL `tsqa run` at random moments of every stage; compare all that it made, byte for byte.

    python -m tests.benchmarks.kill_pipeline --folder /tmp/kills --kills 50

An undisturbed run is timed first. Then every stage in turn is killed at a random moment of the time
that it took, round after round: the process alone, one of its children, or the whole group. A stage
that is done already, or ended before its kill, is thrown away and made again. At last the run is
finished, `verify` reads it, and every file of every artifact is compared with the undisturbed
run's, except for what `LEFT_OUT` names.
Both run with the same number of threads. Exits 1 at a difference, damage, a process that hung
after the death of a child or outlived its parent, or a traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import psutil

from tests.support.smoke_runs import RECIPE, finish, log_of, start
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.store.manifest import MANIFEST
from tsqa.store.verify import verify_runs

ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
LEFT_OUT: dict[str, tuple[str, ...]] = {
    # created: when. files, seal: hashes, of files that are compared themselves.
    MANIFEST: ("created", "files", "seal", "summary.*seconds", "summary.tokens_per_second"),
    "metrics.jsonl": ("train/tokens_per_second", "throughput/*", "memory/*"),
    "heldout.jsonl": ("throughput/*",),
    "trained.json": ("seconds", "tokens_per_second"),
    # check: a hash of the line. Requests end in any order.
    "teacher-completions.jsonl": ("seconds", "check"),
}
"""File name -> keys that the clock or the machine decides."""
UNORDERED = ("teacher-completions.jsonl",)
NOT_COMPARED = ("*.lock", "*-engine.log", "digests.jsonl", "pins.json", ".*")
"""Locks, logs of engines, and what the store remembers of files that lie elsewhere."""
VICTIMS = ("process", "child", "group")
_PATIENCE = 300.0
_DEATH_SECONDS = 120.0
"""After the death of a child the stage ends, or goes on, within this time."""
_ORPHAN_SECONDS = 15.0
_STATE = re.compile(r"^(\S+) +(running|done|reused)\b", re.MULTILINE)


@dataclass
class Watched:
    """A running `tsqa run` and what it has printed of its stages."""

    runs: Path
    process: subprocess.Popen[bytes]
    offset: int

    def states(self) -> dict[str, str]:
        """Stage -> running, done or reused."""
        text = log_of(self.runs).read_bytes()[self.offset :].decode(errors="replace")
        return dict(_STATE.findall(text))

    def printed(self) -> str:
        return log_of(self.runs).read_bytes()[self.offset :].decode(errors="replace")

    def wait_for(self, stage: str, states: Sequence[str], seconds: float) -> str | None:
        """The state of the stage once it is one of these; None when the process or time ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            over = self.process.poll() is not None
            state = self.states().get(stage)
            if state in states:
                return state
            if over:
                return None
            time.sleep(0.02)
        return None

    def kill_group(self) -> None:
        children = _children(self.process)
        self.process.kill()
        for child in children:
            _kill(child)
        self.process.wait()


@dataclass
class Tally:
    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Stage and victim."""
    ends: Counter[str] = field(default_factory=Counter)
    """How runs went on after the death of a child."""
    troubles: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, required=True, help="a new folder")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=60.0, help="no kill after these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", default=RECIPE)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    rng = random.Random(arguments.seed)
    alone, killed = arguments.folder / "alone", arguments.folder / "runs"
    durations = time_stages(killed, arguments.recipe)
    killed.rename(alone)  # one after the other in one place: task files hold their own
    shown = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in durations.items())
    print(f"undisturbed: {shown}", flush=True)
    tally, deadline = Tally(), time.monotonic() + 60 * arguments.minutes
    shares = share_out(arguments.kills, durations)
    for turn in range(max(shares.values())):
        for stage in (stage for stage, share in shares.items() if turn < share):
            if time.monotonic() < deadline:
                kill_stage(killed, arguments.recipe, stage, durations[stage], rng, tally)
    print(finish(killed, arguments.recipe, **ENVIRONMENT).splitlines()[-1], flush=True)
    return 0 if report(tally, alone, killed) else 1


def time_stages(runs: Path, recipe: str) -> dict[str, float]:
    """Run undisturbed; stage -> seconds, in the order in which they ran."""
    watched = launch(runs, recipe)
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    while True:
        over = watched.process.poll() is not None
        for stage, state in watched.states().items():
            began.setdefault(stage, time.monotonic())
            if state == "done":
                ended.setdefault(stage, time.monotonic())
        if over:
            break
        time.sleep(0.05)
    assert watched.process.returncode == 0, watched.printed()[-4000:]
    assert ended and min(ended[stage] - began[stage] for stage in began) > 0, watched.printed()
    return {stage: ended[stage] - began[stage] for stage in began}


def share_out(kills: int, durations: dict[str, float]) -> dict[str, int]:
    """Every stage as often as any other; what is left goes to the longest."""
    least, left = divmod(kills, len(durations))
    longest = sorted(durations, key=lambda stage: -durations[stage])[:left]
    return {stage: least + (stage in longest) for stage in durations}


def kill_stage(
    runs: Path, recipe: str, stage: str, seconds: float, rng: random.Random, tally: Tally
) -> None:
    """Kill one stage once, in a process of its own."""
    while True:
        shutil.rmtree(_artifact_of(runs, recipe, stage), ignore_errors=True)
        watched = launch(runs, recipe)
        begun = watched.wait_for(stage, ("running", "reused"), _PATIENCE)
        if begun == "reused":  # its name depends on a stage that was not there yet
            watched.kill_group()
            continue
        if begun is None:
            tally.troubles.append(f"{stage}: did not begin: {watched.printed()[-800:]}")
            watched.kill_group()
            return
        delay = rng.uniform(0, seconds)
        if watched.wait_for(stage, ("done",), delay) is None:
            break
        watched.kill_group()
        seconds *= 0.8
    hit = _strike(watched, rng.choice(VICTIMS), stage, rng, tally)
    tally.hits[(stage, hit)] += 1
    number = sum(tally.hits.values())
    print(f"kill {number:>2}: {delay:5.2f} s into {stage}: {hit}", flush=True)


def launch(runs: Path, recipe: str) -> Watched:
    log = log_of(runs)
    offset = log.stat().st_size if log.exists() else 0
    return Watched(runs, start(runs, recipe, **ENVIRONMENT), offset)


def report(tally: Tally, alone: Path, killed: Path) -> bool:
    """Print what was hit, verified and compared; whether all is as it must be."""
    troubles = list(tally.troubles)
    for runs in (alone, killed):
        for verdict in verify_runs(runs):
            troubles += [f"{verdict.name}: {d.kind} {d.file}: {d.reason}" for d in verdict.damage]
    files, differences = compare_runs(alone, killed)
    left = sorted(path.name for path in killed.glob("artifacts/*/*.partial"))
    troubles += [f"{name} was left" for name in left]
    for stage in dict.fromkeys(stage for stage, _ in tally.hits):
        hits = {victim: n for (of, victim), n in sorted(tally.hits.items()) if of == stage}
        print(f"  {stage}: {hits}")
    print(f"after the death of a child: {dict(tally.ends)}")
    for text in (*troubles, *differences):
        print(text)
    total = sum(tally.hits.values())
    print(
        f"{total} kills, {files} files compared, {len(differences)} differ, {len(troubles)} other"
    )
    return not differences and not troubles


def compare_runs(one: Path, two: Path) -> tuple[int, list[str]]:
    """How many files of artifacts were compared, and what differs."""
    first, second = dict(_files(one)), dict(_files(two))
    differences = [f"only in one of the two: {name}" for name in sorted(set(first) ^ set(second))]
    for name in sorted(set(first) & set(second)):
        a, b = first[name], second[name]
        if a.name in LEFT_OUT:
            differences += [f"{name}: {what}" for what in _differing(a, b)]
        elif _content(a) != _content(b):
            differences.append(f"{name}: other bytes")
    return len(first), differences


def _content(path: Path) -> bytes:
    """The bytes; of a dataset's card without the seconds that its teachers took."""
    content = path.read_bytes()
    if path.name != "README.md":
        return content
    row = rb"^(\| \S+ \| [0-9a-f]{16} \| [\d,]+ \| [\d,]+ \| [\d,]+ \|) [\d.]+ \|"
    return re.sub(row, rb"\1", content, flags=re.MULTILINE)


def _files(runs: Path) -> Iterator[tuple[str, Path]]:
    store = runs / "artifacts"
    for path in store.rglob("*"):
        if path.is_file() and not any(fnmatchcase(path.name, p) for p in NOT_COMPARED):
            yield str(path.relative_to(store)), path


def _differing(one: Path, two: Path) -> Iterator[str]:
    a, b = _flat_records(one), _flat_records(two)
    for key in sorted({*a, *b}):
        if a.get(key) != b.get(key):
            yield f"{key}: {a.get(key)!r} / {b.get(key)!r}"


def _flat_records(path: Path) -> dict[str, Any]:
    """`line.key.key` -> value, without what is left out."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    if path.name in UNORDERED:
        lines.sort()  # they begin with the id
    flat: dict[str, Any] = {}

    def walk(prefix: str, key: str, value: Any) -> None:
        if any(fnmatchcase(key, pattern) for pattern in LEFT_OUT[path.name]):
            return
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(prefix, f"{key}.{name}" if key else name, inner)
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                walk(prefix, f"{key}.{number}", inner)
        else:
            flat[f"{prefix}{key}"] = value

    for number, line in enumerate(lines, 1):
        walk(f"{number}: " if path.suffix == ".jsonl" else "", "", json.loads(line))
    return flat


def _strike(watched: Watched, victim: str, stage: str, rng: random.Random, tally: Tally) -> str:
    """Kill; wait until all is over; return what was hit."""
    children = _children(watched.process)
    if victim == "child" and children:
        struck = rng.choice(children)
        _kill(struck)
        _await_end_of(watched, stage, tally)
        return "child"
    if victim == "group":
        os.killpg(watched.process.pid, signal.SIGKILL)
    else:
        watched.process.kill()
    watched.process.wait()
    _, alive = psutil.wait_procs(children, timeout=_ORPHAN_SECONDS)
    for orphan in alive:
        tally.troubles.append(f"{stage}: {' '.join(_command(orphan))[:200]} outlived the {victim}")
        _kill(orphan)
    return "group" if victim == "group" else "process"


def _await_end_of(watched: Watched, stage: str, tally: Tally) -> None:
    """After the death of a child: an end with its error, or the stage goes on and is done."""
    if watched.wait_for(stage, ("done",), _DEATH_SECONDS):
        tally.ends["went on"] += 1
        watched.kill_group()
        return
    code = watched.process.poll()
    if code is None:
        tally.troubles.append(f"{stage}: hung for {_DEATH_SECONDS:g} s after the death of a child")
        watched.kill_group()
        return
    tally.ends[f"ended with {code}"] += 1
    printed = watched.printed()
    # W&B's own goodbye to a service that was killed is none of ours.
    ours = printed.partition("Exception ignored in atexit callback")[0]
    if "Traceback" in ours or code != 1:
        tally.troubles.append(f"{stage}: code {code}: {printed[-1500:]}")


def _children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return ["a process"]


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def _artifact_of(runs: Path, recipe: str, stage: str) -> Path:
    path = Path(recipe)
    overrides = [f"runs={runs}"]
    pipeline = Pipeline(load_recipe(path, overrides), path, overrides)
    [node] = [node for node in pipeline.nodes if pipeline.label(node) == stage]
    return pipeline.store.path_of(node.stage, node.fingerprint)


if __name__ == "__main__":
    sys.exit(main())
