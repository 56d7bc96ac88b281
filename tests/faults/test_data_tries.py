"""Data that are wrong are refused by file and line, or left out and counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.data import tries
from tests.faults.table import Try, check, params


@pytest.mark.timeout(120)
@pytest.mark.parametrize("attempt", params(tries()))
def test_data(attempt: Try, tmp_path: Path) -> None:
    check(attempt, tmp_path)
