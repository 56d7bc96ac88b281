"""Every task is shown, no cell wraps, no arm is lost."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from eval.compare import tables
from eval.compare.published import published_tables
from eval.deltas import TaskSetup
from eval.statistics import stats
from tests.support.invented_arms import deltas_of, evaluated


def test_the_table_and_the_csv_show_every_task(tmp_path: Path) -> None:
    rates = {"day": 0.2, "[unit]": 0.4}
    deltas = deltas_of(evaluated("base", rates), evaluated("c", rates), evaluated("x", rates))
    console = Console(file=io.StringIO(), width=160)
    tables.print_table(deltas, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("day", "[unit]", "macro", "base", "no detectable change", "training seeds"):
        assert word in shown
    tables.write_csv(tmp_path / "deltas.csv", deltas.rows)
    with (tmp_path / "deltas.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 6 and float(rows[0]["delta"]) == 0


def test_no_cell_of_a_narrow_table_wraps_and_no_arm_is_lost() -> None:
    arms = ["without enrichment", "enriched,format_matched", "synthetic=0.125,seeds.tasks=none"]
    models = [evaluated(name, {"day": 0.2, "unit": 0.3}) for name in ("base", "c", *arms)]
    deltas = deltas_of(*models)
    shown = {}
    for width in (60, 200):
        console = Console(file=io.StringIO(), width=width)
        tables.print_table(deltas, console)
        shown[width] = console.file.getvalue().partition("Macro average")[0]  # type: ignore[attr-defined]
    assert shown[200].count(" day ") == 1 and shown[60].count(" day ") == 2
    for word in ("without", "enrichment", "format_matched", "=0.125,", "seeds.tasks", "=none"):
        assert shown[60].count(word) == shown[200].count(word) == 1
    for condition in (
        "control |replaced=0%",
        "synthetic|=0.125,|votes=3",
        "exact |duplicates |only",
    ):
        assert tables._header(condition.replace("|", "")).plain == "\n".join(
            line.rstrip() for line in condition.split("|")
        )
    for row in deltas.rows:
        interval = stats.interval(row.low, row.high)
        assert shown[60].count(interval) == shown[200].count(interval)


def test_published_deltas_are_subtracted_only_under_one_protocol() -> None:
    rates = {"gpqa_diamond_cot_n_shot": 0.3, "mbpp": 0.4, "day": 0.5}
    deltas = deltas_of(evaluated("base", rates), evaluated("c", rates), evaluated("x", rates))
    kind = "generate_until"
    tasks = {
        **deltas.tasks,
        "gpqa_diamond_cot_n_shot": TaskSetup("exact_match,flexible-extract", 1, 5, kind, 198),
        "mbpp": TaskSetup("pass_at_1 over 8 samples", 1, 3, kind, 500),
    }
    deltas = replace(deltas, tasks=tasks)

    def shown(any_protocol: bool) -> str:
        console = Console(file=io.StringIO(), width=400)
        for table in published_tables(deltas, {}, any_protocol):
            console.print(table)
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    refused = shown(any_protocol=False)
    protocols, rest = refused.split("Nano: deltas in points")
    assert "samples 32 there, 8 here; the whole test split, not the sanitized" in protocols
    assert "in nothing known" in protocols and "protocol not published" in protocols
    lines = {line.split()[0]: line for line in rest.splitlines() if line.strip()}
    assert lines["GPQA"].rstrip().endswith("-11.1"), "same protocol: ours minus theirs"
    assert lines["MBPP"].rstrip().endswith("other protocol: mbpp")
    assert "other protocol" not in shown(any_protocol=True).replace("--", "")
    assert "arXiv 2606.15007" in refused and "arXiv 2604.12374" in refused


def test_a_published_mean_of_tasks_is_not_subtracted_from_one_over_documents() -> None:
    rates = {"humaneval": 0.3, "mbpp": 0.4}
    models = [evaluated("c", rates), evaluated("x", rates)]
    deltas = deltas_of(*models, macros={"code": [*rates]}, by_documents=True)
    for any_protocol in (False, True):
        console = Console(file=io.StringIO(), width=400)
        for table in published_tables(deltas, {}, any_protocol):
            console.print(table)
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        assert ("other average: eval.macro is documents" in shown) is not any_protocol
