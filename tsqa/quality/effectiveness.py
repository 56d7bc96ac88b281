"""Training effectiveness: what the tokens of a dataset did to a student's scores, against other
text at the same tokens, by a finished ablation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eval.deltas import DeltaRow, DeltaTable
from eval.statistics import stats
from tsqa.records.quality import QualityMeasure

DIMENSION = "training effectiveness"
_SCALES = ((1_000_000_000, "1B"), (1_000_000, "1M"), (1_000, "1K"))


@dataclass(frozen=True)
class SyntheticArm:
    """A condition of the ablation whose students read items of the dataset."""

    condition: str
    tokens: float
    """Of its items, as drawn: what repeats counts again."""
    instead: Mapping[str, str]
    """Condition with as many tokens and none of any such dataset -> what it read instead."""


def measure_effect(table: DeltaTable, arms: Sequence[SyntheticArm]) -> list[QualityMeasure]:
    """The macro average of each comparison; by task of the arm that read most of the dataset."""
    rows = [*_rows_of(table, arms)]
    most = max((arm.tokens for _, arm in rows), default=0.0)
    return [
        _line(row, arm)
        for row, arm in rows
        if row.task == stats.MACRO or (arm.tokens == most and row.against == table.control)
    ]


def not_measured(why: str) -> QualityMeasure:
    return QualityMeasure(dimension=DIMENSION, name="score per token", limits="", missing=why)


def _rows_of(
    table: DeltaTable, arms: Sequence[SyntheticArm]
) -> Iterator[tuple[DeltaRow, SyntheticArm]]:
    by_name = {arm.condition: arm for arm in arms}
    tasks = {stats.MACRO, *table.tasks}
    for row in table.all_rows:  # then those against placebos
        arm = by_name.get(row.arm)
        if arm and row.against in arm.instead and row.task in tasks:
            yield row, arm


def _line(row: DeltaRow, arm: SyntheticArm) -> QualityMeasure:
    scale, name = next(
        ((size, name) for size, name in _SCALES if arm.tokens >= size), (_SCALES[-1])
    )
    unit = 100 * scale / arm.tokens
    limits = "this student, mixture and budget; tokens as drawn, with repeats; takes the change as "
    limits += "even over the tokens"
    if not row.covers_seeds:
        limits += "; the interval is of documents alone: another training seed may differ by more"
    return QualityMeasure(
        dimension=DIMENSION,
        name=f"{row.task}: points per {name} tokens, {row.comparison}",
        value=unit * row.delta,
        low=unit * row.low,
        high=unit * row.high,
        reference=0.0,
        reference_is=f"the same tokens of {arm.instead[row.against]}; "
        f"{arm.tokens:,.0f} tokens of the dataset made {100 * row.delta:+.1f} points",
        p=row.p_holm,
        apart=row.verdict != stats.UNCHANGED,
        n=row.n,
        limits=limits,
    )
