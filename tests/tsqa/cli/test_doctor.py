"""Doctor: every problem comes with what to do, and nothing broken is imported."""

from __future__ import annotations

import importlib.metadata
import io
import shutil
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tsqa.cli import doctor
from tsqa.cli.doctor import Check, print_report, run_checks


def check_named(name: str, checks: list[Check]) -> Check:
    return next(check for check in checks if check.name == name)


def test_every_engine_is_reported_and_every_problem_has_a_fix() -> None:
    checks = run_checks()
    assert {*doctor.ENGINES, "python", "device", "wandb", "disk"} <= {c.name for c in checks}
    assert all(check.fix for check in checks if check.status != "ok")


def test_a_missing_engine_fails_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name.startswith("vllm"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    check = doctor._engine("vllm")
    assert (check.status, check.found) == ("fail", "not installed")
    assert "make setup" in check.fix
    assert doctor._engine("torch").status == "ok"


def test_a_torch_that_does_not_import_is_a_failure_not_a_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    check, on_gpu = doctor._device()
    assert check.status == "fail" and not on_gpu
    assert "TORCH_INDEX" in check.fix


@pytest.mark.parametrize(("gib", "status"), [(1, "fail"), (5, "warn"), (50, "ok")])
def test_disk_thresholds(gib: int, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, gib << 30))
    assert doctor._disk(Path()).status == status


def test_no_compiler_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert doctor._compiler().status == "fail"


def test_wandb_without_a_key_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    check = doctor._wandb()
    assert check.status == "warn" and "wandb login" in check.fix
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert doctor._wandb().status == "ok"


def test_mamba_kernels_are_asked_for_only_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def device_on(gpu: bool) -> Any:
        return lambda: (Check("device", "ok", ""), gpu)

    monkeypatch.setattr(doctor, "_device", device_on(False))
    assert "mamba-ssm" not in {c.name for c in run_checks()}
    monkeypatch.setattr(doctor, "_device", device_on(True))
    assert check_named("mamba-ssm", run_checks()).name == "mamba-ssm"


def test_the_report_shows_fixes_literally() -> None:
    out = io.StringIO()
    checks = [Check("a", "ok", "1"), Check("bb", "fail", "none [x]", "pip install -e .[gpu]")]
    print_report(checks, Console(file=out, width=200))
    text = out.getvalue()
    assert "fix: pip install -e .[gpu]" in text and "none [x]" in text
    assert "1 failed, 0 to look at" in text
