"""Files of ours that are not as they were written are named, with their stage, and never used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.artifacts import FILES, folder_of, tries
from tests.faults.table import Try, check, params
from tests.faults.world import finished_run


def test_every_file_of_a_run_is_tried() -> None:
    for stage, names in FILES.items():
        folder = folder_of(finished_run(), stage)
        found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        assert found == {*names, "manifest.json"}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("attempt", params(tries()))
def test_artifact(attempt: Try, tmp_path: Path) -> None:
    check(attempt, tmp_path)
