"""The compiled code in the user's cache: made once, kept while in use, swept when stale."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tsqa.sandbox import boundary

OLD = time.time() - 30 * 24 * 3600
HOLD = """
import sys, time
from pathlib import Path
from tsqa.sandbox import boundary
print(boundary._hold(Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


def folder_of(cache: Path, name: str, changed: float = OLD) -> Path:
    folder = cache / name
    folder.mkdir(parents=True)
    (folder / "library").write_bytes(b"x")
    os.utime(folder, (changed, changed))
    return folder


def test_stale_folders_go_and_all_else_stays(tmp_path: Path) -> None:
    current = folder_of(tmp_path, "sandbox-current")
    recent = folder_of(tmp_path, "sandbox-recent", time.time() - 3600)
    other = folder_of(tmp_path, "notes")
    elsewhere = folder_of(tmp_path.parent, f"{tmp_path.name}-elsewhere")
    (tmp_path / "sandbox-link").symlink_to(elsewhere)
    (tmp_path / "sandbox-file").write_text("x")
    os.utime(tmp_path / "sandbox-file", (OLD, OLD))
    stale = [folder_of(tmp_path, "sandbox-stale"), folder_of(tmp_path, "tmpabc")]
    boundary.sweep(tmp_path, current)
    assert not any(folder.exists() for folder in stale)
    for kept in (current, recent, other, elsewhere):
        assert (kept / "library").is_file()
    assert (tmp_path / "sandbox-file").is_file()
    assert len(list(tmp_path.iterdir())) == 5, "nothing is left behind"


def test_a_folder_in_use_is_kept_however_old(tmp_path: Path) -> None:
    used = folder_of(tmp_path, "sandbox-used")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(used)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    assert used.stat().st_mtime > OLD + 60
    os.utime(used, (OLD, OLD))
    boundary.sweep(tmp_path, tmp_path / "sandbox-current")
    assert (used / "library").is_file()
    process.kill()
    process.wait()
    boundary.sweep(tmp_path, tmp_path / "sandbox-current")
    assert not used.exists()


def test_the_code_is_made_once_and_again_when_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = boundary._code.__wrapped__()
    assert made.parent == tmp_path / "tsqa" and list(made.glob("tsqa/sandbox/inside/*.pyc"))
    assert boundary._code.__wrapped__() == made
    assert [path.name for path in made.parent.iterdir()] == [made.name]
    assert not boundary._hold(tmp_path / "gone")
