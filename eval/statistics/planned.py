"""What a comparison could detect, before anything runs: `tsqa run --dry-run`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich import box
from rich.table import Table
from rich.text import Text

from eval.deltas import DeltaTable
from eval.statistics import stats
from tsqa.recipe import EvalSection, Recipe, arms_of, control_of, needed
from tsqa.tasks.identity import evaluated_split, split_identity
from tsqa.tasks.library import task_library
from tsqa.tasks.sizes import known_documents


@dataclass(frozen=True)
class _Plan:
    """What decides how small a difference is found."""

    section: EvalSection
    shares: Mapping[str, float]
    """Task -> variance of a document's difference, where it was measured."""
    samples: Mapping[str, str]
    """Task -> the sample that its documents are."""
    seeds: int
    arms: int

    def detectable(
        self, documents: Mapping[str, int], confidence: float, seeds: int | None = None
    ) -> float:
        """On the mean of these tasks; a share."""
        spread = self.section.seed_spread
        return stats.planned_mde(
            list(documents.values()),
            seeds or self.seeds,
            discordance=[self.shares.get(task, stats.DISCORDANCE) for task in documents],
            confidence=confidence,
            arms=self.arms,
            samples=[self.samples[task] for task in documents],
            seed_sd=None if spread is None else math.sqrt(2) * spread / 100,
            by_documents=self.section.macro == "documents",
        )


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
    leaves = leaf_tasks(section.tasks, include)
    evaluated = list(dict.fromkeys(task for name in section.tasks for task in leaves[name]))
    counts = document_counts(evaluated, include, section.limit)
    shares = discordance_of(previous)
    samples = samples_of(evaluated, include)
    plan = _Plan(section, shares, samples, seeds, len(conditions))
    rows: dict[str, list[str]] = {}
    for name, members in leaves.items():
        is_known = any(counts[task] for task in members)
        rows |= {task: [task] for task in members} if is_known else {name: members}
    rows[stats.MACRO] = list(counts)
    for name, members in section.macros.items():
        averaged = dict.fromkeys(task for member in members for task in leaves[member])
        rows[stats.macro_name(name)] = list(averaged)
    macro_rows = 1 + len(section.macros)
    table = Table(
        title=f"Smallest difference found with {stats.POWER:.0%} power, in points",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        pad_edge=False,
        caption=_assumptions(plan, comparisons, counts, recipe.seeds is not None),
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
            of_task = len(counts), stats.task_half(1 if recipe.seeds else 0)
            family, half = (macro_rows, 0.5) if stats.is_macro(name) else of_task
            tail = (1 - section.confidence) * half / max(1, family * comparisons)
            cells = [
                f"{100 * plan.detectable(dict(zip(tasks, sizes, strict=True)), level):.1f}"
                for level in (section.confidence, 1 - tail)
            ]
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


def leaf_tasks(names: Sequence[str], include: Path | None) -> dict[str, list[str]]:
    """Name in `eval.tasks` -> its tasks, each a row of the table; itself where not yet known."""
    if include is not None and not include.is_dir():
        return {name: [name] for name in names}
    library = task_library(include)
    return {name: library.expand([name]) if name in library.index else [name] for name in names}


def discordance_of(previous: DeltaTable | None) -> dict[str, float]:
    """Task -> variance of a document's difference, over the one-seed rows of a deltas.json."""
    found: dict[str, list[float]] = {}
    for row in previous.rows if previous else ():
        if (
            row.seeds == 1
            and not row.covers_seeds
            and not stats.is_macro(row.task)
            and row.stderr > 0
        ):
            found.setdefault(row.task, []).append(row.stderr**2 * row.n)
    return {task: median(values) for task, values in found.items()}


def _assumptions(
    plan: _Plan, comparisons: int, counts: Mapping[str, int | None], may_split: bool
) -> str:
    changed = f"{stats.DISCORDANCE:.0%} of the documents change (assumed)"
    if plan.shares:
        changed = f"documents change as in the last run ({changed} where it has none)"
    assumed = f"{plan.seeds} seed(s), {comparisons} comparison(s). Binary scores, {changed}"
    if plan.seeds > 1:
        assumed += f"; {stats.REPEATED:.0%} of that repeats in every seed"
    spread = plan.section.seed_spread
    if spread is not None:
        assumed += f"; a score varies by {spread:g} points between seeds (eval.seed_spread)"
    elif plan.seeds > 1:
        assumed += f"; seeds differ by {100 * stats.SEED_SD:.1f} points (assumed)"
    else:
        assumed += (
            "; nothing is known about the spread between seeds, so no row will be called better or "
            "worse: add ablation.seeds, or state eval.seed_spread"
        )
    room = ", task rows with room for parts of the macro average" if may_split else ""
    return (
        f"{assumed}. `in this table`: after the Holm correction's first step{room}."
        f"{_more(plan, counts)}"
    )


def _more(plan: _Plan, counts: Mapping[str, int | None]) -> str:
    """What a third seed, or half as many documents more, would buy where two seeds are planned."""
    known = {task: n for task, n in counts.items() if n}
    if plan.seeds != 2 or not known:
        return ""
    level = plan.section.confidence
    now, third = plan.detectable(known, level), plan.detectable(known, level, 3)
    more = plan.detectable({task: 3 * n // 2 for task, n in known.items()}, level)
    return (
        f" Two seeds alone hardly show how far seeds differ, which widens intervals: on the macro "
        f"average {100 * now:.1f} points alone, with a third seed {100 * third:.1f}, with half as "
        f"many documents more {100 * more:.1f}."
    )
