"""Which figures the page has, and their data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from eval.deltas import DeltaTable
from eval.harness.stage import read_curve
from eval.report import figures
from eval.report.curves import curves, histogram
from eval.report.mixture import planned_ratios
from eval.report.ratio_figure import score_by_ratio
from eval.report.style import Figure, Style, escape
from eval.results import RESULTS, Results
from eval.statistics import stats
from eval.statistics.paired import weights_of
from tsqa.recipe import Arm, Recipe
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import read_jsonl
from tsqa.store.own_files import read_own

MATRIX_ARMS = 6
"""Largest number of arms shown as one table of scores; more are drawn as a map."""
Figures = list[tuple[str, Figure]]
"""Label -> figure: the page offers a choice of the labels if there are several."""
_HISTOGRAMS = {
    "agreement_histogram": "share of the votes that agree",
    "distance_to_seed": "distance to the nearest seed shown (1 - Jaccard)",
}


def page_plots(
    recipe: Recipe,
    deltas: DeltaTable | None,
    arms: Mapping[str, Arm],
    style: Mapping[str, Style],
    train: Mapping[str, Artifact],
    checkpoints: Mapping[str, Sequence[Artifact]],
    evaluations: Mapping[str, Artifact],
    filtered: Artifact | None,
) -> dict[str, Figures]:
    """Id -> its figures; a plot without data is left out."""
    plots: dict[str, Figures] = {"loss": list(_losses(arms, train, style))}
    plots["tokens"] = list(_over_tokens(recipe, arms, checkpoints, evaluations, style))
    if deltas:
        plots["forest"] = [("", figures.forest(deltas))]
        if len(deltas.arms) > MATRIX_ARMS:
            plots["map"] = [("", figures.delta_map(deltas))]
        title, ratios = planned_ratios(recipe, arms)
        shares = [ratios[condition] for condition in ratios if condition in deltas.scores]
        # With and without are no axis if the conditions also differ in something else.
        if len(set(shares)) > 2 or len(set(shares)) == len(shares) == 2:
            rows = figures.task_rows(deltas)
            plots["ratio"] = [
                (task, score_by_ratio(deltas, ratios, task, title)) for task in rows[::-1]
            ]
    for name, title in _HISTOGRAMS.items():
        if filtered is not None and any(filtered.summary.get(name, ())):
            plots[name] = [("", histogram(filtered.summary[name], title))]
    return {name: found for name, found in plots.items() if found}


def _losses(
    arms: Mapping[str, Arm], train: Mapping[str, Artifact], style: Mapping[str, Style]
) -> Iterator[tuple[str, Figure]]:
    """The training loss of all sources and of each, then the held-out loss of each."""
    for file, prefix, name in (
        ("metrics.jsonl", "train/loss", "training"),
        ("heldout.jsonl", "heldout/loss", "held out"),
    ):
        records = {arm: _curve(artifact.path / file) for arm, artifact in train.items()}
        keys = {key for curve in records.values() for record in curve for key in record}
        for key in sorted(key for key in keys if key == prefix or key.startswith(prefix + "/")):
            source = key.removeprefix(prefix).removeprefix("/") or "all sources"
            lines = {
                arm: [(r["train/tokens"], r[key]) for r in curve if key in r]
                for arm, curve in records.items()
            }
            lines = {arm: line for arm, line in lines.items() if line}
            yield f"{name}, {source}", curves(lines, arms, style, label="loss")


def _curve(path: Path) -> list[dict[str, float]]:
    """The known values by step; after a resume a step may be logged twice, the later one counts."""
    if not path.is_file():
        return []
    records = {r["step"]: r for r in read_jsonl(path, tolerate_torn_tail=True) if "step" in r}
    return [
        {key: value for key, value in records[step].items() if value is not None}
        for step in sorted(records)
    ]


def _over_tokens(
    recipe: Recipe,
    arms: Mapping[str, Arm],
    checkpoints: Mapping[str, Sequence[Artifact]],
    evaluations: Mapping[str, Artifact],
    style: Mapping[str, Style],
) -> Iterator[tuple[str, Figure]]:
    """Score over tokens, where intermediate checkpoints were evaluated: base at 0, final at end."""
    by_documents = recipe.eval is not None and recipe.eval.macro == "documents"
    scored: dict[str, list[tuple[int, dict[str, float]]]] = {}
    for arm, artifacts in checkpoints.items():
        final = [evaluations[arm]] if arm in evaluations else []
        found = read_curve([*artifacts, *final])
        scored[arm] = [(r.tokens or 0, _scores(r, by_documents)) for r in found]
        if "base" in evaluations:
            base = read_own(evaluations["base"].path / RESULTS, Results)
            scored[arm].insert(0, (0, _scores(base, by_documents)))
    tasks = {task for points in scored.values() for _, scores in points for task in scores}
    for task in sorted(tasks, key=lambda name: (name != stats.MACRO, name)):
        lines = {
            arm: [(tokens, scores[task]) for tokens, scores in points if task in scores]
            for arm, points in scored.items()
        }
        label = f"{escape(task)}, score"
        yield task, curves(lines, arms, style, label=label, percent=True)


def _scores(results: Results, by_documents: bool) -> dict[str, float]:
    scores = {task: result.score for task, result in results.tasks.items()}
    weights = weights_of({task: one.n for task, one in results.tasks.items()}, by_documents)
    macro = math.fsum(weight * scores[task] for task, weight in weights.items())
    return {**scores, stats.MACRO: macro if by_documents else results.macro}
