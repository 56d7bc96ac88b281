"""Promises of tsqa.console: in a narrow terminal the note gives way, not the numbers."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.rule import Rule
from rich.table import Table

from tests.support.paths import REPOSITORY
from tsqa.console import make_console, progress_bar


@pytest.mark.parametrize("name", ["teacher", "  train:enriched,repeat_matched tokens"])
def test_the_numbers_stay_whole_in_eighty_columns(name: str) -> None:
    written = io.StringIO()
    with progress_bar(Console(file=written, width=80)) as bar:
        note = "0 in flight, 364 readable, 36 refused (cut off at max_tokens 33, empty 3)"
        bar.add_task(name, total=450_000, completed=14_400, note=note, dollars=1234.5)
    (line,) = written.getvalue().splitlines()
    assert line.startswith(name) and " 14400/450000 0:00:00 " in line
    assert " $1,234.50" in line and " 0" in line


def test_no_text_is_read_as_markup() -> None:
    data = "error: [/INST] [bold]x[/] :warning: [red"
    written = io.StringIO()
    shown = make_console(file=written, width=200)
    shown.print(data)
    table = Table(title=data)
    table.add_column(data)
    table.add_row(data)
    shown.print(table)
    shown.print(Rule(data))
    with progress_bar(shown) as bar:
        bar.add_task(data, total=1, note=data)
    assert written.getvalue().count(data) == 7


def test_no_console_reads_markup() -> None:
    """Every console of the packages is made by `make_console`."""
    root = REPOSITORY
    files = [f for name in ("tsqa", "train", "eval") for f in (root / name).rglob("*.py")]
    made = [
        file for file in files if re.search(r"(?<!class )\b\w*Console\(", file.read_text("utf-8"))
    ]
    assert [file.name for file in made] == ["console.py"]
