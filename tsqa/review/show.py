"""The report as a page, and in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from rich.text import Text

from tsqa.console import console
from tsqa.pages import page_environment
from tsqa.review.calibrate import ThresholdCurve, calibrate
from tsqa.review.estimate import Rate
from tsqa.review.report import COMPARING, Report, make_report, read_reviewed, reviews_missing
from tsqa.store.atomic import write_text

REPORT = "report.html"
_TEMPLATE = "report.html.jinja"
_WIDE, _HIGH, _EDGE = 640, 260, 44


@dataclass(frozen=True)
class Dot:
    """A point of a curve in the picture."""

    x: float
    y: float
    low: float
    high: float
    label: str
    is_looser: bool


@dataclass(frozen=True)
class Plot:
    curve: ThresholdCurve
    dots: list[Dot]
    most_kept: float
    most_error: float
    path: str
    """Of the line through the dots."""


def write_report(folder: Path, wanted: float) -> tuple[Path, Report]:
    """Write the page; `wanted`: the error rate for which thresholds are looked for."""
    report = make_report(folder)
    curves = calibrate(read_reviewed(folder)[0], wanted)
    done, rate = report.reviewed, report.error.value or 0.0
    text = (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            report=report,
            plots=[_plot(curve) for curve in curves],
            wanted=wanted,
            missing=reviews_missing(report.sample.accepted, done, rate, wanted) if done else None,
            holds=report.covered > 1 - 1e-9
            and report.remaining.high is not None
            and report.remaining.high <= wanted,
            comparing=COMPARING,
        )
    )
    path = folder / REPORT
    write_text(path, text)
    return path, report


def print_report(report: Report) -> None:
    """The figures in a few lines."""
    who = ", ".join(f"{name} {count:,}" for name, count in report.reviewers.items()) or "nobody"
    lines = [
        f"decisions: {who}" + (f"; {report.stale:,} on other texts, not used" * bool(report.stale)),
        f"error rate of the accepted: {shown(report.error)}, "
        f"of {report.covered:.0%} of {report.sample.accepted:,} items",
        f"of what remains: {shown(report.remaining)}; {report.dropped:,} dropped, "
        f"{report.edited:,} edited"
        + f", {report.skipped:,} skipped count as unfit"
        * bool(report.skipped),
        f"false rejections: {shown(report.false_rejections)} of the rejected, "
        f"{shown(report.lost)} of all that is fit",
    ]
    alpha = report.alpha
    if alpha.value is not None and alpha.low is not None and alpha.high is not None:
        lines.append(
            f"Krippendorff's alpha: {alpha.value:.3f} ({alpha.low:.3f} to {alpha.high:.3f}) by "
            f"{alpha.items:,} items"
        )
    for row in report.filters:
        recall = f", recall {shown(row.recall)}" if row.recall else ""
        lines.append(f"{row.step}: precision {shown(row.precision)}{recall}")
    for line in lines:
        console.print(Text(f"  {line}"))  # names of people are no markup


def shown(rate: Rate) -> str:
    """`4.2% (2.1% to 7.6%)`."""
    if rate.value is None or rate.low is None or rate.high is None:
        return "not known"
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"


def _plot(curve: ThresholdCurve) -> Plot:
    kept = max(point.kept for point in curve.points)
    highs = [point.error.high or 0.0 for point in curve.points]
    top = max([*highs, 0.01])

    def across(share: float) -> float:
        return round(_EDGE + (_WIDE - 2 * _EDGE) * share / kept, 1)

    def down(error: float | None) -> float:
        return round(_HIGH - _EDGE - (_HIGH - 2 * _EDGE) * (error or 0.0) / top, 1)

    dots = [
        Dot(
            x=across(point.kept),
            y=down(point.error.value),
            low=down(point.error.low),
            high=down(point.error.high),
            label=f"{point.threshold:.3g}",
            is_looser=point.is_looser,
        )
        for point in curve.points
    ]
    return Plot(curve, dots, kept, top, _path(dots))


def _path(dots: Sequence[Dot]) -> str:
    return "M" + " L".join(f"{dot.x} {dot.y}" for dot in dots)


def _environment() -> jinja2.Environment:
    environment = page_environment(Path(__file__).parent)
    environment.filters["rate"] = shown
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    return environment
