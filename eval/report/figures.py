"""Plotly figures as plain JSON, without colours of the page: those follow the reader's theme.

Promises: a condition has one colour, symbol and dash in every figure; a filled marker is a
detectable change, an open one is not; numbers are those of deltas.json, formatted by
`stats.points`. A trace of one condition names it in `meta`, so that the page can hide it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.statistics import stats
from tsqa.recipe import Arm

# Distinguishable with the common colour blindnesses, on white and on near-black.
PALETTE = ["#3b82c4", "#e0793a", "#2fa37c", "#b565c9", "#c9a227", "#d1495b", "#5c7cfa", "#7a8b3a"]
GREY = "#8b8f98"
_SYMBOLS = ["circle", "square", "diamond", "triangle-up", "pentagon", "hexagon", "star"]
_DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"]
_MAP_COLOURS = [[0, "#d8692b"], [0.5, "rgba(128,128,128,0.07)"], [1, "#3b82c4"]]
_ROW_PIXELS = 20
_NUMBERED_ARMS = 20
_POINTS_PER_CURVE = 500
_POINTS_PER_FIGURE = 15_000

Figure = dict[str, Any]
Curves = Mapping[str, Sequence[tuple[float, float]]]
"""Arm name -> (tokens, value) in order."""


@dataclass(frozen=True)
class Style:
    """How one condition is drawn in every figure."""

    colour: str
    symbol: str
    dash: str


def styles(conditions: Sequence[str], control: str) -> dict[str, Style]:
    """Condition -> style; the control is grey, and a ninth condition is told by its symbol."""
    found = {control: Style(GREY, _SYMBOLS[0], _DASHES[0])}
    others = [name for name in dict.fromkeys(conditions) if name != control]
    for number, name in enumerate(others):
        turn, place = divmod(number, len(PALETTE))
        symbol, dash = _SYMBOLS[turn % len(_SYMBOLS)], _DASHES[turn % len(_DASHES)]
        found[name] = Style(PALETTE[place], symbol, dash)
    return found


def forest(deltas: Mapping[str, Any]) -> Figure:
    """Deltas with intervals, in points: one band per task, one mark per comparison."""
    names = _macros_first(deltas)
    comparisons = list(deltas["comparisons"])
    if deltas["has_base"] and deltas["arms"]:  # the arms come first, they are the question
        comparisons = comparisons[1:] + comparisons[:1]
    style = styles(deltas["arms"], deltas["control"])
    top = len(names) - 1
    spread = 0.7 / max(len(comparisons), 1)
    traces = []
    for number, comparison in enumerate(comparisons):
        rows = {row["task"]: row for row in deltas["rows"] if row["comparison"] == comparison}
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


def delta_map(deltas: Mapping[str, Any]) -> Figure:
    """Every delta at once, task by condition: coloured only where it is detectable."""
    names = _macros_first(deltas)[::-1]
    rows = {(row["arm"], row["task"]): row for row in deltas["rows"]}
    cells = [[rows[arm, name] for arm in deltas["arms"]] for name in names]
    numbers = len(deltas["arms"]) <= _NUMBERED_ARMS
    reach = max((abs(100 * row["delta"]) for line in cells for row in line), default=0) or 1.0
    return {
        "data": [
            {
                "type": "heatmap",
                "x": list(range(len(deltas["arms"]))),
                "y": list(range(len(names))),
                "z": [[_shade(row) for row in line] for line in cells],
                "text": [[_number(row) if numbers else "" for row in line] for line in cells],
                "texttemplate": "%{text}",
                "textfont": {"size": 10},
                "customdata": [
                    [f"{escape(row['comparison'])}<br>{_told(row)}" for row in line]
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
                "tickvals": list(range(len(deltas["arms"]))),
                "ticktext": [escape(arm) for arm in deltas["arms"]],
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


def score_by_ratio(
    deltas: Mapping[str, Any], ratios: Mapping[str, float], task: str, title: str
) -> Figure:
    """Score in percent against a share of the mixture: every seed, the mean, and the fit.

    A mean's bar is the interval of its change against the control, drawn around its score; the
    control has none. The fit, where there is one, is that of `deltas["fit"]`.
    """
    found = sorted((c for c in ratios if c in deltas["scores"]), key=lambda c: ratios[c])
    rows = {row["arm"]: row for row in deltas["rows"] if row["task"] == task}
    rows.pop(deltas["control"], None)
    style = styles(deltas["arms"], deltas["control"])
    scores = [deltas["scores"][c][task] for c in found]
    by_seed = deltas.get("scores_by_seed") or {}
    fit = deltas.get("fit") or {}
    traces = list(_fit_traces(fit)) if fit.get("task", stats.MACRO) == task else []
    points = [
        (c, seed, values[task])
        for c in found
        if len(by_seed.get(c, {})) > 1
        for seed, values in by_seed[c].items()
    ]
    if points:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "one seed",
                "x": [100 * ratios[c] for c, _, _ in points],
                "y": [100 * score for _, _, score in points],
                "marker": {
                    "size": 6,
                    "symbol": "circle-open",
                    "color": [style[c].colour for c, _, _ in points],
                },
                "text": [f"{escape(c)}, seed {escape(seed)}: {s:.1%}" for c, seed, s in points],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "mean of the seeds" if points else "score",
            "x": [100 * ratios[c] for c in found],
            "y": [100 * score for score in scores],
            "marker": {"size": 10, "color": [style[c].colour for c in found]},
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [100 * (r["high"] - r["delta"]) if (r := rows.get(c)) else 0
                          for c in found],
                "arrayminus": [100 * (r["delta"] - r["low"]) if (r := rows.get(c)) else 0
                               for c in found],
                "width": 0,
                "thickness": 1.6,
                "color": GREY,
            },
            "text": [
                f"{escape(c)}: {score:.1%}" + (f"<br>{_told(rows[c])}" if c in rows else "")
                for c, score in zip(found, scores, strict=True)
            ],
            "hovertemplate": "%{text}<extra></extra>",
        }
    )  # fmt: skip
    return {
        "data": traces,
        "layout": {
            "height": 380,
            "xaxis": {"title": {"text": title}, "ticksuffix": "%"},
            "yaxis": {
                "title": {"text": f"{escape(task)}, score"},
                "ticksuffix": "%",
                "automargin": True,
            },
        },
    }


def curves(
    lines: Curves,
    arms: Mapping[str, Arm],
    style: Mapping[str, Style],
    *,
    label: str,
    percent: bool = False,
) -> Figure:
    """A value over training tokens: one line per arm, one legend entry per condition."""
    traces: list[dict[str, Any]] = []
    named: set[str] = set()
    most = max(2, min(_POINTS_PER_CURVE, _POINTS_PER_FIGURE // max(1, len(lines))))
    several = len({arms[name].condition for name in lines if name in arms}) < len(lines)
    for name, line in lines.items():
        condition = arms[name].condition if name in arms else name
        drawn = style.get(condition, Style(GREY, _SYMBOLS[0], _DASHES[0]))
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


def task_rows(deltas: Mapping[str, Any]) -> list[str]:
    """The tasks of the rows in the order of the table: every task, then the macro averages."""
    found = dict.fromkeys(row["task"] for row in deltas["rows"])
    macros = [name for name in found if stats.is_macro(name)]
    macros.sort(key=lambda name: name == stats.MACRO)  # the mean of all tasks is the last line
    return [*(name for name in deltas["tasks"] if name in found), *macros]


def thin(line: Sequence[Any], most: int) -> list[Any]:
    """At most about `most` points, evenly taken, the last one among them."""
    stride = -(-len(line) // most) if most else 1
    return list(line[::-1][:: max(1, stride)])[::-1]


def escape(text: str) -> str:
    """Plotly reads a small HTML subset in labels; a name must not be taken for markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _fit_traces(fit: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The fitted curve and its band, where the fit has one."""
    curve = fit.get("curve") or []
    if not curve:
        return
    x = [100 * point["ratio"] for point in curve]
    common = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "legendgroup": "fit"}
    edges = {**common, "line": {"width": 0, "color": GREY}}
    high, low = ([100 * point[key] for point in curve] for key in ("high", "low"))
    yield {**edges, "x": x, "y": high, "showlegend": False}
    yield {
        **edges,
        "x": x,
        "y": low,
        "fill": "tonexty",
        "fillcolor": "rgba(128,128,128,0.16)",
        "name": "fit, with its band",
    }
    line = {"width": 1.6, "color": GREY, "dash": "dash"}
    y = [100 * point["score"] for point in curve]
    yield {**common, "x": x, "y": y, "line": line, "showlegend": False}


def _marks(
    comparison: str,
    rows: Sequence[Mapping[str, Any]],
    y: Sequence[float],
    style: Mapping[str, Style],
) -> list[dict[str, Any]]:
    """The marks of one comparison, and its legend entry, which must be a filled mark."""
    arm = rows[0]["arm"]
    mine, symbol = style[arm].colour, style[arm].symbol
    common = {"type": "scatter", "mode": "markers", "name": escape(comparison), "meta": arm}
    group = {"legendgroup": comparison}
    legend = {"x": [None], "y": [None], "marker": {"size": 9, "color": mine, "symbol": symbol}}
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
                f"{symbol}-open" if row["verdict"] == stats.UNCHANGED else symbol for row in rows
            ],
            "line": {"width": 1.6, "color": mine},
        },
        "text": [f"{escape(comparison)}<br>{_told(row)}" for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
    }
    return [common | group | legend, common | group | marks]


def _macros_first(deltas: Mapping[str, Any]) -> list[str]:
    """The macro averages are the question, the tasks the detail."""
    return sorted(
        task_rows(deltas), key=lambda name: (not stats.is_macro(name), name != stats.MACRO)
    )


def _shade(row: Mapping[str, Any]) -> float:
    return 0.0 if row["verdict"] == stats.UNCHANGED else round(100 * row["delta"], 3)


def _number(row: Mapping[str, Any]) -> str:
    return "" if row["verdict"] == stats.UNCHANGED else stats.points(row["delta"])


def _told(row: Mapping[str, Any]) -> str:
    return (
        f"{escape(row['task'])}: {stats.points(row['delta'])} "
        f"[{stats.points(row['low'])}, {stats.points(row['high'])}], {row['verdict']}"
    )


def _band(y: int) -> dict[str, Any]:
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
