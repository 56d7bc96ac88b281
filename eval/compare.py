"""Compare the arms: each against the control, and the control against the base model.

Promises: a comparison of different task versions, few-shot counts, metrics or documents is
refused by name; p-values are corrected over the macro rows, and over the task rows; the conclusion
is computed from the numbers and says so when nothing changed.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eval import stats
from eval.contamination import contamination
from eval.harness import DOCUMENTS, RESULTS
from tsqa.artifact import Artifact, write_json
from tsqa.errors import DataError
from tsqa.recipe import control_of, needed
from tsqa.stage import StageContext

BASE = "base"
CAVEAT = (
    "Intervals cover the sampling of evaluated documents, not the spread between training seeds."
)
_MUST_MATCH = ("metric", "version", "num_fewshot", "kind", "n")
_STYLES = {stats.BETTER: "green", stats.WORSE: "red", stats.UNCHANGED: "dim"}


@dataclass(frozen=True)
class Evaluated:
    """What one evaluate artifact says."""

    name: str
    tasks: dict[str, dict[str, Any]]
    macro: float
    scores: dict[str, dict[tuple[int, str], float]]


def run(context: StageContext) -> dict[str, Any]:
    """Write deltas.json and deltas.csv from the inputs `base` (optional) and `arm:<name>`."""
    section = needed(context.recipe.eval, "eval")
    models = {
        role.removeprefix("arm:"): read(role, artifact)
        for role, artifact in context.inputs.items()
        if role == BASE or role.startswith("arm:")
    }
    deltas = compare(
        models,
        control=control_of(context.recipe),
        bootstrap=section.bootstrap,
        confidence=section.confidence,
        seed=context.recipe.seed,
    )
    deltas["contamination"] = contamination(context.recipe, context.inputs)
    write_json(context.out / "deltas.json", deltas)
    _write_csv(context.out / "deltas.csv", deltas["rows"])
    columns = list(deltas["rows"][0])
    context.tracker.table("deltas", columns, [list(row.values()) for row in deltas["rows"]])
    verdicts = [row["verdict"] for row in deltas["rows"]]
    return {
        "comparisons": len(deltas["comparisons"]),
        "rows": len(verdicts),
        **{word.replace(" ", "_"): verdicts.count(word) for word in _STYLES},
        "conclusion": deltas["conclusion"],
    }


def read(name: str, artifact: Artifact) -> Evaluated:
    """Load one evaluate artifact; a document that appears twice is a DataError."""
    import pyarrow.parquet

    results = json.loads((artifact.path / RESULTS).read_text(encoding="utf-8"))
    columns = ["task", "doc_id", "doc_hash", "score"]
    path = artifact.path / DOCUMENTS
    table = pyarrow.parquet.read_table(path, columns=columns).to_pydict()
    scores: dict[str, dict[tuple[int, str], float]] = {task: {} for task in results["tasks"]}
    for task, doc_id, doc_hash, score in zip(*(table[c] for c in columns), strict=True):
        documents = scores.setdefault(task, {})
        if (doc_id, doc_hash) in documents:
            raise DataError(f"{path}: {task}: doc_id {doc_id} appears twice")
        documents[doc_id, doc_hash] = score
    return Evaluated(name.removeprefix("arm:"), results["tasks"], results["macro"], scores)


def compare(
    models: Mapping[str, Evaluated],
    *,
    control: str,
    bootstrap: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """The content of deltas.json: scores, one row per comparison and task, the conclusion."""
    arms = [name for name in models if name not in (BASE, control)]
    if control not in models:
        raise DataError(
            f"compare: the control arm `{control}` has no evaluation; found {', '.join(models)}"
        )
    pairs = [(control, BASE)] if BASE in models else []
    pairs += [(arm, control) for arm in arms]
    if not pairs:
        raise DataError(
            f"compare: only `{control}` was evaluated, there is nothing to compare it with",
            "add an `ablation`, or start from a model that can be evaluated",
        )
    rows: list[dict[str, Any]] = []
    for arm, reference in pairs:
        label = f"{arm} - {reference}"
        _check_same_tasks(label, models[reference], models[arm])
        for delta in stats.compare_models(
            models[reference].scores,
            models[arm].scores,
            label=label,
            bootstrap=bootstrap,
            confidence=confidence,
            seed=seed,
        ):
            row = {"comparison": label, "arm": arm, "against": reference, **asdict(delta)}
            rows.append(row)
    _add_verdicts(rows, confidence)
    tasks = models[control].tasks
    deltas: dict[str, Any] = {
        "control": control,
        "arms": arms,
        "has_base": BASE in models,
        "comparisons": [f"{arm} - {reference}" for arm, reference in pairs],
        "confidence": confidence,
        "bootstrap": bootstrap,
        "tasks": {task: {key: tasks[task][key] for key in _MUST_MATCH} for task in sorted(tasks)},
        "scores": {
            name: {**{t: m.tasks[t]["score"] for t in sorted(m.tasks)}, stats.MACRO: m.macro}
            for name, m in models.items()
        },
        "rows": rows,
        "caveat": CAVEAT,
    }
    deltas["conclusion"] = conclude(deltas)
    return deltas


def conclude(deltas: Mapping[str, Any]) -> str:
    """What the numbers allow to say, in a few sentences."""
    rows, control = deltas["rows"], deltas["control"]
    macro = {row["arm"]: row for row in rows if row["task"] == stats.MACRO}
    sentences = []
    if deltas["arms"]:
        groups: dict[str, list[str]] = {word: [] for word in _STYLES}
        for arm in deltas["arms"]:
            groups[macro[arm]["verdict"]].append(f"{arm} ({_points(macro[arm])})")
        for word, phrase in (
            (stats.BETTER, "better than the control"),
            (stats.WORSE, "worse than the control"),
            (stats.UNCHANGED, "no detectable change from the control"),
        ):
            if groups[word]:
                sentences.append(f"Macro average, {phrase} {control}: {'; '.join(groups[word])}.")
        gained = {
            row["task"]
            for row in rows
            if row["arm"] in deltas["arms"] and row["verdict"] == stats.BETTER
        }
        flat = [task for task in deltas["tasks"] if task not in gained]
        count = len(deltas["tasks"])
        if flat:
            sentences.append(
                f"No arm gains detectably on {len(flat)} of {count} tasks: {', '.join(flat)}."
            )
        else:
            sentences.append(f"Each of the {count} tasks gains detectably in some arm.")
    if deltas["has_base"]:
        row = macro[control]
        sentences.append(
            f"Against the base model, the control {control}: {row['verdict']} ({_points(row)})."
        )
    return " ".join(sentences)


def print_table(deltas: Mapping[str, Any], console: Console) -> None:
    """One row per task and the macro average; per arm its score, delta, interval and verdict."""
    table = Table(title="Scores in percent, deltas in points", title_justify="left")
    table.add_column("task", no_wrap=True)
    if deltas["has_base"]:
        table.add_column("base", justify="right")
    table.add_column(Text(f"control {deltas['control']}"), justify="right")
    for arm in deltas["arms"]:
        table.add_column(Text(arm), justify="right")
    found = {(row["arm"], row["task"]): row for row in deltas["rows"]}
    for task in [*deltas["tasks"], stats.MACRO]:
        if task == stats.MACRO:
            table.add_section()
        cells = [Text(task)]
        if deltas["has_base"]:
            cells.append(Text(f"{deltas['scores'][BASE][task]:.1%}"))
            cells.append(_cell(found[deltas["control"], task]))
        else:
            cells.append(Text(f"{deltas['scores'][deltas['control']][task]:.1%}"))
        cells += [_cell(found[arm, task]) for arm in deltas["arms"]]
        table.add_row(*cells)
    console.print(table)
    console.print(Text(str(deltas["conclusion"])))
    console.print(Text(str(deltas["caveat"]), style="dim"))


def _cell(row: Mapping[str, Any]) -> Text:
    text = Text(f"{row['score']:.1%}  {_points(row)}\n")
    return text.append(str(row["verdict"]), style=_STYLES[row["verdict"]])


def _points(row: Mapping[str, Any]) -> str:
    return f"{stats.points(row['delta'])} [{stats.points(row['low'])}, {stats.points(row['high'])}]"


def _add_verdicts(rows: list[dict[str, Any]], confidence: float) -> None:
    """Correct the p-values in two families: macro rows (the question) and task rows (detail)."""
    for is_macro in (True, False):
        family = [row for row in rows if (row["task"] == stats.MACRO) is is_macro]
        for row, p in zip(family, stats.holm([r["p"] for r in family]), strict=True):
            row["p_holm"] = p
            row["verdict"] = stats.verdict(row["low"], row["high"], p, confidence)


def _check_same_tasks(label: str, reference: Evaluated, model: Evaluated) -> None:
    for task in sorted(reference.tasks.keys() & model.tasks.keys()):
        before, after = reference.tasks[task], model.tasks[task]
        for key in _MUST_MATCH:
            if before.get(key) != after.get(key):
                raise DataError(
                    f"{label}: {task}: {key} is {before.get(key)!r} for {reference.name} and "
                    f"{after.get(key)!r} for {model.name}",
                    "evaluate both with the same task files, eval.limit and eval.num_fewshot",
                )


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
