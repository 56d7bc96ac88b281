"""What a comparison could detect, before anything runs: `tsqa run --dry-run`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from eval.deltas import DeltaRow, DeltaTable
from eval.statistics import crossed, spreads, stats
from eval.statistics.paired import weights_of
from eval.statistics.planned_rows import (
    DISCORDANCE,
    REPEATED,
    SEED_SD,
    PlannedTable,
    documents_variance,
)
from eval.statistics.power import POWER, detectable
from tsqa.recipe import EvalSection, Recipe, arms_of, control_of, needed
from tsqa.store.roles import BASE
from tsqa.tasks.identity import evaluated_split, split_identity
from tsqa.tasks.library import task_library
from tsqa.tasks.sizes import known_documents

MOST_SEEDS = 20
_EVERY_DOCUMENT = 10**9


@dataclass(frozen=True)
class _Noise:
    """What moves a difference, where the last run shows it."""

    shares: Mapping[str, float]
    """Task -> variance of a document's difference."""
    seed_sd: float | None
    """Between seeds, of a difference of macro averages, however many documents; a deviation."""
    repeated: float = REPEATED
    """Of `shares`, what is the same in every seed; a share."""


@dataclass(frozen=True)
class _Plan:
    """What decides how small a difference is found."""

    section: EvalSection
    noise: _Noise
    table: PlannedTable
    leaves: Mapping[str, Sequence[str]]
    """Name in `eval.tasks` -> its tasks."""

    @property
    def counts(self) -> Mapping[str, int | None]:
        """Task -> its documents."""
        return self.table.documents

    def distinct(self, documents: Mapping[str, int | None]) -> int:
        """How many documents these tasks have, those of one sample once."""
        return sum({self.table.samples[task]: n or 0 for task, n in documents.items()}.values())

    def alone(self, tasks: Sequence[str], documents: Mapping[str, int]) -> float:
        """By the interval on the mean of these tasks, where all tasks have so many documents."""
        row = self.table.row(tasks, documents)
        return detectable(row, np.array([1 - self.section.confidence]))

    def with_seeds(self, seeds: int) -> _Plan:
        return replace(self, table=replace(self.table, seeds=seeds))


def _plan_of(recipe: Recipe, include: Path | None, previous: DeltaTable | None) -> _Plan:
    section = needed(recipe.eval, "eval")
    arms = list(arms_of(recipe).values())
    conditions = {arm.condition for arm in arms}
    has_base = recipe.model is not None and recipe.model.config is None
    leaves, counts = planned_documents(recipe, include)
    samples = samples_of(list(counts), include)
    noise, stated = _noise_of(previous, samples), section.seed_spread
    assumed = None if stated is None else math.sqrt(2) * stated / 100
    table = PlannedTable(
        documents=counts,
        shares=noise.shares,
        samples=samples,
        averages=[[*counts], *averaged_tasks(section, leaves).values()],
        seeds=len({arm.seed for arm in arms if arm.condition == control_of(recipe)}),
        arms=len(conditions),
        has_base=has_base,
        repeated=noise.repeated,
        seed_sd=assumed if noise.seed_sd is None else noise.seed_sd,
        by_documents=section.macro == "documents",
        may_split=recipe.seeds is not None,
        confidence=section.confidence,
    )
    return _Plan(section, noise, table, leaves)


def averaged_tasks(
    section: EvalSection, leaves: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Macro average of `eval.macros` -> its tasks."""
    return {
        name: list(dict.fromkeys(task for member in members for task in leaves[member]))
        for name, members in section.macros.items()
    }


def planned_table(
    recipe: Recipe,
    *,
    include: Path | None = None,
    previous: DeltaTable | None = None,
) -> Table:
    """Per task: documents, and the smallest difference found with 80% power.

    `include` is the folder of task YAMLs where it exists; `previous` an earlier comparison of the
    recipe, whose noise (share of documents that change, spread of seeds) replaces the assumed one.
    """
    plan = _plan_of(recipe, include, previous)
    counts = plan.counts
    rows: dict[str, list[str]] = {}
    for name, members in plan.leaves.items():
        is_known = any(counts[task] for task in members)
        rows |= {task: [task] for task in members} if is_known else {name: [*members]}
    rows[stats.MACRO] = list(counts)
    for name, tasks in averaged_tasks(plan.section, plan.leaves).items():
        rows[stats.macro_name(name)] = tasks
    known = {task: n for task, n in counts.items() if n}
    table = Table(
        title=f"Smallest difference found with {POWER:.0%} power, in points",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        pad_edge=False,
        caption=f"{_assumptions(plan)}{_bits_note(previous)}",
        caption_justify="left",
    )
    table.add_column("task", no_wrap=True)
    for column in ("documents", "alone", "in this table"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, tasks in rows.items():
        documents, *cells = ["unknown"] * 3
        if {*tasks} <= {*known}:
            alone = plan.alone(tasks, known)
            within = plan.table.detectable(tasks, known, is_macro=stats.is_macro(name))
            cells = [stats.detectable_points(share) for share in (alone, within)]
            documents = f"{plan.distinct({task: counts[task] for task in tasks}):,}"
        table.add_row(Text(name), documents, *cells)
    return table


@dataclass(frozen=True)
class Way:
    """So many seeds an arm, and so many times the documents of each task."""

    seeds: int
    documents: float


@dataclass(frozen=True)
class Ways:
    """How a difference on the macro average becomes detectable in its table; shares."""

    now: float
    """The smallest one as planned."""
    planned: Way
    documents: int
    """Of all tasks, as planned."""
    found: list[Way]
    """For every number of seeds that can, with as few documents as it takes, none fewer."""
    least: float | None
    """The smallest one by the planned seeds, however many documents; None: no verdict."""
    most_seeds: int
    """Up to which `found` was looked for."""
    spread: str
    """How it is known how far seeds differ."""


def ways_to_detect(
    wanted: float, recipe: Recipe, include: Path | None, previous: DeltaTable | None
) -> Ways | None:
    """None where the documents of some task are not known."""
    plan = _plan_of(recipe, include, previous)
    known = {task: n for task, n in plan.counts.items() if n}
    if not known or len(known) < len(plan.counts):
        return None
    planned, tasks, most = plan.table.seeds, [*known], max(MOST_SEEDS, plan.table.seeds)
    spread = "assumed" if plan.table.seed_sd is None else "stated (eval.seed_spread)"
    has_verdict = planned > 1 or plan.table.seed_sd is not None

    by_seeds = cache(plan.with_seeds)

    def smallest(seeds: int, times: float) -> float:
        documents = {task: math.ceil(n * times) for task, n in known.items()}
        return by_seeds(seeds).table.detectable(tasks, documents, is_macro=True)

    found = []
    for seeds in range(planned + (not has_verdict), most + 1):
        if smallest(seeds, 1) <= wanted:
            found.append(Way(seeds, 1))
            break
        if smallest(seeds, _EVERY_DOCUMENT) < wanted:
            top = 2.0
            while smallest(seeds, top) > wanted:
                top *= 2
            low = 1.0
            while top / low > 1.01:
                middle = math.sqrt(low * top)
                low, top = (middle, top) if smallest(seeds, middle) > wanted else (low, middle)
            found.append(Way(seeds, top))
    return Ways(
        now=smallest(planned, 1),
        planned=Way(planned, 1),
        documents=plan.distinct(known),
        found=found,
        least=smallest(planned, _EVERY_DOCUMENT) if has_verdict else None,
        most_seeds=most,
        spread=spread if plan.noise.seed_sd is None else "measured in the last run",
    )


def planned_documents(
    recipe: Recipe, include: Path | None
) -> tuple[dict[str, list[str]], dict[str, int | None]]:
    """Name in `eval.tasks` -> its tasks, and task -> its documents.

    Counted in local files, else as recorded; of a task that the data stage will build, as the
    recipe's section `data` says; else None. `include` need not be there yet.
    """
    section = needed(recipe.eval, "eval")

    def limited(count: int | None) -> int | None:
        return min(count, section.limit or count) if count else None

    if include is not None and not include.is_dir():
        built = limited(recipe.data.test_per_family) if recipe.data else None
        return {name: [name] for name in section.tasks}, dict.fromkeys(section.tasks, built)
    library = task_library(include)
    leaves = {
        name: library.expand([name]) if name in library.index else [name] for name in section.tasks
    }
    counts = {}
    for task in dict.fromkeys(task for members in leaves.values() for task in members):
        config = library.config(task) if task in library.index else {}
        counts[task] = limited(known_documents(config, evaluated_split(config)))
    return leaves, counts


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


def _noise_of(previous: DeltaTable | None, samples: Mapping[str, str]) -> _Noise:
    """Of one seed, what documents change; of several, the parts of the rows' variance.

    `samples` as in `_Plan`.
    """
    rows = [  # the base has no seeds, so what it differs by is of another kind
        row
        for row in (previous.rows if previous else ())
        if row.task == stats.MACRO and row.seeds > 1 and row.against != BASE
    ]
    found = _noise_of_seeds(previous, rows, samples) if previous and rows else None
    return found or _Noise(discordance_of(previous), None)


def _noise_of_seeds(
    previous: DeltaTable, rows: Sequence[DeltaRow], samples: Mapping[str, str]
) -> _Noise | None:
    """From macro `rows`, whose variance is the pooled spread by the number of seeds, and what
    documents repeat in every seed. What they add anew in each is taken to be all that moves tasks
    apart; of one task alone, as much as repeats.
    """
    # Arms that score alike are one draw of what seeds do.
    distinct = {str(own): name for name, own in previous.scores_by_seed.items()}
    names = sorted(distinct.values())
    seeds = sorted({seed for own in previous.scores_by_seed.values() for seed in own})

    def scores_of(arms: Sequence[str]) -> dict[str, crossed.Floats]:
        by_arm = [previous.scores_by_seed[name] for name in arms]
        return {
            task: np.array(
                [[own[s][task] if s in own else math.nan for s in seeds] for own in by_arm]
            )
            for task in (*previous.tasks, stats.MACRO)
        }

    counts = {task: setup.n for task, setup in previous.tasks.items()}
    average = weights_of(counts, previous.by_documents)
    noisy = spreads.noisy_arms(scores_of(names), average)
    quiet = scores_of([name for arm, name in enumerate(names) if arm not in noisy])
    macro = crossed.pool(quiet[stats.MACRO])
    if macro is None:
        return None
    pooled = {stats.MACRO: macro}
    repeats = []
    for row in rows:
        own = spreads.at_least_own(pooled, scores_of([row.arm, row.against]))
        repeats.append(max(0.0, row.stderr**2 - own[stats.MACRO].variance / row.seeds))
    one = documents_variance(
        list(counts.values()),
        [1.0] * len(counts),
        [samples.get(task, task) for task in counts],
        previous.by_documents,
    )
    repeated = median(repeats) / one
    anew = repeated
    if len(counts) > 1:
        apart, _ = spreads.apart_of(quiet, average, {})
        # Less, in each task, by its own share of the macro average.
        left = 1 - math.fsum(weight**2 for weight in average.values())
        anew = math.fsum(apart.values()) / left / math.fsum(1 / n for n in counts.values())
    shares = {**dict.fromkeys(counts, repeated + anew), **discordance_of(previous)}
    seed_sd = math.sqrt(max(0.0, macro.variance - anew * one))
    return _Noise(shares, seed_sd, repeated / (repeated + anew) if repeated + anew else REPEATED)


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


def _assumptions(plan: _Plan) -> str:
    changed = f"{DISCORDANCE:.0%} of the documents change (assumed)"
    if plan.noise.shares:
        changed = f"documents change as in the last run ({changed} where it has none)"
    seeds, comparisons = plan.table.seeds, plan.table.comparisons
    assumed = f"{seeds} seed(s), {comparisons} comparison(s). Binary scores, {changed}"
    if seeds > 1:
        assumed += f"; {plan.noise.repeated:.0%} of that repeats in every seed"
    if plan.section.groups and not plan.noise.shares:
        assumed += (
            "; documents of one group (eval.groups) are taken for draws of their own, so their "
            "tasks and the macro average find less than stated"
        )
    spread = plan.section.seed_spread
    if plan.noise.seed_sd is not None:
        assumed += f"; seeds differ by {100 * plan.noise.seed_sd:.1f} points, as in the last run"
    elif spread is not None:
        assumed += f"; a score varies by {spread:g} points between seeds (eval.seed_spread)"
    elif seeds > 1:
        assumed += f"; seeds differ by {100 * SEED_SD:.1f} points (assumed)"
    else:
        assumed += (
            "; nothing is known about the spread between seeds, so no row will be called better or "
            "worse: add ablation.seeds, or state eval.seed_spread"
        )
    room = ", with room for parts of the macro average" if plan.table.may_split else ""
    return (
        f"{assumed}. `in this table`: a row that alone has an effect, by the correction that the "
        f"comparison will use{room}; where other rows have one too, less is enough.{_more(plan)}"
    )


def _bits_note(previous: DeltaTable | None) -> str:
    """What the tables beside the last run's scores could find."""
    bits, chosen = (
        [row.mde for row in rows if row.task == stats.MACRO]
        for rows in ((previous.bits, previous.right_choice) if previous else ((), ()))
    )
    told = [f"{median(bits):.2f} bits per byte of the right answer"] if bits else []
    if chosen:
        least = stats.detectable_points(median(chosen))
        told.append(f"{least} points of the right choice's probability")
    return f" Macro average in the last run: {', '.join(told)}." if told else ""


def _more(plan: _Plan) -> str:
    """What a third seed, or half as many documents more, would buy where two seeds are planned."""
    known = {task: n for task, n in plan.counts.items() if n}
    if plan.table.seeds != 2 or not known:
        return ""
    larger = {task: 3 * n // 2 for task, n in known.items()}
    ways = ((plan, known), (plan.with_seeds(3), known), (plan, larger))
    now, third, more = (stats.detectable_points(own.alone([*known], n)) for own, n in ways)
    return (
        f" Two seeds alone hardly show how far seeds differ, which widens intervals: on the macro "
        f"average {now} points alone, with a third seed {third}, with half as many documents more "
        f"{more}."
    )
