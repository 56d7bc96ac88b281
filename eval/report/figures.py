"""Plotly figures of the deltas, as plain JSON: the intervals by task, and a map of many arms.

Guarantees: a filled marker is a detectable change, an open one is not; numbers are those of
deltas.json, formatted by `stats`. A trace of one condition names it in `meta`, so that the page can
hide it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from eval.deltas import DeltaRow, DeltaTable
from eval.report.style import Figure, Style, Trace, escape, styles
from eval.statistics import stats

_PALEST = 0.02
"""Of the largest change: as far from 0 is drawn what is found, however small, so that it shows."""
_MAP_COLOURS = [
    [0, "#d8692b"],
    [0.5 - _PALEST / 2, "rgba(216,105,43,0.3)"],
    [0.5 - _PALEST / 4, "rgba(128,128,128,0.07)"],
    [0.5 + _PALEST / 4, "rgba(128,128,128,0.07)"],
    [0.5 + _PALEST / 2, "rgba(59,130,196,0.3)"],
    [1, "#3b82c4"],
]
_ROW_PIXELS = 20
_NUMBERED_ARMS = 20


def forest(deltas: DeltaTable) -> Figure:
    """Deltas with intervals, in points: one band per task, one mark per comparison."""
    names = _macros_first(deltas)
    comparisons = list(deltas.comparisons)
    if deltas.has_base and deltas.arms:  # the arms come first, they are the question
        comparisons = comparisons[1:] + comparisons[:1]
    style = styles(deltas.arms, deltas.control)
    top = len(names) - 1
    spread = 0.7 / max(len(comparisons), 1)
    traces: list[Trace] = []
    for number, comparison in enumerate(comparisons):
        rows = {row.task: row for row in deltas.rows if row.comparison == comparison}
        shift = (len(comparisons) - 1) / 2 - number
        y = [top - i + shift * spread for i in range(len(names))]
        traces += _marks(comparison, [rows[name] for name in names], y, style)
    return {
        "data": traces,
        "layout": {
            "height": 110 + _ROW_PIXELS * len(names) * max(len(comparisons), 2),
            "shapes": [_band(top - i) for i in range(0, len(names), 2)],
            "xaxis": {"title": {"text": "change in points"}, "zeroline": True},
            "yaxis": {
                "tickvals": [top - i for i in range(len(names))],
                "ticktext": [_row_name(name) for name in names],
                "range": [-0.6, top + 0.6],
                "automargin": True,
                "showgrid": False,
                "zeroline": False,
            },
        },
    }


def delta_map(deltas: DeltaTable) -> Figure:
    """Every delta at once, task by condition: coloured only where it is detectable."""
    names = _macros_first(deltas)[::-1]
    rows = {(row.arm, row.task): row for row in deltas.rows}
    cells = [[rows[arm, name] for arm in deltas.arms] for name in names]
    numbers = len(deltas.arms) <= _NUMBERED_ARMS
    reach = max((abs(100 * row.delta) for line in cells for row in line), default=0) or 1.0
    return {
        "data": [
            {
                "type": "heatmap",
                "x": list(range(len(deltas.arms))),
                "y": list(range(len(names))),
                "z": [[_shade(row, reach) for row in line] for line in cells],
                "text": [[_number(row) if numbers else "" for row in line] for line in cells],
                "texttemplate": "%{text}",
                "textfont": {"size": 10},
                "customdata": [
                    [f"{escape(row.comparison)}<br>{describe(row)}" for row in line]
                    for line in cells
                ],
                "hovertemplate": "%{customdata}<extra></extra>",
                "colorscale": _MAP_COLOURS,
                "zmin": -reach,
                "zmax": reach,
                "xgap": 1,
                "ygap": 1,
                "colorbar": {"title": {"text": "points"}, "thickness": 10, "outlinewidth": 0},
            }
        ],
        "layout": {
            "height": 170 + 19 * len(names),
            "xaxis": {
                "tickvals": list(range(len(deltas.arms))),
                "ticktext": [escape(arm) for arm in deltas.arms],
                "tickangle": -60,
                "tickfont": {"size": 10},
                "automargin": True,
                "showgrid": False,
                "zeroline": False,
            },
            "yaxis": {
                "tickvals": list(range(len(names))),
                "ticktext": [_row_name(name) for name in names],
                "tickfont": {"size": 11},
                "automargin": True,
                "showgrid": False,
                "zeroline": False,
            },
        },
    }  # fmt: skip


def task_rows(deltas: DeltaTable) -> list[str]:
    """The tasks of the rows in the order of the table: every task, then the macro averages."""
    found = dict.fromkeys(row.task for row in deltas.rows)
    macros = [name for name in found if stats.is_macro(name)]
    macros.sort(key=lambda name: name == stats.MACRO)  # the mean of all tasks is the last line
    return [*(name for name in deltas.tasks if name in found), *macros]


def describe(row: DeltaRow) -> str:
    """The text of a mark: task, delta with interval, verdict."""
    return f"{escape(row.task)}: {stats.change(row)}, {row.verdict}"


def _marks(
    comparison: str,
    rows: Sequence[DeltaRow],
    y: Sequence[float],
    style: Mapping[str, Style],
) -> list[Trace]:
    """The marks of one comparison, and its legend entry, which must be a filled mark."""
    arm = rows[0].arm
    mine, symbol = style[arm].colour, style[arm].symbol
    common: Trace = {"type": "scatter", "mode": "markers", "name": escape(comparison), "meta": arm}
    group: Trace = {"legendgroup": comparison}
    legend: Trace = {
        "x": [None],
        "y": [None],
        "marker": {"size": 9, "color": mine, "symbol": symbol},
    }
    marks: Trace = {
        "showlegend": False,
        "x": [100 * row.delta for row in rows],
        "y": list(y),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [100 * (row.high - row.delta) for row in rows],
            "arrayminus": [100 * (row.delta - row.low) for row in rows],
            "thickness": 1.6,
            "width": 0,
            "color": mine,
        },
        "marker": {
            "size": 9,
            "color": mine,
            "symbol": [
                symbol if stats.is_verdict(row.verdict) else f"{symbol}-open" for row in rows
            ],
            "line": {"width": 1.6, "color": mine},
        },
        "text": [f"{escape(comparison)}<br>{describe(row)}" for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
    }
    return [common | group | legend, common | group | marks]


def _macros_first(deltas: DeltaTable) -> list[str]:
    """The macro averages are the question, the tasks the detail."""
    return sorted(
        task_rows(deltas), key=lambda name: (not stats.is_macro(name), name != stats.MACRO)
    )


def _shade(row: DeltaRow, reach: float) -> float:
    if row.verdict == stats.UNCHANGED:
        return 0.0
    return round(math.copysign(max(abs(100 * row.delta), _PALEST * reach), row.delta), 3)


def _number(row: DeltaRow) -> str:
    return "" if row.verdict == stats.UNCHANGED else stats.points(row.delta)


def _band(y: int) -> dict[str, object]:
    return {
        "type": "rect",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": y - 0.5,
        "y1": y + 0.5,
        "line": {"width": 0},
        "fillcolor": "rgba(128,128,128,0.07)",
        "layer": "below",
    }


def _row_name(task: str) -> str:
    return f"<b>{escape(task)}</b>" if stats.is_macro(task) else escape(task)
