"""The conclusion of a comparison in a few sentences, computed from its numbers alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eval.deltas import DeltaRow, DeltaTable
from eval.statistics import stats

_PHRASES = {
    stats.BETTER: "better than the control",
    stats.WORSE: "worse than the control",
    stats.DIFFERS: "different in this run from the control",
    stats.UNCHANGED: "no detectable change from the control",
}


def conclude(deltas: DeltaTable) -> str:
    """Say what the numbers allow to say; where nothing changed, that."""
    return " ".join(_sentences(deltas))


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
        yield _gains(deltas)
    if deltas.has_base:
        row = macro[deltas.control]
        yield (
            f"Against the base model, the control {deltas.control}: {row.verdict} "
            f"({stats.change(row)})."
        )
    if deltas.fit:
        yield f"{deltas.fit.axis}: {deltas.fit.recommendation}"


def _gains(deltas: DeltaTable) -> str:
    """On which tasks some arm gains."""
    rows = [row for row in deltas.rows if row.arm in deltas.arms and row.task in deltas.tasks]
    if not any(row.covers_seeds for row in rows):
        return _differences(rows, len(deltas.tasks))
    gained = {row.task for row in rows if row.verdict == stats.BETTER}
    flat = [task for task in deltas.tasks if task not in gained]
    count = len(deltas.tasks)
    if not gained:
        return f"No arm gains detectably on any of the {count} tasks."
    if flat:
        return f"No arm gains detectably on {len(flat)} of {count} tasks: {', '.join(flat)}."
    return f"Each of the {count} tasks gains detectably in some arm."


def _differences(rows: Sequence[DeltaRow], count: int) -> str:
    """The same where nothing says how much training seeds differ."""
    gained = {row.task for row in rows if row.verdict == stats.DIFFERS and row.delta > 0}
    if not gained:
        return f"No arm scores detectably higher in this run on any of the {count} tasks."
    return (
        f"Some arm scores higher in this run on {len(gained)} of {count} tasks: "
        f"{', '.join(sorted(gained))}; one training seed is no evidence for a method: add "
        "ablation.seeds, or state eval.seed_spread."
    )
