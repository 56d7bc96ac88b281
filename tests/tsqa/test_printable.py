"""Promises of tsqa.printable: text of data is text, in a terminal and in a spreadsheet."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from eval.compare.tables import markdown, write_csv
from eval.deltas import DeltaTable
from tests.support.invented_arms import deltas_of, evaluated
from tsqa.console import make_console
from tsqa.printable import neutral_cell, printable

HOSTILE = [
    *("\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "a\rb", "a\x08b", "\x7f", "\x00", "\u202egnp"),
    *("\u2066x\u2069", "\ud800", "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "\x1bP+q\x1b\\"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_escape_reaches_the_terminal(text: str) -> None:
    out = io.StringIO()
    console = make_console(file=out, force_terminal=False, width=200)
    table = Table(title=Text(text))
    table.add_column(Text(text))
    table.add_row(Text(text))
    console.print(Text(f"before {text} after"), f"plain {text}", Rule(Text(text)), table)
    shown = out.getvalue()
    shown.encode()
    assert "before " in shown and " after" in shown
    assert not any(c in shown for c in "\x1b\x9b\r\x08\x7f\x00\x07\u202e\u2066\ud800")


def test_usual_text_and_colours_stay(capsys: pytest.CaptureFixture[str]) -> None:
    text = "naïve 日本 👩\u200d💻 x² → y\n\tindented | [red]not markup[/]"
    assert printable(text) == text
    out = io.StringIO()
    make_console(file=out, force_terminal=True, width=80, color_system="standard").print(
        Text("word", style="red")
    )
    assert out.getvalue() == "\x1b[31mword\x1b[0m\n"


@given(st.text(st.characters(codec=None)))
def test_printable_text_can_be_written_and_stays_itself(text: str) -> None:
    shown = printable(text)
    assert (shown.encode() and printable(shown) == shown) or not text
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    "text",
    [
        *("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1", "-x"),
        *("=HYPERLINK(1)", "+x", "@x", "-", "+", "\n=1", "-1-1", "-1e5x"),
    ],
)
def test_a_formula_is_neutral(text: str) -> None:
    assert neutral_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1", "+1.5", "-3.0e-5", "-10%", "-1,234.5", "a=1", "1-2", ""])
def test_numbers_and_usual_text_stay(text: str) -> None:
    assert neutral_cell(text) == text


def deltas_named(name: str) -> DeltaTable:
    """One row, under this name wherever a recipe can name something."""
    deltas = deltas_of(evaluated("c", {"day": 0.5}), evaluated("x", {"day": 0.5}))
    row = replace(
        deltas.rows[0],
        **{"comparison": f"{name} - control", "arm": name, "task": name, "score": 0.25},
        **{"delta": -0.25, "low": -0.4, "high": -0.1, "verdict": "worse"},
    )
    return replace(deltas, rows=[row], conclusion=name, caveat="")


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", "a|b", "a\nb", "\x1b[31m", "<b>"])
def test_exports_hold_no_formula_and_keep_their_numbers(tmp_path: Path, name: str) -> None:
    deltas = deltas_named(name)
    write_csv(tmp_path / "d.csv", deltas.rows)
    with (tmp_path / "d.csv").open(newline="") as handle:
        (read,) = csv.DictReader(handle)
    assert read["delta"] == "-0.25" and read["low"] == "-0.4"
    assert read["arm"][0] not in "=+-@\t" and "\x1b" not in read["arm"]
    lines = markdown(deltas).splitlines()
    assert lines[1].startswith("| --- |")
    cells = lines[2].replace("\\|", "").split(" | ")
    assert len(cells) == 11 and "[-40.0, -10.0]" in lines[2] and "| -25.0 |" in lines[2]
    assert cells[1][0] not in "=+-@<" and "\x1b" not in "".join(lines)
