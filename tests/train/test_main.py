"""What a user reads who starts `accelerate launch -m train` with a mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from tests.support.paths import REPOSITORY


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
