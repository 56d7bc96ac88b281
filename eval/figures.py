"""Plotly figures as plain JSON, without colours of the page: those follow the reader's theme.

Promises: an arm has one colour in every figure; a filled marker is a detectable change, an open
one is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval import stats

# Distinguishable with the common colour blindnesses, on white and on near-black.
PALETTE = ["#3b82c4", "#e0793a", "#2fa37c", "#b565c9", "#c9a227", "#d1495b", "#5c7cfa", "#7a8b3a"]
GREY = "#8b8f98"
_ROW_PIXELS = 20
_POINTS_PER_CURVE = 500


def colours(arms: Sequence[str], control: str) -> dict[str, str]:
    """Arm -> colour; the control is grey."""
    others = [arm for arm in dict.fromkeys(arms) if arm != control]
    return {control: GREY, **{arm: PALETTE[i % len(PALETTE)] for i, arm in enumerate(others)}}


def forest(deltas: Mapping[str, Any]) -> dict[str, Any]:
    """Deltas with intervals, in points: one band per task, one mark per comparison."""
    names = [*deltas["tasks"], stats.MACRO]
    comparisons = list(deltas["comparisons"])
    if deltas["has_base"] and deltas["arms"]:  # the arms come first, they are the question
        comparisons = comparisons[1:] + comparisons[:1]
    colour = colours(deltas["arms"], deltas["control"])
    top = len(names) - 1
    spread = 0.7 / max(len(comparisons), 1)
    traces = []
    for number, comparison in enumerate(comparisons):
        rows = {row["task"]: row for row in deltas["rows"] if row["comparison"] == comparison}
        shift = (len(comparisons) - 1) / 2 - number
        y = [top - i + shift * spread for i in range(len(names))]
        traces += _marks(comparison, [rows[name] for name in names], y, colour)
    bands = [
        {
            "type": "rect",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": top - i - 0.5,
            "y1": top - i + 0.5,
            "line": {"width": 0},
            "fillcolor": "rgba(128,128,128,0.07)",
            "layer": "below",
        }
        for i in range(0, len(names), 2)
    ]
    return {
        "data": traces,
        "layout": {
            "height": 110 + _ROW_PIXELS * len(names) * max(len(comparisons), 2),
            "shapes": bands,
            "xaxis": {"title": {"text": "change in points"}, "zeroline": True},
            "yaxis": {
                "tickvals": [top - i for i in range(len(names))],
                "ticktext": [*map(escape, names[:-1]), f"<b>{stats.MACRO}</b>"],
                "range": [-0.6, top + 0.6],
                "automargin": True,
                "showgrid": False,
                "zeroline": False,
            },
        },
    }


def loss_curves(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], colour: Mapping[str, str]
) -> dict[str, Any]:
    """Training loss over tokens, one line per arm."""
    traces = []
    for arm, records in curves.items():
        stride = max(1, len(records) // _POINTS_PER_CURVE)
        kept = list(records[::-1][::stride])[::-1]  # counted from the end, which must stay
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": escape(arm),
                "x": [record["train/tokens"] for record in kept],
                "y": [record["train/loss"] for record in kept],
                "line": {"width": 2, "color": colour.get(arm, GREY)},
                "hovertemplate": "%{x:.3s} tokens: %{y:.4f}",
            }
        )
    return {
        "data": traces,
        "layout": {
            "height": 380,
            "xaxis": {"title": {"text": "training tokens"}, "tickformat": "~s"},
            "yaxis": {"title": {"text": "loss"}, "automargin": True},
        },
    }


def histogram(counts: Sequence[int], title: str) -> dict[str, Any]:
    """Counts of a share from 0 to 1, in bins of equal width."""
    width = 1 / len(counts)
    return {
        "data": [
            {
                "type": "bar",
                "x": [(place + 0.5) * width for place in range(len(counts))],
                "y": list(counts),
                "width": 0.96 * width,
                "marker": {"color": PALETTE[0]},
                "customdata": [
                    f"{place * width:.2g} to {(place + 1) * width:.2g}"
                    for place in range(len(counts))
                ],
                "hovertemplate": "%{customdata}: %{y:,}<extra></extra>",
                "showlegend": False,
            }
        ],
        "layout": {
            "height": 240,
            "xaxis": {"title": {"text": title}, "range": [0, 1]},
            "yaxis": {"title": {"text": "items"}, "automargin": True},
        },
    }


def _marks(
    comparison: str,
    rows: Sequence[Mapping[str, Any]],
    y: Sequence[float],
    colour: Mapping[str, str],
) -> list[dict[str, Any]]:
    """The marks of one comparison, and its legend entry, which must be a filled mark."""
    mine = colour[rows[0]["arm"]]
    common = {"type": "scatter", "mode": "markers", "name": escape(comparison)}
    group = {"legendgroup": comparison}
    legend = {"x": [None], "y": [None], "marker": {"size": 9, "color": mine}}
    marks = {
        "showlegend": False,
        "x": [100 * row["delta"] for row in rows],
        "y": list(y),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [100 * (row["high"] - row["delta"]) for row in rows],
            "arrayminus": [100 * (row["delta"] - row["low"]) for row in rows],
            "thickness": 1.6,
            "width": 0,
            "color": mine,
        },
        "marker": {
            "size": 9,
            "color": mine,
            "symbol": [
                "circle-open" if row["verdict"] == stats.UNCHANGED else "circle" for row in rows
            ],
            "line": {"width": 1.6, "color": mine},
        },
        "text": [
            f"{escape(row['task'])}: {stats.points(row['delta'])} "
            f"[{stats.points(row['low'])}, {stats.points(row['high'])}], {row['verdict']}"
            for row in rows
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }
    return [common | group | legend, common | group | marks]


def escape(text: str) -> str:
    """Plotly reads a small HTML subset in labels; a name must not be taken for markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
