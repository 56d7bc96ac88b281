"""No room, no right, signals, two runs at once: an error that can be resumed, and the same data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.systems import tries
from tests.faults.table import Try, check, params


@pytest.mark.timeout(300)
@pytest.mark.parametrize("attempt", params(tries()))
def test_system(attempt: Try, tmp_path: Path) -> None:
    check(attempt, tmp_path)
