"""Ray: a cluster of this command's own on this machine, or one that is joined.

`RAY_ADDRESS` in the environment names the cluster to join; without it the command starts one for
itself, which listens on the loopback address, asks for a token and ends with the command.
Guarantees: nothing is uploaded, reported or shown on a dashboard; a cluster that takes work from
anyone is joined only by those who say so; what keeps Ray from starting is an EngineError.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil
from rich.text import Text

from tsqa import secrets as known_secrets
from tsqa.console import console
from tsqa.errors import EngineError, RecipeError, first_line
from tsqa.parallel.local import own_cores
from tsqa.store.artifact import differing_keys
from tsqa.store.process import child_environment, installed

ADDRESS = "RAY_ADDRESS"
_AUTH = "RAY_AUTH_MODE"
_ALWAYS: dict[str, str | None] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` it uploads the working folder
    "RAY_task_oom_retries": "3",  # without end by default, so that a task that is too large hangs
}
_OWN: dict[str, str | None] = {
    _AUTH: None,  # for a cluster of its own Ray then asks for a token, also if it was imported
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on all systems: this machine only, on loopback
    "RAY_memory_monitor_refresh_ms": "0",  # what else runs here may fill the memory
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_NUM_REDIS_GET_RETRIES": "120",  # seconds until its first process answers
}
_KNOCK_SECONDS = 20.0
_STARTS = 3
"""Tries: on a busy machine Ray's own time limits pass."""
_OBJECT_STORE = 512 << 20
"""Bytes; what does not fit waits on the disk."""
_SMALLEST_STORE = 80 << 20
_LONGEST_FOLDER = 14
"""Characters of the temporary folder: names of sockets below it may have 107."""
_PREFIX = "tsqa-ray-"

_users = 0
"""Of the connection of this process."""


def require_ray(setting: str) -> None:
    """RecipeError where Ray, an optional extra, is missing."""
    if importlib.util.find_spec("ray") is None:
        raise RecipeError(
            f"{setting}=ray: the package ray is not installed",
            f"pip install tsqa[ray], or set {setting} to null",
        )


@contextmanager
def ray_cluster(setting: str) -> Iterator[None]:
    """Within the block this process is part of a cluster; blocks may be nested.

    `setting`: the key of the recipe that wants it. Raises EngineError.
    """
    global _users
    require_ray(setting)
    ray = sys.modules.get("ray")  # imported below, once its settings are made
    is_first = not _users and not (ray and ray.is_initialized())
    folder = _begin(setting) if is_first else None
    _users += 1
    try:
        yield
    finally:
        _users -= 1
        if is_first:
            sys.modules["ray"].shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def resources() -> tuple[int, dict[str, float]]:
    """(nodes that live, what they have in all by kind, such as CPU and GPU)"""
    import ray

    living = [node for node in ray.nodes() if node["Alive"]]
    total: dict[str, float] = {}
    for node in living:
        for kind, amount in node["Resources"].items():
            total[kind] = total.get(kind, 0.0) + amount
    return len(living), total


def describe() -> str:
    """What the cluster has, in words."""
    count, total = resources()
    has = ", ".join(f"{total.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))
    return f"{place()}: {count} node{'s' * (count != 1)}, {has}"


def place() -> str:
    address = os.environ.get(ADDRESS)
    return f"the Ray cluster at {address}" if address else "Ray on this machine"


def refuse_strangers(origin: Mapping[str, str], packages: tuple[str, ...]) -> None:
    """EngineError on a node that has other versions or code than the command, which runs there."""
    if here := differing_keys(origin, installed(packages)):
        raise EngineError(
            f"{socket.gethostname()} has other packages or code than the command: "
            + ", ".join(here),
            "install the same on all nodes of the cluster",
        )


def _begin(setting: str) -> Path | None:
    """Join or start a cluster; the folder of one that was started."""
    address = os.environ.get(ADDRESS)
    if not address:
        return _start(setting)
    if "://" in address:
        raise EngineError(
            f"{ADDRESS}={address}: Ray's client cannot hold replicas",
            f"run the command on a node of the cluster, with {ADDRESS}=HOST:PORT of its head",
        )
    if address != "auto":
        _knock(address)
    mode = os.environ.get(_AUTH)
    with _environment({**_ALWAYS, _AUTH: mode or "token"}):
        try:
            _init(address)
        except Exception as error:  # Ray raises what it likes
            raise _unreachable(address, error) from error
    if mode is not None and mode != "token":
        told = f"  {place()} takes work from anyone who reaches it ({_AUTH}={mode})"
        console.print(Text(told, "yellow"))
    return None


def _knock(address: str) -> None:
    """EngineError where nothing listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise EngineError(f"{ADDRESS}={address}: expected HOST:PORT", f"correct {ADDRESS}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _start(setting: str) -> Path:
    root = tempfile.gettempdir()
    parent = root if len(root) <= _LONGEST_FOLDER else "/tmp"
    free = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
    changes = {**_ALWAYS, **_OWN, "RAY_AUTH_TOKEN": _token(), **_paths()}
    _sweep(Path(parent))
    for attempt in range(_STARTS):
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
        try:
            with _environment(changes):
                _init(
                    "local",
                    num_cpus=own_cores(),
                    include_dashboard=False,
                    object_store_memory=max(_SMALLEST_STORE, min(_OBJECT_STORE, free // 2)),
                    _temp_dir=str(folder),
                )
            return folder
        except BaseException as error:
            import ray

            with suppress(Exception):
                ray.shutdown()
            said = _last_words(folder)
            shutil.rmtree(folder, ignore_errors=True)
            if not isinstance(error, Exception):
                raise
            if attempt + 1 == _STARTS:
                raise EngineError(
                    f"{setting}: Ray did not start on this machine ({_STARTS} tries): "
                    f"{first_line(error)}{said}",
                    "free memory and processors, and raise `ulimit -n` and `ulimit -u`",
                ) from error
            console.print(Text(f"  Ray did not start: {first_line(error)}: once more", "yellow"))
            time.sleep(attempt + 1)
    raise AssertionError("unreachable")


def _sweep(parent: Path) -> None:
    """Remove what killed commands of this user left."""
    for folder in parent.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _init(address: str, **options: object) -> None:
    import ray

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    # Its accounts of lost workers would go to stdout; what is raised says as much.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    finally:
        if is_main:  # Ray takes SIGTERM for itself
            signal.signal(signal.SIGTERM, before)


def _unreachable(address: str, error: Exception) -> EngineError:
    said = f"{type(error).__name__}: {first_line(error)}"
    words = f"{error} {error.__cause__ or ''}".lower()
    last = str(error.__cause__ or "").strip().splitlines()[-1:]
    cause = f" ({last[0][:300]})" if last else ""
    fix = f"start the cluster, run the command on one of its nodes, or correct {ADDRESS}"
    if any(mark in words for mark in ("token", "authenticat")):
        fix = (
            f"set {_AUTH}=token and the same token (RAY_AUTH_TOKEN, or ~/.ray/auth_token) on every "
            f"node and here; {_AUTH}=disabled joins a cluster that takes work from anyone"
        )
    elif "version" in words:
        fix = "install the same versions of Ray and Python here and on all nodes"
    return EngineError(f"{ADDRESS}={address}: {said}{cause}", fix)


def _last_words(folder: Path) -> str:
    """The last lines of what Ray's own processes logged."""
    lines: list[str] = []
    for name in ("gcs_server", "raylet"):
        for log in sorted(folder.glob(f"session_2*/logs/{name}.*")):
            text = log.read_text(encoding="utf-8", errors="replace")
            lines += [f"\n  | {line[:300]}" for line in text.splitlines()[-3:]]
    return "".join(lines[-8:])


@cache
def _token() -> str:
    """Of all clusters that this process starts: Ray reads it once."""
    token = secrets.token_hex(32)
    known_secrets.register(token)
    return token


def _paths() -> dict[str, str]:
    """Of the nodes' processes: they find our packages, and the caller's, as this one does."""
    found = [child_environment()["PYTHONPATH"], *filter(None, sys.path[:1])]
    return {"PYTHONPATH": os.pathsep.join(found)}


@contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Ray reads its settings when it is imported and when it starts; other children never do."""
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
