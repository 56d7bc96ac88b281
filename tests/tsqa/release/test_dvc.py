"""What tsqa/release/README.md says of DVC, done with the real one, without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.released import accepted, build, seed, write_recipe
from tsqa.release.check import check_release
from tsqa.release.make import make_release
from tsqa.store.verify import verify_runs

DVC = os.environ.get("TSQA_DVC") or shutil.which("dvc")


@pytest.mark.skipif(DVC is None, reason="no `dvc`: pipx install dvc, or name one in TSQA_DVC")
def test_a_release_goes_into_dvc_and_comes_back_whole(tmp_path: Path) -> None:
    folder = make_release(build(write_recipe(tmp_path), [seed(0)], [accepted(0)]), "v1").folder
    home = tmp_path / "home"
    home.mkdir()
    env = {**os.environ, "HOME": str(home), "DVC_NO_ANALYTICS": "1"}

    def dvc(*arguments: str) -> None:
        command = [str(DVC), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    named = str(folder.relative_to(tmp_path))
    dvc("init", "--no-scm", "-q")
    dvc("remote", "add", "-d", "store", str(tmp_path / "store"))
    dvc("add", named)
    dvc("push")
    assert check_release(folder).damage == []
    assert all(not verdict.damage for verdict in verify_runs(tmp_path / "runs"))
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    dvc("pull")
    assert check_release(folder).damage == []
