"""The one ratio that an ablation varies, and the fit of the macro average against it.

Guarantees: a condition that differs from the control in more than its ratios is not on the axis; an
ablation of anything else has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.compare.scores import Conditions
from eval.deltas import AxisFit
from eval.statistics import fit, stats
from eval.statistics.blocks import block_units, blocks_of
from eval.statistics.crossed import Floats
from eval.statistics.paired import weights_of
from tsqa.recipe import Recipe, arms_of, control_of, needed


@dataclass(frozen=True)
class RatioAxis:
    """The key `mixture.<source>` that varies, and its ratio by condition."""

    axis: str
    ratios: dict[str, float]


def ratio_axis(recipe: Recipe) -> RatioAxis | None:
    """Find the one ratio that an ablation varies; None where it varies anything else.

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
    return RatioAxis(axis, ratios) if len(set(ratios.values())) == len(ratios) else None


def fit_axis(
    conditions: Conditions,
    control: str,
    axis: RatioAxis | None,
    confidence: float,
    seed: int,
    by_documents: bool = False,
    of_run: float = 0.0,
) -> tuple[AxisFit | None, list[str]]:
    """Fit the macro average against the one ratio that the ablation varies, if it varies one.

    Conditions that lack a seed of the control are left out, and named in the notes. `of_run`: the
    variance between seeds of a run's macro average, for a control of one seed, which shows none.
    """
    if axis is None:
        return None, []
    seeds = list(conditions[control])
    ratios = {name: ratio for name, ratio in axis.ratios.items() if name in conditions}
    lacking = [name for name in ratios if not conditions[name].keys() >= {*seeds}]
    names = sorted(ratios.keys() - {*lacking}, key=lambda name: ratios[name])
    means, covariance = macro_scores(conditions, names, seeds, by_documents)
    if len(seeds) == 1:
        covariance = covariance + np.eye(len(names)) * of_run
    fitted = fit.fit_ratios(
        [ratios[name] for name in names],
        means.mean(axis=1),
        covariance,
        confidence=confidence,
        seed=seed,
    )
    notes = []
    if lacking:
        notes = [f"Without a seed of the control, so left out of the fit: {', '.join(lacking)}."]
    return AxisFit(axis=axis.axis, task=stats.MACRO, **vars(fitted)), notes


def macro_scores(
    conditions: Conditions, names: Sequence[str], seeds: Sequence[int], by_documents: bool
) -> tuple[Floats, Floats]:
    """Macro scores, conditions x seeds, and the covariance of the conditions' means."""
    means = np.array([[conditions[name][s].macro for s in seeds] for name in names])
    documents = conditions[names[0]][seeds[0]].scores
    clusters = {task: scored.clusters for task, scored in documents.items()}
    weights = weights_of({t: len(scored.keys) for t, scored in documents.items()}, by_documents)
    units: list[tuple[float, list[Floats]]] = []
    for block in blocks_of(clusters):
        weight = math.fsum(weights[task] for task in block)
        within = [weights[task] / weight for task in block]
        named = [clusters[task] for task in block]
        per_condition = []
        for name in names:
            values = [
                np.array([conditions[name][s].scores[task].values for s in seeds]) for task in block
            ]
            per_condition.append(block_units(values, named, within))
        units.append((weight, per_condition))
    return means, fit.covariance_of(units, means)


def _without_ratios(recipe: Recipe) -> dict[str, object]:
    tree = recipe.model_dump(mode="json", exclude={"seed", "ablation"})
    for phase in (tree["mixture"] or {}).get("phases", []):
        del phase["ratios"]
    return tree
