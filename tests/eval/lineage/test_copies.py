"""Documents that share something are found together, however many they are."""

from __future__ import annotations

import time

from eval.lineage.copies import Copies


def test_what_shares_a_hash_is_found_through_others_in_time_that_grows_with_it() -> None:
    hashes = {(task, number): f"h{number}" for task in "ab" for number in range(3)}
    copies = Copies([], hashes)
    assert copies.of([("a", 1)]) == {("a", 1), ("b", 1)}
    assert copies.of([("c", 7)]) == {("c", 7)}

    many = Copies([], {("a", number): "same" for number in range(20_000)})
    start = time.process_time()
    assert len(many.of([("a", 5)])) == 20_000  # each names all others: 4e8 steps, one by one
    assert time.process_time() - start < 2
