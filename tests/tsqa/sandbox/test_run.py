"""Promises of tsqa.sandbox: honest programs pass, and no program reaches out or forges a verdict."""

# ruff: noqa: E501 - programs and templates are data
from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.honest_programs import PROGRAMS, SQUARE
from tsqa.errors import EngineError, RecipeError
from tsqa.sandbox import Boundary, boundary, find_boundary, need_boundary, run_program

MEMORY = 512 << 20
SECRET = "hunter2-the-password"
TESTS = "assert square(3) == 9\nassert square(4) == 16"


def make(kind: str) -> Boundary:
    """The boundary, or a skip with its reason where this machine lacks it."""
    made = {"namespaces": boundary._namespaces, "landlock": boundary._landlock}[kind]()
    reason = made if isinstance(made, str) else boundary._try(made)
    if reason:
        pytest.skip(f"{kind}: {reason}")
    assert isinstance(made, Boundary)
    return made


@pytest.fixture(scope="module", params=["namespaces", "landlock"])
def walled(request: pytest.FixtureRequest) -> Boundary:
    return make(request.param)


def run_all(walled: Boundary, jobs: list[tuple[str, str]], seconds: float = 2) -> list[str]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda job: run_program(walled, *job, seconds, MEMORY), jobs))


def test_honest_programs_pass_and_wrong_ones_do_not(walled: Boundary) -> None:
    found = run_all(walled, [(program, tests) for _, program, tests, _ in PROGRAMS], 5)
    failed = {p[0]: reason for p, reason in zip(PROGRAMS, found, strict=True) if reason}
    assert not failed
    wrong = [(wrong, tests) for _, _, tests, wrong in PROGRAMS if wrong]
    assert len(wrong) > 10
    assert all(run_all(walled, wrong))


def test_tests_without_their_program_fail(walled: Boundary) -> None:
    found = run_all(walled, [("", tests) for _, _, tests, _ in PROGRAMS])
    assert all(found)


# A wrong program each; `square` is what its tests call.
FORGERIES = {
    "leaves with success": "import os\ndef square(x):\n    os._exit(0)",
    "leaves as it is loaded": "import os\nos._exit(0)",
    "raises SystemExit": "import sys\nsys.exit(0)",
    "prints a verdict": "import os\nfor fd in range(32):\n    try:\n        os.write(fd, b'{\"error\": \"\"}')\n"
    "    except OSError:\n        pass\ndef square(x): return x",
    "prints a verdict and leaves": "import os\ndef square(x):\n    for fd in range(3, 32):\n        try:\n"
    "            os.write(fd, b'{\"error\": \"\"}')\n        except OSError:\n            pass\n    os._exit(0)",
    "always equal": "class A:\n    def __eq__(self, o): return True\n    def __ne__(self, o): return False\n"
    "    def __hash__(self): return 9\ndef square(x): return A()",
    "an int that is equal": "class A(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\n"
    "def square(x): return A(0)",
    "a class that is equal": "class M(type):\n    def __eq__(cls, o): return True\n    __hash__ = type.__hash__\n"
    "class A(metaclass=M): pass\ndef square(x): return A",
    "mock.ANY": "from unittest.mock import ANY\ndef square(x): return ANY",
    "NotImplemented": "class A:\n    def __eq__(self, o): return NotImplemented\ndef square(x): return A()",
    "reads its tests in frames": "import sys\ndef square(x):\n    f = sys._getframe()\n    while f:\n"
    "        for v in [*f.f_locals.values(), *f.f_globals.values()]:\n"
    "            if isinstance(v, str) and 'assert square' in v: return eval(v.split('==')[1].split('\\n')[0])\n"
    "        f = f.f_back",
    "reads its tests in memory": "import gc\nneedle = 'quare('.join('s3')\ndef square(x):\n"
    "    for o in gc.get_objects():\n        if isinstance(o, (tuple, list, dict)):\n"
    "            for v in (o.values() if isinstance(o, dict) else o):\n"
    "                if isinstance(v, str) and needle in v and v != needle: return x * x\n",
    "overwrites the verdict's function": "import sys\ndef square(x):\n    for m in list(sys.modules.values()):\n"
    "        for n in ('run_tests', '_run', 'assertEqual', '_describe', 'ended'):\n"
    "            if hasattr(m, n): setattr(m, n, lambda *a, **k: '')\n    return x",
    "replaces builtins": "import builtins\nbuiltins.AssertionError = ValueError\n"
    "builtins.isinstance = lambda *a: True\ndef square(x): return x",
    "patches the line": "import os\nreal = os.write\nos.write = lambda fd, d: real(fd, bytes(d).replace(b'3', b'9'))\n"
    "def square(x): return 3",
    "floods the line": "import os\ndef square(x):\n    for fd in range(3, 32):\n        try:\n"
    "            os.write(fd, b'\\xff' * 100000)\n        except OSError:\n            pass\n    return x",
    "names a file of the library": "import sys\ndef square(x): return sys.modules['os'].environ",
    "an error as a value": "def square(x): return AssertionError()",
    "skips": "import unittest\ndef square(x): raise unittest.SkipTest('no')",
    "a generator's end": "def square(x): raise StopIteration(9)",
    "an answer by count": "n = 0\ndef square(x):\n    global n\n    n += 1\n    return [9, 16, 0][n - 1] if n > 1 else 9",
    "interrupts": "import os, signal\ndef square(x):\n    os.kill(os.getpid(), signal.SIGKILL)",
    "another's verdict": "import os, signal\ndef square(x):\n    for pid in range(1, 50):\n        try:\n"
    "            os.kill(pid, signal.SIGTERM)\n        except OSError:\n            pass\n    return 9 if x == 3 else 0",
    "nesting": "def square(x):\n    a = []\n    for _ in range(100000): a = [a]\n    return a",
    "a string of digits": "def square(x): return str(x * x)",
    "a file on the way": "open('unittest.py', 'w').write('raise SystemExit')\n"
    "open('json.py', 'w').write('')\ndef square(x): return x",
}  # fmt: skip

FREE_FORGERIES = {
    "a difference of nothing": (
        "class A:\n    def __sub__(s, o): return 0\n    __rsub__ = __sub__\n    def __abs__(s): return 0\n"
        "def f(x): return A()",
        "assert abs(f(2) - 4) < 1e-6",
    ),
    "always in between": (
        "class A:\n    def __lt__(s, o): return True\n    __gt__ = __le__ = __ge__ = __lt__\ndef f(x): return A()",
        "assert 3 < f(2) < 5",
    ),
    "holds all": ("class A:\n    def __contains__(s, o): return True\n    def __iter__(s): return iter(())\n"
                  "def f(x): return A()", "assert 4 in f(2)"),
    "begins with all": ("class A:\n    def startswith(s, o): return True\ndef f(x): return A()",
                        "assert f(2).startswith('a')"),
    "begins with all, as a list": (
        "class A(list):\n    def startswith(s, o): return True\ndef f(x): return A()",
        "assert f(2).startswith('a')",
    ),
    "begins with all, as a number": (
        "class A(int):\n    def startswith(s, o): return True\ndef f(x): return A()",
        "assert f(2).startswith('a')",
    ),
    "begins with all, as a class": (
        "class A:\n    startswith = lambda *a: True\ndef f(x): return A",
        "assert f(2).startswith('a')",
    ),
    "begins with all, as a function": (
        "def a(): pass\na.startswith = lambda *a: True\ndef f(x): return a",
        "assert f(2).startswith('a')",
    ),
    "its own numpy": ("class np:\n    allclose = lambda *a: True\ndef f(x): return x", "assert np.allclose(f(2), 4)"),
    "an error of the right kind": ("def f(x): raise ValueError", "try:\n    f(2)\nexcept TypeError:\n    pass"),
    "its own abs": ("def abs(x): return 0\ndef f(x): return x", "assert abs(f(2) - 4) < 1e-6"),
    "its own isclose": ("def isclose(*a, **k): return True\ndef f(x): return x", "assert isclose(f(2), 4)"),
    "its own math": ("class math:\n    isclose = lambda *a: True\ndef f(x): return x",
                     "assert math.isclose(f(2), 4)"),
    "its own all": ("def all(x): return True\ndef f(x): return x", "assert all(f(i) == i * i for i in range(5))"),
    "hidden own abs": ("globals()['f'] = lambda x: x\ndef abs(x): return 0", "assert abs(f(2) - 4) < 1e-6"),
    "in a list": ("class A:\n    def __eq__(s, o): return True\n    def __hash__(s): return 4\n"
                  "def f(x): return [A()]", "assert f(2) == [4]"),
    "in a set": ("class A:\n    def __eq__(s, o): return True\n    def __hash__(s): return hash(4)\n"
                 "def f(x): return {A()}", "assert f(2) == {4}"),
    "as a key": ("class A:\n    def __eq__(s, o): return True\n    def __hash__(s): return hash(4)\n"
                 "def f(x): return {A(): 1}", "assert f(2) == {4: 1}"),
    "from a method": ("class A:\n    def __eq__(s, o): return True\n    def get(s): return A()",
                      "a = A()\nassert a.get() == 4"),
    "under unittest": ("class A:\n    def __eq__(s, o): return True\ndef f(x): return A()",
                       "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n"
                       "        self.assertEqual(f(2), 4)"),
    "a skip under unittest": ("import unittest\ndef f(x): raise unittest.SkipTest('')",
                              "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n"
                              "        self.assertEqual(f(2), 4)"),
    "nearly under unittest": ("class A(float):\n    def __sub__(s, o): return 0.0\n    __rsub__ = __sub__\n"
                              "    def __eq__(s, o): return True\n    __hash__ = float.__hash__\n"
                              "def f(x): return A(1)",
                              "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n"
                              "        self.assertAlmostEqual(f(2), 4)"),
    "through a callback's globals": (
        "def f(g):\n    for k in ('__globals__', '__code__', '__closure__', 'gi_frame', '__self__'):\n"
        "        try: getattr(g, k)['f'] = lambda x: 4\n        except Exception: pass\n    return 0",
        "def g(x): return x\nassert f(g) == 4",
    ),
    "by changing the expected": ("def f(xs):\n    xs[:] = [0]\n    return [0]", "xs = [3]\nassert f(list(xs)) == xs"),
    "one state for all tests": (
        "n = 0\ndef f(x):\n    global n\n    n += 1\n    return n",
        "def test_a(): assert f(1) == 1\ndef test_b(): assert f(2) == 2",
    ),
}  # fmt: skip


def test_no_wrong_program_passes(walled: Boundary) -> None:
    jobs = [(program, TESTS) for program in FORGERIES.values()]
    jobs += list(FREE_FORGERIES.values())
    found = run_all(walled, jobs)
    names = [*FORGERIES, *FREE_FORGERIES]
    assert [name for name, reason in zip(names, found, strict=True) if not reason] == []


@pytest.fixture
def victims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str | int]]:
    """What an escape would reach: a file, a server, a socket file, and a process of the user."""
    secret = tmp_path / "home" / ".netrc"
    secret.parent.mkdir()
    secret.write_text(SECRET, encoding="utf-8")
    secret.chmod(0o640)
    monkeypatch.setenv("API_KEY", SECRET)
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys\nsys.stdin.read()"], stdin=subprocess.PIPE
    )
    heard: list[str] = []
    tcp = socket.create_server(("127.0.0.1", 0))
    near = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.bind(str(tmp_path / "log"))
    near.settimeout(0.2)
    tcp.settimeout(0.2)
    before = state(secret, child.pid)
    yield {
        "secret": str(secret),
        "folder": str(secret.parent),
        "port": tcp.getsockname()[1],
        "log": str(tmp_path / "log"),
        "child": child.pid,
        "parent": os.getpid(),
    }
    for server, listen in ((tcp, tcp.accept), (near, lambda: near.recv(9))):
        try:
            listen()
            heard.append(str(server))
        except TimeoutError:
            pass
        server.close()
    assert child.poll() is None and state(secret, child.pid) == before and heard == []
    child.kill()
    child.wait()
    child.stdin.close()  # type: ignore[union-attr]


def state(secret: Path, child: int) -> list[object]:
    """All that escapes try to change."""
    found = secret.stat()
    files = sorted(str(path) for path in secret.parent.rglob("*"))
    here = [[resource.prlimit(pid, kind) for kind in range(16)] for pid in (os.getpid(), child)]
    scheduling = [
        (os.sched_getaffinity(pid), os.getpriority(os.PRIO_PROCESS, pid))
        for pid in (os.getpid(), child)
    ]
    return [
        files, found.st_mode, found.st_mtime_ns, found.st_uid, found.st_nlink, here, scheduling,
        secret.read_text(encoding="utf-8"), os.listxattr(secret), Path("/proc/self/oom_score_adj").read_text(),
    ]  # fmt: skip


LIBC = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
ESCAPES = {
    "reads": "return open({secret!r}).read()",
    "reads by descriptor": "import os\nd = os.open({folder!r}, 0)\nreturn os.read(os.open('.netrc', 0, dir_fd=d), 99)",
    "reads by a link": "import os\nos.symlink({secret!r}, 'l')\nreturn open('l').read()",
    "reads by a hard link": "import os\nos.link({secret!r}, 'l')\nreturn open('l').read()",
    "reads by sqlite": "import sqlite3\nc = sqlite3.connect('x.db')\nc.execute('attach ? as o', ({secret!r},))\n"
    "return c.execute('select * from o.sqlite_master').fetchall()",
    "reads by mmap": "import mmap, os\nreturn mmap.mmap(os.open({secret!r}, 0), 5, prot=1)[:]",
    "reads by linecache": "import linecache\nreturn linecache.getlines({secret!r})",
    "reads by import": "import importlib.machinery as m\nreturn m.SourceFileLoader('x', {secret!r}).get_data({secret!r})",
    "reads by readline": "import fileinput\nreturn list(fileinput.input({secret!r}))",
    "reads by copying": "import shutil\nshutil.copyfile({secret!r}, 'x')\nreturn open('x').read()",
    "reads by libc": LIBC + "b = ctypes.create_string_buffer(99)\nf = libc.open({secret!r}.encode(), 0)\n"
    "libc.read(f, b, 99)\nreturn b.value",
    "reads the environment": "import os\nreturn dict(os.environ), open('/proc/self/environ').read()",
    "reads its parent's environment": "import os\nreturn open(f'/proc/{{os.getppid()}}/environ').read()",
    "reads a process's environment": "return open('/proc/{parent}/environ').read()",
    "reads a process's memory": "return open('/proc/{parent}/mem', 'rb').read(1)",
    "reads by root of a process": "return open('/proc/{parent}/root' + {secret!r}).read()",
    "reads the users": "return open('/etc/passwd').read(), {secret!r} * 0, 1/0",
    "lists": "import os\nreturn os.listdir({folder!r})",
    "walks": "import os\nreturn [f for r, d, fs in os.walk('/') for f in fs if f == '.netrc'] or 1/0",
    "subinterpreter": "import _xxsubinterpreters as s\ni = s.create()\n"
    "s.run_string(i, \"open('out', 'w').write(open({secret!r}).read())\")\nreturn open('out').read()",
    "reads by a handle": LIBC + "return 1 / (libc.syscall(304, -100, b'x', 0) + 1)",
    "writes": "open({secret!r}, 'w').write('x')",
    "writes beside": "open({folder!r} + '/new', 'w').write('x')",
    "deletes": "import os\nos.remove({secret!r})",
    "deletes by descriptor": "import os\nd = os.open({folder!r}, os.O_PATH)\nos.unlink('.netrc', dir_fd=d)",
    "deletes by libc": LIBC + "assert libc.unlink({secret!r}.encode()) == 0",
    "deletes with a false realpath": "import os\nos.path.realpath = lambda p: os.getcwd() + '/x'\nos.remove({secret!r})",
    "deletes a tree": "import shutil\nshutil.rmtree({folder!r})",
    "renames": "import os\nos.rename({secret!r}, 'x')",
    "renames over": "import os\nopen('x', 'w').close()\nos.replace('x', {secret!r})",
    "truncates": "import os\nos.truncate({secret!r}, 0)",
    "changes the mode": "import os\nos.chmod({secret!r}, 0)",
    "changes the owner": "import os\nos.chown({secret!r}, 1, 1)",
    "changes the times": "import os\nos.utime({secret!r}, (1, 1))",
    "sets an attribute": "import os\nos.setxattr({secret!r}, 'user.x', b'1')",
    "makes a node": "import os\nos.mknod({folder!r} + '/node')",
    "makes a device": "import os, stat\nos.mknod('disk', stat.S_IFBLK | 0o600, os.makedev(8, 0))\nreturn open('disk', 'rb').read(9)",
    "makes a folder": "import os\nos.mkdir({folder!r} + '/new')",
    "makes a pipe": "import os\nos.mkfifo({folder!r} + '/pipe')",
    "makes a database": "import sqlite3\nsqlite3.connect({folder!r} + '/db').execute('create table t (a)')",
    "mounts": LIBC + "assert libc.mount(b'/', b'/work', None, 4096, None) == 0",
    "changes the root": "import os\nos.chroot('/proc/{parent}/root')",
    "kills": "import os\nos.kill({child}, 9)",
    "kills all": "import os\nos.kill(-1, 9)",
    "kills its group": "import os\nos.killpg(0, 9)",
    "kills by pidfd": "import os, signal\nf = os.pidfd_open({child})\nsignal.pidfd_send_signal(f, 9)",
    "kills its parent": "import os\nos.kill(os.getppid(), 9)",
    "kills by the owner of a file": "import fcntl, os\nr, w = os.pipe()\nfcntl.fcntl(r, fcntl.F_SETOWN, {child})\n"
    "fcntl.fcntl(r, 10, 9)\nfcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)\nos.write(w, b'x')",
    "stops by ptrace": LIBC + "assert libc.ptrace(16, {child}, 0, 0) == 0",
    "limits another": "import resource\nresource.prlimit({parent}, resource.RLIMIT_NOFILE, (16, 16))",
    "moves another": "import os\nos.sched_setaffinity({parent}, {{0}})",
    "slows another": "import os\nos.setpriority(os.PRIO_PROCESS, {parent}, 19)",
    "slows its user": "import os\nos.setpriority(os.PRIO_USER, 0, 19)",
    "forks": "import os\nos.fork()",
    "starts a shell": "import os\nreturn os.popen('cat ' + {secret!r}).read() or 1/0",
    "starts a process": "import subprocess\nsubprocess.run(['/bin/true'])",
    "starts by multiprocessing": "import multiprocessing as m\np = m.Process(target=print)\np.start()\np.join()",
    "becomes another": "import os\nos.execv('/bin/cat', ['cat', {secret!r}])",
    "dies with its pdeathsig off": LIBC + "assert libc.prctl(1, 0, 0, 0, 0) == 0",
    "connects": "import socket\nsocket.create_connection(('127.0.0.1', {port}))",
    "connects by http": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:{port}/', timeout=1)",
    "sends to a socket file": "import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    "s.sendto(b'x', {log!r})",
    "sends from a pair": "import socket\na, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    "a.sendto(b'x', {log!r})",
    "listens": "import socket\nsocket.create_server(('127.0.0.1', 0))",
    "asks the main module": "import sys\nreturn sys.modules['__main__'].__file__",
    "leaves its namespace": LIBC + "assert libc.unshare(0x10000000) == 0",
    "enters another": LIBC + "assert libc.setns(libc.open(b'/proc/1/ns/mnt', 0), 0) == 0",
    "removes its filter": LIBC + "assert libc.syscall(317, 0, 0, None) == 0",
    "uses the other calls": LIBC + "assert libc.syscall(0x40000000 + 2, b'/etc/passwd', 0) >= 0",
    "uses a ring": LIBC + "assert libc.syscall(425, 8, ctypes.create_string_buffer(256)) >= 0",
    "loads a filter": LIBC + "assert libc.syscall(321, 0, None, 0) == 0",
    "names keys": LIBC + "assert libc.syscall(250, 0, -3, 0) >= 0",
    "raises its memory": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nreturn bytearray(1 << 30)",
    "raises its time": "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (-1, -1))",
    "types into a terminal": "import fcntl, os\nfcntl.ioctl(os.open('/dev/tty', 2), 0x5412, b'x')",
}  # fmt: skip


def test_no_program_reaches_out(walled: Boundary, victims: dict[str, str | int]) -> None:
    jobs = []
    for body in ESCAPES.values():
        lines = body.format(**victims).splitlines()
        program = "def attack():\n" + "".join(f"    {line}\n" for line in lines)
        jobs.append((program, "r = attack()\nassert False, ascii(r)"))
    found = run_all(walled, jobs)
    assert len(jobs) >= 40
    for name, reason in zip(ESCAPES, found, strict=True):
        assert reason and SECRET not in reason, name
        if name not in ("lists", "asks the main module", "reads the environment"):
            assert "AssertionError: None" not in reason or name.startswith("changes"), (
                name,
                reason,
            )


def test_nothing_of_the_host_is_seen_within_namespaces(victims: dict[str, str | int]) -> None:
    walled = make("namespaces")
    look = (
        "import os, socket, sys\ndef look():\n    roots = sorted(os.listdir('/'))\n"
        "    return [roots, os.path.exists('/proc'), os.path.exists('/etc'), os.path.exists('/home'),\n"
        "            os.uname().nodename, os.getpid() < 20, dict(os.environ).keys() - {'PWD', 'LC_CTYPE', 'LD_LIBRARY_PATH'},\n"
        "            sys.prefix, sorted(os.listdir('.'))]"
    )
    tests = (
        "roots, *rest = look()\n"
        "assert set(roots) <= {'dev', 'lib', 'lib64', 'libraries', 'python', 'tsqa', 'usr', 'work'}, roots\n"
        "assert rest == [False, False, False, 'sandbox', True, set(), '/python', []], rest"
    )
    assert run_program(walled, look, tests, 2, MEMORY) == ""


def test_the_folder_of_a_program_is_small_and_gone(tmp_path: Path) -> None:
    walled = make("namespaces")
    fill = (
        "def fill():\n    n = 0\n    try:\n        while True:\n            with open(str(n), 'wb') as f:\n"
        "                f.write(bytes(1 << 20))\n            n += 1\n    except OSError:\n        return n"
    )
    assert run_program(walled, fill, "assert 8 <= fill() <= 16", 5, MEMORY) == ""


def test_endless_programs_end_with_all_their_threads(walled: Boundary) -> None:
    started = time.monotonic()
    hang = "def f():\n    while True: pass"
    sleep = "import time\ndef f():\n    time.sleep(600)"
    threads = (
        "import threading, time\ndef f():\n    while True:\n"
        "        threading.Thread(target=time.sleep, args=(600,)).start()"
    )
    closed = "import os, time\ndef f():\n    for fd in range(3, 32):\n        try: os.close(fd)\n        except OSError: pass\n    time.sleep(600)"
    found = run_all(walled, [(program, "f()") for program in (hang, sleep, threads, closed)], 1)
    assert all(found) and "SIGXCPU" in found[0] and found[1] == "no end within 1 s"
    assert time.monotonic() - started < 120


def test_a_dead_parent_leaves_nothing(walled: Boundary) -> None:
    mark = f"marked-{os.getpid()}"
    code = (
        "import sys\nfrom tsqa.sandbox import boundary, run_program\n"
        f"made = boundary._{walled.kind}()\nprint('started', flush=True)\n"
        f"run_program(made, 'import time\\n# {mark}\\ndef f(): time.sleep(600)', 'f()', 300, 1 << 29)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    deadline = time.monotonic() + 10
    while not (children := descendants(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    children = descendants(process.pid)
    process.kill()
    process.wait()
    process.stdout.close()
    while time.monotonic() < deadline + 10:
        if not any(Path(f"/proc/{pid}").exists() and is_alive(pid) for pid in children):
            break
        time.sleep(0.05)
    assert children and not any(is_alive(pid) for pid in children)


def test_a_parent_that_died_before_a_program_began_leaves_nothing(
    walled: Boundary, monkeypatch: pytest.MonkeyPatch
) -> None:
    if walled.kind == "namespaces":
        pytest.skip("bwrap ends with its parent")
    monkeypatch.setattr("tsqa.sandbox.run.os.getpid", lambda: 1)
    with pytest.raises(EngineError):
        run_program(walled, "def f(): return 1", "assert f() == 1", 5, 1 << 29)


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def is_alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rsplit(")", 1)[1].split()[0] != "Z"


def test_without_a_boundary_nothing_runs_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(boundary.confine, "landlock_version", lambda: 0)
    boundary.find_boundary.cache_clear()
    try:
        with pytest.raises(
            RecipeError, match=r"filter\.code\.unguarded.*bwrap.*not installed"
        ) as e:
            need_boundary("filter.code.unguarded", False)
        assert "bubblewrap" in e.value.fix
        bare = need_boundary("filter.code.unguarded", True)
        assert bare.kind == "none"
        assert run_program(bare, SQUARE, TESTS, 2, MEMORY) == ""
        assert run_program(bare, "def square(x): return x", TESTS, 2, MEMORY)
    finally:
        boundary.find_boundary.cache_clear()


def test_the_best_boundary_is_found_and_described() -> None:
    found = find_boundary()
    if found.kind == "none":
        pytest.skip(found.missing)
    assert found.described
    assert replace(found, kind="none").described.startswith("none")


def test_many_at_once_keep_apart(walled: Boundary) -> None:
    programs = [(f"def f():\n    open('n', 'w').write('{i}')\n    return int(open('n').read())",
                 f"assert f() == {i}") for i in range(12)]  # fmt: skip
    found: list[str] = []
    lock = threading.Lock()

    def run(job: tuple[str, str]) -> None:
        reason = run_program(walled, *job, 5, MEMORY)
        with lock:
            found.append(reason)

    threads = [threading.Thread(target=run, args=(job,)) for job in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [""] * 12


def test_what_a_program_leaves_is_removed(
    walled: Boundary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = (
        "import os\ndef f():\n    os.mkdir('closed', 0)\n    for i in range(3000):\n"
        "        os.mkdir('d')\n        os.chdir('d')\n    return 3000"
    )
    assert run_program(walled, program, "assert f() == 3000", 5, MEMORY) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_boundary_that_breaks_is_no_failed_test(walled: Boundary) -> None:
    broken = replace(walled, command=("/bin/sh", "-c", "echo no room >&2; exit 1"))
    with pytest.raises(EngineError, match=r"could not be started.*no room"):
        run_program(broken, SQUARE, TESTS, 2, MEMORY)
