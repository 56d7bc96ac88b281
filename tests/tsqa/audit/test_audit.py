"""The leak audit finds what is planted, where it stands, and continues to the same bytes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.audit_world import clean_text, documents_of, make_suite
from train.data import sources
from train.data.shards import Shard
from train.tokens import shard_work
from tsqa.audit.marking import mark
from tsqa.audit.run import Audit, audit_leaks, dry_run
from tsqa.audit.search import SearchTask
from tsqa.decontaminate.planted_leaks import plant_leak
from tsqa.errors import DataError, TsqaError
from tsqa.recipe import SourceSection

PLANTED = {7: ("north", 0), 90: ("north", 1), 91: ("south", 4), 200: ("south", 5)}
"""Row of the data -> the document in it; the last of each benchmark is the same text."""
ROWS = 240


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_suite(tmp_path_factory.mktemp("suite"), ["north", "south"], 6)


@pytest.fixture
def rows(suite: Path) -> list[dict[str, object]]:
    rng = random.Random(0)
    found: list[dict[str, object]] = []
    for number in range(ROWS):
        text = clean_text(rng)
        if number in PLANTED:
            name, which = PLANTED[number]
            leak = plant_leak(documents_of(suite, name)[which], "html")
            assert leak is not None
            text = f"{text} {leak.full_text} {clean_text(rng)}"
        found.append({"id": f"r{number}", "text": text})
    return found


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def audit_of(path: Path, suite: Path, out: Path, **options: str) -> Audit:
    return Audit(SourceSection.model_validate({"path": str(path), **options}), str(suite), out, 1)


def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sources, shard_work):
        monkeypatch.setattr(module, "SHARD_BYTES", 20_000)


def test_what_is_planted_is_found_with_its_place_and_shown_marked(
    tmp_path: Path, suite: Path, rows: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    report = audit_leaks(audit_of(write(tmp_path / "a.jsonl", rows), suite, tmp_path / "out"))
    assert report is not None
    leaks = [json.loads(line) for line in (tmp_path / "out/leaks.jsonl").open()]
    assert [(leak["id"], leak["line"], leak["document"]) for leak in leaks] == [
        ("r7", 8, "north-0"),
        ("r90", 91, "north-1"),
        ("r91", 92, "south-4"),
        ("r200", 201, "north-5"),
        ("r200", 201, "south-5"),
    ], "what two benchmarks hold counts for both"
    assert report.rows.leaking == len(PLANTED) and report.rows.documents == ROWS
    north, south = report.benchmarks
    assert (north.found, north.rows, north.evaluated) == (3, 3, 6)
    assert {rule.rule: rule.found for rule in north.rules} == {"item": 1, "ngram": 2}
    assert (south.found, south.rows) == (2, 2)
    for example in (*north.examples, *south.examples):
        assert example.row.match.lower().startswith("which "), example
        assert example.row.match.split()[:7] == example.evaluated.match.split()[:7]
    page = (tmp_path / "out/report.html").read_text()
    assert "<mark>Which " in page and "4 of 240 rows" in page
    assert json.loads((tmp_path / "out/report.json").read_text())["rows"]["share"] == 0.016667


def test_parquet_is_audited_in_a_field_of_another_name(
    tmp_path: Path, suite: Path, rows: list[dict[str, object]]
) -> None:
    table = pa.table({"body": [row["text"] for row in rows]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=50)
    audit = audit_of(tmp_path / "a.parquet", suite, tmp_path / "out", text_field="body")
    audit_leaks(audit)
    lines = [json.loads(line)["line"] for line in (tmp_path / "out/leaks.jsonl").open()]
    assert lines == [8, 91, 92, 201, 201]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_kill_and_the_number_of_processes_change_no_byte(
    tmp_path: Path,
    suite: Path,
    rows: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
    processes: int,
) -> None:
    small_shards(monkeypatch)
    path = write(tmp_path / "a.jsonl", rows)
    audit_leaks(audit_of(path, suite, tmp_path / "whole"))
    begun: list[str] = []
    write_shard = SearchTask.write

    def killed_in_the_third(self: SearchTask, shard: Shard) -> None:
        begun.append(shard.stem.name)
        if len(begun) == 3:
            shard.stem.with_suffix(".jsonl").write_text('{"torn')
            raise KeyboardInterrupt
        write_shard(self, shard)

    monkeypatch.setattr(SearchTask, "write", killed_in_the_third)
    audit = audit_of(path, suite, tmp_path / "again")
    with pytest.raises(KeyboardInterrupt):
        audit_leaks(audit)
    assert not audit.out.exists()
    with pytest.raises(TsqaError, match="is of another audit"):
        audit_leaks(audit_of(path, suite, tmp_path / "again", on_bad="skip"))
    if processes == 1:
        audit_leaks(audit)
        assert begun[3] == begun[2], "it continues where it was killed"
        assert not {*begun[:2]} & {*begun[3:]}
    else:
        monkeypatch.undo()
        small_shards(monkeypatch)
        audit_leaks(Audit(audit.source, audit.against, audit.out, processes))
    names = sorted(file.name for file in (tmp_path / "whole").iterdir())
    assert names == ["leaks.jsonl", "report.html", "report.json"]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(file.name for file in audit.out.iterdir()) == names


def test_what_cannot_be_audited_is_refused_with_its_option(
    tmp_path: Path, suite: Path, rows: list[dict[str, object]]
) -> None:
    bad = write(tmp_path / "bad.jsonl", [*rows[:3], {"body": "x"}, *rows[3:9]])
    with pytest.raises(DataError, match=r"bad.jsonl:4: no text in the field `text`[^$]*--skip-bad"):
        audit_leaks(audit_of(bad, suite, tmp_path / "out"))
    skipped = audit_leaks(audit_of(bad, suite, tmp_path / "out", on_bad="skip"), force=True)
    assert skipped is not None and (skipped.rows.bad, skipped.rows.documents) == (1, 9)
    assert json.loads((tmp_path / "out/leaks.jsonl").read_text())["line"] == 9
    with pytest.raises(TsqaError, match="is there already"):
        audit_leaks(audit_of(bad, suite, tmp_path / "out", on_bad="skip"))
    with pytest.raises(DataError, match="--revision COMMIT"):
        audit_leaks(audit_of(Path("some/data"), suite, tmp_path / "hub"))
    (tmp_path / "mine.partial").mkdir()
    (tmp_path / "mine.partial/thesis.tex").write_text("x")
    with pytest.raises(TsqaError, match="is no folder of an audit"):
        audit_leaks(audit_of(bad, suite, tmp_path / "mine", on_bad="skip"), force=True)
    assert (tmp_path / "mine.partial/thesis.tex").exists()
    empty = write(tmp_path / "empty.jsonl", [{"text": " "}])
    with pytest.raises(DataError, match="holds no text"):
        audit_leaks(audit_of(empty, suite, tmp_path / "empty"))


def test_a_dry_run_writes_nothing(
    tmp_path: Path, suite: Path, rows: list[dict[str, object]]
) -> None:
    path = write(tmp_path / "a.jsonl", rows)
    dry_run(audit_of(path, suite, tmp_path / "out"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl"]


def test_a_match_is_marked_in_another_spelling() -> None:
    shown = mark("It is: The \u017ftrange-CAF\u00c9 2 x 3, so.", ["strange", "caf\u00e9", "2", "3"])
    assert (shown.before, shown.match, shown.after) == (
        "It is: The ",
        "strange-CAF\u00c9 2*3",
        ", so.",
    )
