"""An endpoint that fails ends the stage, with what it answered kept; nothing partial is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.endpoints import tries
from tests.faults.table import Try, check, params


@pytest.mark.timeout(60)
@pytest.mark.parametrize("attempt", params(tries()))
def test_endpoint(attempt: Try, tmp_path: Path) -> None:
    check(attempt, tmp_path)
