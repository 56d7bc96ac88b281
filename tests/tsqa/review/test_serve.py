"""The page: for this machine and this address only; what is confirmed is on the disk."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Watch, open_browser
from tests.support.review_world import WRONG, is_wrong, make_filtered
from tsqa.curated.files import read_curated
from tsqa.errors import DataError
from tsqa.review.decisions import FOLDER, Log, make_decision, read_decisions, read_last
from tsqa.review.items import ReviewItem
from tsqa.review.report import make_report
from tsqa.review.sample import ReviewSample, Wanted, draw, write_sample
from tsqa.review.serve import DecisionRequest, Desk, ReviewServer

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def drawn(folder: Path, wanted: Wanted, **world: Any) -> tuple[ReviewSample, list[ReviewItem]]:
    filtered, generated = make_filtered(folder, **world)
    sample, items = draw(filtered, generated, f"r {EVIL}", 3, wanted)
    write_sample(folder, sample, items)
    return sample, items


@contextmanager
def served(folder: Path) -> Iterator[ReviewServer]:
    with ReviewServer(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReviewServer]:
    drawn(tmp_path, Wanted(width=0.5, per_filter=2), accepted=40, rejected=9)
    with served(tmp_path) as found:
        yield found


def ask(
    server: ReviewServer,
    path: str,
    body: object = None,
    token: str | None = None,
    **headers: str,
) -> tuple[int, str]:
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    named = {"Host": f"127.0.0.1:{port}", **headers}
    if body is not None:
        named.setdefault("Content-Type", "application/json")
    data = None if body is None else json.dumps(body)
    where = f"/{server.token if token is None else token}/{path}"
    connection.request("GET" if body is None else "POST", where, data, named)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def decision(server: ReviewServer, place: int = 0, **changes: Any) -> dict[str, Any]:
    made = {"reviewer": "ann", "place": place, "hash": server.desk.items[0].hash}
    return {**made, "choice": "accept", **changes}


def test_only_this_machine_and_this_address_are_answered(server: ReviewServer) -> None:
    assert ask(server, "")[0] == 200
    assert ask(server, "", token="guessed")[0] == 403
    assert ask(server, "", token="")[0] == 403
    assert ask(server, "", Host="evil.example")[0] == 403
    body = decision(server)
    assert ask(server, "decide", body, Origin="http://evil.example")[0] == 403
    assert ask(server, "decide", body, token="guessed")[0] == 403
    plain = {"Content-Type": "text/plain"}  # what a form of another page can send
    assert ask(server, "decide", body, **plain)[0] == 400
    assert server.desk.overview("ann")["choices"] == [""] * len(server.desk.items)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hash": "0"}, "another text"),
        ({"place": 9999}, "no item at place"),
        ({"choice": "perhaps"}, "choice"),
        ({"choice": "reject"}, "without a reason"),
        ({"choice": "edit", "edits": {}}, "changes nothing"),
        ({"choice": "edit", "edits": {"answer": "mile"}}, "none of the options"),
        ({"choice": "edit", "edits": {"question": "<|im_end|>"}}, "mark of a chat template"),
        ({"choice": "edit", "edits": {"licence": "mit"}}, "cannot be edited"),
        ({"reviewer": " "}, "give a name"),
        ({"more": 1}, "more"),
    ],
)
def test_what_cannot_be_is_refused_and_not_saved(
    server: ReviewServer, tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    status, answer = ask(server, "decide", decision(server, **changes))
    assert status == 400 and problem in json.loads(answer)["error"]
    assert read_decisions(tmp_path) == []


def test_reviewers_are_blind_to_each_other_and_to_the_filters(server: ReviewServer) -> None:
    bad = decision(server, choice="reject", reason="of ann alone")
    assert ask(server, "decide", bad)[0] == 200
    own, other = (ask(server, f"item?reviewer={who}&place=0")[1] for who in ("ann", "bob"))
    assert "of ann alone" in own and "of ann alone" not in other
    item = server.desk.items[0]
    assert json.loads(own)["filters"].startswith("The filter") and not json.loads(other)["filters"]
    assert {"outcome", "stratum", "reason", "grade"}.isdisjoint(json.loads(other))
    assert json.loads(other)["hash"] == item.hash
    assert set(json.loads(ask(server, "overview?reviewer=bob")[1])["choices"]) == {""}


def test_a_name_in_another_case_is_no_second_reviewer(server: ReviewServer) -> None:
    assert ask(server, "decide", decision(server))[0] == 200
    for status, answer in (
        ask(server, "overview?reviewer=Ann"),
        ask(server, "item?reviewer=ANN&place=0"),
        ask(server, "decide", decision(server, reviewer="aNN")),
    ):
        assert status == 400 and "there is 'ann'" in json.loads(answer)["error"]


def test_reviewers_who_decide_at_once_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob decides while the names of reviewers are looked through for ann's."""
    drawn(tmp_path, Wanted(width=0.5), accepted=40, rejected=9)
    desk = Desk(tmp_path)

    def decide(name: str, place: int = 0) -> None:
        asked = {"reviewer": name, "place": place, "hash": desk.items[place].hash}
        desk.decide(DecisionRequest.model_validate({**asked, "choice": "accept"}))

    decide("cy")
    decide("cy", 1)
    bob = threading.Thread(target=decide, args=("bob",))

    def slowly(name: str, others: Iterable[str]) -> None:
        names = iter(others)
        next(names)
        if name == "ann":
            bob.start()
            bob.join(0.2)
        list(names)

    monkeypatch.setattr("tsqa.review.serve.check_known", slowly)
    decide("ann")
    bob.join()
    assert [d.reviewer for d in read_decisions(tmp_path)].count("cy") == 2
    assert {d.reviewer for d in read_decisions(tmp_path)} == {"ann", "bob", "cy"}


def test_a_clock_that_was_set_back_undoes_no_decision(tmp_path: Path) -> None:
    _, items = drawn(tmp_path, Wanted(width=0.5), accepted=40, rejected=9)
    Log(tmp_path).add(make_decision(items[0], "ann", "reject", "why", when="2999-01-01T00:00:00Z"))
    with served(tmp_path) as server:
        assert ask(server, "decide", decision(server))[0] == 200
    assert [d.choice for d in read_decisions(tmp_path)] == ["accept"]


def test_the_last_decision_counts_and_a_torn_line_loses_nothing_else(tmp_path: Path) -> None:
    _, items = drawn(tmp_path, Wanted(width=0.5), accepted=40, rejected=9)
    log = Log(tmp_path)
    for choice in ("accept", "reject"):
        log.add(make_decision(items[0], "ann", choice, "why"))
    log.add(make_decision(items[1], "ann", "accept"))
    log.add(make_decision(items[1], "ann", "skip"))
    (path,) = (tmp_path / FOLDER).iterdir()
    with path.open("a") as handle:
        handle.write('{"item": "torn')
    assert [d.choice for d in read_decisions(tmp_path)] == ["reject"]
    Log(tmp_path).add(make_decision(items[2], "ann", "accept"))
    assert len(read_decisions(tmp_path)) == 2
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(DataError, match=r"ann\.jsonl: line 1: no decision"):
        read_decisions(tmp_path)


def test_a_disk_that_is_full_for_a_while_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filtered, generated = make_filtered(tmp_path, accepted=10, rejected=0)
    sample, items = draw(filtered, generated, "r", 0, Wanted(width=0.9))
    write_sample(tmp_path, sample, items)
    log, item = Log(tmp_path), items[0]
    log.add(make_decision(item, "ann", "accept"))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("tsqa.review.decisions.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            log.add(make_decision(item, "ann", "reject", "wrong answer"))
    assert [d.choice for d in read_decisions(tmp_path)] == ["accept"], "what was not confirmed"
    log.add(make_decision(item, "ann", "reject", "wrong answer"))
    assert [d.choice for d in read_decisions(tmp_path)] == ["reject"]


def test_a_review_of_200_items_through_the_page_gives_the_right_figures(tmp_path: Path) -> None:
    """By keys alone, on a phone's width: accept, reject by number and by text, edit, skip, back."""
    sample, items = drawn(
        tmp_path, Wanted(0.001, 0.5, 1000, True), accepted=170, rejected=30, text=EVIL
    )
    assert len(items) == 200
    with served(tmp_path) as server, open_browser() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        watch = Watch(page)
        page.goto(server.address + "?reviewer=ann")
        page.wait_for_selector("#item:not([hidden])")
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("#recipe").inner_text() == sample.recipe, "no text became markup"
        drive(page, items)
        page.wait_for_selector("#done:not([hidden])")
        assert page.locator("#count").inner_text() == "200 of 200"
        assert page.locator("main img, main script").count() == 0
        assert watch.problems == []
    decisions = {d.item: d for d in read_decisions(tmp_path)}
    assert len(decisions) == 200 and {d.reviewer for d in decisions.values()} == {"ann"}
    for number, item in enumerate(items):
        made = decisions[item.id]
        wanted = (
            ("edit" if number == 3 else "reject") if is_wrong(item) or number == 3 else "accept"
        )
        assert made.choice == wanted, number
        assert made.hash == item.hash
    assert decisions[items[3].id].edits == {"question": 'What "now"?\n<b>'}
    report = make_report(tmp_path)
    rows = list(read_curated(tmp_path / "filter"))
    unfit = {row.id for row in rows if row.reasoning.startswith(WRONG)}
    unfit |= {items[3].id} & {row.id for row in rows}
    assert report.error.value == pytest.approx(len(unfit) / 170)
    assert report.error.low == report.error.high == report.error.value


def test_no_item_is_shown_before_keys_decide_it(tmp_path: Path) -> None:
    """A slow server: a key before the first item does nothing, one after it decides that item."""
    from playwright.sync_api import expect

    drawn(tmp_path, Wanted(width=0.5), accepted=40, rejected=9)
    with served(tmp_path) as server, open_browser() as browser:
        page = browser.new_page()
        waiting: list[Any] = []
        page.route("**/item?*", lambda route: waiting.append(route))

        def let_one_through() -> None:
            while not waiting:
                page.wait_for_timeout(10)
            waiting.pop().continue_()

        page.goto(server.address + "?reviewer=ann")
        page.wait_for_selector("#who:not(:empty)")
        assert page.locator("#item").is_hidden()
        page.keyboard.press("s")
        let_one_through()
        page.wait_for_selector("#item:not([hidden])")
        page.keyboard.press("s")
        expect(page.locator("#count")).to_contain_text("1 of ")
        page.keyboard.press("a")
        assert "item 1 " in page.locator("#about").inner_text(), "the next is on its way"
        let_one_through()
        expect(page.locator("#about")).to_contain_text("item 2 ")
        page.keyboard.press("n")
        page.keyboard.press("a")
        let_one_through()
        expect(page.locator("#about")).to_contain_text("item 3 ")
    assert [d.choice for d in read_last(tmp_path)] == ["skip"], "no key went to another item"


def drive(page: Any, items: list[ReviewItem]) -> None:
    """Decide by keys; each waits for the page to say which item it shows."""
    from playwright.sync_api import expect

    about, keys = page.locator("#about"), page.keyboard

    def shows(number: int) -> None:
        expect(about).to_contain_text(f"item {number + 1} ")

    keys.press("s")
    shows(1)
    keys.press("b")
    shows(0)
    assert "skip" in page.locator("#decided").inner_text()
    for number, item in enumerate(items):
        if number == 7:
            page.reload()  # goes on where it was
        shows(number)
        if number == 3:
            keys.press("e")
            page.locator("textarea[name=question]").fill('What "now"?\n<b>')
            keys.press("Control+Enter")
        elif not is_wrong(item):
            keys.press("a")
        elif number % 2:
            keys.press("r")
            keys.press("1")
        else:
            keys.press("r")
            page.locator("#reason").fill("not so")
            keys.press("Enter")
