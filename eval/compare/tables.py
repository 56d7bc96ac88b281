"""Deltas for a reader: in the terminal, as CSV or Markdown.

Guarantees: an arm for which the terminal is too narrow follows in a further table, none is left
out; no statistic is computed here.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eval.compare.splits import near_lines
from eval.deltas import DeltaRow, DeltaTable
from eval.statistics import stats
from tsqa.printable import neutral_cell, printable
from tsqa.store.atomic import atomic_writer, write_text
from tsqa.store.jsonl import write_json
from tsqa.store.roles import BASE

BITS_TITLE = "Bits per byte of the right answer (fewer is better)"
CHOICE_TITLE = "Probability of the right choice among a document's choices"
NO_BITS = "no one stated answer, or evaluated before they were kept"
NO_CHOICES = "no choices, or no bits of them; its macro average is of the other tasks"
STYLES = {
    stats.BETTER: "green",
    stats.WORSE: "red",
    stats.DIFFERS: "yellow",
    stats.UNCHANGED: "dim",
}


def print_table(deltas: DeltaTable, console: Console) -> None:
    """One row per task and the macro average; per arm its score, delta, interval and verdict.

    Arms for which the console is too narrow follow in further tables.
    """
    legend = f"Scores in percent, deltas in points; no label means {stats.UNCHANGED}"
    console.print(Text(legend, style="italic"))
    found = [*([BASE] if deltas.has_base else []), deltas.control, *deltas.arms]
    gaps = {gap.condition for gap in deltas.gaps.values()} - {BASE, *found}
    columns: list[str] = []
    for condition in [*found, *sorted(gaps)]:
        if columns and not _fits(_table(deltas, [*columns, condition]), console):
            console.print(_table(deltas, columns))
            columns = []
        columns.append(condition)
    console.print(_table(deltas, columns))
    if deltas.split:
        console.print(_split_table(deltas))
    if deltas.bits:
        console.print(_bits_table(deltas))
    for line in (*deltas.conclusion.splitlines(), *near_lines(deltas), *bits_lines(deltas)):
        console.print(Text(line))
    for line in contamination_lines(deltas):
        alarming = any(word in line for word in ("allowed leak", "trained on"))
        console.print(Text(line, style="bold red" if alarming else ""))
    console.print(Text(deltas.caveat, style="dim"))


def bits_caption(deltas: DeltaTable) -> str:
    """What fewer bits may mean, and what tells."""
    form = "Fewer bits alone may be the form of answers"
    if not deltas.right_choice:
        return f"{form}."
    return (
        f"{form}, which makes wrong choices likelier too and leaves the right choice's "
        "probability, in percent and points, as it is."
    )


def bits_lines(deltas: DeltaTable) -> list[str]:
    """The tasks that the tables beside the scores lack, whose macro averages are of the others."""
    lines = []
    if deltas.bits and deltas.no_bits:
        lines.append(f"Bits per byte: none of {', '.join(deltas.no_bits)}: {NO_BITS}.")
    if deltas.no_choices:
        lacking = ", ".join(deltas.no_choices)
        lines.append(f"Probability of the right choice: none of {lacking}: {NO_CHOICES}.")
    return lines


def contamination_lines(deltas: DeltaTable) -> list[str]:
    """One line for each status, and the tasks that have it."""
    tasks: dict[str, list[str]] = {}
    for task, found in deltas.contamination.items():
        tasks.setdefault(found.told, []).append(task)
    count = len(deltas.contamination)
    return [
        f"Contamination: {told}: {'all tasks' if len(names) == count > 1 else ', '.join(names)}."
        for told, names in tasks.items()
    ]


def write_all(
    deltas: DeltaTable,
    *,
    csv: Path | None,
    markdown_file: Path | None,
    json_file: Path | None,
) -> None:
    """Write the deltas in the formats that have a path."""
    if csv:
        write_csv(csv, deltas.all_rows)
    if markdown_file:
        write_text(markdown_file, markdown(deltas))
    if json_file:
        write_json(json_file, deltas.to_json())


def markdown(deltas: DeltaTable) -> str:
    """One line per row of the table, then the conclusion and its caveat."""
    lines = _markdown(deltas.all_rows)
    if deltas.bits:
        title = f"{BITS_TITLE}. {bits_caption(deltas)}"
        lines += ["", title, "", *_bits_markdown(deltas.bits)]
    if deltas.right_choice:
        lines += ["", CHOICE_TITLE, "", *_markdown(deltas.right_choice)]
    gaps = [_line([name, "no result", gap.reason]) for name, gap in deltas.gaps.items()]
    if gaps:
        lines += ["", _line(["run", "", "reason"]), _rule(3), *gaps]
    told = [*near_lines(deltas), *bits_lines(deltas), *contamination_lines(deltas)]
    for claims in (deltas.conclusion.splitlines(), told, deltas.caveat.splitlines()):
        lines += ["", *(f"- {printable(claim)}" for claim in claims)]
    return "\n".join([*lines, ""])


def _markdown(rows: Sequence[DeltaRow]) -> list[str]:
    head = ("comparison", "task", "n", "seeds", "reference", "score", "delta (points)", "interval")
    columns = [*head, "p (corrected)", "MDE", "verdict"]
    lines = [_line(columns), _rule(len(columns))]
    for row in rows:
        numbers = [
            f"{row.n:,}",
            str(row.seeds),
            f"{row.reference:.1%}",
            f"{row.score:.1%}",
            stats.points(row.delta),
            stats.interval(row.low, row.high),
            f"{row.p_holm:.3g}",
            stats.detectable_points(row.mde),
        ]
        lines.append(_line([row.comparison, row.task, *numbers, row.verdict]))
    return lines


def _bits_markdown(rows: Sequence[DeltaRow]) -> list[str]:
    columns = ["comparison", "task", "n", "reference", "bits", "change", "p (corrected)", "MDE"]
    lines = [_line([*columns, "verdict"]), _rule(len(columns) + 1)]
    for row in rows:
        numbers = [
            f"{row.n:,}",
            f"{row.reference:.3f}",
            f"{row.score:.3f}",
            stats.bits_change(row),
            f"{row.p_holm:.3g}",
            f"{row.mde:.3f}",
        ]
        lines.append(_line([row.comparison, row.task, *numbers, row.verdict]))
    return lines


def write_csv(path: Path, rows: Sequence[DeltaRow]) -> None:
    with atomic_writer(path) as handle:
        writer = csv.DictWriter(handle, fieldnames=list(vars(rows[0])))
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _csv_cell(value) for name, value in vars(row).items()})


def _csv_cell(value: object) -> object:
    return neutral_cell(printable(value)) if isinstance(value, str) else value


def _table(deltas: DeltaTable, conditions: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("task", no_wrap=True)
    for condition in conditions:
        control = condition == deltas.control
        table.add_column(_header(f"control {condition}" if control else condition), justify="right")
    suites = [stats.macro_name(name) for name in deltas.macros]
    rows = {(row.arm, row.task): row for row in deltas.rows}
    for task in [*deltas.tasks, stats.MACRO, *suites]:
        if task == stats.MACRO:
            table.add_section()
        cells = [Text(task)]
        for condition in conditions:
            if (condition, task) in rows:
                cells.append(_cell(rows[condition, task]))
            elif condition in deltas.scores:
                cells.append(Text(f"{deltas.scores[condition][task]:.1%}"))
            else:
                cells.append(Text("no result", style="dim"))
        table.add_row(*cells)
    return table


def _split_table(deltas: DeltaTable) -> Table:
    """The macro average by what was seeded from, and what an arm gains beyond its controls."""
    table = Table(
        title="Macro average by what was seeded from",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in ("comparison", "tasks", "delta", "verdict"):
        table.add_column(column, overflow="fold")
    before = ""
    for row in deltas.split:
        part = stats.part_name(row.task) if stats.is_part(row.task) else "all"
        name = row.comparison if row.comparison != before else ""
        before = row.comparison
        style = STYLES[row.verdict]
        table.add_row(Text(name), Text(part), stats.change(row), Text(row.verdict, style=style))
    return table


def _bits_table(deltas: DeltaTable) -> Table:
    """Per comparison the macro average of bits per byte, and of the right choice's probability."""
    table = Table(
        title=f"{BITS_TITLE}, macro average",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption=bits_caption(deltas),
        caption_justify="left",
    )
    chosen = {row.comparison: row for row in deltas.right_choice if row.task == stats.MACRO}
    columns = ["comparison", "bits", "change", *(["right choice, change"] if chosen else [])]
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in (one for one in deltas.bits if one.task == stats.MACRO):
        cells = [Text(row.comparison), Text(f"{row.reference:.2f} to {row.score:.2f}")]
        told = [(row, stats.bits_change(row))]
        if one := chosen.get(row.comparison):
            told.append((one, f"{one.score:.1%}, {stats.change(one)}"))
        for each, text in told:
            cells.append(Text(text).append(f"\n{each.verdict}", style=STYLES[each.verdict]))
        table.add_row(*cells)
    return table


def _fits(table: Table, console: Console) -> bool:
    unbounded = console.options.update(width=sys.maxsize)
    return console.measure(table, options=unbounded).maximum <= console.width


def _header(condition: str) -> Text:
    """The values, which distinguish the columns, must not be cut off."""
    lines = []
    for setting in re.split("(?<=,)", condition):
        lines.append("")
        for part in re.split("(?<= )|(?==)", setting):
            if lines[-1] and len(lines[-1] + part) > len("[-99.9, +99.9]"):
                lines.append("")
            lines[-1] += part
    return Text("\n".join(line.rstrip() for line in lines), overflow="fold")


def _cell(row: DeltaRow) -> Text:
    """Score and delta, the interval, and the verdict unless nothing changed."""
    text = Text(f"{row.score:.1%} {stats.points(row.delta)}\n")
    text.append(stats.interval(row.low, row.high), style="dim")
    if row.verdict != stats.UNCHANGED:
        text.append(f"\n{row.verdict}", style=STYLES[row.verdict])
    return text


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(map(_markdown_cell, cells)) + " |"


def _rule(columns: int) -> str:
    return "| " + " | ".join(["---"] * columns) + " |"


def _markdown_cell(text: str) -> str:
    """A cell that stays one cell, one line, and text."""
    shown = neutral_cell(printable(" ".join(text.split())))
    return shown.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
