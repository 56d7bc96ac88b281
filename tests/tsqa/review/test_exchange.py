"""A sample goes out and comes back as decisions, or is refused by name."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.review_world import is_wrong, make_filtered
from tsqa.errors import DataError
from tsqa.review import exchange
from tsqa.review.decisions import Log, make_decision, read_decisions, read_last
from tsqa.review.exchange import Imported
from tsqa.review.items import ReviewItem
from tsqa.review.sample import Wanted, draw, write_sample

HOSTILE = '\n=1+1,"quoted"; <b>\u00e9\U0001f600'
NEW = "=SUM(A1) of a rope?"


@pytest.fixture
def items(tmp_path: Path) -> list[ReviewItem]:
    filtered, generated = make_filtered(tmp_path, accepted=40, rejected=9, text=HOSTILE)
    sample, found = draw(filtered, generated, "r", 3, Wanted(0.5, 0.1, 2))
    write_sample(tmp_path, sample, found)
    return found


def rewrite_csv(path: Path, change: Callable[[int, dict[str, str]], None]) -> None:
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    for number, row in enumerate(rows):
        change(number, row)
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])  # with \\r\\n, as spreadsheets write
        writer.writeheader()
        writer.writerows(rows)


def decide_csv(path: Path, items: list[ReviewItem]) -> None:
    def change(number: int, row: dict[str, str]) -> None:
        row |= {"reviewer": "ann", "choice": "reject" if is_wrong(items[number]) else "Accept"}
        row["reason"] = "wrong answer"
        if number == 0:
            row |= {"choice": "edit", "new_question": "'" + NEW}
        if number == 1:
            row |= {"choice": "", "reason": ""}

    rewrite_csv(path, change)


def decide_argilla(path: Path, items: list[ReviewItem]) -> None:
    records = json.loads(path.read_text())
    for number, record in enumerate(records):
        record["_server_id"] = "x"
        choice = "reject" if is_wrong(items[number]) else "accept"
        said = {"choice": choice, "reason": "wrong answer"}
        if number == 0:
            said |= {"choice": "edit", "new_question": NEW}
        status = "draft" if number == 1 else "submitted"
        answer = {"user_id": "ann", "status": status}
        record["responses"] = {
            q: [{"question_name": q, "value": v, **answer}] for q, v in said.items()
        }
    path.write_text(json.dumps(records))


def decide_studio(path: Path, items: list[ReviewItem]) -> None:
    tasks = json.loads(path.read_text())
    for number, task in enumerate(tasks):
        choice = "reject" if is_wrong(items[number]) else "accept"
        texts = {"reason": "wrong answer"}
        if number == 0:
            choice, texts["new_question"] = "edit", NEW
        result: list[dict[str, Any]] = [
            {"from_name": n, "to_name": "q", "type": "textarea", "value": {"text": [text]}}
            for n, text in texts.items()
        ]
        chosen = {"choices": [choice]}
        result.append({"from_name": "choice", "to_name": "q", "type": "choices", "value": chosen})
        made: dict[str, Any] = {"completed_by": {"id": 1, "email": "ann"}, "result": result}
        made |= {"created_at": "2020-01-01T01:00:00.5+01:00", "was_cancelled": number == 1}
        task |= {"id": number, "annotations": [made], "predictions": []}
    path.write_text(json.dumps(tasks))


DECIDE = {"csv": decide_csv, "argilla": decide_argilla, "label-studio": decide_studio}


@pytest.mark.parametrize("format", exchange.FORMATS)
def test_decisions_come_back(format: str, tmp_path: Path, items: list[ReviewItem]) -> None:
    path = tmp_path / "out"
    assert exchange.write(tmp_path, path, format) == len(items)
    DECIDE[format](path, items)
    read = exchange.read(tmp_path, path, format)
    assert read.new == len(items) - (format != "label-studio"), "an empty choice is none"
    found = {decision.item: decision for decision in read_decisions(tmp_path)}
    assert len(found) == len(items) - 1 and {d.reviewer for d in found.values()} == {"ann"}
    assert found[items[0].id].edits == {"question": NEW}
    for item in items[2:]:
        assert found[item.id].choice == ("reject" if is_wrong(item) else "accept")
        assert found[item.id].reason == "wrong answer"
    if format == "label-studio":
        assert found[items[2].id].when == "2020-01-01T00:00:00Z"
    assert exchange.read(tmp_path, path, format) == Imported(0, 0), "read twice, counted once"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": "toy:no.q0"}, "'toy:no.q0': no item of the sample"),
        ({"hash": "0"}, "of another text"),
        ({"question": "Which?"}, "the text of question was changed"),
        ({"votes": "", "passage": "more"}, "the text of passage was changed"),
        ({"choice": "perhaps"}, "'perhaps' is no decision"),
        ({"choice": "reject", "reason": ""}, "rejected without a reason"),
        ({"reviewer": ""}, "give a name"),
        ({"reviewer": "Ann"}, "reviewer 'Ann': there is 'ann'"),
        ({"new_answer": "7"}, "new_answer, but the choice is accept"),
        ({"choice": "", "new_answer": "7"}, "new_answer, but the choice is empty"),
        ({"choice": "", "reason": "wrong answer"}, "a reason, but no choice"),
        ({"when": "31.1.2026"}, "no time with its zone"),
        ({"when": "2026-01-31T12:00:00"}, "no time with its zone"),
        ({"when": "2999-01-01T00:00:00Z"}, "nobody decided then"),
        ({"when": "0001-01-01T00:00:00+14:00"}, "nobody decided then"),
    ],
)
def test_what_does_not_fit_is_refused_whole(
    tmp_path: Path, items: list[ReviewItem], change: dict[str, str], problem: str
) -> None:
    path = tmp_path / "out.csv"
    exchange.write(tmp_path, path, "csv")

    def last(number: int, row: dict[str, str]) -> None:
        row |= {"reviewer": "ann", "choice": "accept"}
        if number == len(items) - 1:
            row |= change

    rewrite_csv(path, last)
    with pytest.raises(DataError, match=problem):
        exchange.read(tmp_path, path, "csv")
    assert read_decisions(tmp_path) == []


def test_annotations_of_nobody_are_not_one_person(tmp_path: Path, items: list[ReviewItem]) -> None:
    path = tmp_path / "out.json"
    exchange.write(tmp_path, path, "label-studio")
    tasks = json.loads(path.read_text())
    chosen = {"result": [{"from_name": "choice", "value": {"choices": ["accept"]}}]}
    for by in ({}, {"completed_by": {"id": None}}):
        tasks[0]["annotations"] = [chosen | by]
        path.write_text(json.dumps(tasks))
        with pytest.raises(DataError, match="give a name"):
            exchange.read(tmp_path, path, "label-studio")


def test_what_label_studio_exports_is_read(tmp_path: Path, items: list[ReviewItem]) -> None:
    """The form of Label Studio 1.23: users are numbers, drafts stand beside annotations."""
    path = tmp_path / "out.json"
    exchange.write(tmp_path, path, "label-studio")
    tasks = json.loads(path.read_text())
    region = {"from_name": "choice", "to_name": "question", "type": "choices"}
    accepted = [region | {"value": {"choices": ["accept"]}}]
    made: dict[str, Any] = {"id": 6, "completed_by": 1, "was_cancelled": False}
    made |= {"created_at": "2020-01-01T00:00:00.734210Z", "updated_at": None, "prediction": {}}
    for number, task in enumerate(tasks):
        task |= {"id": number + 14, "annotations": [], "drafts": [], "predictions": [], "meta": {}}
    tasks[0]["annotations"] = [made | {"result": accepted}]
    tasks[1]["annotations"] = [made | {"result": [], "was_cancelled": True}]
    tasks[2]["drafts"] = [{"id": 1, "user": "ann@example.org", "result": accepted}]
    path.write_text(json.dumps(tasks))
    assert exchange.read(tmp_path, path, "label-studio").new == 2
    found = {each.item: each for each in read_last(tmp_path)}
    assert {item: each.choice for item, each in found.items()} == {
        items[0].id: "accept",
        items[1].id: "skip",
    }
    assert found[items[0].id].reviewer == "1"


def test_answers_of_argilla_count_by_their_status(tmp_path: Path, items: list[ReviewItem]) -> None:
    path = tmp_path / "out.json"
    exchange.write(tmp_path, path, "argilla")
    records = json.loads(path.read_text())
    choice: dict[str, str] = {"question_name": "choice", "value": "accept", "user_id": "ann"}
    records[0]["responses"] = {"choice": [choice | {"status": "discarded"}]}
    records[1]["responses"] = {"choice": [choice | {"status": "draft"}]}
    path.write_text(json.dumps(records))
    assert exchange.read(tmp_path, path, "argilla").new == 1
    (skipped,) = read_last(tmp_path)
    assert (skipped.item, skipped.choice) == (items[0].id, "skip")
    records[2]["responses"] = {"choice": [choice]}  # as to_json writes it, submitted or not
    path.write_text(json.dumps(records))
    with pytest.raises(DataError, match="without a status"):
        exchange.read(tmp_path, path, "argilla")


def test_no_cell_is_a_formula(tmp_path: Path, items: list[ReviewItem]) -> None:
    path = tmp_path / "out.csv"
    exchange.write(tmp_path, path, "csv")
    rewrite_csv(path, lambda number, row: None)
    with path.open(newline="", encoding="utf-8-sig") as handle:
        cells = [cell for row in csv.DictReader(handle) for cell in row.values()]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@")]


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("csv", "id,hash\na,b\n"),
        ("csv", "id,hash,reviewer,choice,choice\n"),
        ("argilla", "{}"),
        ("label-studio", '[{"id": 1}]'),
        ("xml", ""),
    ],
)
def test_another_format_is_named(
    tmp_path: Path, items: list[ReviewItem], format: str, text: str
) -> None:
    (tmp_path / "in").write_text(text)
    with pytest.raises(DataError, match=format):
        exchange.read(tmp_path, tmp_path / "in", format)


def test_files_of_spreadsheets_are_read(tmp_path: Path, items: list[ReviewItem]) -> None:
    """Excel leaves out empty cells at the end of a line, and has semicolons in half of the world;
    columns are deleted, rows sorted and copied."""
    path = tmp_path / "out.csv"
    exchange.write(tmp_path, path, "csv")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf"), "or Excel takes it for another encoding"
    rewrite_csv(path, lambda number, row: row.update(reviewer="ann", choice="accept"))
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    for delimiter in (";", "\t", ","):
        kept = ["choice", "votes", "question", "hash", "id", "reviewer", "reason", "new_answer"]
        lines = io.StringIO(newline="")
        writer = csv.writer(lines, delimiter=delimiter)
        writer.writerow(kept)
        for row in [*rows[::-1], rows[0]]:
            writer.writerow([row[name] for name in kept[:-2]])
        path.write_text("\ufeff" + lines.getvalue(), newline="")
        exchange.read(tmp_path, path, "csv")
        assert len(read_decisions(tmp_path)) == len(items)
        shutil.rmtree(tmp_path / "decisions")
    path.write_text(lines.getvalue().rstrip(), newline="")
    with pytest.raises(DataError, match="the file ends early"):
        exchange.read(tmp_path, path, "csv")
    path.write_text(lines.getvalue().replace("ann", "ann,,,"), newline="")
    with pytest.raises(DataError, match="more cells than the header"):
        exchange.read(tmp_path, path, "csv")


def test_a_person_does_not_decide_twice(tmp_path: Path, items: list[ReviewItem]) -> None:
    path = tmp_path / "out.json"
    exchange.write(tmp_path, path, "label-studio")
    tasks = json.loads(path.read_text())
    times = ("2020-01-01T00:00:00Z", "2020-01-01T00:00:01Z")

    def said(choice: str, when: str) -> dict[str, Any]:
        result = [{"from_name": "choice", "value": {"choices": [choice]}}]
        return {"completed_by": 1, "result": result, "created_at": when}

    tasks[0]["annotations"] = [said("skip", times[1]), said("accept", times[0])]
    path.write_text(json.dumps(tasks))
    assert exchange.read(tmp_path, path, "label-studio").new == 1
    assert [each.choice for each in read_last(tmp_path)] == ["skip"], "the later one"
    tasks[0]["annotations"] = [said("skip", times[1]), said("accept", times[1])]
    path.write_text(json.dumps(tasks))
    with pytest.raises(DataError, match="1 decides twice, and not alike"):
        exchange.read(tmp_path, path, "label-studio")


def test_a_file_replaces_no_later_decision(tmp_path: Path, items: list[ReviewItem]) -> None:
    """Decided in a file, then otherwise on the page, and only then is the file read."""
    path, log = tmp_path / "out.csv", Log(tmp_path)
    exchange.write(tmp_path, path, "csv")

    def on_page(place: int, choice: str, when: str) -> None:
        log.add(make_decision(items[place], "ann", choice, "other", when=when))

    def said(number: int, row: dict[str, str]) -> None:
        if number in times:
            row |= {"reviewer": "ann", "choice": "accept", "when": times[number]}

    def choices() -> dict[str, str]:
        return {each.item: each.choice for each in read_last(tmp_path)}

    times = {0: "2020-01-31T13:00:00+01:00", 1: "2020-01-31T12:00:02Z", 2: ""}
    for place in (0, 1):
        on_page(place, "reject", "2020-01-31T12:00:01Z")
    rewrite_csv(path, said)
    assert exchange.read(tmp_path, path, "csv") == Imported(new=2, older=1)
    accepted = {items[1].id: "accept", items[2].id: "accept"}
    assert choices() == accepted | {items[0].id: "reject"}

    on_page(2, "reject", "")
    rejected = {items[0].id: "reject", items[1].id: "accept", items[2].id: "reject"}
    assert choices() == rejected
    assert exchange.read(tmp_path, path, "csv") == Imported(new=0, older=2)
    assert choices() == rejected, "read again, it does not undo what was decided since"

    times |= {3: ""}
    on_page(3, "reject", "2020-01-31T12:00:00Z")
    rewrite_csv(path, said)
    with pytest.raises(DataError, match="accept without a time, and reject at 2020-01-31T12"):
        exchange.read(tmp_path, path, "csv")
    assert choices() == rejected | {items[3].id: "reject"}


def test_a_cell_of_any_length_comes_back(tmp_path: Path) -> None:
    filtered, generated = make_filtered(tmp_path, accepted=4, rejected=0, text="a " * 70_000)
    sample, found = draw(filtered, generated, "r", 3, Wanted(0.9, 0.1, 2))
    write_sample(tmp_path, sample, found)
    path = tmp_path / "out.csv"
    exchange.write(tmp_path, path, "csv")
    usual = csv.field_size_limit(1 << 20)
    rewrite_csv(path, lambda number, row: row.update(reviewer="ann", choice="accept"))
    csv.field_size_limit(usual)
    assert exchange.read(tmp_path, path, "csv").new == len(found)
    assert csv.field_size_limit() == usual
