"""Promises of code verification: untrusted programs end, bounded and contained, with a verdict."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from tests.support.filter_records import candidate, vote
from tsqa.filters.advice import advise
from tsqa.filters.code import verify_code
from tsqa.recipe import CodeSection
from tsqa.records.candidate import Rejection
from tsqa.sandbox import find_boundary, run
from tsqa.sandbox.code import run_tests

SECTION = CodeSection(seconds=1, memory_mib=256)
pytestmark = pytest.mark.skipif(
    find_boundary().kind == "none", reason=f"no boundary here: {find_boundary().missing}"
)
TESTS = "assert square(3) == 9"
RIGHT = "def square(x):\n    return x * x"


def program(body: str) -> str:
    return "def square(x):\n" + "".join(f"    {line}\n" for line in body.splitlines())


def test_right_code_passes_and_wrong_code_says_why() -> None:
    assert run_tests(RIGHT, TESTS, SECTION) == ""
    assert run_tests(program("return x"), TESTS, SECTION).startswith("AssertionError")
    assert run_tests("def square(x: return", TESTS, SECTION).startswith("SyntaxError")
    assert run_tests("", TESTS, SECTION).startswith("NameError")


def test_test_functions_are_called() -> None:
    tests = "def test_it():\n    assert square(3) == 10"
    assert run_tests(RIGHT, tests, SECTION).startswith("AssertionError")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("return [0] * 10**10", "MemoryError"),
        ("open('x', 'w').write('x' * (5 << 20))", "OSError: [Errno 27]"),
        ("return square(x)", "RecursionError"),
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("import os\nos._exit(0)", "ended without a verdict"),
        ("return input()", "EOFError"),
        ("import os\nos.fork()", "PermissionError"),
        ("import os\nos.kill(os.getppid(), 9)", "PermissionError"),
        ("import subprocess\nsubprocess.run(['true'])", "PermissionError"),
        ("import numpy", "ModuleNotFoundError"),
    ],
)
def test_what_a_program_may_not_do_ends_it(body: str, error: str) -> None:
    assert run_tests(program(body), TESTS, SECTION).startswith(error)


def test_what_a_careful_program_does_is_allowed() -> None:
    body = "open('a', 'w').write('9')\nprint('noise' * 10**6)\nreturn int(open('a').read())"
    assert run_tests(program(body), TESTS, SECTION) == ""


def test_endless_code_ends_in_time() -> None:
    started = time.monotonic()
    ended = run_tests(program("while True: pass"), TESTS, SECTION)
    assert "SIGXCPU" in ended
    sleeper = "import time\ntime.sleep(60)"
    short = CodeSection(seconds=0.1)
    assert run_tests(program(sleeper), TESTS, short) == "no end within 0.1 s"
    assert time.monotonic() - started < 50


def test_a_machine_that_is_too_busy_rejects_with_a_reason_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Starved:
        passed = 1e9

        def __init__(self, pid: int) -> None: ...

        def look(self) -> float:
            return 0.1

    monkeypatch.setattr(run, "OwnTime", Starved)
    slow = program("import time\ntime.sleep(1)\nreturn x * x")
    item = candidate("Write square.", kind="code", tests=TESTS, votes=[vote("a0", slow)])
    ((_, rejection),) = verify_code([item], SECTION)
    assert rejection is not None and rejection.reason == "the machine was too busy"
    assert "had 0.1 of its 4 s" in rejection.match
    assert "filter.processes" in advise(f"code: {rejection.reason}")


def test_there_is_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reached = threading.Event()

        def accept() -> None:
            server.settimeout(3)
            try:
                server.accept()
                reached.set()
            except OSError:
                pass

        thread = threading.Thread(target=accept)
        thread.start()
        body = f"import socket\nsocket.create_connection(('127.0.0.1', {port}))\nreturn 9"
        assert run_tests(program(body), TESTS, SECTION) != ""
        server.close()
        thread.join()
        assert not reached.is_set()


def test_files_outside_stay_as_they_are(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("whole", encoding="utf-8")
    for body in (
        f"open({str(victim)!r}, 'w')",
        f"import os\nos.remove({str(victim)!r})",
        f"import os\nos.rename({str(victim)!r}, 'mine')",
        f"import pathlib\npathlib.Path({str(tmp_path / 'new')!r}).write_text('x')",
    ):
        reason = run_tests(program(body), TESTS, SECTION)
        assert reason.startswith(("PermissionError", "FileNotFoundError"))
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]
    assert victim.read_text(encoding="utf-8") == "whole"


def test_the_first_vote_that_passes_wins_and_agreement_is_the_share_that_does() -> None:
    votes = [
        vote("a0", program("return x")),
        vote("a1", RIGHT, knowledge="squares"),
        vote("a2", RIGHT),
        vote("a3", None),
    ]
    item = candidate("Write square.", kind="code", tests=TESTS, votes=votes)
    plain = candidate("Why?")
    (found, rejection), (other, passed) = verify_code([item, plain], SECTION)
    assert rejection is None and passed is None and other is plain
    assert (found.winning_vote, found.answer, found.knowledge) == ("a1", RIGHT, "squares")
    assert found.agreement == 0.5


def test_unverified_code_is_rejected_with_its_reason() -> None:
    def reason(section: CodeSection | None, answer: str, tests: str) -> Rejection | None:
        item = candidate("Write it.", answer, kind="code", tests=tests)
        [(_, rejection)] = verify_code([item], section)
        return rejection

    assert reason(None, RIGHT, TESTS) == Rejection("code is not verified")
    assert reason(SECTION, RIGHT, "") == Rejection("code without tests")
    assert reason(SECTION, RIGHT, "assert True") == Rejection("tests pass without the answer")
    failed = reason(SECTION, program("return 1"), TESTS)
    assert failed is not None and (failed.reason, failed.score) == ("tests failed", 0.0)
    assert failed.match.startswith("AssertionError")
