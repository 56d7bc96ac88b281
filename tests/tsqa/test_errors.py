"""What the system refuses, in words with a fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsqa.errors import os_error_cause


def test_a_link_to_nowhere_is_not_called_there(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError) as caught:
        folder.mkdir(parents=True, exist_ok=True)
    assert os_error_cause(caught.value)[0] == f"{folder}: a link to nowhere"
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError) as caught:
        (tmp_path / "file").mkdir(exist_ok=True)
    assert "it is there already" in os_error_cause(caught.value)[0]
