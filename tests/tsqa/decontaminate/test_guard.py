"""The guard: what a recipe evaluates in another folder is refused or dropped all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.filter_records import candidate
from tests.support.generation import artifact, make_context, with_benchmarks
from tests.tsqa.seeds.test_stage import files, write_task
from tsqa.decontaminate.guard import check_seeds, read_dropped_seeds, run
from tsqa.errors import LeakError
from tsqa.recipe import EvalSection, SeedsSection
from tsqa.seeds import stage as seeds
from tsqa.store.jsonl import read_jsonl, write_jsonl


def guard(folder: Path, shared: int, **changes: Any) -> dict[str, Any]:
    """Six seeds, so many of which are documents of a benchmark that seeds knows nothing of."""
    own, other = folder / "own", folder / "other"
    for name in (own, other):
        name.mkdir(exist_ok=True)
    write_task(own, "seeded")
    write_task(other, "bench")
    rows = list(read_jsonl(own / "seeded.train.jsonl"))[:shared]
    rest = list(read_jsonl(other / "bench.test.jsonl"))
    write_jsonl(other / "bench.test.jsonl", [*rows, *rest])
    return compare(folder, **changes)


def compare(folder: Path, **changes: Any) -> dict[str, Any]:
    section = SeedsSection(tasks=["seeded"], include=str(folder / "own"), **changes)
    seeds.run(make_context(folder / "seeds", {}, seeds=section))
    scored = EvalSection(tasks=["bench"], include=str(folder / "other"))
    inputs = {"seeds": artifact(folder / "seeds")}
    inputs = with_benchmarks(folder / "benchmarks", inputs, scored)
    return run(make_context(folder / "out", inputs, seeds=section, eval=scored))


def test_nothing_in_common_drops_nothing(tmp_path: Path) -> None:
    summary = guard(tmp_path, 0)
    assert (summary["seeds"], summary["dropped"], summary["allowed_leaks"]) == (6, 0, [])


def test_a_seed_that_is_evaluated_takes_all_with_it_that_was_made_from_it(tmp_path: Path) -> None:
    assert guard(tmp_path, 1)["by_task"] == {"seeded": 1}
    dropped = read_dropped_seeds(tmp_path / "out")
    assert dropped == {"seeded-0": "bench-0"}
    shown = candidate("Which?", seed_id="seeded-1", seed_ids=["seeded-0", "seeded-1"])
    rejection = check_seeds(shown, dropped)
    assert rejection is not None and rejection.match == "bench-0"
    assert check_seeds(candidate("Which?", seed_id="seeded-1", seed_ids=[]), dropped) is None


def test_a_split_with_too_many_evaluated_documents_is_refused_or_recorded(tmp_path: Path) -> None:
    with pytest.raises(LeakError, match="2 of the 6 documents of seeded are documents of an eval"):
        guard(tmp_path, 2)
    summary = guard(tmp_path, 2, allow_leaks=["seeded"])
    assert summary["dropped"] == 0
    assert summary["allowed_leaks"] == [
        {"task": "seeded", "reason": "2 of its documents are evaluated"}
    ]


def test_a_training_file_that_a_benchmark_elsewhere_evaluates_is_refused(tmp_path: Path) -> None:
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
    write_task(tmp_path / "own", "seeded")
    theirs = files(tmp_path / "own", "seeded", test="train")
    write_task(tmp_path / "other", "bench", dataset_kwargs=theirs)
    with pytest.raises(LeakError, match="is evaluated by bench"):
        compare(tmp_path)
