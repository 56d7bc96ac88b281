"""The page in real headless Chromium: quiet, alone, drawn, searchable, and usable when large."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval.report import build as report
from eval.report.comparison import CHOSEN_ARMS
from tests.eval.report.test_build import EVIL, make_artifacts
from tests.support import page_world
from tests.support.browser import Watch, open_browser

RATIOS, TASKS = [0.0, 0.1, 0.25, 0.5], ["day", "month", "opposite", "unit"]
LARGE_ARMS, LARGE_TASKS = 50, 30


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as found:
        yield found


def build(root: Path, ratios: list[float], tasks: list[str], seeds: list[int]) -> Path:
    recipe = page_world.make_recipe(ratios, seeds)
    evaluations = page_world.make_evaluations(root, recipe, tasks, 60, text=EVIL)
    deltas = page_world.make_deltas(recipe, evaluations)
    last = (
        f"synthetic={ratios[-1]},seed={seeds[0]}" if len(seeds) > 1 else f"synthetic={ratios[-1]}"
    )
    half = page_world.evaluation(root / "half", {task: [1, 0, 1] for task in tasks}, tokens=500_000)
    others = make_artifacts(root)
    others["train"] = page_world.make_train(root / "trained", recipe)
    return report.build(
        root / "report.html",
        recipe,
        [
            report.StageRow(f"train:{i}", "", "ab", 61.5, True, "runs/x", "2026-01-31T12:00:00Z")
            for i in range(20)
        ],
        deltas,
        evaluations=evaluations,
        checkpoints={last: [half]},
        **others,
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("small"), RATIOS, TASKS, [1, 2, 3])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ratios = [i / 100 for i in range(LARGE_ARMS + 1)]
    tasks = [f"task_{i:02d}" for i in range(LARGE_TASKS)]
    return build(tmp_path_factory.mktemp("large"), ratios, tasks, [1])


def load(browser: Any, path: Path, **options: Any) -> tuple[Any, Watch]:
    page = browser.new_page(**options)
    watch = Watch(page)
    page.goto(path.as_uri())
    page.wait_for_selector("#loss .main-svg")
    return page, watch


@pytest.fixture
def opened(browser: Any, small: Path) -> Iterator[tuple[Any, Watch]]:
    page, watch = load(browser, small)
    yield page, watch
    assert watch.problems == []
    page.close()


def visible(page: Any, selector: str) -> int:
    count: int = page.locator(f"{selector}:not([hidden])").count()
    return count


def settles(page: Any, selector: str, count: int) -> None:
    """Wait until so many nodes match; the page's policy forbids the driver's string predicates."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_count(count, timeout=20_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1600, 1280, 390])
def test_it_loads_quietly_alone_and_fits(
    browser: Any, small: Path, scheme: str, width: int
) -> None:
    page, watch = load(
        browser, small, color_scheme=scheme, viewport={"width": width, "height": 800}
    )
    assert watch.problems == [] and watch.outside == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("h1").inner_text() == "invented"
    page.close()


def test_verdicts_are_in_view_at_1280_and_tables_show_that_they_go_on(
    browser: Any, small: Path
) -> None:
    page, watch = load(browser, small, viewport={"width": 1280, "height": 800})
    page.locator("#deltas details summary").click()
    frame = page.locator(".wide:has(#delta-rows)")
    cell = page.locator("#delta-rows tbody tr:first-child td:nth-child(3)")
    edges = frame.bounding_box(), cell.bounding_box()
    assert edges[1]["x"] + edges[1]["width"] < edges[0]["x"] + edges[0]["width"]
    settles(page, ".wide.more-down:has(#delta-rows)", 1)
    page.evaluate("document.querySelector('.wide:has(#delta-rows)').scrollTo(0, 1e6)")
    settles(page, ".wide:not(.more-down):has(#delta-rows)", 1)
    assert watch.problems == []
    page.close()


def test_on_a_phone_the_task_stays_and_the_arms_scroll(browser: Any, small: Path) -> None:
    page, watch = load(browser, small, viewport={"width": 390, "height": 800})
    frame = page.locator("#deltas .wide.pinned").first
    settles(page, "#deltas .wide.pinned.more-right >> nth=0", 1)
    task, last = frame.locator("tbody th").first, frame.locator("tbody tr").first.locator("td").last
    before = task.bounding_box()["x"], last.bounding_box()["x"]
    frame.evaluate("frame => frame.scrollTo(1e6, 0)")
    assert task.bounding_box()["x"] == before[0] and last.bounding_box()["x"] < before[1]
    box = last.bounding_box()
    assert box["x"] > task.bounding_box()["x"] + task.bounding_box()["width"] - 1
    assert box["x"] + box["width"] <= 390
    assert watch.problems == []
    page.close()


def test_a_request_that_tries_to_leave_is_stopped(browser: Any, small: Path) -> None:
    page, watch = load(browser, small)
    left = page.evaluate("fetch('http://127.0.0.1:9/x').then(() => 'left', () => 'stopped')")
    assert left == "stopped"
    assert any("Content Security Policy" in problem for problem in watch.problems)
    page.close()


def test_every_chart_is_drawn_with_its_data(opened: tuple[Any, Watch]) -> None:
    page, _ = opened
    arms = len(RATIOS)
    marks = {
        "forest": ("path.point", arms * (len(TASKS) + 1)),
        "ratio": (".scatterlayer path.point", 3 * arms + arms),
        "loss": (".scatterlayer path.js-line", 3 * arms),
        "tokens": (".scatterlayer path.js-line", 1),
        "agreement_histogram": (".bars path", 1),
    }
    for name, (mark, count) in marks.items():
        found = page.locator(f"#{name} {mark}")
        assert found.count() >= count, name
        box = page.locator(f"#{name} .main-svg").first.bounding_box()
        assert box["width"] > 200 and box["height"] > 150, name
    assert page.locator("#forest .errorbar, #forest .errorbars path").count() >= arms


def test_no_text_of_the_data_became_markup(opened: tuple[Any, Watch]) -> None:
    page, watch = opened
    page.locator("#pair-items details summary").first.click()
    assert EVIL in page.locator("#pair-items details pre").first.inner_text()
    assert page.locator("#pair-items script, #item-list script").count() == 0
    assert watch.problems == []


def test_the_choice_of_arms_holds_for_table_and_figures(opened: tuple[Any, Watch]) -> None:
    page, _ = opened
    assert page.locator("#forest path.point").count() == len(RATIOS) * (len(TASKS) + 1)
    rows = len(TASKS) + 1
    page.locator("#deltas details summary").click()
    assert visible(page, "#delta-rows tbody tr") == rows * len(RATIOS)
    for value in ("synthetic=0.1", "synthetic=0.0"):
        page.locator(f"#arms input[value='{value}']").uncheck()
    assert visible(page, "#delta-rows tbody tr") == rows * 2
    assert page.locator("#forest path.point").count() == 2 * rows
    # The control stays in the figures of the arms: it is what they are read against.
    settles(page, "#loss .scatterlayer path.js-line", 3 * 3)


def test_task_search_and_verdict_filter_the_table(opened: tuple[Any, Watch]) -> None:
    page, _ = opened
    page.locator("#deltas details summary").click()
    page.fill("#task-search", "MON")
    settles(page, "#forest path.point", 4)
    assert visible(page, "#delta-rows tbody tr") == len(RATIOS)
    page.fill("#task-search", "")
    settles(page, "#forest path.point", 20)
    page.select_option("#verdict", "better")
    shown = page.locator("#delta-rows tbody tr:not([hidden]) td:nth-child(3)").all_inner_texts()
    assert shown and set(shown) == {"better"}
    assert page.inner_text("#delta-count").startswith(f"{len(shown)} of ")
    page.fill("#task-search", "no such task")
    settles(page, "#forest path.point", 0)


def test_other_figures_can_be_chosen(opened: tuple[Any, Watch]) -> None:
    page, _ = opened
    settles(page, "#ratio .ytitle:text-is('macro, score')", 1)
    page.select_option("select[data-plot=ratio]", label="unit")
    settles(page, "#ratio .ytitle:text-is('unit, score')", 1)
    page.select_option("select[data-plot=loss]", label="training, synthetic")
    settles(page, "#loss .scatterlayer path.js-line", 3 * (len(RATIOS) - 1))


def test_documents_fixed_and_broken_can_be_filtered(opened: tuple[Any, Watch]) -> None:
    page, _ = opened
    page.select_option("#pair", label="synthetic=0.5 - synthetic=0.0")
    cells = page.locator("#pair-counts tbody tr:has(th:text-is('day')) td").all_inner_texts()
    fixed = int(cells[1])
    page.select_option("#pair-task", "day")
    page.select_option("#pair-kind", "fixed")
    assert page.inner_text("#pair-count").startswith(f"{fixed} match")
    while page.locator("#pair-more").is_visible():
        page.click("#pair-more")
    assert page.locator("#pair-items details").count() == fixed > 0
    first = page.locator("#pair-items details").first
    assert "fixed in " in first.locator("summary").inner_text()
    first.locator("summary").click()
    assert first.locator("tbody tr").count() == 3
    page.select_option("#pair-kind", "broken")
    page.select_option("#pair-task", "")
    assert page.locator("#pair-items .tag.better").count() == 0
    page.fill("#pair-search", "nothing says this")
    settles(page, "#pair-items details", 0)


def test_items_are_searched_with_their_lineage(opened: tuple[Any, Watch]) -> None:
    page, _ = opened
    assert page.inner_text("#item-count") == "80 of 80"
    page.fill("#item-search", "toy:7.q0")
    settles(page, "#item-list details:not([hidden])", 2)
    assert page.locator("#item-list details:not([hidden])[data-fate=accepted]").count() == 1
    page.fill("#item-search", "TEACHER-7B")
    settles(page, "#item-list details:not([hidden])", 25)
    page.select_option("#item-fate", "agreement")
    assert page.locator("#item-list details:not([hidden])[data-fate=accepted]").count() == 0
    assert visible(page, "#item-list details") > 0


def test_tables_of_many_rows_have_a_search(opened: tuple[Any, Watch]) -> None:
    page, _ = opened
    page.fill("[data-rows=stage-rows]", "train:7")
    settles(page, "#stage-rows tbody tr:not([hidden])", 1)


def test_print_is_light_and_fits_the_paper(browser: Any, small: Path) -> None:
    page, watch = load(browser, small, color_scheme="dark")
    widths = page.evaluate(
        """() => new Promise(done => { addEventListener('beforeprint', () => done(
        [...document.querySelectorAll('.plot .main-svg')].map(svg => svg.clientWidth)));
        dispatchEvent(new Event('beforeprint')); })"""
    )
    assert widths and max(widths) <= 700
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    page.evaluate("() => { document.querySelector('.lead').innerText = 'word '.repeat(2000); }")
    is_whole = "(() => { const e = document.querySelector('.lead'); "
    is_whole += "return e.scrollHeight <= e.clientHeight + 1; })()"
    assert page.evaluate(is_whole)
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert watch.problems == []
    page.close()


def test_every_field_has_a_label_and_every_figure_a_name(opened: tuple[Any, Watch]) -> None:
    page, _ = opened
    unnamed = page.evaluate(
        """[...document.querySelectorAll('input, select')].filter(f => !f.labels.length).length
        + [...document.querySelectorAll('.plot')].filter(p => !p.ariaLabel).length
        + [...document.querySelectorAll('main th')].filter(h => !h.scope).length"""
    )
    assert unnamed == 0


def test_fifty_arms_and_thirty_tasks_stay_usable(browser: Any, large: Path) -> None:
    page, watch = load(browser, large)
    page.wait_for_selector("#map .hm")
    chosen = page.locator("#arms input:checked")
    assert chosen.count() == CHOSEN_ARMS
    rows = LARGE_TASKS + 1
    assert visible(page, "#delta-rows tbody tr") == CHOSEN_ARMS * rows
    assert page.locator("#forest path.point").count() == CHOSEN_ARMS * rows
    page.fill("#arm-search", "synthetic=0.4")
    assert page.locator("#arms .pool label:visible").count() == 10
    page.click("button[data-arms=none]")
    page.fill("#arm-search", "")
    page.click("button[data-arms=all]")
    assert visible(page, "#delta-rows tbody tr") == (LARGE_ARMS + 1) * rows
    page.fill("#task-search", "task_07")
    settles(page, "#forest path.point", LARGE_ARMS + 1)
    assert visible(page, "#delta-rows tbody tr") == LARGE_ARMS + 1
    assert watch.problems == [] and watch.outside == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()
