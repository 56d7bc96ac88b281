"""The figure of score against a share of the mixture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from eval.deltas import AxisFit, DeltaTable
from eval.report.figures import describe
from eval.report.style import GREY, Figure, Style, Trace, escape, styles


def score_by_ratio(
    deltas: DeltaTable, ratios: Mapping[str, float], task: str, title: str
) -> Figure:
    """Score in percent against a share of the mixture: every seed, the mean, and the fit.

    A mean's bar is the interval of its change against the control, drawn around its score; the
    control has none. The fit, if there is one, is that of `deltas.fit`.
    """
    found = sorted((c for c in ratios if c in deltas.scores), key=lambda c: ratios[c])
    style = styles(deltas.arms, deltas.control)
    traces = list(_fit_traces(deltas.fit)) if deltas.fit and deltas.fit.task == task else []
    seeds = [
        (condition, seed, scores[task])
        for condition in found
        if len(by_seed := deltas.scores_by_seed.get(condition, {})) > 1
        for seed, scores in by_seed.items()
    ]
    if seeds:
        traces.append(_seed_trace(seeds, ratios, style))
    traces.append(
        {
            **_mean_trace(deltas, {c: ratios[c] for c in found}, task, style),
            "name": "mean of the seeds" if seeds else "score",
        }
    )
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


def _seed_trace(
    seeds: list[tuple[str, str, float]], ratios: Mapping[str, float], style: Mapping[str, Style]
) -> Trace:
    """One open mark per condition and seed."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "one seed",
        "x": [100 * ratios[c] for c, _, _ in seeds],
        "y": [100 * score for _, _, score in seeds],
        "marker": {
            "size": 6,
            "symbol": "circle-open",
            "color": [style[c].colour for c, _, _ in seeds],
        },
        "text": [f"{escape(c)}, seed {escape(seed)}: {s:.1%}" for c, seed, s in seeds],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _mean_trace(
    deltas: DeltaTable, ratios: Mapping[str, float], task: str, style: Mapping[str, Style]
) -> Trace:
    """One filled mark per condition, with the interval of its change against the control."""
    rows = {row.arm: row for row in deltas.rows if row.task == task and row.arm != deltas.control}
    scores = {c: deltas.scores[c][task] for c in ratios}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [100 * ratio for ratio in ratios.values()],
        "y": [100 * score for score in scores.values()],
        "marker": {"size": 10, "color": [style[c].colour for c in ratios]},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [100 * (r.high - r.delta) if (r := rows.get(c)) else 0 for c in ratios],
            "arrayminus": [100 * (r.delta - r.low) if (r := rows.get(c)) else 0 for c in ratios],
            "width": 0,
            "thickness": 1.6,
            "color": GREY,
        },
        "text": [
            f"{escape(c)}: {score:.1%}" + (f"<br>{describe(rows[c])}" if c in rows else "")
            for c, score in scores.items()
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _fit_traces(fit: AxisFit) -> Iterator[Trace]:
    """The fitted curve and its band, if the fit has one."""
    if not fit.curve:
        return
    x = [100 * point.ratio for point in fit.curve]
    common: Trace = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "legendgroup": "fit"}
    edges = {**common, "line": {"width": 0, "color": GREY}}
    high, low = [100 * p.high for p in fit.curve], [100 * p.low for p in fit.curve]
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
    y = [100 * point.score for point in fit.curve]
    yield {**common, "x": x, "y": y, "line": line, "showlegend": False}
