"""The swaps of an audit, from the artifacts to lines of the report."""

from __future__ import annotations

from pathlib import Path

from tsqa.console import console
from tsqa.quality.swaps.ask import ask_judge, ask_solvers
from tsqa.quality.swaps.draw import draw_pairs
from tsqa.quality.swaps.measure import measure_swaps
from tsqa.recipe import SwapsSection
from tsqa.records.quality import SwapsReport
from tsqa.records.summaries import LedgerRow
from tsqa.store.stage import StageContext


def run_swaps(
    section: SwapsSection,
    filtering: StageContext,
    generating: StageContext,
    filtered: Path,
    seed: int,
) -> SwapsReport:
    """`filtering`, `generating`: contexts of the stages that made the dataset in `filtered`, both
    with the folder where what comes back is kept."""
    generated = filtering.inputs["generate"].path
    drawn = {
        kind: draw_pairs(filtered, generated, kind, section.items, seed) for kind in section.kinds
    }
    ledger: list[LedgerRow] = []
    asked = [*ask_judge(filtering, drawn, ledger), *ask_solvers(generating, drawn, ledger)]
    rows = [row for row in ledger if row.requests]
    for row in rows:
        console.print(
            f"  swaps: {row.requests:,} requests to the {row.teacher}, "
            f"{row.prompt_tokens + row.output_tokens:,} tokens, ${row.dollars:.2f}"
        )
    return SwapsReport(measure_swaps(asked), section.wanted, rows)
