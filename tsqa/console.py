"""Progress bars on stderr, so that stdout stays machine-readable.

Guarantees: no text is read as markup, whether printed, in a table or next to a bar: data and error
texts hold brackets. Styles are passed as `rich.text.Text`.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from tsqa.printable import PrintableConsole


def make_console(**options: Any) -> Console:
    """A console that prints text unchanged, and invisible characters as their codes."""
    return PrintableConsole(markup=False, emoji=False, highlight=False, **options)


console = make_console(stderr=True, soft_wrap=True)


def progress_bar(on: Console = console) -> Progress:
    """A bar with done / total, elapsed and remaining time, dollars where a task has the field
    `dollars`, and a free `{task.fields[note]}`.

    In a narrow terminal the note and the bar give way, the numbers stay whole.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        _Dollars("", table_column=Column(no_wrap=True)),
        _Note("{task.fields[note]}", markup=False, table_column=Column()),
        console=on,
    )


class _Dollars(TextColumn):
    def render(self, task: Task) -> Text:
        dollars = task.fields.get("dollars")
        return Text(f"${dollars:,.2f}" if dollars else "")


class _Note(TextColumn):
    """A text on one line, cut at its end; its column may be narrowed."""

    def render(self, task: Task) -> Text:
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text
