"""The rows of a table that has not been made: how large a difference each of them would find."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import stdtrit
from scipy.stats import norm

from eval.statistics import crossed, joint, stats
from eval.statistics.crossed import Estimate, Floats
from eval.statistics.power import Left, detectable
from eval.statistics.spreads import planned_spreads
from eval.statistics.stats import Shares

DISCORDANCE, REPEATED, SEED_SD = 0.2, 0.5, 0.01
"""What is assumed of a run that was never measured."""
_DRAWS, _FEW = 5_000, 20
_UNKNOWN = 100
"""Documents of a task of unknown size, where rows are compared with each other."""


@dataclass(frozen=True)
class PlannedRow:
    """A row of two of so many arms, by so many seeds, and what its estimate will rest on."""

    estimate: Estimate
    arms: int
    seeds: int

    @property
    def stderr(self) -> float:
        return self.estimate.stderr

    def deviations(self) -> Floats:
        return np.array([self.stderr])

    def widths(self, chance: Floats) -> Floats:
        """Half widths that its interval may have, each as likely.

        `chance`: of a false finding, and the same by Holm's rule, where they differ. Several seeds:
        what the table may take their spread for, and whether it calls an arm noisy by chance, where
        it asks what Holm's rule does.
        """
        least = 1 - float(chance[0])
        if self.seeds == 1:
            return np.array([self.stderr * norm.ppf(0.5 + least / 2)])
        noisy = max(least, 1 - float(chance[-1]))
        drawn = [
            (one.variance, one.df, noisy if one.is_by_holm else least)
            for one in planned_spreads(self.arms, self.seeds)
        ]
        variances, df, levels = np.array(drawn).T
        order = np.argsort(variances * stdtrit(df, 0.5 + levels / 2) ** 2)
        few = order[(np.arange(_FEW) * len(order) + len(order) // 2) // _FEW]
        widths = [
            replace(
                self.estimate, seeds=self.estimate.seeds * variance, seeds_df=degrees
            ).half_width(level)
            for variance, degrees, level in (drawn[number] for number in few)
        ]
        return np.array(widths)


def planned_row(
    n: Sequence[int],
    seeds: int,
    *,
    discordance: Sequence[float],
    arms: int = 2,
    samples: Sequence[str] = (),
    repeated: float = REPEATED,
    seed_sd: float | None = None,
    by_documents: bool = False,
    macro: float | None = None,
) -> PlannedRow:
    """What a row's estimate will rest on; differences are shares.

    `n` documents of each task (several: their macro average). A document's difference has the
    variance `discordance`: with binary scores and a small effect the share of documents that
    change. A share `repeated` of it is the same in every seed; `seed_sd` is the standard deviation
    of a difference between seeds. One seed: where it is not given, the spread between seeds is
    left out, as in the rows. Tasks with the same name in `samples` are scored on the same
    documents, and vary together. `by_documents`: the macro average weighs tasks so.
    `arms`, the control among them, lend each other degrees of freedom. `macro`: what documents add
    in one seed to the macro average of the table of which the row is a task, as in spreads.py.
    """
    documents = documents_variance(n, discordance, samples, by_documents)
    names = samples or [str(number) for number in range(len(n))]
    sizes: dict[str, int] = {}
    for name, count in zip(names, n, strict=True):
        sizes[name] = max(count, sizes.get(name, 0))
    if seeds == 1:
        spread = (seed_sd or 0.0) ** 2
        known = Estimate(0.0, spread, crossed.MANY, documents, crossed.MANY, "planned")
        return PlannedRow(known, arms, seeds)
    seed_sd = SEED_SD if seed_sd is None else seed_sd
    shared = documents if macro is None else min(macro, documents)
    estimate = Estimate(
        delta=0.0,
        seeds=(seed_sd**2 + (1 - repeated) * shared) / seeds,
        seeds_df=float(np.median([one.df for one in planned_spreads(arms, seeds)])),
        documents=repeated * documents,
        documents_df=sum(sizes.values()) - len(sizes),
        method="planned",
        apart=(1 - repeated) * (documents - shared) / seeds,
        apart_df=float(max(1, (arms - 1) * (seeds - 1))),
        name="planned",
    )
    return PlannedRow(estimate, arms, seeds)


def documents_variance(
    n: Sequence[int], discordance: Sequence[float], samples: Sequence[str], by_documents: bool
) -> float:
    """Of the mean difference of tasks in one seed, from its documents: see `planned_row`."""
    shares = [count / sum(n) if by_documents else 1 / len(n) for count in n]
    names = samples or [str(number) for number in range(len(n))]
    spreads: dict[str, list[float]] = {}
    for name, weight, share, count in zip(names, shares, discordance, n, strict=True):
        spreads.setdefault(name, []).append(weight * math.sqrt(share / count))
    return math.fsum(math.fsum(spread) ** 2 for spread in spreads.values())


@dataclass(frozen=True)
class PlannedTable:
    """The rows: every task and every macro average, of each comparison."""

    documents: Mapping[str, int | None]
    """Task -> its documents, None where they are not known."""
    shares: Mapping[str, float]
    """Task -> variance of a document's difference, where it is known."""
    samples: Mapping[str, str]
    """Task -> the sample that its documents are."""
    averages: Sequence[Sequence[str]]
    """The tasks of each macro average, that of all tasks first."""
    seeds: int
    arms: int
    has_base: bool
    repeated: float
    """Of a document's variance, what is the same in every seed; a share."""
    seed_sd: float | None
    by_documents: bool
    may_split: bool
    """Whether macro averages may have parts, one a comparison."""
    confidence: float

    @property
    def comparisons(self) -> int:
        return self.arms - 1 + self.has_base

    def detectable(
        self, tasks: Sequence[str], sizes: Mapping[str, int], *, is_macro: bool
    ) -> float:
        """By a row that alone of its comparison has an effect; a share.

        `tasks` are those of a macro average, or one task, which moves macro averages too: where
        these are found, they leave their shares to the comparison's tasks and parts. `sizes` are
        the documents of all tasks; an average that lacks those of some is not known to move.
        """
        number = len(self.documents) if is_macro else [*self.documents].index(tasks[0])
        left = []
        for other, average in enumerate(self.averages, len(self.documents)):
            if moved := 0.0 if is_macro else self._share_of(tasks[0], average, sizes):
                chance, passed = self._chance(other), self._chance(number, left_by=other)
                left.append(Left(self.row(average, sizes), chance, moved, passed))
        return detectable(self.row(tasks, sizes), self._chance(number), left)

    def _chance(self, row: int, left_by: int | None = None) -> Floats:
        """At which a row is tested, by the table and by Holm's rule; or what another leaves it."""
        shares = (one.own if left_by is None else one.passed[left_by] for one in self._spent)
        return (1 - self.confidence) * np.array([one[row] for one in shares])

    def _share_of(self, task: str, average: Sequence[str], sizes: Mapping[str, int]) -> float:
        """By which the task moves an average; 0 where the documents of others are not known."""
        if task not in average or not sizes.keys() >= {*average}:
            return 0.0
        total = sum(sizes[one] for one in average)
        return sizes[task] / total if self.by_documents else 1 / len(average)

    def row(self, tasks: Sequence[str], sizes: Mapping[str, int]) -> PlannedRow:
        """Of these tasks; `sizes` are the documents of all tasks of the table."""
        macro = None
        if len(tasks) == 1 and len(sizes) > 1:
            macro = documents_variance(*self._arguments([*sizes], sizes), self.by_documents)
        n, discordance, samples = self._arguments(tasks, sizes)
        found = planned_row(
            n,
            self.seeds,
            discordance=discordance,
            arms=self.arms,
            samples=samples,
            repeated=self.repeated,
            seed_sd=self.seed_sd,
            by_documents=self.by_documents,
            macro=macro,
        )
        apart_df = found.estimate.apart_df * max(1, len(sizes) - 1)
        return replace(found, estimate=replace(found.estimate, apart_df=apart_df))

    def _arguments(
        self, tasks: Sequence[str], sizes: Mapping[str, int]
    ) -> tuple[list[int], list[float], list[str]]:
        return (
            [sizes[task] for task in tasks],
            [self.shares.get(task, DISCORDANCE) for task in tasks],
            [self.samples[task] for task in tasks],
        )

    @cached_property
    def _spent(self) -> tuple[Shares, Shares]:
        """`joint.Corrected.shares`, from draws of what the rows may be without an effect.

        And those by Holm's rule. The rows are the tasks and then the averages of each comparison.

        Documents of one sample move all its tasks in a model at once, and the control moves every
        comparison; the seeds' variance is wrong in all rows at once. Parts of macro averages go
        with no other row but in that variance.
        """
        rng = np.random.default_rng([self.arms, self.seeds])
        sizes = {task: n or _UNKNOWN for task, n in self.documents.items()}
        names = sorted({self.samples[task] for task in sizes})
        moved = rng.standard_normal((self.arms + self.has_base, len(names), _DRAWS))
        rows = [[task] for task in sizes] + [list(tasks) for tasks in self.averages]
        null: list[Floats] = []
        drawn: dict[tuple[str, float], Floats] = {}
        pairs = [(arm, 0) for arm in range(1, self.arms)] + [(0, self.arms)] * self.has_base
        pairs = pairs or [(0, 0)]  # nothing to compare: as one comparison
        for one, other in pairs:
            between = dict(zip(names, moved[one] - moved[other], strict=True))
            for tasks in rows:
                n, discordance, samples = self._arguments(tasks, sizes)
                parts = [
                    math.sqrt(share / count) * between[sample] * (count if self.by_documents else 1)
                    for count, share, sample in zip(n, discordance, samples, strict=True)
                ]
                estimate = self.row(tasks, sizes).estimate
                if other == self.arms and self.seeds > 1:  # the base has no seeds to lend
                    estimate = replace(estimate, seeds_df=float(self.seeds - 1), name="")
                scales = joint.scales(estimate, str(len(null)), drawn, rng, _DRAWS)
                null.append(np.sum(parts, axis=0) * scales)
        split = len(pairs) if self.may_split else 0
        whole = self.row([*sizes], sizes).estimate
        for _ in range(split):
            scales = joint.scales(whole, "part", drawn, rng, _DRAWS)
            null.append(rng.standard_normal(_DRAWS) * scales)
        comparisons = [str(pair) for pair in pairs for _ in rows] + [*map(str, pairs[:split])]
        flags = [number >= len(sizes) for _ in pairs for number in range(len(rows))]
        by_holm = stats.table_shares(comparisons, [*flags, *([True] * split)], split)
        return joint.spend(np.array(null), by_holm, self.confidence), by_holm
