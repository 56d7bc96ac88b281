"""Tasks over the same documents: their average is as sure as one of them, not surer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from eval.deltas import Delta
from eval.statistics import stats
from eval.statistics.blocks import block_sums, block_units, blocks_of
from eval.statistics.crossed import Floats
from eval.statistics.paired import Scored, compare_models


def scored(values: Iterable[float], first: int = 0, group: str | None = None) -> Scored:
    rows = [((i, f"h{first + i}"), float(value), group) for i, value in enumerate(values)]
    return Scored.of(rows, "t")


def macro(before: list[dict[str, Scored]], after: list[dict[str, Scored]]) -> Delta:
    tested = compare_models(before, after, label="x", bootstrap=1000, confidence=0.95, seed=0)
    rows = [row.delta for row in tested]
    return next(row for row in rows if row.task == stats.MACRO)


def two_prompts(values: Floats, apart: int = 0) -> dict[str, Scored]:
    """One benchmark under two prompts that score alike; `apart`: as if of other documents."""
    return {"t": scored(values), "u": scored(values, apart)}


@pytest.mark.parametrize("seeds", [1, 3])
def test_two_prompts_over_one_benchmark_are_one_sample(seeds: int) -> None:
    rng = np.random.default_rng(4)
    a = rng.integers(0, 2, 300).astype(float)
    b = np.where(rng.random(300) < 0.3, 1 - a, a)
    widths = []
    for apart in (0, 1000):
        before, after = ([two_prompts(values, apart)] * seeds for values in (a, b))
        row = macro(before, after)
        widths.append(row.high - row.low)
    assert widths[0] == pytest.approx(np.sqrt(2) * widths[1], rel=0.1)


def test_the_interval_of_their_average_holds_the_truth() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(100):
        a = rng.integers(0, 2, 200).astype(float)
        b = np.where(rng.random(200) < 0.3, 1 - a, a)
        row = macro([two_prompts(a)], [two_prompts(b)])
        held += row.low <= 0 <= row.high
    assert held >= 90  # 80 when taken for independent


def test_blocks_share_no_document_and_their_units_average_to_the_mean_of_the_tasks() -> None:
    clusters = {"a": ["1", "2"], "b": ["3"], "c": ["4", "2"], "d": ["4", "4", "5"]}
    assert blocks_of(clusters) == [["b"], ["a", "c", "d"]]
    rng = np.random.default_rng(6)
    block = ["a", "c", "d"]
    values = [rng.normal(size=(2, len(clusters[task]))) for task in block]
    named = [clusters[task] for task in block]
    for weights in ([1 / 3] * 3, [0.2, 0.3, 0.5]):
        expected = np.average([one.mean(axis=1) for one in values], axis=0, weights=weights)
        for units in (block_units(values, named, weights), block_sums(values, named, weights)):
            assert units.shape == (2, 4)
            assert units.mean(axis=1) == pytest.approx(expected)


def test_one_task_gives_the_units_of_its_groups() -> None:
    differences = np.random.default_rng(7).normal(size=(3, 9))
    groups = list("aabbbbccc")
    assert block_units([differences], [groups], [1.0]) == pytest.approx(
        stats.group_units(differences, groups)
    )


def test_a_task_of_one_document_leaves_its_block_unsure() -> None:
    before = {"a": scored([0]), "b": scored([0] * 500)}
    after = {"a": scored([1]), "b": scored([0] * 500)}
    row = macro([before], [after])
    assert row.low < 0 and row.p > 0.5 and row.stderr > 0.4


def test_passages_are_shared_and_documents_without_one_are_not_by_their_number() -> None:
    one, other = (
        Scored.of([((0, "h0"), 0.0, "document 0"), ((1, f"h{n}"), 1.0, "passage")], "t")
        for n in (1, 2)
    )
    assert one.clusters == other.clusters == ["h0", "passage"]
    third = Scored.of([((0, "h9"), 0.0, "document 0")], "t")
    assert blocks_of({"one": one.clusters, "third": third.clusters}) == [["one"], ["third"]]
