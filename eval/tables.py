"""Deltas as Markdown, and beside the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rich import box
from rich.table import Table
from rich.text import Text

from eval import stats
from eval.compare import write_csv
from tsqa.artifact import write_json
from tsqa.recipe import Recipe

_PUBLISHED = Path(__file__).parent / "published.yaml"


def markdown(deltas: Mapping[str, Any]) -> str:
    """One line per row of the table, then what it allows to say."""
    head = ("comparison", "task", "n", "seeds", "reference", "score", "delta (points)", "interval")
    columns = [*head, "p (Holm)", "MDE", "verdict"]
    lines = [_line(columns), _line(["---"] * len(columns))]
    for row in deltas["rows"]:
        numbers = [
            f"{row['n']:,}",
            str(row["seeds"]),
            f"{row['reference']:.1%}",
            f"{row['score']:.1%}",
            stats.points(row["delta"]),
            f"[{stats.points(row['low'])}, {stats.points(row['high'])}]",
            f"{row['p_holm']:.3g}",
            f"{100 * row['mde']:.1f}",
        ]
        lines.append(_line([row["comparison"], row["task"], *numbers, row["verdict"]]))
    gaps = [_line([name, "no result", gap["reason"]]) for name, gap in deltas["gaps"].items()]
    if gaps:
        lines += ["", _line(["run", "", "reason"]), _line(["---"] * 3), *gaps]
    return "\n".join([*lines, "", str(deltas["conclusion"]), "", str(deltas["caveat"]), ""])


def write_all(
    deltas: Mapping[str, Any],
    *,
    csv: Path | None,
    markdown_file: Path | None,
    json_file: Path | None,
) -> None:
    """Write the deltas in the formats that have a path."""
    if csv:
        write_csv(csv, deltas["rows"])
    if markdown_file:
        markdown_file.write_text(markdown(deltas), encoding="utf-8")
    if json_file:
        write_json(json_file, dict(deltas))


def published_tables(deltas: Mapping[str, Any], here: Mapping[str, str]) -> list[Table]:
    """Our deltas beside the published ones, and what differs in set-up (`here`: ours, by key)."""
    published: dict[str, Any] = yaml.safe_load(_PUBLISHED.read_text(encoding="utf-8"))
    found = {(row["arm"], row["task"]): row for row in deltas["rows"]}
    table = Table(title="Deltas in points", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("benchmark")
    table.add_column("published", justify="right")
    for arm in deltas["arms"]:
        table.add_column(Text(f"{arm} - {deltas['control']}"), justify="right")
    for entry in published["deltas"]:
        told = entry.get("told") or f"{entry['points']:+.1f}"
        cells = []
        for arm in deltas["arms"]:
            row = next((found[arm, t] for t in entry["rows"] if (arm, t) in found), None)
            cells.append(Text(_shown(row) if row else "not evaluated"))
        table.add_row(entry["name"], told, *cells)
    table.caption = f"published: {published['source']}"
    setup = Table(title="What differs in set-up", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("", "published", "here"):
        setup.add_column(column)
    ours = {
        "reference": f"{deltas['control']}, trained alike",
        "uncertainty": deltas["caveat"],
        "tasks": ", ".join(deltas["tasks"]),
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
        teacher = recipe.generate.teacher.model
        setup["teacher"] = str(teacher.path or teacher.recipe)
    return setup


def _shown(row: Mapping[str, Any]) -> str:
    interval = f"[{stats.points(row['low'])}, {stats.points(row['high'])}]"
    return f"{row['task']}: {stats.points(row['delta'])} {interval} {row['verdict']}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
