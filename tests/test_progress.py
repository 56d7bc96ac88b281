"""Promises of tsqa.progress: in a narrow terminal the note gives way, not the numbers."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tsqa.progress import progress_bar


@pytest.mark.parametrize("name", ["teacher", "  train:enriched,repeat_matched tokens"])
def test_the_numbers_stay_whole_in_eighty_columns(name: str) -> None:
    written = io.StringIO()
    with progress_bar(Console(file=written, width=80)) as bar:
        note = "0 in flight, 364 readable, 36 refused (cut off at max_tokens 33, empty 3)"
        bar.add_task(name, total=450_000, completed=14_400, note=note)
    (line,) = written.getvalue().splitlines()
    assert line.startswith(name) and " 14400/450000 0:00:00 " in line and " 0 i" in line
