"""How far training seeds move scores, from all arms and tasks of a table together.

A run moves its tasks together, and each of them apart: with y[a, s, t] the score of a run on a
task, less what its arm and its seed explain, the mean over tasks varies by what is shared, and the
deviations from it by what is apart. What is shared is known as far as runs go, what is apart tasks
times as well, so the spread of a task is

    what the macro average varies by  +  what the task varies by apart from it

An arm whose seeds seem to differ more than the others' do is called noisy: by an F-test of the
macro average, or of the deviations of all tasks together (in 12% and 4% of tables of arms that are
alike, at most). An arm that lost seeds and kept two or more is tested against those that lost none,
with these chances for itself: training that fails is often training that varies. Such an arm lends
nothing to the others' rows, and its own rows rest on its own seeds and those of its reference
alone. A further arm needs a tenth of that chance: of three that are left, two seem quiet where the
third is called noisy by chance (their macro intervals then held the truth in 63 to 73% of tables).
Two arms that vary more than all do together count with what they vary by. A task that varies more
than the sum says (5%) has its own spread over all arms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.special import chdtrc, chdtri, fdtrc

from eval.statistics.crossed import Floats, Spread, pool, residuals_of
from eval.statistics.stats import MACRO

_NOISY_MACRO, _NOISY_TASKS, _UNEVEN = 0.12, 0.04, 0.05
_FURTHER = 0.1
_PLANNED = 250
_ROUNDING = 1e-24
"""Of a sum of squares of scores."""
Means = Mapping[str, Floats]
"""Task -> scores, arms x seeds; NaN where an arm lost a seed."""


def average_of(means: Means, average: Mapping[str, float]) -> Floats:
    """The macro average, arms x seeds."""
    found: Floats = np.sum([weight * means[task] for task, weight in average.items()], axis=0)
    return found


def repeated_noise(units: Floats) -> float:
    """Variance of a run's score by what neither run nor document explains: seeds x units."""
    seeds, n = units.shape
    if seeds < 2 or n < 2:
        return 0.0
    rest = units - units.mean(0) - units.mean(1, keepdims=True) + units.mean()
    variance: float = float(np.sum(rest**2)) / ((seeds - 1) * (n - 1) * n)
    return variance


def pool_tasks(
    means: Means, average: Mapping[str, float], floors: Mapping[str, float], name: str
) -> tuple[Spread | None, dict[str, Spread]]:
    """The spread of a difference of two of these arms: of the macro average, and per task.

    `floors`: per task the variance of one arm's score that `repeated_noise` finds.
    """
    shared = pool(average_of(means, average))
    if shared is None:
        return None, {}
    macro = replace(shared, name=name)
    own = {task: pool(means[task]) for task in average}
    apart, df = apart_of(means, average, floors)
    tasks = {}
    for task, alone in own.items():
        together = replace(macro, apart=apart[task], apart_df=df)
        predicted = together.variance + together.apart
        if alone and chdtrc(alone.df, alone.df * alone.variance / predicted) < _UNEVEN:
            together = replace(alone, name=f"{name} {task}")
        tasks[task] = together
    return macro, tasks


def at_least_own(spreads: Mapping[str, Spread], pair: Means) -> dict[str, Spread]:
    """Where the two arms of a pair vary more than all arms do together, what they vary by.

    An arm that is too noisy, but not so much that a test says so, would else be found too often.
    """
    found = dict(spreads)
    macro = spreads.get(MACRO)
    for task, spread in spreads.items():
        same = MACRO if macro and spread.name == macro.name else task
        if (own := pool(pair[same])) and own.variance > spread.variance:
            found[task] = replace(spread, variance=own.variance)
    return found


def noisy_arms(means: Means, average: Mapping[str, float]) -> set[int]:
    """Arms whose seeds seem to differ more; an arm that kept one seed cannot be told."""
    macro = average_of(means, average)
    kept = np.isfinite(macro).sum(axis=1)
    left = np.flatnonzero(kept == macro.shape[1]).tolist()
    apart = np.array([means[task] - macro for task in average])
    noisy: set[int] = set()
    while len(left) > 2 and macro.shape[1] > 1:
        own, of_tasks = _variances(macro[left]), _variances(apart[:, left])
        chances = _alike(own, of_tasks, len(left), macro.shape[1])
        worst = int(np.argmin(chances))
        if chances[worst] >= (_FURTHER if noisy else 1):
            break
        noisy.add(left.pop(worst))
    for arm in np.flatnonzero((kept > 1) & (kept < macro.shape[1])).tolist():
        if len(left) > 1:
            own, of_tasks = (_variances_of(arm, left, scores) for scores in (macro, apart))
            arms = len(left) + 1
            chances = _alike(own, of_tasks, arms, macro.shape[1], int(kept[arm]))
            if chances[0] / arms < (_FURTHER if noisy else 1):
                noisy.add(arm)
    return noisy


_Variances = tuple[Floats, Floats]
"""Between seeds: of an arm against the mean of the others, and of the others; ... x arms."""


def _alike(
    macro: _Variances, apart: _Variances, arms: int, seeds: int, kept: int | None = None
) -> Floats:
    """Per arm, at 1 or above not noisy: chance of such a macro average, or of such deviations.

    `apart` is of tasks x arms; `kept`: the seeds of an arm that lost some.
    """
    own_df, df = (kept or seeds) - 1, (seeds - 1) * (arms - 2)
    chances: Floats = _above(*macro, own_df, df) * arms / _NOISY_MACRO
    own, others = apart
    tasks = len(own) - 1
    if not tasks:
        return chances
    # Each task in its own unit; a mean of the tasks' ratios would have a heavier tail than F.
    usual = (own * own_df + others * df) / (own_df + df)
    units = np.divide(1.0, usual, out=np.zeros_like(usual), where=usual > 0)
    of_tasks = _above((own * units).sum(0), (others * units).sum(0), own_df * tasks, df * tasks)
    found: Floats = np.minimum(chances, of_tasks * arms / _NOISY_TASKS)
    return found


def _variances(scores: Floats) -> _Variances:
    """Of each of these arms, ... x arms x seeds, which have every seed."""
    arms, seeds = scores.shape[-2:]
    squares = _squares(scores)
    own = squares * arms / (arms - 1)
    others = np.maximum(0.0, squares.sum(-1, keepdims=True) - own)
    others[others < _ROUNDING + 1e-12 * own] = 0.0
    return own / (seeds - 1), others / ((arms - 2) * (seeds - 1))


def _variances_of(arm: int, others: Sequence[int], scores: Floats) -> _Variances:
    """Of an arm that lost seeds; the others have every one."""
    rest, seeds = scores[..., others, :], scores.shape[-1]
    beside = scores[..., [arm], :] - rest.mean(-2, keepdims=True)
    own = np.nanvar(beside, -1, ddof=1) * len(others) / (len(others) + 1)
    own[own < _ROUNDING] = 0.0
    squares = _squares(rest).sum(-1, keepdims=True)
    squares[squares < _ROUNDING + 1e-12 * own] = 0.0
    return own, squares / ((len(others) - 1) * (seeds - 1))


def _squares(scores: Floats) -> Floats:
    """Per arm, of what arm and seed do not explain."""
    rest = scores - scores.mean(-1, keepdims=True) - scores.mean(-2, keepdims=True)
    squares: Floats = np.sum((rest + scores.mean((-2, -1), keepdims=True)) ** 2, axis=-1)
    squares[squares < _ROUNDING] = 0.0
    return squares


def _above(own: Floats, others: Floats, own_df: int, others_df: int) -> Floats:
    """Chance of such a ratio of variances, per arm."""
    ratio = np.divide(own, others, out=np.zeros_like(own), where=others > 0)
    chances: Floats = fdtrc(own_df, others_df, ratio)
    return np.where((others <= 0) & (own > 0), 0.0, chances)


@dataclass(frozen=True)
class PlannedSpread:
    """What a table may take the spread of two arms for, where the true variance is 1."""

    variance: float
    df: float
    is_by_holm: bool
    """An arm is called noisy by chance, so the table is corrected by Holm's rule."""


@cache
def planned_spreads(arms: int, seeds: int) -> list[PlannedSpread]:
    """Of two of these arms whose seeds differ alike, each as likely: what a table's rules make."""
    if arms < 3:
        scales = chdtri(seeds - 1, (np.arange(_PLANNED) + 0.5) / _PLANNED) / (seeds - 1)
        return [PlannedSpread(scale, seeds - 1, is_by_holm=False) for scale in scales.tolist()]
    rng = np.random.default_rng([arms, seeds])
    found = []
    for _ in range(_PLANNED):
        shared, apart = rng.normal(0, 1, (2, arms, seeds))
        noisy = noisy_arms({"one": shared + apart, "two": shared - apart}, {"one": 0.5, "two": 0.5})
        pair = {MACRO: shared[:2]}
        own = pool(pair[MACRO])
        quiet = pool(np.delete(shared, [*noisy], axis=0))
        assert own is not None and quiet is not None  # continuous draws vary
        spread = own if {0, 1} & noisy else at_least_own({MACRO: quiet}, pair)[MACRO]
        found.append(PlannedSpread(spread.variance / 2, spread.df, bool(noisy)))
    return found


def apart_of(
    means: Means, average: Mapping[str, float], floors: Mapping[str, float]
) -> tuple[dict[str, float], float]:
    """Per task what its spread exceeds the macro average's by, and the degrees of freedom.

    With v the variance that seeds add to each task, a task's own is v + its floor; the mean square
    of its deviations from the macro average is own (1 - 2 w) + sum of w^2 own, w its weight.
    """
    found = residuals_of(average_of(means, average))
    if found is None or len(average) < 2:
        return dict.fromkeys(average, 0.0), 1.0
    macro, df = found
    squares = 0.0
    for task in average:
        one = residuals_of(means[task])
        squares += 2 * float(np.sum((one[0] - macro) ** 2)) / df if one else 0.0
    weights = np.array(list(average.values()))
    floor = 2 * np.array([floors.get(task, 0.0) for task in average])
    per_task = (1 - 2 * weights) + float(np.sum(weights**2))
    known = float(np.dot(1 - 2 * weights, floor)) + len(weights) * float(np.dot(weights**2, floor))
    added = max(0.0, (squares - known) / math.fsum(per_task))
    own = added + floor
    beyond = np.maximum(0.0, own - float(np.dot(weights**2, own)))
    degrees = float(df * (len(average) - 1))
    return dict(zip(average, beyond.tolist(), strict=True)), degrees
