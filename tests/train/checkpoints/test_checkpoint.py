"""Checkpoints: a damaged one is refused by name, a foreign one is never loaded."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from train.checkpoints import checkpoint
from train.checkpoints.checkpoint import MANIFEST, Checkpoints, verify
from train.checkpoints.manifest import seal_of
from train.data.mixture import plan
from train.data.plan import MixturePlan
from train.trainer.loss_totals import LossTotals
from tsqa.errors import CheckpointError
from tsqa.recipe import MixtureSection, TrainSection
from tsqa.store.jsonl import write_json

TRAIN = TrainSection(sequence_length=8, global_batch_tokens=64, lr=1)


def make_plan(seed: int = 0) -> MixturePlan:
    mixture = MixtureSection.model_validate(
        {"sources": {"web": {"path": "x"}}, "phases": [{"tokens": 640, "ratios": {"web": 1}}]}
    )
    return plan(mixture, TRAIN, {"web": 80}, seed)


def checkpoints(folder: Path, **values: object) -> Checkpoints:
    return Checkpoints(folder, make_plan(), "zero 1", "x", **values)  # type: ignore[arg-type]


def write(folder: Path, step: int, seed: int = 0) -> Path:
    made = folder / f"step-{step:08d}"
    made.mkdir(parents=True)
    for name in ("rank-0", "rank-1"):
        (made / name).write_bytes(b"w" * step)
    identity = make_plan(seed).identity
    totals = LossTotals(1, None).state()
    routers: dict[str, object] = {"biases": {}, "window": {}}
    state = {"books": totals, "routers": routers, "seconds": 1.5, "seed": 0, "run": "x", "fp32": []}
    manifest = {"step": step, "plan": identity, "processes": 2, "sharding": "zero 1",
                "state": state, "files": {}}  # fmt: skip
    write_json(made / MANIFEST, manifest)
    list_files(made)
    return made


def list_files(made: Path) -> None:
    """Have a checkpoint's manifest list what is in its folder."""
    manifest = json.loads((made / MANIFEST).read_text())
    files = [path for path in made.rglob("*") if path.is_file() and path.name != MANIFEST]
    marks = {
        path.relative_to(made).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in files
    }
    write_json(made / MANIFEST, {**manifest, "files": marks})


DAMAGE = {
    "truncated": (b"w" * 19, "rank-1 has 19 bytes, expected 20"),
    "bit-flipped": (b"w" * 19 + b"v", "sha256 of rank-1 differs"),
    "missing": (None, "rank-1 has None bytes"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_refused_by_name_and_an_older_one_used_when_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    write(tmp_path, 10)
    broken = write(tmp_path, 20) / "rank-1"
    content, problem = DAMAGE[kind]
    if content is None:
        broken.unlink()
    else:
        broken.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"step-00000020 is damaged: .*{problem}"):
        checkpoints(tmp_path).newest()
    with caplog.at_level(logging.WARNING):
        found = checkpoints(tmp_path, older=True).newest()
    assert found is not None
    assert found["step"] == 10
    assert problem in caplog.text


def test_a_checkpoint_without_manifest_is_refused(tmp_path: Path) -> None:
    (write(tmp_path, 10) / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="step-00000010 is damaged"):
        verify(tmp_path / "step-00000010")
    with pytest.raises(CheckpointError, match="step-00000010 is damaged"):
        checkpoints(tmp_path).newest()


def test_another_plan_is_refused_with_the_differing_keys(tmp_path: Path) -> None:
    write(tmp_path, 10, seed=7)
    with pytest.raises(CheckpointError, match="seed: 7 -> 0"):
        checkpoints(tmp_path).newest()


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 10)
    other = replace(checkpoints(tmp_path), run="y")
    with pytest.raises(CheckpointError, match="step-00000010 is of the training x, whose settings"):
        other.newest()


def test_a_checkpoint_under_another_step_is_refused(tmp_path: Path) -> None:
    moved = write(tmp_path, 10).rename(tmp_path / "step-00000020")
    assert verify(moved)["step"] == 10  # by itself it is whole, and can be exported
    with pytest.raises(CheckpointError, match="step-00000020 is damaged: it is of step 10"):
        checkpoints(tmp_path).newest()


def test_a_manifest_that_changed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 10) / MANIFEST
    manifest = json.loads(path.read_text())
    write_json(path, {**manifest, "seal": seal_of(manifest)})
    assert checkpoints(tmp_path).newest() is not None
    path.write_text(path.read_text().replace('"seconds": 1.5', '"seconds": 2.5'))
    with pytest.raises(CheckpointError, match=r"damaged: checkpoint\.json changed since"):
        checkpoints(tmp_path).newest()


def test_half_a_checkpoint_of_a_run_that_ended_is_removed(tmp_path: Path) -> None:
    write(tmp_path, 10).rename(tmp_path / "step-00000010.tmp")
    accelerator: Any = SimpleNamespace(is_main_process=True, num_processes=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "broadcast_object_list", lambda found: found)
        assert checkpoints(tmp_path).load(accelerator, None) == (0, None)  # type: ignore[arg-type]
    assert not [*tmp_path.iterdir()]


def test_what_deepspeed_does_not_find_is_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path, 10)
    engine: Any = SimpleNamespace(load_checkpoint=lambda *_, **__: (None, {}))
    accelerator: Any = SimpleNamespace(is_main_process=True, num_processes=2)
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(CheckpointError, match="DeepSpeed finds nothing to load"),
    ):
        patch.setattr(checkpoint, "broadcast_object_list", lambda found: found)
        checkpoints(tmp_path).load(accelerator, engine)


def test_an_unfinished_checkpoint_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, 10).rename(tmp_path / "step-00000010.tmp")
    assert checkpoints(tmp_path).newest() is None


def test_permanent_checkpoints_outlive_the_run(tmp_path: Path) -> None:
    for step in (10, 15, 20):
        write(tmp_path, step)
    (tmp_path / "step-00000025.tmp").mkdir()
    (tmp_path / "model").mkdir()
    checkpoints(tmp_path, keep_every=10).finish()
    kept = {"step-00000010", "step-00000020", "model"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    checkpoints(tmp_path).finish()
    assert not tmp_path.exists()


def test_what_another_machine_wrote_must_be_seen_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "zero").mkdir()
    for name in ("rank-0", "zero/rank-1"):
        (tmp_path / name).write_bytes(b"w")
    monkeypatch.setattr(checkpoint, "gather_object", lambda own: own)
    assert checkpoint._files_of_all(tmp_path) == ["rank-0", "zero/rank-1"]
    theirs = iter([["rank-2"], []])
    monkeypatch.setattr(checkpoint, "gather_object", lambda own: [*own, *next(theirs)])
    with pytest.raises(CheckpointError, match="rank-2 was written, but not every machine sees it"):
        checkpoint._files_of_all(tmp_path)
