"""Compare the arms: each against the control, and the control against the base model.

Promises: a comparison of different task versions, few-shot counts, metrics or documents is
refused by name; arms are paired seed by seed; the chance of any false finding in a table is at
most 1 - confidence (Holm over all its rows, macro rows weighing one half); the conclusion is
computed from the numbers and says so when nothing changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from eval.compare.contamination import contamination
from eval.compare.ratio_axis import fit_axis, ratio_axis
from eval.compare.scores import Evaluated, read
from eval.compare.tables import points, write_csv
from eval.harness.stage import expand_macros
from eval.shapes import Deltas
from eval.statistics import crossed, stats
from eval.statistics.paired import compare_models
from tsqa.errors import DataError
from tsqa.recipe import arms_of, control_of, needed
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import read_own
from tsqa.store.roles import BASE, ArmRole
from tsqa.store.stage import StageContext

ALLOWABLE = frozenset({"backend", "tokens", "version", "num_fewshot", "seeds"})
"""What `tsqa compare RUN... --allow` may let differ."""
_ONE_SEED = (
    "Intervals cover the sampling of evaluated documents, not the spread between training seeds."
)
_SEVERAL_SEEDS = (
    "Intervals cover the sampling of evaluated documents and the spread between training seeds."
)
_PER_ROW = "An interval is its row's alone; a verdict is corrected for all rows of the table."
_MUST_MATCH = ("metric", "version", "num_fewshot", "kind", "n")


def run(context: StageContext) -> dict[str, Any]:
    """Write deltas.json and deltas.csv from the evaluations of the base (optional) and the arms."""
    recipe = context.recipe
    section = needed(recipe.eval, "eval")
    arms, models = arms_of(recipe), []
    if BASE in context.inputs:
        models.append(read(BASE, context.inputs[BASE]))
    missing = [name for name in arms if ArmRole(name) not in context.inputs]
    for name, arm in arms.items():
        if name not in missing:
            artifact = context.inputs[ArmRole(name)]
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
        **{word.replace(" ", "_"): verdicts.count(word) for word in stats.VERDICTS},
        "conclusion": deltas["conclusion"],
    }


def read_deltas(artifact: Artifact) -> dict[str, Any]:
    """The content of a compare artifact."""
    return dict(read_own(artifact.path / "deltas.json", Deltas))


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
        for delta in compare_models(
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


def conclude(deltas: Mapping[str, Any]) -> str:
    """What the numbers allow to say, in a few sentences."""
    rows, control = deltas["rows"], deltas["control"]
    macro = {row["arm"]: row for row in rows if row["task"] == stats.MACRO}
    sentences = []
    if deltas["arms"]:
        groups: dict[str, list[str]] = {word: [] for word in stats.VERDICTS}
        for arm in deltas["arms"]:
            groups[macro[arm]["verdict"]].append(f"{arm} ({points(macro[arm])})")
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
            f"Against the base model, the control {control}: {row['verdict']} ({points(row)})."
        )
    if deltas["fit"]:
        sentences.append(f"{deltas['fit']['axis']}: {deltas['fit']['recommendation']}")
    return " ".join(sentences)


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


def _scored_alike(one: Evaluated, two: Evaluated) -> bool:
    """Whether they have the same tasks, documents and scores."""
    return one.scores.keys() == two.scores.keys() and all(
        scored.keys == two.scores[task].keys
        and np.array_equal(scored.values, two.scores[task].values, equal_nan=True)
        for task, scored in one.scores.items()
    )


def _add_verdicts(rows: list[dict[str, Any]], confidence: float) -> None:
    """Correct the p-values over the whole table, and give each row its word."""
    weights = stats.table_weights([stats.is_macro(row["task"]) for row in rows])
    corrected = stats.holm([row["p"] for row in rows], weights)
    for row, p in zip(rows, corrected, strict=True):
        row["p_holm"] = p
        row["verdict"] = stats.verdict(row["low"], row["high"], p, confidence)


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


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))
