"""The conclusion of a table, from its numbers alone, and what it does not show.

Guarantees: an arm with fewer seeds than others takes the spread of those that have several, by
name; where it has one seed, or no spread is known, that is said, and no row of it is called better
or worse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from eval.compare.ratio_axis import macro_scores
from eval.compare.scores import Conditions, Evaluated, scored_alike, task_scores
from eval.compare.splits import placebos_of, split_sentences
from eval.deltas import DeltaRow, DeltaTable
from eval.statistics import crossed, stats
from eval.statistics.paired import weights_of
from eval.statistics.spreads import at_least_own, noisy_arms, pool_tasks, repeated_noise
from tsqa.errors import DataError
from tsqa.store.roles import BASE

_ONE_SEED = (
    "Intervals cover the sampling of evaluated documents, not the spread between training seeds: "
    f"`{stats.DIFFERS}` says that two checkpoints differ, not that their methods do."
)
_SEVERAL_SEEDS = (
    "Intervals cover the sampling of evaluated documents and the spread between training seeds."
)
_MOST_OF_MACRO = 0.5
_SEVERAL_ARMS, _WORTH_SAYING = 3, 0.001


@dataclass(frozen=True)
class Spreads:
    """What is known of the spread between training seeds, per row's task."""

    paired: dict[str, crossed.Spread]
    """Of a difference of two arms."""
    alone: dict[str, crossed.Spread]
    """Of one arm's score."""
    stated: float | None
    """`eval.seed_spread`, where it is used."""
    noisy: dict[str, dict[str, crossed.Spread]] = field(default_factory=dict)
    """Arm whose seeds differ more than the others' do -> of its own score."""
    means: Mapping[str, Mapping[str, crossed.Floats]] = field(default_factory=dict)
    """Row's task -> arm -> its scores by seed."""

    @property
    def of_run(self) -> float:
        """The variance of a run's macro average that two arms do not share under a seed, or 0."""
        if self.stated is not None:
            return self.stated**2
        return self.paired[stats.MACRO].variance / 2 if stats.MACRO in self.paired else 0.0

    def of(self, arm: str, against: str) -> Mapping[str, crossed.Spread]:
        """For the rows of a comparison."""
        if against == BASE:
            return self.noisy.get(arm, self.alone)
        if self.stated is not None:
            return self.paired
        if {arm, against} & {*self.noisy}:
            return {}  # what these two show is all that is known of them
        pairs = {t: np.array([of[arm], of[against]]) for t, of in self.means.items()}
        return at_least_own(self.paired, pairs)


def spreads_of(
    conditions: Conditions,
    macros: Mapping[str, Sequence[str]],
    stated: float | None,
    by_documents: bool,
) -> Spreads:
    """From the arms that share several seeds; where none do, as `stated`.

    Raise DataError where one was evaluated on other tasks.
    """
    _refuse_other_tasks(conditions)
    scores = {
        name: {s: task_scores(model, macros, by_documents) for s, model in seeds_of.items()}
        for name, seeds_of in conditions.items()
    }
    every = sorted({seed for seeds_of in conditions.values() for seed in seeds_of})
    tasks = next(iter(next(iter(scores.values())).values()))
    means = {
        task: np.array(
            [[row[s][task] if s in row else math.nan for s in every] for row in scores.values()]
        )
        for task in sorted(tasks)
    }
    names = list(conditions)
    first = next(iter(next(iter(conditions.values())).values()))
    average = weights_of({task: one.n for task, one in first.tasks.items()}, by_documents)
    firsts = _firsts(conditions)
    distinct = [arm for arm, name in enumerate(names) if firsts[name] == name]
    told = noisy_arms({task: means[task][distinct] for task in average}, average)
    noisy = {names[distinct[place]] for place in told}
    quiet = [arm for arm in distinct if names[arm] not in noisy]
    one_each = {names[arm]: conditions[names[arm]] for arm in distinct}
    floors = {task: _repeated_noise(one_each, task) for task in average}
    alone = _alone(means, quiet)
    paired = _paired(means, quiet, average, floors, macros)
    if stated is not None and not paired:
        one = crossed.Spread(stated**2, crossed.MANY)
        two = crossed.Spread(2 * stated**2, crossed.MANY)
        return Spreads(dict.fromkeys(means, two), dict.fromkeys(means, one), stated)
    own = {n: _alone(means, [arm]) for arm, n in enumerate(names) if firsts[n] in noisy}
    by_arm = {task: dict(zip(names, scores, strict=True)) for task, scores in means.items()}
    return Spreads(paired, alone, None, own, by_arm)


def _firsts(conditions: Conditions) -> dict[str, str]:
    """Arm -> the first that scores every document as it does, under its seeds; itself mostly.

    Two such arms are one draw of what seeds do: counted twice, seeds would seem to differ less.
    """
    firsts: dict[str, str] = {}
    for name, own in sorted(conditions.items(), key=lambda one: -len(one[1])):
        same = (
            other
            for other in dict.fromkeys(firsts.values())
            if conditions[other].keys() >= own.keys()
            and all(scored_alike(model, conditions[other][s]) for s, model in own.items())
        )
        firsts[name] = next(same, name)
    return firsts


def _refuse_other_tasks(conditions: Conditions) -> None:
    first, *others = (model for seeds_of in conditions.values() for model in seeds_of.values())
    for other in others:
        for one, two in ((first, other), (other, first)):
            if odd := sorted(one.tasks.keys() - two.tasks.keys()):
                raise DataError(
                    f"compare: {one.name} was evaluated on {', '.join(odd)}, {two.name} was not",
                    "evaluate both with the same eval.tasks",
                )


def _alone(means: Mapping[str, crossed.Floats], arms: Sequence[int]) -> dict[str, crossed.Spread]:
    """The spread of the score of one of these arms, per row's task."""
    pooled = {task: crossed.pool_alone(scores[list(arms)]) for task, scores in means.items()}
    return {task: spread for task, spread in pooled.items() if spread}


def _paired(
    means: Mapping[str, crossed.Floats],
    arms: Sequence[int],
    average: Mapping[str, float],
    floors: Mapping[str, float],
    macros: Mapping[str, Sequence[str]],
) -> dict[str, crossed.Spread]:
    """The spread of a difference of two of these arms, per row's task."""
    chosen = {task: scores[list(arms)] for task, scores in means.items()}
    name = " ".join(map(str, arms))
    macro, found = pool_tasks(chosen, average, floors, name)
    if macro is not None:
        found[stats.MACRO] = macro
    for task in chosen.keys() - {*average, stats.MACRO}:
        if spread := crossed.pool(chosen[task]):
            members = " ".join(sorted(macros[stats.part_name(task)]))
            found[task] = replace(spread, name=f"{name} {members}")
    for suite, tasks in macros.items():
        if len(tasks) == 1 and tasks[0] in found:
            found[stats.macro_name(suite)] = found[tasks[0]]
    return found


def _repeated_noise(conditions: Conditions, task: str) -> float:
    """The mean over arms with several seeds."""
    found = []
    for seeds_of in conditions.values():
        scored = [model.scores[task] for model in seeds_of.values()]
        if len(scored) > 1 and all(one.keys == scored[0].keys for one in scored):
            values = np.array([one.values for one in scored])
            if (groups := scored[0].groups) is not None:
                values = stats.group_units(values, groups)
            found.append(repeated_noise(values))
    return math.fsum(found) / len(found) if found else 0.0


def seed_notes(rows: Sequence[DeltaRow], spreads: Spreads, planned: int) -> Iterator[str]:
    """What the intervals cover, and which arms have fewer seeds than others, `planned` at most."""
    covered = {row.comparison for row in rows if row.covers_seeds}
    if not covered:
        yield _ONE_SEED
        return
    if spreads.stated is not None:
        yield (
            "Intervals cover the sampling of evaluated documents and an assumed spread: a score "
            f"varies by {100 * spreads.stated:.2g} points between training seeds (standard "
            "deviation, eval.seed_spread)."
        )
        return
    yield _SEVERAL_SEEDS
    lost = {row.comparison: None for row in rows if not row.covers_seeds}
    if lost:
        yield f"{', '.join(lost)}: one seed, whose spread between seeds is not known. {_ONE_SEED}"
    fewer = [row for row in rows if row.seeds < planned and row.covers_seeds]
    own = {row.comparison: None for row in fewer if {row.arm, row.against} & {*spreads.noisy}}
    lent = dict.fromkeys(row.comparison for row in fewer if row.comparison not in own)
    if lent:
        yield (
            f"{', '.join(lent)}: fewer seeds than others; the spread between seeds is that of "
            "the arms that have several, and whether theirs is larger can hardly be told."
        )
    if alone := dict.fromkeys(row.comparison for row in fewer if row.seeds == 1):
        yield (
            f"{', '.join(alone)}: one seed shows no spread of its own, so `{stats.DIFFERS}` is the "
            "most that is said: train the seeds that are missing."
        )
    if own:
        yield f"{', '.join(own)}: fewer seeds than others, and no spread but their own."
    if spreads.noisy:
        yield (
            f"{', '.join(spreads.noisy)}: seeds may differ more than the other arms' do (a check "
            "that often names an arm by chance), so they lend them to no other arm, and the table "
            "is corrected by Holm's rule alone."
        )
    if spreads.alone:
        macro = spreads.alone.get(stats.MACRO)
        largest = max(spreads.alone.values(), key=lambda spread: spread.variance)
        shown = f"{100 * math.sqrt(macro.variance):.1f} on the macro average, " if macro else ""
        whose = " of the other arms" if spreads.noisy else ""
        yield (
            f"Standard deviation of a score{whose} between seeds, in points: {shown}"
            f"{100 * math.sqrt(largest.variance):.1f} where it varies most."
        )


def group_notes(models: Mapping[int, Evaluated]) -> Iterator[str]:
    """How many draws the documents of a task with groups are."""
    scores = next(iter(models.values())).scores
    found = [
        f"{task} {len(one.keys):,} in {len({*one.groups}):,}"
        for task, one in sorted(scores.items())
        if one.groups and len({*one.groups}) < len(one.keys)
    ]
    if found:
        yield f"Documents of one group count as one draw: {', '.join(found)}."


def scale_notes(models: Mapping[int, Evaluated]) -> Iterator[str]:
    """Scores that are no shares, as evaluations from before may hold them: they refuse them now."""
    scores = next(iter(models.values())).scores
    odd = [t for t, one in sorted(scores.items()) if one.values.min() < 0 or one.values.max() > 1]
    if odd:
        yield (
            f"Scores of {', '.join(odd)} are no shares from 0 to 1: their points are no "
            "percentages, and they may be most of the macro average; evaluate by another metric "
            "(eval.protocols)."
        )


def macro_notes(rows: Sequence[DeltaRow], by_documents: bool, limit: int | None) -> Iterator[str]:
    """The task that makes most of the variance of a macro average; `limit` is eval.limit."""
    found: dict[str, dict[str, float]] = {}
    for macro in (row for row in rows if row.task == stats.MACRO):
        tasks = [r for r in rows if r.comparison == macro.comparison and not stats.is_macro(r.task)]
        shares = _shares_of(macro, tasks, by_documents)
        widest = max(tasks, key=lambda row: shares[row.task])
        if len(tasks) > 2 and shares[widest.task] > _MOST_OF_MACRO:
            found.setdefault(widest.task, {})[macro.comparison] = shares[widest.task]
    documents = {row.task: row.n for row in rows if not stats.is_macro(row.task)}
    for task, of in found.items():
        n, low, high = documents[task], f"{min(of.values()):.0%}", f"{max(of.values()):.0%}"
        remedies = []
        if limit is not None and n >= limit:
            remedies.append("evaluate more of its documents (eval.limit)")
        if not by_documents and n * len(documents) < sum(documents.values()):
            remedies.append("weigh tasks by their documents (eval.macro)")
        yield (
            f"{', '.join(of)}: {task} ({n:,} document{'' if n == 1 else 's'}) makes "
            f"{low if low == high else f'{low} to {high}'} of the variance of the macro average"
            f"{': ' if remedies else ''}{', or '.join(remedies)}."
        )


def _shares_of(macro: DeltaRow, tasks: Sequence[DeltaRow], by_documents: bool) -> dict[str, float]:
    """Task -> its share of the variance of the macro average.

    What the tasks' own variances do not explain, all pairs of tasks have in common alike.
    """
    weights = weights_of({row.task: row.n for row in tasks}, by_documents)
    own = {row.task: (weights[row.task] * row.stderr) ** 2 for row in tasks}
    known = math.fsum(own.values())
    common = max(0.0, macro.stderr**2 - known)
    pairs = 1 - math.fsum(weight**2 for weight in weights.values())
    shared = {t: common * w * (1 - w) / pairs if pairs else 0.0 for t, w in weights.items()}
    return {task: (own[task] + shared[task]) / (known + common) for task in own}


def best_notes(
    conditions: Conditions, control: str, spreads: Spreads, by_documents: bool
) -> Iterator[str]:
    """How much of the best arm's lead over the other arms is chance, where there are several.

    Shrunk to the arms' mean by the share of their variance that noise explains (Efron and Morris,
    Stein's estimation rule and its competitors (1973), its empirical Bayes form); an arm whose
    seeds differ more counts less in the mean, and is shrunk more.
    """
    seeds = list(conditions[control])
    beside = {control, *(placebo for _, placebo in placebos_of(list(conditions), control))}
    arms = [n for n, own in conditions.items() if n not in beside and own.keys() >= {*seeds}]
    if len(arms) < _SEVERAL_ARMS:
        return
    means, covariance = macro_scores(conditions, arms, seeds, by_documents)
    scores = means.mean(axis=1)
    if len(seeds) == 1 or spreads.stated is not None:
        covariance = covariance + np.eye(len(arms)) * spreads.of_run / len(seeds)
    reference = math.fsum(conditions[control][s].macro for s in seeds) / len(seeds)
    noise = float(np.trace(covariance) - covariance.sum() / len(arms)) / (len(arms) - 1)
    noises = np.full(len(arms), max(noise, 1e-12))
    for arm, name in enumerate(arms):
        if own := spreads.noisy.get(name, {}).get(stats.MACRO):
            noises[arm] = max(noise, own.variance / len(seeds))
    apart = max(0.0, float(np.var(scores, ddof=1)) - noise)
    centre = float(np.average(scores, weights=1 / (apart + noises)))
    best = int(np.argmax(scores))
    kept = apart / (apart + noises[best])
    shrunk = centre + kept * (scores[best] - centre) - reference
    delta = float(scores[best]) - reference
    if delta - shrunk >= _WORTH_SAYING:
        known = "" if len(seeds) > 1 or spreads.of_run else ", by the chance of documents alone"
        yield (
            f"{arms[best]} is the best of {len(arms)} arms, so its macro average is too high by "
            f"chance: shrunk towards the mean of the arms {stats.points(shrunk)} instead of "
            f"{stats.points(delta)}{known}."
        )


_PHRASES = {
    stats.BETTER: "better than the control",
    stats.WORSE: "worse than the control",
    stats.DIFFERS: "different in this run from the control",
    stats.UNCHANGED: "no detectable change from the control",
}


def conclude(deltas: DeltaTable) -> str:
    """Say what the numbers allow to say, a line for each claim; where nothing changed, that."""
    return "\n".join(_sentences(deltas))


def _sentences(deltas: DeltaTable) -> Iterator[str]:
    macro = {row.arm: row for row in deltas.rows if row.task == stats.MACRO}
    if deltas.arms:
        for word, phrase in _PHRASES.items():
            arms = [
                f"{arm} ({stats.change(macro[arm])})"
                for arm in deltas.arms
                if macro[arm].verdict == word
            ]
            if arms:
                yield f"Macro average, {phrase} {deltas.control}: {'; '.join(arms)}."
        yield from _changes(deltas)
    yield from split_sentences(deltas)
    if deltas.has_base:
        row = macro[deltas.control]
        yield (
            f"Against the base model, the control {deltas.control}: {row.verdict} "
            f"({stats.change(row)})."
        )
    if deltas.fit:
        yield f"{deltas.fit.axis}: {deltas.fit.recommendation}"


def _changes(deltas: DeltaTable) -> Iterator[str]:
    """On which tasks some arm gains, and on which some arm loses."""
    rows = [row for row in deltas.rows if row.arm in deltas.arms and row.task in deltas.tasks]
    count = len(deltas.tasks)
    if not any(row.covers_seeds for row in rows):
        yield _differences(rows, count)
        return
    gained = {row.task for row in rows if row.verdict == stats.BETTER}
    flat = [task for task in deltas.tasks if task not in gained]
    if not gained:
        yield f"No arm gains detectably on {_any_of(count)}."
    elif len(gained) < len(flat):
        yield f"Some arm gains detectably on {_these_of(sorted(gained), count)}."
    elif flat:
        yield f"No arm gains detectably on {_these_of(flat, count)}."
    else:
        which = f"Each of the {count} tasks" if count > 1 else "The one task"
        yield f"{which} gains detectably in some arm."
    if lost := {row.task for row in rows if row.verdict == stats.WORSE}:
        yield f"Some arm is worse on {_these_of(sorted(lost), count)}."


def _any_of(count: int) -> str:
    return f"any of the {count} tasks" if count > 1 else "the one task"


def _these_of(tasks: Sequence[str], count: int) -> str:
    if count == 1:
        return "the one task"
    return f"{len(tasks)} of {count} tasks: {', '.join(tasks)}"


def _differences(rows: Sequence[DeltaRow], count: int) -> str:
    """The same where nothing says how much training seeds differ."""
    found = []
    for word, sign in (("higher", 1), ("lower", -1)):
        moved = {r.task for r in rows if r.verdict == stats.DIFFERS and sign * r.delta > 0}
        if moved:
            found.append(f"{word} in this run on {_these_of(sorted(moved), count)}")
    if not found:
        return f"No arm scores detectably higher or lower in this run on {_any_of(count)}."
    return (
        f"Some arm scores {', and some '.join(found)}; one training seed is no evidence for a "
        "method: add ablation.seeds, or state eval.seed_spread."
    )
