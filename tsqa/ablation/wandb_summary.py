"""The tracked run that sums up an ablation: its tables, plots and page.

Promises: its id is a function of the comparison, so a rerun continues the same run; what it holds
is what deltas.json holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tsqa.pipeline.run import Pipeline
from tsqa.recipe import control_of
from tsqa.store.artifact import Artifact
from tsqa.store.tracking import Tracker
from tsqa.trackers import Interval, TrackedRun, tags_of

if TYPE_CHECKING:
    from eval.deltas import DeltaTable

MOST_LINES = 60
"""Lines of the chart of intervals that can still be told apart."""


def report_run(pipeline: Pipeline) -> None:
    """Write the page of a run that is done, and track the summary of its ablation."""
    from tsqa.pipeline.report import write_report

    page = write_report(pipeline)
    if pipeline.recipe.ablation and any(node.stage == "compare" for node in pipeline.nodes):
        log_ablation(pipeline, pipeline.finished("compare"), page, {})


def log_ablation(
    pipeline: Pipeline, compared: Artifact, page: Path, failed: Mapping[str, str]
) -> None:
    """Log results, deltas, figures and page to the run `ablation-<fingerprint of compare>`."""
    from eval.compare.ratio_axis import ratio_axis
    from eval.compare.stage import read_deltas
    from eval.compare.tables import contamination_lines
    from eval.report import figures
    from eval.report.ratio_figure import score_by_ratio
    from eval.statistics import stats

    recipe = pipeline.recipe
    deltas = read_deltas(compared)
    fingerprint = compared.fingerprint
    conditions = list(dict.fromkeys(arm.condition for arm in pipeline.arms.values()))
    tracker = Tracker(
        recipe.tracking,
        TrackedRun(
            experiment=recipe.name,
            stage="ablation",
            subject=recipe.name,
            fingerprint=fingerprint,
            config={
                "recipe": recipe.model_dump(mode="json", by_alias=True),
                "ablation/control": control_of(recipe),
                "ablation/conditions": conditions,
                "ablation/seeds": sorted({arm.seed for arm in pipeline.arms.values()}),
            },
            tags=tags_of(recipe, shares=False),
            notes="\n".join([deltas.conclusion, *contamination_lines(deltas), deltas.caveat]),
        ),
        Path(recipe.runs),
    )
    rows = list(result_rows(deltas))
    tracker.table("results", ["condition", "seed", "task", "score"], rows)
    columns = list(vars(deltas.rows[0]))
    tracker.table("deltas", columns, [list(vars(row).values()) for row in deltas.all_rows])
    for name, found in (("bits", deltas.bits), ("right_choice", deltas.right_choice)):
        if found:
            tracker.table(name, columns, [list(vars(row).values()) for row in found])
    tracker.intervals("change", list(shown_intervals(deltas)))
    tracker.plot("forest", figures.forest(deltas))
    varied = ratio_axis(recipe)
    if varied:
        tracker.plot(
            "score_by_ratio",
            score_by_ratio(deltas, varied.ratios, stats.MACRO, varied.axis),
        )
    if page.is_file():
        tracker.page("report", page)
    tracker.summary(ablation_summary(deltas, failed))
    tracker.finish(failed=bool(failed))


def shown_intervals(deltas: DeltaTable) -> Iterator[Interval]:
    """Every row as a line of the chart; the macro averages alone where there are many."""
    from eval.statistics import stats

    rows = deltas.all_rows
    if len(rows) > MOST_LINES:
        rows = [row for row in rows if row.task == stats.MACRO or stats.is_part(row.task)]
    for row in rows[:MOST_LINES]:
        label = f"{row.task}, {row.comparison}: {stats.change(row)}"
        yield Interval(label, 100 * row.low, 100 * row.delta, 100 * row.high)


def result_rows(deltas: DeltaTable) -> Iterator[list[object]]:
    """Condition, seed (None for the base), task, score; one for each seed."""
    for condition, scores in deltas.scores.items():
        by_seed = deltas.scores_by_seed.get(condition) or {"": scores}
        for seed, tasks in by_seed.items():
            for task, score in tasks.items():
                yield [condition, int(seed) if seed.lstrip("-").isdigit() else None, task, score]


def ablation_summary(deltas: DeltaTable, failed: Mapping[str, str]) -> dict[str, object]:
    """`macro/<condition>`, `delta/<condition>`, its parts, `bits/<condition>`, the words."""
    from eval.statistics import stats

    values: dict[str, object] = {
        f"macro/{condition}": scores[stats.MACRO] for condition, scores in deltas.scores.items()
    }
    for row in deltas.rows:
        if row.task == stats.MACRO and row.against == deltas.control:
            values |= {f"delta/{row.arm}": row.delta, f"verdict/{row.arm}": row.verdict}
    for row in deltas.split:
        if row.against == deltas.control and stats.is_part(row.task):
            name = f"{row.arm}/{stats.part_name(row.task).replace(' ', '_')}"
            values |= {f"delta/{name}": row.delta, f"verdict/{name}": row.verdict}
        elif not stats.is_part(row.task):
            values[f"delta/{row.comparison}"] = row.delta
    for name, rows in (("bits", deltas.bits), ("right_choice", deltas.right_choice)):
        for row in rows:
            if row.task == stats.MACRO and row.against == deltas.control:
                values |= {f"{name}/{row.arm}": row.delta, f"{name}_verdict/{row.arm}": row.verdict}
    values |= {f"contamination/{task}": one.told for task, one in deltas.contamination.items()}
    return {
        **values,
        "conclusion": deltas.conclusion,
        "arms_failed": len(failed),
        "failed": sorted(failed),
    }
