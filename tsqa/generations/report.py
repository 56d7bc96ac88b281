"""Measures over generations: `generations.json`, a page with a line per arm, and a table.

Guarantee: equal measurements give equal files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from eval.report.style import Figure, Style, Trace, escape, styles
from tsqa.console import console
from tsqa.generations.measure import GenerationMeasure, MeasuredGeneration
from tsqa.generations.stop import is_above, shown, shown_span
from tsqa.pages import packed_plotly, page_environment
from tsqa.quality.measure import Spanned
from tsqa.recipe import StopSection
from tsqa.store.atomic import write_text
from tsqa.store.jsonl import write_json

JSON, PAGE = "generations.json", "generations.html"
MEASURES = {
    "errors": "items that are wrong, by the oracle (share)",
    "tail": "lost of the tail that the seeds cover (share)",
    "diversity": "lost of the seeds' Vendi score (share)",
    "loss": "loss on people's held-out text, above the first teacher's (nats per token)",
}
"""Measure -> its title; 0 is as with people's text alone."""


@dataclass(frozen=True)
class GenerationsReport:
    """`generations.json`."""

    recipe: str
    count: int
    limits: StopSection
    generations: list[MeasuredGeneration]
    stopped: Mapping[str, str]
    """Arm -> why it has no further generation."""


def write_report(folder: Path, report: GenerationsReport) -> Path:
    """Write both files; return the path of the page."""
    plain = {**asdict(report), "limits": report.limits.model_dump()}
    write_json(folder / JSON, plain)
    page = page_environment(Path(__file__).parent).get_template("page.html.jinja")
    text = page.render(
        report=report,
        titles=MEASURES,
        figures={name: figure(report, name) for name in MEASURES},
        rows=[(each, _cells(each, report.limits)) for each in report.generations],
        plotly=packed_plotly(),
    )
    write_text(folder / PAGE, text)
    return folder / PAGE


def print_report(report: GenerationsReport) -> None:
    table = Table(title=f"{report.recipe}: value [95% interval], n; 0 is as with people's text")
    for column in ("arm", "generation", "items of asked", *MEASURES):
        table.add_column(column, no_wrap=column == "arm")
    before = ""
    for each in report.generations:
        if each.arm != before and before:
            table.add_section()
        before = each.arm
        cells = [
            f"{text}{'*' if above else ''}" + (f" n={measure.n:,}" if measure.n else "")
            for measure, text, above in _cells(each, report.limits)
        ]
        table.add_row(each.arm, str(each.number), f"{each.items:,} of {each.asked:,}", *cells)
    console.print(table)
    limits = ", ".join(f"{k} {v:g}" for k, v in report.limits if v is not None)
    if limits:
        console.print(f"  * the whole interval is above its limit ({limits})")


def figure(report: GenerationsReport, name: str) -> Figure:
    """A line per arm over generations, from people's text, which is 0, on; its limit."""
    arms = list(dict.fromkeys(each.arm for each in report.generations))
    drawn = styles(arms, "")
    traces = []
    for arm in arms:
        points = [
            (each.number, measure.span, measure.n)
            for each in report.generations
            for measure in each.measures
            if each.arm == arm and measure.name == name and measure.span is not None
        ]
        traces.append(_line(arm, points, drawn[arm]))
    limit = getattr(report.limits, name)
    return {
        "data": traces,
        "layout": {
            "height": 320,
            "xaxis": {
                "title": {"text": "generation"},
                "dtick": 1,
                "range": [-0.2, report.count + 0.2],
            },
            "yaxis": {"automargin": True, "zeroline": True, "rangemode": "tozero"},
            "shapes": [_limit(limit)] if limit is not None else [],
        },
    }  # fmt: skip


def _line(arm: str, points: Sequence[tuple[int, Spanned, int]], style: Style) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(arm),
        "x": [0, *(number for number, _, _ in points)],
        "y": [0.0, *(span.value for _, span, _ in points)],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [0.0, *(span.high - span.value for _, span, _ in points)],
            "arrayminus": [0.0, *(span.value - span.low for _, span, _ in points)],
            "thickness": 1.4,
            "width": 4,
            "color": style.colour,
        },
        "line": {"width": 2, "color": style.colour},
        "marker": {"size": 7, "color": style.colour, "symbol": style.symbol},
        "text": ["people's text", *(f"{shown_span(span)}, n={n:,}" for _, span, n in points)],
        "hovertemplate": f"{escape(arm)}, generation %{{x}}: %{{text}}<extra></extra>",
    }


def _limit(value: float) -> dict[str, object]:
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": value,
        "y1": value,
        "line": {"width": 1.4, "dash": "dash", "color": "#d1495b"},
    }


def _cells(
    each: MeasuredGeneration, limits: StopSection
) -> list[tuple[GenerationMeasure, str, bool]]:
    """Measure, its text, and whether it is above its limit; in the order of the columns."""
    found = {measure.name: measure for measure in each.measures}
    return [(found[n], shown(found[n]), is_above(found[n], limits)) for n in MEASURES]
