"""Promises of tsqa.parallel: order, bounded look-ahead, errors and ends that leave no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.paths import REPOSITORY
from tsqa.errors import DataError, EngineError
from tsqa.parallel import Workers, own_cores


def wait_and_double(number: int) -> tuple[int, int]:
    """Of two in a row the first takes longer."""
    time.sleep(0.02 if number % 2 == 0 else 0)
    return 2 * number, os.getpid()


def environment(_: int) -> tuple[str, str, int]:
    import numpy as np

    assert np.ones(2).sum() == 2
    return os.environ["OMP_NUM_THREADS"], os.environ["TOKENIZERS_PARALLELISM"], own_cores()


def fail_at_two(number: int) -> int:
    if number == 2:
        raise DataError("web.jsonl:3: not JSON", "mend it")
    return number


class StrangeError(Exception):
    """Of a library: it cannot be unpickled."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"{said} ({code})")


def fail_strangely(_: int) -> int:
    raise StrangeError(3, "bad page")


def die_at_two(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def sleep_long(number: int) -> int:
    time.sleep(0 if number == 0 else 300)
    return os.getpid()


class ReadSlowly:
    """Its reader takes two seconds for it, and so the next result fills the pipe and waits."""

    def __reduce__(self) -> tuple[Any, ...]:
        return time.sleep, (2,)


def write_much(number: int) -> object:
    return [number, ReadSlowly(), bytes(1 << 20)][min(number, 2)]


def workers_left() -> list[psutil.Process]:
    """Without Python's resource tracker, which a process starts once and keeps."""
    children = psutil.Process().children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_results_come_in_order_and_few_chunks_are_ahead() -> None:
    taken = []

    def chunks() -> Iterator[int]:
        for number in range(60):
            taken.append(number)
            yield number

    with Workers(2) as workers:
        found = []
        for result in workers.map_ordered(wait_and_double, chunks()):
            found.append(result)
            assert len(taken) <= len(found) + 8
        again = list(workers.map_ordered(wait_and_double, range(9)))
        settings = set(workers.map_ordered(environment, range(4)))
    assert [value for value, _ in found] == [2 * number for number in range(60)]
    pids = {pid for _, pid in found}
    assert len(pids) == 2 and os.getpid() not in pids
    assert {pid for _, pid in again} <= pids, "a later map starts no process"
    share = max(1, own_cores() // 2)
    assert settings == {("1", "true" if share > 1 else "false", share)}
    assert not any(map(psutil.pid_exists, pids))


def test_one_process_is_this_one() -> None:
    with Workers(1) as workers:
        (result,) = workers.map_ordered(wait_and_double, [3])
    assert result == (6, os.getpid())


def test_an_error_of_a_worker_is_raised_as_it_is_and_ends_all() -> None:
    with pytest.raises(DataError, match=r"web\.jsonl:3: not JSON\n  fix: mend it"), Workers(2) as w:
        list(w.map_ordered(fail_at_two, range(6)))
    assert not workers_left()


def test_an_error_that_cannot_be_pickled_is_told_all_the_same() -> None:
    said = pytest.raises(RuntimeError, match=r"StrangeError: bad page \(3\)")
    with said, Workers(2) as workers:
        list(workers.map_ordered(fail_strangely, range(3)))


def test_a_killed_worker_is_an_error_that_names_the_setting() -> None:
    started = time.monotonic()
    said = pytest.raises(EngineError, match=r"worker process died.*\n.*lower filter\.processes")
    with said, Workers(2, "filter.processes") as workers:
        list(workers.map_ordered(die_at_two, range(60)))
    assert time.monotonic() - started < 60 and not workers_left()


_CANNOT_START = """
from tests.tsqa.parallel.test_local import wait_and_double
from tsqa.parallel import Workers

if __name__ == "__mp_main__":
    import no_such_module

if __name__ == "__main__":
    with Workers(2, "filter.processes") as workers:
        list(workers.map_ordered(wait_and_double, range(6)))
"""


def test_a_worker_that_cannot_start_is_not_told_to_lack_memory(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_CANNOT_START, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, str(script)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert "No module named 'no_such_module'" in said.stderr
    assert "EngineError: a worker process ended with exit code 1; its own lines" in said.stderr
    assert "memory" not in said.stderr


def test_an_error_while_a_worker_writes_a_large_result_ends_all() -> None:
    with pytest.raises(DataError), Workers(2) as workers:
        for _ in workers.map_ordered(write_much, range(8)):
            time.sleep(1)
            raise DataError("web.jsonl:3: not JSON", "mend it")
    assert not workers_left()


def test_an_interrupt_at_any_moment_of_the_wait_leaves_no_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where `Future.result` is interrupted, the future stays locked now and then, and the pool's
    thread waits for it forever: nothing here may wait in it.
    """
    real = Future.result

    def result(future: Future[Any], timeout: float | None = None) -> Any:
        assert future.done(), "waits inside of a lock"
        return real(future, timeout)

    monkeypatch.setattr(Future, "result", result)
    with Workers(2) as workers:
        assert len(list(workers.map_ordered(wait_and_double, range(4)))) == 4


_SCRIPT = """
import sys
from tests.tsqa.parallel.test_local import sleep_long
from tsqa.parallel import Workers

if __name__ == "__main__":
    with Workers(2) as workers:
        for pid in workers.map_ordered(sleep_long, range(6)):
            print(pid, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_group_or_the_parent_ends_all(
    tmp_path: Path, number: signal.Signals
) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    group = [psutil.Process(parent.pid), *psutil.Process(parent.pid).children(recursive=True)]
    if number is signal.SIGINT:
        os.killpg(parent.pid, number)  # as the terminal does
    else:
        parent.send_signal(number)
    _, said = parent.communicate(timeout=60)
    _, alive = psutil.wait_procs(group, timeout=20)
    assert not alive
    assert said.count("Traceback") == (number is signal.SIGINT), said
