"""The figures of a review whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.review_world import is_wrong, make_filtered, review_all
from tsqa.curated.files import read_curated
from tsqa.review.calibrate import calibrate
from tsqa.review.decisions import FOLDER, Log, make_decision
from tsqa.review.items import ACCEPTED
from tsqa.review.report import make_report, read_reviewed, reviews_missing
from tsqa.review.sample import Wanted, draw, write_sample
from tsqa.review.show import print_report, write_report


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """All items drawn."""
    filtered, generated = make_filtered(tmp_path)
    sample, items = draw(filtered, generated, "<r>", 3, Wanted(0.001, 0.5, 1000, True))
    assert len(items) == 460
    write_sample(tmp_path, sample, items)
    review_all(tmp_path, items)
    return tmp_path


def test_a_full_review_gives_the_true_figures(whole: Path) -> None:
    report = make_report(whole)
    items = read_reviewed(whole)[0].items
    rows = list(read_curated(whole / "filter"))
    true = sum(row.reasoning.startswith("WRONG") for row in rows) / len(rows)
    error = report.error
    assert error.value == error.low == error.high == pytest.approx(true)
    assert report.covered == 1 and report.dropped == round(true * 400)
    assert report.remaining.high == 0, "what is wrong was dropped"
    rejected = [item for item in items if item.outcome != ACCEPTED]
    right = sum(not is_wrong(item) for item in rejected) / len(rejected)
    assert report.false_rejections.value == pytest.approx(right)
    rows_of = {row.step: row for row in report.filters}
    of_judge = [is_wrong(item) for item in items if item.outcome == "judge"]
    assert rows_of["judge"].precision.value == pytest.approx(sum(of_judge) / len(of_judge))
    left = sum(is_wrong(item) for item in items if item.outcome in (ACCEPTED, "judge"))
    recall = rows_of["judge"].recall
    assert recall is not None and recall.value == pytest.approx(sum(of_judge) / left)
    assert rows_of["copy"].recall is None and [*rows_of] == ["agreement", "copy", "judge"]
    assert report.reasons == {"wrong answer": sum(map(is_wrong, items))}
    figures = {each.about: each.value for each in report.figures()}
    assert figures["false rejections: fit, of what was rejected"] == pytest.approx(right)
    assert figures["recall of `judge`"] == recall.value and "recall of `copy`" not in figures
    assert sum(about.startswith("unfit, ") for about in figures) == sum(
        row.stratum.outcome == ACCEPTED for row in report.strata
    )


def test_a_partial_review_estimates_them(tmp_path: Path) -> None:
    filtered, generated = make_filtered(tmp_path, accepted=3000)
    sample, items = draw(filtered, generated, "r", 3, Wanted(width=0.06))
    write_sample(tmp_path, sample, items)
    for reviewer, slips in (("ann", 0.0), ("bob", 0.05), ("cy", 0.05)):
        review_all(tmp_path, items, reviewer, slips)
    report = make_report(tmp_path)
    rows = list(read_curated(filtered.path))
    true = sum(row.reasoning.startswith("WRONG") for row in rows) / len(rows)
    error, left = report.error, report.remaining
    assert error.low is not None and error.high is not None and error.value is not None
    assert error.low < true < error.high and error.high - error.low < 0.065
    assert left.high is not None and left.value is not None
    assert left.high < error.high and left.value < error.value
    assert report.reviewers == {name: len(items) for name in ("ann", "bob", "cy")}
    alpha = report.alpha
    assert alpha.low is not None and alpha.high is not None and alpha.value is not None
    assert 0.5 < alpha.low < alpha.value < alpha.high < 1
    strata = {(row.stratum.task, row.stratum.agreement): row.error for row in report.strata[:4]}
    assert strata["b", "some"].value > strata["a", "some"].value  # type: ignore[operator]


def test_how_many_more_is_said_and_suffices(tmp_path: Path) -> None:
    more = reviews_missing(10_000, 100, 0.02, 0.04)
    assert 100 < more < 1000
    assert reviews_missing(10_000, 100 + more, 0.02, 0.04) <= 1
    assert reviews_missing(500, 100, 0.3, 0.05) <= 400, "all of them at most"


def test_decisions_on_other_texts_are_counted_and_not_used(whole: Path) -> None:
    before = make_report(whole)
    log, item = Log(whole), read_reviewed(whole)[0].items[0]
    changed = make_decision(item, "ann", "accept").__class__(
        item=item.id, hash="other", reviewer="eve", choice="reject", reason="x", when="2030"
    )
    log.add(changed)
    after = make_report(whole)
    assert after.stale == 1 and after.error == before.error and "eve" not in after.reviewers


def test_thresholds_are_calibrated(whole: Path) -> None:
    curves = {curve.measure: curve for curve in calibrate(read_reviewed(whole)[0], 0.5)}
    points = curves["agreement"].points
    assert [round(point.threshold, 2) for point in points] == [0.67, 1.0]
    assert points[0].kept == 1 and points[1].kept == pytest.approx(134 / 400)
    assert curves["agreement"].line == "filter.agreement: 0.666"
    judged = curves["judge"].points
    assert [p.threshold for p in judged] == [3, 4] and judged[0].is_looser
    assert judged[0].kept == pytest.approx(420 / 400)
    assert judged[0].error.value > judged[1].error.value  # type: ignore[operator]
    assert not {c.line for c in calibrate(read_reviewed(whole)[0], 0.001)} - {""}


def test_the_page_holds_the_figures_escaped(whole: Path) -> None:
    path, report = write_report(whole, 0.2)
    page = path.read_text()
    assert "Review of &lt;r&gt;" in page and "<r>" not in page
    assert f"{report.error.value:.1%} (" in page and "filter.agreement: 0.666" in page
    assert "is shown to hold" in page


def test_what_was_skipped_counts_as_unfit_in_what_remains(whole: Path) -> None:
    reviewed = read_reviewed(whole)[0]
    item = next(i for i in reviewed.items if i.outcome == ACCEPTED and not is_wrong(i))
    log = whole / FOLDER / "ann.jsonl"
    lines = [line for line in log.read_text().splitlines() if json.loads(line)["item"] != item.id]
    log.write_text("\n".join(lines) + "\n")
    Log(whole).add(make_decision(item, "[/ann]", "skip"))
    report = make_report(whole)
    assert report.skipped == 1
    assert report.remaining.value == report.remaining.high == 1 / (400 - report.dropped)
    print_report(report)
    Log(whole).add(make_decision(item, "[/ann]", "accept"))
    assert make_report(whole).skipped == 0
    print_report(make_report(whole))


def test_a_bound_does_not_hold_while_a_stratum_has_no_decision(whole: Path) -> None:
    reviewed = read_reviewed(whole)[0]
    log = whole / FOLDER / "ann.jsonl"
    fit = [i for i in reviewed.items if i.stratum == 0 and i.outcome == ACCEPTED]
    assert fit
    gone = {i.id for i in fit}
    lines = [line for line in log.read_text().splitlines() if json.loads(line)["item"] not in gone]
    log.write_text("\n".join(lines) + "\n")
    page = write_report(whole, 0.9)[0].read_text()
    assert "is shown to hold" not in page and "until every stratum has a decision" in page
    rejects = [i for i in reviewed.items if i.outcome != ACCEPTED]
    log.unlink()
    review_all(whole, rejects)
    report = make_report(whole)
    assert report.lost.value is None, "nobody looked at the accepted"
    assert {row.recall.value for row in report.filters if row.recall} == {None}


def test_without_decisions_nothing_is_known(tmp_path: Path) -> None:
    filtered, generated = make_filtered(tmp_path, accepted=50, rejected=6)
    write_sample(tmp_path, *draw(filtered, generated, "r", 0, Wanted(width=0.5)))
    path, report = write_report(tmp_path, 0.05)
    assert report.error.value is None and report.covered == 0 and report.alpha.value is None
    assert "Nothing is reviewed yet" in path.read_text()
