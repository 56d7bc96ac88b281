"""Deltas for a reader: in the terminal, as CSV or Markdown, and next to the published ones.

Guarantees: an arm for which the terminal is too narrow follows in a further table, none is left
out; no statistic is computed here.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eval.deltas import DeltaRow, DeltaTable
from eval.statistics import stats
from tsqa.printable import neutral_cell, printable
from tsqa.recipe import Recipe
from tsqa.store.atomic import atomic_writer, write_text
from tsqa.store.jsonl import write_json
from tsqa.store.roles import BASE

STYLES = {stats.BETTER: "green", stats.WORSE: "red", stats.UNCHANGED: "dim"}
_PUBLISHED = Path(__file__).parent / "published.yaml"


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
    console.print(Text(deltas.conclusion))
    console.print(Text(deltas.caveat, style="dim"))


class _PublishedDelta(TypedDict):
    name: str
    rows: list[str]
    """Our rows that ask the same, the first that was evaluated counts."""
    points: float | None
    in_words: NotRequired[str]


class _Published(TypedDict):
    """published.yaml."""

    source: str
    setup: dict[str, str]
    deltas: list[_PublishedDelta]


def published_tables(deltas: DeltaTable, here: Mapping[str, str]) -> list[Table]:
    """Our deltas next to the published ones, and how the set-ups differ (`here`: ours, by key)."""
    published = cast(_Published, yaml.safe_load(_PUBLISHED.read_text(encoding="utf-8")))
    found = {(row.arm, row.task): row for row in deltas.rows}
    table = Table(title="Deltas in points", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("benchmark")
    table.add_column("published", justify="right")
    for arm in deltas.arms:
        table.add_column(Text(f"{arm} - {deltas.control}"), justify="right")
    for entry in published["deltas"]:
        theirs = entry.get("in_words") or f"{entry['points']:+.1f}"
        cells = []
        for arm in deltas.arms:
            row = next((found[arm, t] for t in entry["rows"] if (arm, t) in found), None)
            cells.append(
                Text(f"{row.task}: {stats.change(row)} {row.verdict}" if row else "not evaluated")
            )
        table.add_row(entry["name"], theirs, *cells)
    table.caption = f"published: {published['source']}"
    setup = Table(title="What differs in set-up", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("", "published", "here"):
        setup.add_column(column)
    ours = {
        "reference": f"{deltas.control}, trained alike",
        "uncertainty": deltas.caveat,
        "tasks": ", ".join(deltas.tasks),
        **here,
    }
    for key, value in published["setup"].items():
        setup.add_row(key, value, Text(ours.get(key, "unknown")))
    setup.add_row("tasks", ", ".join(e["name"] for e in published["deltas"]), Text(ours["tasks"]))
    return [table, setup]


def setup_of(recipe: Recipe) -> dict[str, str]:
    """What the recipe says of the keys of the published set-up."""
    setup = {}
    if recipe.model:
        model = recipe.model
        setup["model"] = str(model.path or model.recipe or (model.config or {}).get("model_type"))
    if recipe.mixture:
        setup["tokens"] = f"{recipe.mixture.tokens:,}"
        setup["mixture"] = ", ".join(recipe.mixture.sources)
    if recipe.generate:
        asked = [recipe.generate.writing[1], *(each.teacher for each in recipe.generate.solvers)]
        names = dict.fromkeys(str(each.model.path or each.model.recipe) for each in asked)
        setup["teacher"] = ", ".join(names)
    return setup


def write_all(
    deltas: DeltaTable,
    *,
    csv: Path | None,
    markdown_file: Path | None,
    json_file: Path | None,
) -> None:
    """Write the deltas in the formats that have a path."""
    if csv:
        write_csv(csv, deltas.rows)
    if markdown_file:
        write_text(markdown_file, markdown(deltas))
    if json_file:
        write_json(json_file, deltas.to_json())


def markdown(deltas: DeltaTable) -> str:
    """One line per row of the table, then the conclusion and its caveat."""
    head = ("comparison", "task", "n", "seeds", "reference", "score", "delta (points)", "interval")
    columns = [*head, "p (Holm)", "MDE", "verdict"]
    lines = [_line(columns), _rule(len(columns))]
    for row in deltas.rows:
        numbers = [
            f"{row.n:,}",
            str(row.seeds),
            f"{row.reference:.1%}",
            f"{row.score:.1%}",
            stats.points(row.delta),
            stats.interval(row.low, row.high),
            f"{row.p_holm:.3g}",
            f"{100 * row.mde:.1f}",
        ]
        lines.append(_line([row.comparison, row.task, *numbers, row.verdict]))
    gaps = [_line([name, "no result", gap.reason]) for name, gap in deltas.gaps.items()]
    if gaps:
        lines += ["", _line(["run", "", "reason"]), _rule(3), *gaps]
    conclusion, caveat = printable(deltas.conclusion), printable(deltas.caveat)
    return "\n".join([*lines, "", conclusion, "", caveat, ""])


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
