"""Compare the arms: each against the control, and the control against the base model.

Promises: a comparison of different task versions, few-shot counts, metrics or documents is
refused by name; arms are paired seed by seed; the chance of any false finding in a table is at
most 1 - confidence (Holm over all its rows, macro rows weighing one half); the conclusion is
computed from the numbers and says so when nothing changed.
"""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eval import crossed, fit, stats
from eval.contamination import contamination
from eval.harness import DOCUMENTS, RESULTS, expand_macros
from tsqa.artifact import Artifact, write_json
from tsqa.errors import DataError
from tsqa.recipe import Recipe, arms_of, control_of, needed
from tsqa.stage import StageContext

BASE = "base"
_ONE_SEED = (
    "Intervals cover the sampling of evaluated documents, not the spread between training seeds."
)
_SEVERAL_SEEDS = (
    "Intervals cover the sampling of evaluated documents and the spread between training seeds."
)
ALLOWABLE = frozenset({"backend", "tokens", "version", "num_fewshot", "seeds"})
"""What `tsqa compare RUN... --allow` may let differ."""
_PER_ROW = "An interval is its row's alone; a verdict is corrected for all rows of the table."
_MUST_MATCH = ("metric", "version", "num_fewshot", "kind", "n")
_STYLES = {stats.BETTER: "green", stats.WORSE: "red", stats.UNCHANGED: "dim"}


@dataclass(frozen=True)
class Evaluated:
    """What one evaluate artifact says: a model of one condition, trained under one seed."""

    name: str
    condition: str
    seed: int | None
    """None: not trained by the recipe (the base)."""
    tasks: dict[str, dict[str, Any]]
    macro: float
    scores: dict[str, stats.Scored]


def run(context: StageContext) -> dict[str, Any]:
    """Write deltas.json and deltas.csv from the inputs `base` (optional) and `arm:<name>`."""
    recipe = context.recipe
    section = needed(recipe.eval, "eval")
    arms, models = arms_of(recipe), []
    if BASE in context.inputs:
        models.append(read(BASE, context.inputs[BASE]))
    missing = [name for name in arms if f"arm:{name}" not in context.inputs]
    for name, arm in arms.items():
        if name not in missing:
            artifact = context.inputs[f"arm:{name}"]
            models.append(read(name, artifact, arm.condition, arm.seed))
    deltas = compare(
        models,
        control=control_of(recipe),
        bootstrap=section.bootstrap,
        confidence=section.confidence,
        seed=recipe.seed,
        macros=expand_macros(section.macros, context.inputs.values()),
        gaps={name: (arms[name].condition, "not evaluated") for name in missing},
        axis=ratio_axis(recipe),
    )
    deltas["contamination"] = contamination(context.recipe, context.inputs)
    write_json(context.out / "deltas.json", deltas)
    write_csv(context.out / "deltas.csv", deltas["rows"])
    columns = list(deltas["rows"][0])
    context.tracker.table("deltas", columns, [list(row.values()) for row in deltas["rows"]])
    verdicts = [row["verdict"] for row in deltas["rows"]]
    return {
        "comparisons": len(deltas["comparisons"]),
        "rows": len(verdicts),
        **{word.replace(" ", "_"): verdicts.count(word) for word in _STYLES},
        "conclusion": deltas["conclusion"],
    }


def read(
    name: str, artifact: Artifact, condition: str | None = None, seed: int | None = None
) -> Evaluated:
    """Load one evaluate artifact; a document that appears twice is a DataError."""
    import pyarrow.parquet

    results = json.loads((artifact.path / RESULTS).read_text(encoding="utf-8"))
    path = artifact.path / DOCUMENTS
    grouped = "group" in pyarrow.parquet.read_schema(path).names
    columns = ["task", "doc_id", "doc_hash", "score", *(["group"] if grouped else [])]
    table = pyarrow.parquet.read_table(path, columns=columns).to_pydict()
    groups = table["group"] if grouped else [None] * len(table["task"])
    documents: dict[str, list[tuple[stats.Key, float, str | None]]] = {
        task: [] for task in results["tasks"]
    }
    for task, doc_id, doc_hash, score, group in zip(
        *(table[c] for c in columns[:4]), groups, strict=True
    ):
        value = math.nan if score is None else score
        documents.setdefault(task, []).append(((doc_id, doc_hash), value, group))
    for task, result in results["tasks"].items():
        if len(documents[task]) != result["n"]:
            raise DataError(
                f"{path}: {task}: {len(documents[task])} documents, but {RESULTS} says "
                f"{result['n']}",
                f"delete {artifact.path} and evaluate again",
            )
    return Evaluated(
        name=name,
        condition=condition or name,
        seed=seed,
        tasks=results["tasks"],
        macro=results["macro"],
        scores={t: stats.Scored.of(d, f"{path}: {t}") for t, d in documents.items()},
    )


def read_deltas(artifact: Artifact) -> dict[str, Any]:
    """The content of a compare artifact."""
    deltas: dict[str, Any] = json.loads((artifact.path / "deltas.json").read_text(encoding="utf-8"))
    return deltas


def ratio_axis(recipe: Recipe) -> dict[str, Any] | None:
    """The one axis `mixture.<source>` of an ablation and its ratio per condition, or None.

    A condition that differs from the control in more than its ratios (a format-matched one) is not
    on the axis.
    """
    if recipe.ablation is None or len(recipe.ablation.axes) != 1:
        return None
    (axis,) = recipe.ablation.axes
    source = axis.removeprefix("mixture.")
    arms = list(arms_of(recipe).values())
    control = next(arm for arm in arms if arm.condition == control_of(recipe))
    ratios = {}
    for arm in arms:
        if _without_ratios(arm.recipe) == _without_ratios(control.recipe):
            mixture = needed(arm.recipe.mixture, "mixture")
            if source not in mixture.sources:
                return None
            ratios[arm.condition] = mixture.phases[0].ratios.get(source, 0.0)
    return {"axis": axis, "ratios": ratios} if len(set(ratios.values())) == len(ratios) else None


def _without_ratios(recipe: Recipe) -> dict[str, Any]:
    tree = recipe.model_dump(mode="json", exclude={"seed", "ablation"})
    for phase in (tree["mixture"] or {}).get("phases", []):
        del phase["ratios"]
    return tree


def compare(
    models: Sequence[Evaluated],
    *,
    control: str,
    bootstrap: int,
    confidence: float,
    seed: int,
    macros: Mapping[str, Sequence[str]] | None = None,
    gaps: Mapping[str, tuple[str, str]] | None = None,
    axis: Mapping[str, Any] | None = None,
    allow: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """The content of deltas.json: scores, one row per comparison and task, the conclusion.

    `gaps`: run without results -> its condition and the reason; it is named, and never counted.
    `axis`: what `ratio_axis` gives. `allow`: what may differ between runs (ALLOWABLE).
    """
    macros, gaps = dict(macros or {}), dict(gaps or {})
    base = next((model for model in models if model.condition == BASE), None)
    conditions = _by_condition(models)
    if control not in conditions:
        found = ", ".join(model.name for model in models) or "nothing"
        reasons = [f" ({reason})" for condition, reason in gaps.values() if condition == control]
        raise DataError(
            f"compare: the control arm `{control}` has no evaluation{''.join(reasons[:1])}; "
            f"found {found}",
            "evaluate it, or name another control",
        )
    arms = [name for name in conditions if name != control]
    pairs = [(control, BASE)] if base else []
    pairs += [(arm, control) for arm in arms]
    if not pairs:
        raise DataError(
            f"compare: only `{control}` was evaluated, there is nothing to compare it with",
            "add an `ablation`, or start from a model that can be evaluated",
        )
    rows: list[dict[str, Any]] = []
    notes = [_ONE_SEED if len(conditions[control]) == 1 else _SEVERAL_SEEDS, _PER_ROW]
    notes += [f"{name}: no result ({reason})." for name, (_, reason) in gaps.items()]
    pooled = _pooled(conditions, control, macros)
    for arm, reference in pairs:
        label = f"{arm} - {reference}"
        own = conditions[arm]
        seeds = list(own) if reference == BASE else _common_seeds(arm, control, conditions, notes)
        against = [base if reference == BASE else conditions[control][s] for s in seeds]
        for before, s in zip(against, seeds, strict=True):
            assert before is not None
            notes += _check_same_tasks(label, before, own[s], allow)
        if reference != BASE and all(
            before is not None and _scored_alike(before, own[s])
            for before, s in zip(against, seeds, strict=True)
        ):
            notes.append(
                f"{arm} scores on every document exactly as {reference} does: what it changes had "
                "no effect here."
            )
        for delta in stats.compare_models(
            [before.scores for before in against if before is not None],
            [own[s].scores for s in seeds],
            label=label,
            bootstrap=bootstrap,
            confidence=confidence,
            seed=seed,
            macros=macros,
            pooled=pooled if reference != BASE and seeds == list(conditions[control]) else None,
        ):
            row = {"comparison": label, "arm": arm, "against": reference, **asdict(delta)}
            rows.append(row)
    _add_verdicts(rows, confidence)
    tasks = next(iter(conditions[control].values())).tasks
    by_seed = {
        name: {str(s): _task_scores(model, macros) for s, model in seeds_of.items()}
        for name, seeds_of in conditions.items()
    }
    scores = {name: _mean_scores(list(found.values())) for name, found in by_seed.items()}
    deltas: dict[str, Any] = {
        "control": control,
        "arms": arms,
        "has_base": base is not None,
        "comparisons": [f"{arm} - {reference}" for arm, reference in pairs],
        "confidence": confidence,
        "bootstrap": bootstrap,
        "tasks": {task: {key: tasks[task][key] for key in _MUST_MATCH} for task in sorted(tasks)},
        "macros": macros,
        "seeds": {name: list(seeds_of) for name, seeds_of in conditions.items()},
        "scores": {**({BASE: _task_scores(base, macros)} if base else {}), **scores},
        "scores_by_seed": by_seed,
        "rows": rows,
        "gaps": {name: {"condition": c, "reason": reason} for name, (c, reason) in gaps.items()},
        "fit": fit_axis(conditions, control, axis, confidence, seed) if axis else None,
        "caveat": " ".join(dict.fromkeys(notes)),
    }
    deltas["conclusion"] = conclude(deltas)
    return deltas


def fit_axis(
    conditions: Mapping[str, Mapping[int, Evaluated]],
    control: str,
    axis: Mapping[str, Any],
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """The fit of the macro average against the one ratio that the ablation varies.

    Conditions that lack a seed of the control are left out.
    """
    seeds = list(conditions[control])
    ratios = {name: ratio for name, ratio in axis["ratios"].items() if name in conditions}
    names = sorted((n for n in ratios if list(conditions[n]) == seeds), key=lambda n: ratios[n])
    means = np.array([[conditions[name][s].macro for s in seeds] for name in names])
    units: dict[str, list[stats.Floats]] = {}
    for task in conditions[control][seeds[0]].tasks:
        for name in names:
            scored = [conditions[name][s].scores[task] for s in seeds]
            values = np.array([one.values for one in scored])
            groups = scored[0].groups
            units.setdefault(task, []).append(
                values if groups is None else stats.group_units(values, groups)
            )
    fitted = fit.fit_ratios(
        [ratios[name] for name in names],
        means.mean(axis=1),
        fit.covariance_of(units, means),
        confidence=confidence,
        seed=seed,
    )
    return {"axis": axis["axis"], "task": stats.MACRO, **fitted}


def _by_condition(models: Sequence[Evaluated]) -> dict[str, dict[int, Evaluated]]:
    """Condition -> seed -> model, seeds ascending, without the base."""
    conditions: dict[str, dict[int, Evaluated]] = {}
    for model in models:
        if model.condition == BASE:
            continue
        seeds = conditions.setdefault(model.condition, {})
        if (model.seed or 0) in seeds:
            raise DataError(
                f"compare: {seeds[model.seed or 0].name} and {model.name} are the same condition "
                f"`{model.condition}` under the same seed {model.seed}",
                "name each run once",
            )
        seeds[model.seed or 0] = model
    return {name: dict(sorted(seeds.items())) for name, seeds in conditions.items()}


def _common_seeds(
    arm: str, control: str, conditions: Mapping[str, Mapping[int, Evaluated]], notes: list[str]
) -> list[int]:
    """The seeds that an arm shares with the control; what is left out goes into the notes."""
    ours, theirs = conditions[arm], conditions[control]
    common = [seed for seed in theirs if seed in ours]
    if not common:
        raise DataError(
            f"{arm} - {control}: no seed in common ({_listed(ours)} and {_listed(theirs)})",
            "train both under the same seeds: ablation.seeds",
        )
    if len(common) < max(len(ours), len(theirs)):
        notes.append(
            f"{arm} has the seeds {_listed(ours)} and {control} {_listed(theirs)}: "
            f"their difference is over {_listed(common)}."
        )
    return common


def _scored_alike(one: Evaluated, two: Evaluated) -> bool:
    """Whether they have the same tasks, documents and scores."""
    return one.scores.keys() == two.scores.keys() and all(
        scored.keys == two.scores[task].keys
        and np.array_equal(scored.values, two.scores[task].values, equal_nan=True)
        for task, scored in one.scores.items()
    )


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def _pooled(
    conditions: Mapping[str, Mapping[int, Evaluated]],
    control: str,
    macros: Mapping[str, Sequence[str]],
) -> dict[str, crossed.Spread]:
    """Per row's task, the spread between seeds over all conditions with the control's seeds."""
    seeds = list(conditions[control])
    full = [seeds_of for seeds_of in conditions.values() if list(seeds_of) == seeds]
    scores = [[_task_scores(seeds_of[s], macros) for s in seeds] for seeds_of in full]
    tasks = set.intersection(*(set(score) for row in scores for score in row))
    found = {}
    for task in tasks:
        spread = crossed.pool(np.array([[score[task] for score in row] for row in scores]))
        if spread is not None:
            found[task] = spread
    return found


def _task_scores(model: Evaluated, macros: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Per task and macro average, as its rows in the table are called."""
    scores = {task: float(model.tasks[task]["score"]) for task in sorted(model.tasks)}
    suites = {
        stats.macro_name(name): math.fsum(scores[task] for task in tasks) / len(tasks)
        for name, tasks in macros.items()
        if tasks and set(tasks) <= scores.keys()
    }
    return {**scores, stats.MACRO: model.macro, **suites}


def _mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {task: math.fsum(s[task] for s in scores) / len(scores) for task in scores[0]}


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
        if not gained:
            sentences.append(f"No arm gains detectably on any of the {count} tasks.")
        elif flat:
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
    if deltas["fit"]:
        sentences.append(f"{deltas['fit']['axis']}: {deltas['fit']['recommendation']}")
    return " ".join(sentences)


def print_table(deltas: Mapping[str, Any], console: Console) -> None:
    """One row per task and the macro average; per arm its score, delta, interval and verdict.

    Arms for which the console is too narrow follow in further tables.
    """
    told = f"Scores in percent, deltas in points; where no word stands: {stats.UNCHANGED}"
    console.print(Text(told, style="italic"))
    found = [*([BASE] if deltas["has_base"] else []), deltas["control"], *deltas["arms"]]
    gaps = {gap["condition"] for gap in deltas.get("gaps", {}).values()} - {BASE, *found}
    columns: list[str] = []
    for condition in [*found, *sorted(gaps)]:
        if columns and not _fits(_table(deltas, [*columns, condition]), console):
            console.print(_table(deltas, columns))
            columns = []
        columns.append(condition)
    console.print(_table(deltas, columns))
    console.print(Text(str(deltas["conclusion"])))
    console.print(Text(str(deltas["caveat"]), style="dim"))


def _table(deltas: Mapping[str, Any], conditions: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("task", no_wrap=True)
    for condition in conditions:
        control = condition == deltas["control"]
        table.add_column(_header(f"control {condition}" if control else condition), justify="right")
    suites = [stats.macro_name(name) for name in deltas.get("macros", {})]
    rows = {(row["arm"], row["task"]): row for row in deltas["rows"]}
    for task in [*deltas["tasks"], stats.MACRO, *suites]:
        if task == stats.MACRO:
            table.add_section()
        cells = [Text(task)]
        for condition in conditions:
            if (condition, task) in rows:
                cells.append(_cell(rows[condition, task]))
            elif condition in deltas["scores"]:
                cells.append(Text(f"{deltas['scores'][condition][task]:.1%}"))
            else:
                cells.append(Text("no result", style="dim"))
        table.add_row(*cells)
    return table


def _fits(table: Table, console: Console) -> bool:
    unbounded = console.options.update(width=sys.maxsize)
    return console.measure(table, options=unbounded).maximum <= console.width


def _header(condition: str) -> Text:
    """What tells the columns apart, the values, must not be cut off."""
    lines = []
    for setting in re.split("(?<=,)", condition):
        lines.append("")
        for part in re.split("(?<= )|(?==)", setting):
            if lines[-1] and len(lines[-1] + part) > len("[-99.9, +99.9]"):
                lines.append("")
            lines[-1] += part
    return Text("\n".join(line.rstrip() for line in lines), overflow="fold")


def _cell(row: Mapping[str, Any]) -> Text:
    """Score and delta, the interval, and the verdict unless nothing changed."""
    delta, interval = _points(row).split(" ", 1)
    text = Text(f"{row['score']:.1%} {delta}\n").append(interval, style="dim")
    if row["verdict"] != stats.UNCHANGED:
        text.append(f"\n{row['verdict']}", style=_STYLES[row["verdict"]])
    return text


def _points(row: Mapping[str, Any]) -> str:
    return f"{stats.points(row['delta'])} [{stats.points(row['low'])}, {stats.points(row['high'])}]"


def _add_verdicts(rows: list[dict[str, Any]], confidence: float) -> None:
    """Correct the p-values over the whole table, and give each row its word."""
    weights = stats.table_weights([stats.is_macro(row["task"]) for row in rows])
    corrected = stats.holm([row["p"] for row in rows], weights)
    for row, p in zip(rows, corrected, strict=True):
        row["p_holm"] = p
        row["verdict"] = stats.verdict(row["low"], row["high"], p, confidence)


def _check_same_tasks(
    label: str, reference: Evaluated, model: Evaluated, allow: frozenset[str]
) -> list[str]:
    """Refuse what was scored differently; return what differs and is allowed to."""
    notes = []
    for task in sorted(reference.tasks.keys() & model.tasks.keys()):
        before, after = reference.tasks[task], model.tasks[task]
        for key in (*_MUST_MATCH, "backend"):
            if before.get(key) == after.get(key):
                continue
            told = (
                f"{label}: {task}: {key} is {before.get(key)!r} for {reference.name} and "
                f"{after.get(key)!r} for {model.name}"
            )
            if key not in allow:
                fix = "evaluate both with the same task files, limit, num_fewshot and backend"
                if key in ALLOWABLE:
                    fix += f"; `tsqa compare RUN... --allow {key}` compares nevertheless"
                raise DataError(told, fix)
            notes.append(f"{told} (allowed).")
    return notes


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
