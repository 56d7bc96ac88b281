"""Figures of one value: a curve per arm over training tokens, and a histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from eval.report.style import DASHES, GREY, PALETTE, SYMBOLS, Figure, Style, Trace, escape
from tsqa.recipe import Arm

_POINTS_PER_CURVE = 500
_POINTS_PER_FIGURE = 15_000
T = TypeVar("T")
Curves = Mapping[str, Sequence[tuple[float, float]]]
"""Arm name -> (tokens, value) in order."""


def curves(
    lines: Curves,
    arms: Mapping[str, Arm],
    style: Mapping[str, Style],
    *,
    label: str,
    percent: bool = False,
) -> Figure:
    """A value over training tokens: one line per arm, one legend entry per condition."""
    traces: list[Trace] = []
    named: set[str] = set()
    most = max(2, min(_POINTS_PER_CURVE, _POINTS_PER_FIGURE // max(1, len(lines))))
    several = len({arms[name].condition for name in lines if name in arms}) < len(lines)
    for name, line in lines.items():
        condition = arms[name].condition if name in arms else name
        drawn = style.get(condition, Style(GREY, SYMBOLS[0], DASHES[0]))
        kept = thin(line, most)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if len(kept) < 20 else "lines",
                "name": escape(condition),
                "legendgroup": condition,
                "showlegend": condition not in named,
                "meta": condition,
                "x": [x for x, _ in kept],
                "y": [float(f"{100 * y if percent else y:.5g}") for _, y in kept],
                "line": {
                    "width": 1.2 if several else 2,
                    "color": drawn.colour,
                    "dash": drawn.dash,
                },
                "marker": {"size": 5, "symbol": drawn.symbol},
                "hovertemplate": f"{escape(name)}<br>%{{x:.3s}} tokens: "
                + ("%{y:.1f}%" if percent else "%{y:.4f}")
                + "<extra></extra>",
            }
        )
        named.add(condition)
    return {
        "data": traces,
        "layout": {
            "height": 380,
            "xaxis": {"title": {"text": "training tokens"}, "tickformat": "~s"},
            "yaxis": {
                "title": {"text": label},
                "automargin": True,
                **({"ticksuffix": "%"} if percent else {}),
            },
        },
    }


def histogram(counts: Sequence[int], title: str) -> Figure:
    """Counts of a share from 0 to 1, in bins of equal width."""
    width = 1 / len(counts)
    return {
        "data": [
            {
                "type": "bar",
                "x": [(number + 0.5) * width for number in range(len(counts))],
                "y": list(counts),
                "width": 0.96 * width,
                "marker": {"color": PALETTE[0]},
                "customdata": [
                    f"{number * width:.2g} to {(number + 1) * width:.2g}"
                    for number in range(len(counts))
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


def thin(line: Sequence[T], most: int) -> list[T]:
    """At most about `most` points, evenly spaced, with the last one."""
    stride = -(-len(line) // most) if most else 1
    return list(line[::-1][:: max(1, stride)])[::-1]
