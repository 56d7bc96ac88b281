"""Exports along a run, which evaluation draws as a curve: they change nothing and survive kills."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.train_runs import HYBRID, metrics, stop_after, train, write_recipe

pytestmark = pytest.mark.engine
CURVE = ("eval={tasks: [arc_easy], every_tokens: 1000}", "mixture.decontaminate=false")


def test_exports_along_a_run_change_nothing_and_survive_a_kill(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, HYBRID)
    plain = train(recipe, tmp_path / "plain")
    whole = train(recipe, tmp_path / "whole", *CURVE)
    stop_after(recipe, tmp_path / "killed", 5, *CURVE)
    resumed = train(recipe, tmp_path / "killed", *CURVE)
    assert metrics(whole) == metrics(plain) == metrics(resumed)
    assert whole.fingerprint == resumed.fingerprint != plain.fingerprint
    assert {path.name for path in whole.path.glob("hf*")} == {"hf", "hf-1000", "hf-2000"}
    # Steps of 256 tokens: the fourth is the first to reach 1,000, the eighth to reach 2,000.
    for point, step in ((1000, 4), (2000, 8)):
        told = json.loads((resumed.path / f"hf-{point}" / "exported.json").read_text())
        assert told == {"step": step, "tokens": step * 256}
    weights = [
        (artifact.path / name / "model.safetensors").read_bytes()
        for artifact in (whole, resumed)
        for name in ("hf-1000", "hf-2000", "hf")
    ]
    assert weights[:3] == weights[3:]
    assert len(set(weights)) == 3
