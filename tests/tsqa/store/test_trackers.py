"""The trackers one by one: axes and tags of W&B, runs of trackio, and its absence."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support import page_world
from tsqa.errors import TsqaError
from tsqa.recipe import TrackingSection
from tsqa.store.tracking import Tracker
from tsqa.trackers import TrackedRun, tags_of

ROOT = Path(__file__).parents[3]


def run_of(stage: str) -> TrackedRun:
    return TrackedRun("experiment", stage, "synthetic=0.5", "f00d", {"lr": 0.1}, ["recipe:x"])


@pytest.mark.parametrize(
    ("stage", "axes"),
    [
        ("train", {"*": "train/tokens"}),
        (
            "generate",
            {
                "generate/teacher/*": "generate/teacher/candidates",
                "generate/cascade/*": "generate/cascade/candidates",
            },
        ),
        ("filter", {}),
        ("evaluate", {}),
    ],
)
def test_a_job_type_has_the_x_axis_of_its_own_metrics(
    stage: str, axes: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    defined: dict[str, str] = {}
    given: dict[str, Any] = {}

    class Run:
        def define_metric(self, name: str, step_metric: str | None = None) -> None:
            if step_metric:
                defined[name] = step_metric

    def init(**options: Any) -> Run:
        given.update(options)
        return Run()

    monkeypatch.setattr(wandb, "init", init)
    Tracker(TrackingSection(mode="offline"), run_of(stage), tmp_path)
    assert defined == axes
    assert given["name"] == f"synthetic=0.5 / {stage} / f00d" and given["id"] == f"{stage}-f00d"
    assert not given["settings"].x_disable_stats, "GPU metrics are logged"


def test_tags_name_recipe_teacher_model_and_the_shares_of_a_trained_mixture() -> None:
    recipe = page_world.make_recipe([0.0, 0.5], [1])
    named = ["recipe:invented", "teacher:t", "model:m"]
    assert tags_of(recipe, shares=True) == [*named, "human=0.9", "synthetic=0.1"]
    assert tags_of(recipe, shares=False) == named
    long = recipe.model_copy(update={"name": "x" * 99})
    assert max(map(len, tags_of(long, shares=True))) == 64


@pytest.mark.parametrize("own", [{"entity": "me"}, {"mode": "online"}])
def test_trackio_refuses_what_only_wandb_has(own: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="backend: trackio is local"):
        TrackingSection.model_validate({"backend": "trackio", **own})


def test_without_trackio_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    section = TrackingSection(backend="trackio", mode="offline")
    with pytest.raises(TsqaError, match="trackio is not installed") as caught:
        Tracker(section, run_of("train"), tmp_path)
    assert "pip install tsqa[trackio]" in str(caught.value.fix)


_LOGS = """
import sys
from pathlib import Path
from tsqa.recipe import TrackingSection
from tsqa.store.tracking import Tracker
from tsqa.trackers import Interval, TrackedRun

folder = Path(sys.argv[1])
for number in range(2):  # a resumed stage continues its run
    run = TrackedRun("experiment", "train", "arm", "f00d", {"lr": 0.1}, ["recipe:x"], "found")
    tracker = Tracker(TrackingSection(backend="trackio", mode="offline"), run, folder)
    tracker.log({"train/tokens": 10 * (number + 1), "train/loss": 2.0 - number})
    if number:
        tracker.table("rows", ["a", "b"], [[1, "x"], [None, "y"]])
        tracker.intervals("change", [Interval("day", -1.0, 0.5, 2.0)])
        (folder / "page.html").write_text("<p>page</p>")
        tracker.page("report", folder / "page.html")
        tracker.summary({"final": 1})
    tracker.finish()
"""


def test_a_run_of_trackio_is_in_its_local_database(tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="trackio, an optional extra, is not installed")
    remote = {"TRACKIO_SPACE_ID": "someone/space", "TRACKIO_SERVER_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", _LOGS, str(tmp_path)],
        env={**os.environ, **remote, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "carrying on" not in done.stderr and "is off" not in done.stderr and not done.stdout
    with sqlite3.connect(tmp_path / "trackio" / "tsqa.db") as database:
        found = database.execute("SELECT run_name, metrics FROM metrics ORDER BY id").fetchall()
    assert {name for name, _ in found} == {"arm / train / f00d"}
    logged = [json.loads(metrics) for _, metrics in found]
    losses = [(r["train/tokens"], r["train/loss"]) for r in logged if "train/loss" in r]
    assert losses == [(10, 2.0), (20, 1.0)]
    assert {"rows", "change", "report", "final", "failed"} <= {key for r in logged for key in r}
