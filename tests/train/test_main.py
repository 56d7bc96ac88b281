"""What a user reads who starts `accelerate launch -m train` with a mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from tests.support.paths import REPOSITORY
from tests.support.train_runs import (
    ENVIRONMENT,
    HYBRID,
    command,
    prepare,
    wait_for,
    write_recipe,
)
from tsqa.errors import PREEMPTED


def test_the_launcher_ends_its_traceback_with_our_message(tmp_path: Path) -> None:
    file = tmp_path / "error.json"
    command = [sys.executable, "-m", "train", "recipes/smoke/recipe.yaml", "--arm", "nope"]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "TORCHELASTIC_ERROR_FILE": str(file)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    said = "error no arm `nope`\n  fix: use one of: synthetic=0, synthetic=0.5\n"
    assert done.stderr == said
    shown = str(ChildFailedError("train", {0: ProcessFailure(0, 1, 1, str(file))})).splitlines()
    assert [line.strip() for line in shown[-3:-1]] == [
        "traceback : error no arm `nope`",
        "fix: use one of: synthetic=0, synthetic=0.5",
    ]


@pytest.mark.engine
def test_under_accelerate_the_message_is_said_first_and_last() -> None:
    recipe = str(REPOSITORY / "recipes" / "smoke" / "recipe.yaml")
    done = subprocess.run(
        command(Path(recipe), "--arm", "nope", processes=1),
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    said = done.stderr.partition("error no arm `nope`\n  fix: use one of: synthetic=0")
    assert said[1] and "Traceback" not in said[0]
    *_, last, fix, _ = done.stderr.splitlines()  # then the frame of accelerate's own traceback
    assert last.strip() == "traceback : error no arm `nope`"
    assert fix.strip() == "fix: use one of: synthetic=0, synthetic=0.5"


@pytest.mark.engine
def test_sigterm_to_the_launcher_saves_and_the_code_of_the_ranks_comes_through(
    tmp_path: Path,
) -> None:
    recipe, runs = write_recipe(tmp_path, HYBRID), tmp_path / "runs"
    long = "mixture.phases=[{tokens: 1M, ratios: {web: 0.6, qa: 0.4}}]"
    asked = (long, "mixture.max_repetition=10000", "train.checkpoint_every=100000")
    prepare(recipe, runs)
    with (tmp_path / "log").open("wb") as log:
        job = subprocess.Popen(
            command(recipe, *asked, f"runs={runs}", processes=1),
            env=ENVIRONMENT, stdout=log, stderr=log, cwd=tmp_path,
        )  # fmt: skip
    try:
        metrics = wait_for(runs, "*.partial/metrics.jsonl", lambda: job.poll() is None)
        job.terminate()
        assert job.wait(240) == PREEMPTED, (tmp_path / "log").read_text()[-3000:]
    finally:
        job.kill()
    steps = len(metrics.read_text().splitlines())
    assert [path.name for path in metrics.parent.glob("checkpoints/step-*")] == [
        f"step-{steps:08d}"
    ]
    assert not (tmp_path / ".deepspeed_env").exists()
