"""Promises of the draw: decided by the seed, every stratum counted, the size as wanted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.review_world import make_filtered
from tsqa.errors import DataError
from tsqa.review.estimate import needed_for_width
from tsqa.review.items import ACCEPTED
from tsqa.review.sample import ITEMS, Cell, Wanted, allocate, draw, read_sample, write_sample


def test_strata_count_what_they_stand_for_and_the_seed_decides(tmp_path: Path) -> None:
    filtered, generated = make_filtered(tmp_path)
    wanted = Wanted(width=0.15, per_filter=8)
    sample, items = draw(filtered, generated, "r", 3, wanted)
    assert sample.accepted == 400 and sample.unreadable == 1
    rejected = {s.outcome: s.size for s in sample.strata if s.outcome != ACCEPTED}
    assert rejected == {"agreement": 20, "copy": 20, "judge": 20}
    assert sum(item.outcome == ACCEPTED for item in items) >= needed_for_width(0.15, 0.1)
    strata = {(s.task, s.capability, s.agreement) for s in sample.strata if s.outcome == ACCEPTED}
    assert strata == {(t, f"of {t}", band) for t in "ab" for band in ("all", "some")}
    assert Counter(item.stratum for item in items) == {
        place: stratum.drawn for place, stratum in enumerate(sample.strata)
    }
    assert all(item.votes for item in items), "votes come from the candidates"
    again = draw(filtered, generated, "r", 3, wanted)
    assert again == (sample, items)
    assert {i.id for i in draw(filtered, generated, "r", 4, wanted)[1]} != {i.id for i in items}


def test_a_larger_sample_holds_the_smaller_one(tmp_path: Path) -> None:
    filtered, _ = make_filtered(tmp_path)
    small, large = (
        {i.id for i in draw(filtered, None, "r", 3, Wanted(width=w, per_filter=n))[1]}
        for w, n in ((0.2, 5), (0.1, 10))
    )
    assert small < large


def test_small_strata_are_merged_and_draw_two() -> None:
    sizes = {Cell(ACCEPTED, "big", "c", "all"): 5000}
    sizes |= {Cell(ACCEPTED, f"t{n}", "c", "all"): 3 for n in range(40)}
    drawn = allocate(sizes, Wanted(width=0.1))
    assert [cell.task for cell in drawn] == ["(others)", "big"]
    assert min(drawn.values()) >= 2


def test_no_rejected_items_are_drawn_where_none_are_wanted() -> None:
    cells = {Cell(ACCEPTED, "a", "b", "all"): 50, Cell("judge", "a", "b", "all"): 9}
    drawn = allocate(cells, Wanted(per_filter=0))
    assert {cell.outcome: count for cell, count in drawn.items()}["judge"] == 0


def test_a_kill_between_its_two_files_leaves_no_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never the counts of one draw with the items of another."""
    filtered, generated = make_filtered(tmp_path, accepted=20, rejected=0)
    drawn = draw(filtered, generated, "r", 0, Wanted(width=0.9))
    write_sample(tmp_path, *drawn)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tsqa.review.sample.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, *drawn)
    with pytest.raises(DataError, match="no sample\n  fix: draw one: tsqa review"):
        read_sample(tmp_path)


def test_a_sample_comes_back_as_written_or_not_at_all(tmp_path: Path) -> None:
    filtered, generated = make_filtered(tmp_path, text='<b>"\u2028\U0001f600')
    sample, items = draw(filtered, generated, "r", 0, Wanted(width=0.3))
    write_sample(tmp_path, sample, items)
    assert read_sample(tmp_path) == (sample, items)
    lines = (tmp_path / ITEMS).read_text().splitlines(keepends=True)
    (tmp_path / ITEMS).write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match="are not those"):
        read_sample(tmp_path)
