"""The whole spine with the real engines: vLLM, accelerate + DeepSpeed, lm-eval.

One run is killed with SIGKILL in the middle of generate and of train and continued; another is
left alone; both must end with the same dataset, losses and deltas.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.smoke_runs import finish, results, start
from tsqa.curated.files import read_rejected

DISTURBED = ("generate", "filter", "tokenize", "train", "evaluate", "compare")

pytestmark = pytest.mark.engine


def kill_when(runs: Path, ready: Callable[[Path], bool]) -> None:
    """Start a run and SIGKILL it as soon as `ready` holds."""
    process = start(runs)
    while not ready(runs):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


def generating(runs: Path) -> bool:
    logs = runs.glob("artifacts/generate/*.partial/*.jsonl")
    return any(log.stat().st_size for log in logs)


def training_an_arm(runs: Path) -> bool:
    """A checkpoint exists after the curated dataset does: it is an arm's."""
    curated = any(runs.glob("artifacts/filter/*/manifest.json"))
    return curated and any(runs.glob("artifacts/train/*.partial/checkpoints/step-*"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("smoke") / "killed"
    kill_when(runs, generating)
    kill_when(runs, training_an_arm)
    finish(runs)
    return runs


@pytest.mark.timeout(2700)
def test_a_run_killed_in_generate_and_train_ends_like_an_undisturbed_one(killed: Path) -> None:
    undisturbed = killed.parent / "undisturbed"
    shutil.copytree(killed / "artifacts", undisturbed / "artifacts")
    shutil.rmtree(undisturbed / "artifacts" / "data")  # its task files name the folder they are in
    compare = json.loads(next(killed.glob("artifacts/compare/*/manifest.json")).read_text())
    arms = set(compare["inputs"].values())
    for stage in DISTURBED:
        for path in (undisturbed / "artifacts" / stage).iterdir():
            shared = stage in ("train", "tokenize") and not _made_from_synthetic(path, killed)
            base = stage == "evaluate" and path.name not in arms
            if path.is_dir() and not (shared or base):
                shutil.rmtree(path)
    finish(undisturbed)
    assert results(undisturbed) == results(killed)


@pytest.mark.timeout(120)
def test_a_second_run_reuses_everything(killed: Path) -> None:
    printed = finish(killed)
    assert "reused" in printed
    assert "running" not in printed


def test_every_candidate_is_curated_or_rejected(killed: Path) -> None:
    [manifest] = killed.glob("artifacts/filter/*/manifest.json")
    summary = json.loads(manifest.read_text())["summary"]
    assert summary["candidates"] == summary["curated"] + summary["rejected"]
    rejected = list(read_rejected(manifest.parent))
    assert len(rejected) == summary["rejected"]
    assert all(row.reason for row in rejected)


def test_the_report_opens_offline_and_holds_the_deltas(killed: Path) -> None:
    page = (killed / "smoke" / "report.html").read_text()
    assert "<script src" not in page
    outside_scripts = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)=.?https?:|@import|url\(http", outside_scripts)
    deltas = json.loads(next(killed.glob("artifacts/compare/*/deltas.json")).read_text())
    assert deltas
    assert "mini_day" in page


def _made_from_synthetic(artifact: Path, runs: Path) -> bool:
    """True for the arms' tokens and checkpoints, false for the teacher's and the base's."""
    manifest_path = runs / "artifacts" / artifact.parent.name / artifact.name / "manifest.json"
    if not manifest_path.is_file():
        return True
    inputs = json.loads(manifest_path.read_text())["inputs"]
    return "filter" in inputs or "model" in inputs
