"""The audit as `quality.json`, as a page, and as a table in the terminal.

Guarantee: it holds nothing of the machine or the time, and none of the personal data it counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from tsqa.console import console
from tsqa.pages import page_environment
from tsqa.quality.personal import find_personal
from tsqa.records.quality import (
    PAGE,
    QualityMeasure,
    QualityReport,
    shown_costs,
    shown_reference,
    shown_value,
)
from tsqa.store.atomic import write_text
from tsqa.store.jsonl import write_json

JSON = "quality.json"
_LONGEST = 2000


def write_report(folder: Path, report: QualityReport) -> Path:
    """Write both files; return the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = asdict(report)
    for measure in plain["measures"]:
        for example in measure["examples"]:
            for key in ("text", "nearest"):
                example[key] = masked(example[key][:_LONGEST])
    write_json(folder / JSON, plain)
    examples = [example for each in plain["measures"] for example in each["examples"]]
    intro = [
        f"{report.items:,} items, {scope(report)}. A marked line differs from its reference by "
        "more than chance, at 5% for each line.",
        f"Filter {report.filter}, seeds {report.seeds}, drawn by seed {report.seed}.",
        *shown_costs(report),
    ]
    return write_page(
        folder / PAGE, f"Quality of {report.recipe}", intro, report.measures, examples
    )


def write_page(
    path: Path,
    title: str,
    intro: Sequence[str],
    measures: Sequence[QualityMeasure],
    examples: Sequence[Mapping[str, str]] = (),
) -> Path:
    template = page_environment(Path(__file__).parent).get_template("page.html.jinja")
    shown: dict[str, list[tuple[QualityMeasure, str, str]]] = {}
    for each in measures:
        line = each, shown_value(each), shown_reference(each)
        shown.setdefault(each.dimension, []).append(line)
    write_text(path, template.render(title=title, intro=intro, shown=shown, examples=examples))
    return path


def masked(text: str) -> str:
    for kind, found in sorted(set(find_personal(text))):
        text = text.replace(found, f"[{kind}]")
    return text


def print_report(report: QualityReport) -> None:
    print_measures(f"{report.recipe}: {report.items:,} items, {scope(report)}", report.measures)
    for line in shown_costs(report):
        console.print(f"  {line}")


def print_measures(title: str, measures: Sequence[QualityMeasure]) -> None:
    table = Table(title=title)
    for column in ("", "value, 95% interval", "reference", "p", "what it cannot show"):
        table.add_column(column)
    before = ""
    for each in measures:
        if each.dimension != before:
            table.add_section()
            table.add_row(each.dimension, style="bold")
        before = each.dimension
        mark = "* " if each.apart else "  "
        p = "" if each.p is None else f"{each.p:.3f}"
        limits = each.limits if each.value is not None else ""
        table.add_row(f"{mark}{each.name}", shown_value(each), shown_reference(each), p, limits)
    console.print(table)
    console.print("  * differs from its reference by more than chance (5% for each measure)")


def scope(report: QualityReport) -> str:
    """What the figures are of."""
    text = f"{report.audited_items:,} audited, of {report.audited_seeds:,} seeds"
    if report.without_real:
        names = ", ".join(report.without_real)
        text += f"; seeds of {names} are passages, so their questions have no real counterpart"
    return text
