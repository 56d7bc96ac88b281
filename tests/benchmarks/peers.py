"""Run the peer in its own environment, and a function of ours in its own process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_PEER = Path(__file__).with_name("datatrove_peer.py")


def run_peer(python: Path | None, what: str, folder: Path, script: Path = _PEER) -> dict[str, Any]:
    """What datatrove prints about the files in `folder`; empty without its environment."""
    if python is None:
        return {}
    command = [str(python), "-P", str(script), what, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def in_fresh_process(work: Callable[..., T], *arguments: object, **named: object) -> T:
    """What it returns; BrokenProcessPool where the process dies, which a `Pool` would wait for."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, *arguments, **named).result()


def peak_mib(work: Callable[..., None], *arguments: object) -> float:
    """Peak resident memory of a fresh process that does the work."""
    return in_fresh_process(_measure, work, arguments)


def _measure(work: Callable[..., None], arguments: tuple[object, ...]) -> float:
    work(*arguments)
    # Not ru_maxrss: a child process starts with its parent's.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
