"""The table itself: large enough, without doubles, and counted in tests/README.md."""

from __future__ import annotations

from collections import Counter

from tests.faults.count import KINDS, all_tries, table
from tests.faults.table import End
from tests.support.paths import REPOSITORY

README = REPOSITORY / "tests" / "README.md"


def test_the_table_is_counted_where_it_is_described() -> None:
    tries = all_tries()
    assert {attempt.kind for attempt in tries} == set(KINDS)
    assert sum(attempt.end is not End.FINE for attempt in tries) >= 1000
    doubles = [name for name, n in Counter(attempt.id for attempt in tries).items() if n > 1]
    assert not doubles
    assert table(tries) in README.read_text(encoding="utf-8"), (
        f"replace the table in {README} by the output of: python -m tests.faults.count"
    )
