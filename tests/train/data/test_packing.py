"""Best fit: nothing cut, nothing lost, little padding."""

from __future__ import annotations

import random
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.packing import best_fit


def padding(lengths: list[int], capacity: int) -> float:
    held = len(best_fit(lengths, capacity)) * capacity
    return 1 - sum(lengths) / held


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40).flatmap(lambda c: st.tuples(st.just(c), st.lists(st.integers(1, c)))))
def test_every_document_is_whole_in_one_row(drawn: tuple[int, list[int]]) -> None:
    capacity, lengths = drawn
    rows = best_fit(lengths, capacity)
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[number] for number in row) <= capacity for row in rows)
    assert all(row == sorted(row) for row in rows)
    room = [capacity - sum(lengths[number] for number in row) for row in rows]
    longest = [max(lengths[number] for number in row) for row in rows]
    # A row was opened only for a document that fitted nowhere else.
    assert all(
        room[earlier] < longest[later] for later in range(len(rows)) for earlier in range(later)
    )


def test_the_tightest_row_is_taken() -> None:
    assert best_fit([6, 7, 3, 2], 10) == [[1, 2], [0, 3]]
    assert best_fit([6, 7, 4, 3], 10) == [[1, 3], [0, 2]]
    assert best_fit([6, 6, 4], 10) == [[0], [1, 2]]


def test_short_documents_leave_almost_no_padding() -> None:
    generator = random.Random(0)
    lengths = [min(2000, int(generator.lognormvariate(5, 0.6)) + 1) for _ in range(20_000)]
    begun = time.process_time()
    assert padding(lengths, 2048) < 0.001
    assert padding(lengths, 8192) < 0.004
    assert time.process_time() - begun < 1.5
