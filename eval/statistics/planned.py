"""What a comparison could detect, before anything runs: `tsqa run --dry-run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from rich import box
from rich.table import Table
from rich.text import Text

from eval.deltas import DeltaTable
from eval.statistics import stats
from tsqa.recipe import Recipe, arms_of, control_of, needed
from tsqa.tasks.identity import evaluated_split, split_identity
from tsqa.tasks.library import task_library
from tsqa.tasks.sizes import known_documents


def planned_table(
    recipe: Recipe,
    *,
    include: Path | None = None,
    previous: DeltaTable | None = None,
) -> Table:
    """Per task: documents, and the smallest difference found with 80% power.

    `include` is the folder of task YAMLs where it exists; `previous` an earlier comparison of the
    recipe, whose discordance (share of documents that change) replaces the assumed one.
    """
    section = needed(recipe.eval, "eval")
    arms = list(arms_of(recipe).values())
    conditions = {arm.condition for arm in arms}
    seeds = len({arm.seed for arm in arms if arm.condition == control_of(recipe)})
    has_base = recipe.model is not None and recipe.model.config is None
    comparisons = len(conditions) - 1 + has_base
    counts = document_counts(section.tasks, include, section.limit)
    shares = discordance_of(previous)
    samples = samples_of(section.tasks, include)
    rows = {task: [task] for task in counts} | {stats.MACRO: list(counts)}
    rows |= {stats.macro_name(name): list(tasks) for name, tasks in section.macros.items()}
    macro_rows = len(rows) - len(counts)
    table = Table(
        title=f"Smallest difference found with {stats.POWER:.0%} power, in points",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        pad_edge=False,
        caption=_assumptions(seeds, comparisons, shares),
        caption_justify="left",
    )
    table.add_column("task", no_wrap=True)
    for column in ("documents", "alone", "in this table"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, tasks in rows.items():
        known = [counts.get(task) for task in tasks]
        sizes = [n for n in known if n]
        cells = ["unknown"] * 2
        if sizes and len(sizes) == len(known):
            family = macro_rows if stats.is_macro(name) else len(counts)
            tail = (1 - section.confidence) / 2 / max(1, family * comparisons)
            variances = [shares.get(task, stats.DISCORDANCE) for task in tasks]
            cells = []
            for confidence in (section.confidence, 1 - tail):
                found = stats.planned_mde(
                    sizes,
                    seeds,
                    discordance=variances,
                    confidence=confidence,
                    arms=len(conditions),
                    samples=[samples[task] for task in tasks],
                )
                cells.append(f"{100 * found:.1f}")
        distinct = {samples[task]: n or 0 for task, n in zip(tasks, known, strict=True)}
        shown = f"{sum(distinct.values()):,}" if sizes and len(sizes) == len(known) else "unknown"
        table.add_row(Text(name), shown, *cells)
    return table


def document_counts(
    tasks: Sequence[str], include: Path | None, limit: int | None
) -> dict[str, int | None]:
    """Documents per task: of its local files, else as recorded, else None."""
    if include is not None and not include.is_dir():
        return dict.fromkeys(tasks)
    library = task_library(include)
    counts: dict[str, int | None] = {}
    for task in tasks:
        config = library.config(task) if task in library.index else {}
        count = known_documents(config, evaluated_split(config))
        counts[task] = min(count, limit or count) if count else None
    return counts


def samples_of(tasks: Sequence[str], include: Path | None) -> dict[str, str]:
    """Task -> the sample that its documents are: two tasks over one split are one sample."""
    if include is not None and not include.is_dir():
        return {task: task for task in tasks}
    library = task_library(include)
    found = {}
    for task in tasks:
        config = library.config(task) if task in library.index else {}
        split = evaluated_split(config)
        found[task] = "/".join(split_identity(config, split)) if split else task
    return found


def discordance_of(previous: DeltaTable | None) -> dict[str, float]:
    """Task -> variance of a document's difference, over the one-seed rows of a deltas.json."""
    found: dict[str, list[float]] = {}
    for row in previous.rows if previous else ():
        if row.seeds == 1 and not stats.is_macro(row.task) and row.stderr > 0:
            found.setdefault(row.task, []).append(row.stderr**2 * row.n)
    return {task: median(values) for task, values in found.items()}


def _assumptions(seeds: int, comparisons: int, shares: Mapping[str, float]) -> str:
    changed = f"{stats.DISCORDANCE:.0%} of the documents change (assumed)"
    if shares:
        changed = f"documents change as in the last run ({changed} where it has none)"
    assumed = f"{seeds} seed(s), {comparisons} comparison(s). Binary scores, {changed}"
    if seeds > 1:
        assumed += (
            f"; {stats.REPEATED:.0%} of that repeats in every seed; seeds differ by "
            f"{100 * stats.SEED_SD:.1f} points (assumed)"
        )
    else:
        assumed += "; nothing is known about the spread between seeds"
    return f"{assumed}. `in this table`: after the Holm correction's first step."
