"""W&B: tracked when it can be, and never the reason that a run stops."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from tests.support.wandb_records import read_run
from tsqa.recipe import TrackingSection
from tsqa.store.tracking import OFFLINE, Tracker, resolve_mode
from tsqa.trackers import Interval, TrackedRun, wandb_sink
from tsqa.trackers.wandb_sink import logged_in


@pytest.fixture(autouse=True)
def reachable() -> Iterator[None]:
    """No test leaves the mark of a server out of reach to the others."""
    yield
    os.environ.pop(OFFLINE, None)


def make_tracker(
    folder: Path,
    mode: Literal["auto", "online", "offline", "disabled"] = "offline",
    fingerprint: str = "0123456789abcdef",
) -> Tracker:
    return Tracker(
        TrackingSection(mode=mode),
        TrackedRun(
            experiment="experiment",
            stage="train",
            subject="synthetic=0.5",
            fingerprint=fingerprint,
            config={"lr": 0.001},
            tags=["recipe:x", "synthetic=0.5"],
            notes="one line",
        ),
        folder,
    )


def use_everything(tracker: Tracker, artifact: Path) -> None:
    tracker.log({"train/tokens": 10, "train/loss": 2.0})
    tracker.table("rows", ["a", "b"], [[1, "x"]])
    tracker.intervals("change", [Interval("day: +1.0", -0.5, 1.0, 2.5)])
    tracker.summary({"final": 1})
    tracker.artifact(artifact, "train", "0123456789abcdef", {"tokenize:web": "beef"})
    tracker.finish()
    tracker.log({"after": 1})
    tracker.finish()


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "manifest.json").write_text("{}")
    return tmp_path / "made"


def test_a_disabled_tracker_does_nothing_and_writes_nothing(tmp_path: Path, artifact: Path) -> None:
    use_everything(make_tracker(tmp_path / "wandb", "disabled"), artifact)
    assert not (tmp_path / "wandb").exists()


def test_a_server_out_of_reach_is_waited_for_once_and_nothing_is_lost(
    tmp_path: Path,
    artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(wandb_sink, "START_SECONDS", 2)
    with caplog.at_level(logging.WARNING, "tsqa.store.tracking"):
        for fingerprint in ("first", "second"):
            use_everything(make_tracker(tmp_path, "auto", fingerprint), artifact)
    assert caplog.text.count("tracked offline; nothing is lost") == 1
    assert "wandb sync" in caplog.text and "W&B is off" not in caplog.text
    for fingerprint in ("first", "second"):
        (run,) = (tmp_path / "wandb").glob(f"offline-run-*-train-{fingerprint}")
        found = read_run(run)
        assert (found.summary["train/loss"], found.summary["final"]) == (2.0, 1)


def test_a_dead_process_of_wandb_costs_one_stage_not_those_after_it(
    tmp_path: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    before = set(psutil.Process().children(recursive=True))
    first = make_tracker(tmp_path, "offline", "first")
    first.log({"train/tokens": 1})
    started = set(psutil.Process().children(recursive=True)) - before
    for process in started or {p for p in before if "wandb" in p.name()}:
        process.kill()
        process.wait()
    use_everything(first, artifact)
    os.environ.pop(OFFLINE, None)
    use_everything(make_tracker(tmp_path, "offline", "second"), artifact)
    (log,) = (tmp_path / "wandb").glob("offline-run-*-train-second*/*.wandb")
    assert read_run(log.parent).summary["final"] == 1


def test_a_finish_that_the_server_does_not_take_is_said_and_the_rest_is_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    class Lost:
        id = "x"

        def define_metric(self, *_: Any, **__: Any) -> None: ...

        def finish(self, **_: Any) -> None:
            raise TimeoutError("timed out")

    monkeypatch.setattr(wandb, "init", lambda **_: Lost())
    folder = tmp_path / "my runs"
    make_tracker(folder, "online").finish()
    assert resolve_mode("online") == "offline"
    assert "did not take the last of train-0123456789abcdef (timed out)" in caplog.text
    for name in ("offline-run-1-train-other", "run-2-train-0123456789abcdef", "run-3-train-sent"):
        (folder / "wandb" / name).mkdir(parents=True)
        (folder / "wandb" / name / f"{name}.wandb").write_bytes(b"")
    for command, name in zip(
        re.findall("`(wandb sync .*?)`", caplog.text), ("offline-run-1", "run-2"), strict=True
    ):
        ask = f"{sys.executable} -m {command} --dry-run"
        said = subprocess.run(ask, shell=True, capture_output=True, text=True).stderr
        assert "Would sync 1 run(s)" in said and f"/wandb/{name}" in said, (command, said)


def test_a_failing_init_is_a_warning_not_an_error(
    tmp_path: Path,
    artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import wandb

    def fail(**_: Any) -> None:
        raise wandb.errors.CommError("no network")

    monkeypatch.setattr(wandb, "init", fail)
    with caplog.at_level(logging.WARNING, "tsqa.store.tracking"):
        use_everything(make_tracker(tmp_path, "offline"), artifact)
    assert "W&B is off for this stage: no network" in caplog.text


def test_a_run_whose_every_call_fails_never_raises(
    tmp_path: Path,
    artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import wandb

    class Broken:
        id = "x"

        def define_metric(self, *_: Any, **__: Any) -> None: ...

        def __getattr__(self, name: str) -> Any:
            raise OSError(f"{name}: connection lost")

    monkeypatch.setattr(wandb, "init", lambda **_: Broken())
    use_everything(make_tracker(tmp_path, "online"), artifact)
    assert caplog.text.count("carrying on") >= 3
    assert "did not take the last of" in caplog.text


def test_an_offline_run_is_written_whole_under_the_id_of_its_artifact(
    tmp_path: Path,
    artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    use_everything(make_tracker(tmp_path, "offline"), artifact)
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    assert run.name.endswith("-train-0123456789abcdef")
    (log,) = run.glob("*.wandb")
    assert log.stat().st_size > 0
    found = read_run(run)
    assert found.run.display_name == "synthetic=0.5 / train / 0123456789abcdef"
    assert list(found.run.tags) == ["recipe:x", "synthetic=0.5"] and found.run.notes == "one line"
    assert [row["train/tokens"] for row in found.history if "train/loss" in row] == [10]
    assert found.table("change_table")["data"] == [[x, "day: +1.0", 0] for x in (-0.5, 1.0, 2.5)]
    assert "carrying on" not in caplog.text and "W&B is off" not in caplog.text


def test_the_environment_decides_auto_but_not_an_explicit_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert (resolve_mode("auto"), resolve_mode("offline")) == ("disabled", "offline")
    monkeypatch.delenv("WANDB_MODE")
    assert resolve_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "k")
    assert resolve_mode("auto") == "online"


def test_a_key_in_netrc_counts_as_logged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.wandb.ai login user password k\n")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(netrc))
    assert logged_in()
