"""What keeps programs of a model from this machine: the best that it offers, found by trying.

`namespaces` (bubblewrap): no process, file, network or name of the host is there at all.
`landlock` (Linux 6.2 or newer, also in plain containers): none can be reached, but sizes and
dates of files can be seen. Within both, system calls are filtered, and time, memory and files are
bounded; `none` leaves only that.

Guarantees: a boundary is named only if a program ran within it a moment ago; nothing but Python's
own library can be read in it.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import hashlib
import json
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tsqa.errors import EngineError, RecipeError
from tsqa.sandbox.inside import confine
from tsqa.sandbox.run import Boundary, BusyError, start

INSTALL = "install bubblewrap (apt-get install bubblewrap)"
_INSIDE = Path(__file__).parent / "inside"
_HOME = "/python"
_CODE = "/tsqa"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_WORK = "/work"
_DISK_BYTES = 16 << 20
_TRY_SECONDS = 20
_KEPT_SECONDS = 14 * 24 * 3600
_ZONES = "/usr/share/zoneinfo"


def need_boundary(key: str, unguarded: bool) -> Boundary:
    """Find the boundary of this machine; RecipeError without one, unless `key` allows that."""
    boundary = find_boundary()
    if boundary.kind == "none" and not unguarded:
        raise RecipeError(
            f"{key}: this machine has no boundary for programs that a model writes: "
            f"{boundary.missing}",
            f"{INSTALL} and allow user namespaces, or set {key}=true in a container that holds "
            "nothing of value",
        )
    if boundary.kind == "none" and (reason := _try(boundary)):
        raise EngineError(f"{key}: programs do not run on this machine at all: {reason}")
    return boundary


@functools.cache
def find_boundary() -> Boundary:
    """Try the kinds of boundary, best first."""
    reasons: list[str] = []
    for make in (_namespaces, _landlock):
        made = make()
        if isinstance(made, Boundary):
            reason = _try(made)
            if not reason:
                return replace(made, missing="; ".join(reasons))
            made = f"{made.kind}: {reason}"
        reasons.append(made)
    return Boundary("none", _bare(), str(_code()), missing="; ".join(reasons))


def _namespaces() -> Boundary | str:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return "bubblewrap (bwrap) is not installed"
    if not confine.knows_machine():
        return "its system calls are not known"
    python, library, libraries = _python()
    inner = f"{_HOME}/bin/{python.name}"
    command = [
        *(bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"),
        *("--cap-drop", "ALL", "--hostname", "sandbox"),
        *(part for path in _DEVICES for part in ("--dev-bind", path, path)),
        *("--ro-bind", str(python), inner, "--ro-bind", str(library), f"{_HOME}/{_below(library)}"),
        *(part for path in libraries if "/ld-" in path for part in ("--ro-bind", path, path)),
        *("--setenv", "LD_LIBRARY_PATH", f"{_CODE}/libraries"),
        *("--ro-bind-try", _ZONES, _ZONES, "--ro-bind", str(_code()), _CODE),
        *("--size", str(_DISK_BYTES), "--tmpfs", _WORK, "--chdir", _WORK, "--remount-ro", "/"),
    ]
    packages = library / "site-packages"
    if packages.is_dir():
        command += ["--tmpfs", f"{_HOME}/{_below(packages)}"]
    return Boundary("namespaces", (*command, "--", inner, *_options(_CODE)), _CODE)


def _landlock() -> Boundary | str:
    if not confine.knows_machine():
        return "no Landlock on this machine"
    if not confine.landlock_version():
        return "no Landlock in this kernel (version 3: Linux 6.2)"
    python, library, libraries = _python()
    readable = (str(python), str(library), *libraries, _ZONES, str(_code()))
    return Boundary("landlock", _bare(), str(_code()), readable)


def _bare() -> tuple[str, ...]:
    return (str(_python()[0]), *_options(str(_code())))


def _options(code: str) -> tuple[str, ...]:
    start = "import sys; sys.path.insert(0, sys.argv[1]); import tsqa.sandbox.inside.main as m; "
    return ("-I", "-S", "-B", "-c", start + "m.main()", code)


def _try(boundary: Boundary) -> str:
    """Why nothing runs within it; empty where something does."""
    try:
        output = start(boundary, "x = 1", "assert x == 1", _TRY_SECONDS, 1 << 30, _TRY_SECONDS)
    except (subprocess.TimeoutExpired, BusyError):
        return "a first program does not end"
    try:
        error = json.loads(output.text)["error"]
    except (ValueError, KeyError):
        return output.problem or "a first program does not start"
    return str(error)


@functools.cache
def _python() -> tuple[Path, Path, tuple[str, ...]]:
    """The interpreter, its library, and the shared libraries that both are linked to."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    python = Path(os.path.realpath(base))
    library = Path(os.path.realpath(sysconfig.get_path("stdlib")))
    modules = sorted(map(str, (library / "lib-dynload").glob("*.so")))
    linked: dict[str, None] = {}
    listed = subprocess.run(
        ["ldd", str(python), *modules], capture_output=True, text=True, check=False
    )
    for line in listed.stdout.splitlines():
        _, arrow, found = line.strip().partition("=>")
        path = (found if arrow else line).strip().split(" ")[0]
        if line[:1].isspace() and path.startswith("/"):
            linked[path] = None
    return python, library, tuple(linked)


def _below(path: Path) -> Path:
    """The library's path below Python's home, which it must keep."""
    return path.relative_to(os.path.realpath(sys.base_prefix))


@functools.cache
def _code() -> Path:
    """A folder with what runs within, compiled, and the shared libraries that it needs.

    One folder is mounted faster than many files. It is made once for this version of both, in the
    user's cache, from which those of other versions are swept. The loader is not among the
    libraries: programs name it by its whole path.
    """
    libraries = [Path(path) for path in _python()[2] if "/ld-" not in path]
    sources = sorted(_INSIDE.glob("*.py"))
    digest = hashlib.sha256(sys.version.encode())
    for path in sources:
        digest.update(path.read_bytes())
    for path in libraries:
        found = path.stat()
        digest.update(f"{path} {found.st_size} {found.st_mtime_ns}".encode())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tsqa"
    target = cache / f"sandbox-{digest.hexdigest()[:16]}"
    sweep(cache, target)
    if _hold(target):
        return target
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=cache))
        _fill(made, sources, libraries)
        try:
            made.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(made)
        if not _hold(target):
            raise FileNotFoundError(target)
    except OSError:
        target = Path(tempfile.mkdtemp(prefix="tsqa-sandbox-"))
        atexit.register(shutil.rmtree, target, ignore_errors=True)
        _fill(target, sources, libraries)
    return target


def sweep(cache: Path, current: Path) -> None:
    """Delete the folders of other versions that no process has used for two weeks."""
    oldest = time.time() - _KEPT_SECONDS
    for folder in (*cache.glob("sandbox-*"), *cache.glob("tmp*")):
        with suppress(OSError):
            if folder == current or folder.is_symlink() or folder.stat().st_mtime > oldest:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # First out of the way, so that no process finds a half of it.
                gone = folder.rename(folder.with_name(f"tmp-{folder.name}-{os.getpid()}"))
                shutil.rmtree(gone, ignore_errors=True)
            finally:
                os.close(descriptor)


def _hold(folder: Path) -> bool:
    """Keep a folder from being swept while this process lives; False where it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:  # it is being swept
        os.close(descriptor)
        return False
    except OSError:  # some network file systems have no locks
        pass
    with suppress(OSError):
        os.utime(folder)
    try:
        is_there = os.path.samestat(os.fstat(descriptor), folder.stat())
    except OSError:
        is_there = False
    if not is_there:
        os.close(descriptor)
    return is_there  # the descriptor, and with it the lock, stays open


def _fill(folder: Path, sources: list[Path], libraries: list[Path]) -> None:
    inside = folder / "tsqa" / "sandbox" / "inside"
    inside.mkdir(parents=True)
    for package in inside.parents[:2]:
        (package / "__init__.py").touch()
    for source in sources:
        target = inside / f"{source.stem}.pyc"
        py_compile.compile(str(source), str(target), source.name, doraise=True)
    (folder / "libraries").mkdir()
    for path in libraries:
        shutil.copyfile(path, folder / "libraries" / path.name)
