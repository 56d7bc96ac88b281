"""Tries on the machine: no room, no right, signals, two runs at once.

The stages `seeds` and `tokenize` run in a child of this process, through `tsqa`'s own `main`; after
the fault is gone the same commands must end with the bytes of an undisturbed run.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

import pytest

from tests.benchmarks.kill_pipeline import compare_runs
from tests.faults.table import End, Try
from tests.support.forks import start_fork
from tsqa.cli import app as cli
from tsqa.errors import TsqaError

RECIPE = """\
name: small
runs: {runs}
seeds:
  datasets:
    - {{name: own, path: {data}/own.jsonl, columns: {{question: q, answer: a}}}}
model:
  config: {{model_type: nemotron, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2}}
tokenizer: {{train_on: [{data}/web.jsonl], vocab_size: 300}}
mixture:
  sources: {{web: {{path: {data}/web.jsonl}}}}
  phases: [{{tokens: 1K, ratios: {{web: 1.0}}}}]
  tokenize_processes: 1
train: {{sequence_length: 32, global_batch_tokens: 64, lr: 1e-3}}
tracking: {{mode: disabled}}
"""
COMMANDS = ("seeds", "tokenize")
_SECONDS = 90.0


@cache
def data() -> Path:
    """The inputs, and an undisturbed run over them."""
    folder = Path(tempfile.mkdtemp(prefix="tsqa-system-"))
    rng = random.Random(0)
    rows = [{"q": f"What is {n} and {rng.random()}?", "a": str(n)} for n in range(100)]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [str(rng.randint(0, 9999)) for _ in range(200)]  # few: soon learnt
    texts = [" ".join(rng.choices(words, k=60)) for _ in range(375)]
    (folder / "web.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    assert run(folder / "alone") == (0, run_log(folder / "alone"))
    return folder


def recipe_for(runs: Path) -> Path:
    path = runs.parent / f"{runs.name}.yaml"
    folder = runs.parent if (runs.parent / "own.jsonl").exists() else data()
    path.write_text(RECIPE.format(runs=runs, data=folder))
    return path


def run_log(runs: Path) -> str:
    path = runs.parent / f"{runs.name}.log"
    return path.read_text(errors="replace") if path.exists() else ""


def start(runs: Path, largest_file: int | None = None, recipe: Path | None = None) -> BaseProcess:
    """Both commands in a child of a clean process: this one has threads, which no fork keeps."""
    path, log = recipe or recipe_for(runs), runs.parent / f"{runs.name}.log"
    log.unlink(missing_ok=True)
    return start_fork(partial(_run_commands, path, largest_file), ["tsqa"], log)


def _run_commands(path: Path, largest_file: int | None) -> int:
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    for command in COMMANDS:
        with mock.patch.object(sys, "argv", ["tsqa", command, str(path)]):
            try:
                cli.main()
            except SystemExit as end:
                if end.code:
                    raise
    return 0


def wait(child: BaseProcess) -> int:
    """Its exit code, or minus the signal; a child that hangs is killed and fails the try."""
    child.join(_SECONDS)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise AssertionError("hung")
    return child.exitcode


def run(runs: Path) -> tuple[int, str]:
    code = wait(start(runs))
    return code, run_log(runs)


def _signal(child: BaseProcess, number: int) -> None:
    assert child.pid is not None
    with suppress(ProcessLookupError):  # it was over
        os.kill(child.pid, number)


def ended(runs: Path, code: int, text: str, recover: Callable[[], None] = lambda: None) -> int:
    """After a disturbed run: mend, run again, compare; then its own end as an error."""
    assert "Traceback" not in text, text
    assert code in (0, 1, 2, 130) or code < 0, text
    recover()
    again = run(runs)
    assert again[0] == 0, again[1]
    _, differences = compare_runs(data() / "alone", runs)
    assert not differences, differences
    if code:
        raise TsqaError(text or f"signal {-code}")
    return 0


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A tmpfs of so many bytes; skips where mounting is not permitted."""
    place = folder / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def room_tries() -> Iterator[Try]:
    rng = random.Random(7)
    sizes = [4096, 16_384, *(rng.randint(20_000, 300_000) for _ in range(10))]
    for size in sizes:

        def full(folder: Path, size: int = size) -> int:
            with small_disk(folder, size) as disk:
                runs = disk / "runs"
                path = recipe_for(folder / "runs")
                path.write_text(RECIPE.format(runs=runs, data=data()))
                code = wait(start(folder / "runs", recipe=path))
                text = run_log(folder / "runs")
                assert "Traceback" not in text and code == 1, text
                subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
                assert wait(start(folder / "runs", recipe=path)) == 0, run_log(folder / "runs")
                _, differences = compare_runs(data() / "alone", runs)
                assert not differences, differences
                raise TsqaError(text)

        yield Try(
            "system",
            "a full disk",
            f"{size:,} bytes",
            End.STAGE,
            full,
            ("disk/runs", "disk is full"),
        )
    for size in (512, 5_000, 40_000, 120_000, 200_000):

        def limited(folder: Path, size: int = size) -> int:
            runs = folder / "runs"
            child = start(runs, size)
            return ended(runs, wait(child), run_log(runs))

        yield Try("system", "the largest file", f"{size:,} bytes", End.STAGE, limited)


def place_tries() -> Iterator[Try]:
    def a_file(folder: Path) -> None:
        (folder / "runs").write_text("x")

    def artifacts_a_file(folder: Path) -> None:
        (folder / "runs").mkdir()
        (folder / "runs" / "artifacts").write_text("x")

    def stage_a_file(folder: Path) -> None:
        (folder / "runs" / "artifacts").mkdir(parents=True)
        (folder / "runs" / "artifacts" / "seeds").write_text("x")

    def a_loop(folder: Path) -> None:
        (folder / "runs").symlink_to(folder / "runs")

    def to_nowhere(folder: Path) -> None:
        (folder / "runs").symlink_to(folder / "nowhere" / "deep")

    for how, spoil in {
        "a file": a_file,
        "artifacts is a file": artifacts_a_file,
        "a stage is a file": stage_a_file,
        "a link to itself": a_loop,
        "a link to nowhere": to_nowhere,
    }.items():

        def act(folder: Path, spoil: Callable[[Path], None] = spoil) -> int:
            spoil(folder)
            code, text = run(folder / "runs")

            def mend() -> None:
                runs = folder / "runs"
                if runs.is_symlink() or runs.is_file():
                    runs.unlink()
                else:
                    shutil.rmtree(runs)

            return ended(folder / "runs", code, text, mend)

        yield Try("system", "the folder of runs", how, End.STAGE, act)
    for how, place in {"in /proc": "/proc/tsqa-runs", "a long name": "/tmp/" + "x" * 300}.items():

        def elsewhere(folder: Path, place: str = place) -> int:
            path = folder / "far.yaml"
            path.write_text(RECIPE.format(runs=place, data=data()))
            code = wait(start(folder / "runs", recipe=path))
            text = run_log(folder / "runs")
            assert "Traceback" not in text, text
            assert code in (1, 2), text
            raise TsqaError(text)

        yield Try("system", "the folder of runs", how, End.STAGE, elsewhere, (place,))

    def read_only(folder: Path) -> int:
        with small_disk(folder, 1 << 26) as disk:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            path = folder / "far.yaml"
            path.write_text(RECIPE.format(runs=disk / "runs", data=data()))
            code = wait(start(folder / "runs", recipe=path))
            text = run_log(folder / "runs")
            assert "Traceback" not in text and code == 1, text
            raise TsqaError(text)

    yield Try("system", "the folder of runs", "read only", End.STAGE, read_only, ("read-only",))


def signal_tries() -> Iterator[Try]:
    rng = random.Random(3)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP):
        for after in sorted(rng.uniform(0.0, 0.75) for _ in range(5)):

            def act(folder: Path, number: int = number, after: float = after) -> int:
                runs = folder / "runs"
                data()
                child = start(runs)
                time.sleep(after)
                _signal(child, number)
                code = wait(child)
                text = run_log(runs)
                if code == 0:  # it was over
                    code = -number
                return ended(runs, code, text)

            how = f"after {after:.3f} s"
            yield Try("system", signal.Signals(number).name, how, End.STAGE, act)


def two_tries() -> Iterator[Try]:
    """Two runs in one folder: both end well, with what one alone makes."""
    for after in (0.0, 0.02, 0.1, 0.3, 0.6):

        def act(folder: Path, after: float = after) -> int:
            runs = folder / "runs"
            recipe_for(runs)
            first = start(runs)
            time.sleep(after)
            second = start(runs)
            codes = [wait(first), wait(second)]
            assert codes == [0, 0], run_log(runs)
            return ended(runs, 0, run_log(runs))

        yield Try("system", "two runs at once", f"{after} s apart", End.FINE, act)

    def killed(folder: Path) -> int:
        runs = folder / "runs"
        recipe_for(runs)
        first = start(runs)
        second = start(runs)
        time.sleep(0.3)
        _signal(first, signal.SIGKILL)
        wait(first)
        assert wait(second) == 0, run_log(runs)
        return ended(runs, 0, run_log(runs))

    yield Try("system", "two runs at once", "one is killed", End.FINE, killed)


def tries() -> Sequence[Try]:
    return [*room_tries(), *place_tries(), *signal_tries(), *two_tries()]
