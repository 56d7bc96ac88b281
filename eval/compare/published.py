"""Our deltas next to the published ones: protocols first, then the deltas, then the set-ups.

Guarantee: a delta is subtracted from a published one only where both are of the same protocol, as
far as it is published, or where that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, cast

import yaml
from rich import box
from rich.table import Table
from rich.text import Text

from eval.deltas import DeltaRow, DeltaTable
from eval.results import read_metric_name
from eval.statistics import stats
from tsqa.recipe import Recipe

_PUBLISHED = Path(__file__).parent / "published.yaml"
_SAME = {"pass_at_1": "pass@1"}
CHAT = "chat template"
"""Of our set-up: where tasks are asked in one."""
_SHOWN = 4
"""Tasks with one difference that are named."""


class _Protocol(TypedDict):
    name: str
    kind: str
    metric: str
    num_fewshot: int | str
    samples: int
    questions: NotRequired[int]
    """Of all our tasks in which nothing else differs."""
    tasks: dict[str, str]
    """Pattern of our tasks -> what else differs; the first that fits counts."""


class _PublishedDelta(TypedDict):
    name: str
    rows: list[str]
    """Our rows that ask the same, the first that was evaluated counts."""
    points: float
    before: NotRequired[float]
    after: NotRequired[float]
    average: NotRequired[Literal["questions", "tasks"]]
    """What it averages: all questions alike, or tasks, which are not published."""


class _Study(TypedDict):
    name: str
    source: str
    setup: dict[str, str]
    deltas: list[_PublishedDelta]


class _Published(TypedDict):
    """published.yaml."""

    protocols: list[_Protocol]
    studies: list[_Study]


def published_tables(
    deltas: DeltaTable, here: Mapping[str, str], any_protocol: bool = False
) -> list[Table]:
    """How protocols differ, our deltas next to the published ones, how set-ups differ.

    `here`: our set-up, by key. `any_protocol`: subtract deltas of different protocols as well.
    """
    published = cast(_Published, yaml.safe_load(_PUBLISHED.read_text(encoding="utf-8")))
    differing = {task: _differences(task, deltas, published["protocols"]) for task in deltas.tasks}
    if CHAT in here:
        differing = {task: [*found, here[CHAT]] for task, found in differing.items()}
    tables = [_protocol_table(deltas, differing)]
    for study in published["studies"]:
        tables.append(_delta_table(deltas, study, differing, any_protocol))
        tables.append(_setup_table(deltas, study, here))
    return tables


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
        asked = [recipe.generate.writing[1], *(each.teacher for each in recipe.generate.solving)]
        names = dict.fromkeys(str(each.model.path or each.model.recipe) for each in asked)
        setup["teacher"] = ", ".join(names)
    if recipe.eval and recipe.eval.chat_template:
        setup[CHAT] = "asked in a chat template here, base models there"
    return setup


def _differences(task: str, deltas: DeltaTable, protocols: Sequence[_Protocol]) -> list[str]:
    """What is known to differ between our scores of a task and the published ones."""
    setup = deltas.tasks[task]
    for protocol in protocols:
        other = _other(task, protocol)
        if other is not None:
            metric, samples = read_metric_name(setup.metric)
            pairs: dict[str, tuple[object, object]] = {
                "scored": (protocol["kind"], setup.kind),
                "metric": (protocol["metric"], _SAME.get(metric, metric)),
                "few-shot": (protocol["num_fewshot"], setup.num_fewshot),
                "samples": (protocol["samples"], samples),
            }
            if not other and "questions" in protocol:
                alike = [
                    one.n for name, one in deltas.tasks.items() if _other(name, protocol) == ""
                ]
                pairs["questions"] = (protocol["questions"], sum(alike))
            found = [f"{key} {a} there, {b} here" for key, (a, b) in pairs.items() if a != b]
            return [*found, *([other] if other else [])]
    return ["protocol not published"]


def _other(task: str, protocol: _Protocol) -> str | None:
    """What else differs in a task of ours that asks for the same; None where it does not."""
    found = (text for pattern, text in protocol["tasks"].items() if fnmatchcase(task, pattern))
    return next(found, None)


def _protocol_table(deltas: DeltaTable, differing: Mapping[str, list[str]]) -> Table:
    table = Table(title="Protocols", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("task", "here", "differs from the published scores"):
        table.add_column(column)
    for task, setup in deltas.tasks.items():
        here = f"{setup.metric}, {setup.num_fewshot}-shot"
        table.add_row(
            Text(task), Text(here), Text("; ".join(differing[task]) or "in nothing known")
        )
    table.caption = "prompts and answer extraction of the published scores are not published"
    return table


def _delta_table(
    deltas: DeltaTable, study: _Study, differing: Mapping[str, list[str]], any_protocol: bool
) -> Table:
    found = {(row.arm, row.task): row for row in deltas.rows}
    table = Table(
        title=f"{study['name']}: deltas in points", title_justify="left", box=box.SIMPLE_HEAD
    )
    for column in ("benchmark", "published"):
        table.add_column(column, justify="left" if column == "benchmark" else "right")
    for arm in deltas.arms:
        table.add_column(Text(f"{arm} - {deltas.control}"), justify="right")
        table.add_column("minus published", justify="right")
    for entry in study["deltas"]:
        theirs = f"{entry['points']:+.1f}"
        if "before" in entry and "after" in entry:
            theirs += f" ({entry['before']:g} -> {entry['after']:g})"
        cells: list[Text] = []
        for arm in deltas.arms:
            row = next((found[arm, t] for t in entry["rows"] if (arm, t) in found), None)
            if row is None:
                cells += [Text("not evaluated"), Text("")]
                continue
            cells.append(Text(f"{row.task}: {stats.change(row)} {row.verdict}"))
            if not any_protocol and (why := _other_average(row, entry, deltas.by_documents)):
                cells.append(Text(f"other average: {why}", style="dim"))
                continue
            unlike = sorted(task for task in _tasks_of(row, deltas) if differing[task])
            cells.append(_minus(row, entry["points"], [] if any_protocol else unlike))
        table.add_row(entry["name"], theirs, *cells)
    table.caption = f"published: {study['source']}"
    return table


def _other_average(row: DeltaRow, entry: _PublishedDelta, by_documents: bool) -> str:
    """Why a mean of ours is not theirs; empty where it is, or there is none."""
    average = entry.get("average")
    if not stats.is_macro(row.task) or average is None:
        return ""
    if average == "tasks":
        return "which tasks theirs holds is not published"
    return "" if by_documents else "of tasks, theirs of questions (eval.macro: documents)"


def _minus(row: DeltaRow, points: float, unlike: list[str]) -> Text:
    if unlike:
        more = f" and {len(unlike) - _SHOWN} more" if len(unlike) > _SHOWN else ""
        return Text(f"other protocol: {', '.join(unlike[:_SHOWN])}{more}", style="dim")
    return Text(f"{100 * row.delta - points:+.1f}")


def _tasks_of(row: DeltaRow, deltas: DeltaTable) -> list[str]:
    macros = {stats.macro_name(name): tasks for name, tasks in deltas.macros.items()}
    return macros.get(row.task, [row.task])


def _setup_table(deltas: DeltaTable, study: _Study, here: Mapping[str, str]) -> Table:
    table = Table(
        title=f"{study['name']}: what differs in set-up", title_justify="left", box=box.SIMPLE_HEAD
    )
    for column in ("", "published", "here"):
        table.add_column(column)
    ours = {
        "reference": f"{deltas.control}, trained alike",
        "uncertainty": deltas.caveat,
        "tasks": ", ".join(deltas.tasks),
        **here,
    }
    for key, value in study["setup"].items():
        table.add_row(key, value, Text(ours.get(key, "unknown")))
    table.add_row("tasks", ", ".join(e["name"] for e in study["deltas"]), Text(ours["tasks"]))
    return table
