"""What the page says of the comparison besides its table: arms shown, gaps, documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eval.compare.disagreements import Disagreements, Evaluations, disagreements
from eval.deltas import DeltaTable
from eval.report.style import Style, styles
from eval.statistics import stats
from tsqa.recipe import Arm
from tsqa.store.artifact import Artifact

CHOSEN_ARMS = 6


@dataclass(frozen=True)
class MissingArm:
    """An arm that has no result in the comparison, with the reason if it is known."""

    arm: str
    reason: str | None


def condition_styles(deltas: DeltaTable | None, arms: Mapping[str, Arm]) -> dict[str, Style]:
    """How each condition is drawn."""
    conditions = [*(deltas.arms if deltas else ()), *(arm.condition for arm in arms.values())]
    if not conditions:
        return {}
    return styles(conditions, deltas.control if deltas else conditions[0])


def chosen_arms(deltas: DeltaTable) -> list[str]:
    """The arms shown first: all, or CHOSEN_ARMS of many, from the worst to the best macro."""
    arms = deltas.arms
    if len(arms) <= CHOSEN_ARMS:
        return [*arms, deltas.control]
    moved = {row.arm: row.delta for row in deltas.rows if row.task == stats.MACRO}
    ranked = sorted(arms, key=lambda arm: moved.get(arm, 0.0))
    steps = CHOSEN_ARMS - 1
    return [ranked[round(step * (len(arms) - 1) / steps)] for step in range(CHOSEN_ARMS)]


def missing_arms(deltas: DeltaTable, arms: Mapping[str, Arm]) -> Iterator[MissingArm]:
    """The gaps of the comparison, then arms that it does not name."""
    for name, gap in deltas.gaps.items():
        yield MissingArm(name, gap.reason)
    for name, arm in arms.items():
        if name not in deltas.gaps and arm.seed not in deltas.seeds.get(arm.condition, []):
            yield MissingArm(name, None)


def changed_documents(
    deltas: DeltaTable, arms: Mapping[str, Arm], evaluations: Mapping[str, Artifact]
) -> Disagreements | None:
    """What each arm fixed and broke against its reference; None where nothing was evaluated."""
    if not evaluations:
        return None
    sides: dict[str, dict[int, Artifact]] = {}
    for name, artifact in evaluations.items():
        if name in arms:
            sides.setdefault(arms[name].condition, {})[arms[name].seed] = artifact
    pairs = []
    compared = {row.comparison: (row.arm, row.against) for row in deltas.rows}
    for label, (arm, against) in compared.items():
        after = sides.get(arm, {})
        before = sides.get(against, {})
        if against not in sides and against in evaluations:
            before = dict.fromkeys(after, evaluations[against])
        pairs.append((label, Evaluations(against, before), Evaluations(arm, after)))
    pairs.sort(key=lambda pair: pair[2].name == deltas.control)  # the arms are the question
    return disagreements(pairs)
