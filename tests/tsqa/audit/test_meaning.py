"""Promises of the audit by meaning: what is told again is found in its row, and nothing else."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.audit_world import clean_text, documents_of, make_suite
from tests.support.embedding import BagOfWords
from train.data.shards import Shard
from tsqa.audit.meaning import split, window_sizes
from tsqa.audit.run import Audit, audit_leaks, dry_run
from tsqa.audit.search import SearchTask
from tsqa.cli.app import app
from tsqa.errors import TsqaError
from tsqa.recipe import SemanticLeakSection, SourceSection

TOLD = {5: ("north", 1), 40: ("south", 2)}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_suite(tmp_path_factory.mktemp("suite"), ["north", "south"], 6)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> BagOfWords:
    found = BagOfWords(512)
    monkeypatch.setattr("tsqa.audit.meaning.load_model", lambda *_: found)
    for module in ("meaning", "run"):
        monkeypatch.setattr(f"tsqa.audit.{module}.identify_model", lambda name: {"model": name})
    return found


@pytest.fixture
def audit(tmp_path: Path, suite: Path, model: BagOfWords) -> Audit:
    """Rows of a page each; in some, the words of a question in an order that no rule reads."""
    rng = random.Random(0)
    rows = []
    for number in range(60):
        text = clean_text(rng, 80)
        if number in TOLD:
            name, which = TOLD[number]
            words = documents_of(suite, name)[which].question.rstrip("?").split()
            rng.shuffle(words)
            text = f"{text} {' '.join(words)}? {clean_text(rng, 50)}"
        rows.append({"text": text})
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = SourceSection(path=str(path))
    return Audit(source, str(suite), tmp_path / "out", None, SemanticLeakSection(model="m"))


def test_what_is_told_again_within_a_page_is_found_with_its_window(audit: Audit) -> None:
    report = audit_leaks(audit)
    assert report is not None and report.semantic is not None
    leaks = [json.loads(line) for line in (audit.out / "leaks.jsonl").open()]
    assert [(leak["line"], leak["document"], leak["rule"]) for leak in leaks] == [
        (6, "north-1", "semantic"),
        (41, "south-2", "semantic"),
    ]
    assert all(0.8 < leak["similarity"] <= 1 for leak in leaks)
    assert {task.set_on for task in report.semantic.tasks} == {"default"}
    [north, south] = report.benchmarks
    assert (north.rows, south.rows, north.rules[0].rule) == (1, 1, "semantic")
    example = north.examples[0]
    asked = documents_of(Path(audit.against), "north")[1].question
    assert example.evaluated.match.startswith(asked), "the document, not the row's words"
    shown = example.row.match.lower().rstrip("?. ").split()
    assert sorted(shown) == sorted(asked.lower().rstrip("?").split())
    page = (audit.out / "report.html").read_text()
    assert "Thresholds by meaning" in page and "6 default" not in page


def test_a_kill_costs_no_finished_shard_and_the_bytes_are_the_same(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: BagOfWords
) -> None:
    for module in ("train.data.sources", "train.tokens.shard_work"):
        monkeypatch.setattr(f"{module}.SHARD_BYTES", 10_000)
    audit_leaks(audit)
    whole = {file.name: file.read_bytes() for file in audit.out.iterdir()}
    again = Audit(audit.source, audit.against, tmp_path / "again", None, audit.semantic)
    begun: list[str] = []
    write_shard = SearchTask.write

    def killed_in_the_second(self: SearchTask, shard: Shard) -> None:
        begun.append(shard.stem.name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        write_shard(self, shard)

    monkeypatch.setattr(SearchTask, "write", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        audit_leaks(again)
    other = SemanticLeakSection(model="m", false_positives=0.02)
    for wanted in (None, other):
        with pytest.raises(TsqaError, match="is of another audit"):
            audit_leaks(Audit(audit.source, audit.against, again.out, None, wanted))
    asked = model.asked
    audit_leaks(again)
    assert begun[2] == begun[1] and begun[0] not in begun[1:]
    assert model.asked - asked < asked / 2, "the evaluated documents are not embedded again"
    assert {file.name: file.read_bytes() for file in again.out.iterdir()} == whole


def test_without_a_model_nothing_is_said_of_meaning(audit: Audit, suite: Path) -> None:
    plain = Audit(audit.source, str(suite), audit.out)
    report = audit_leaks(plain)
    assert report is not None and report.semantic is None and report.rows.leaking == 0
    assert "--semantic" in (audit.out / "report.html").read_text()


def test_a_dry_run_times_the_model_and_writes_nothing(
    audit: Audit, capsys: pytest.CaptureFixture[str]
) -> None:
    dry_run(audit)
    told = capsys.readouterr().err
    assert "by meaning:" in told and "texts of the evaluated documents" in " ".join(told.split())
    assert not audit.out.exists() and not audit.partial.exists()


def test_options_that_need_each_other_are_refused() -> None:
    given = ["audit-leaks", "x.jsonl", "--against", "published"]
    told = CliRunner().invoke(app, [*given, "--false-positives", "0.02"])
    assert told.exit_code and "add --semantic MODEL" in told.output
    told = CliRunner().invoke(app, [*given, "--semantic", "m", "--processes", "2"])
    assert told.exit_code and "one process asks the model" in told.output


def test_windows_hold_every_word_in_order(suite: Path) -> None:
    assert window_sizes(documents_of(suite, "north")) == [32, 64], "questions, items"
    rng = random.Random(1)
    text = " ".join(f"{clean_text(rng, rng.randint(1, 150))} 3.5 {n}\n" for n in range(9))
    for size in (8, 32, 128):
        windows = split(text, [size])
        assert {word for window in windows for word in window.split()} == set(text.split())
        assert max(len(window.split()) for window in windows) <= max(64, size)
        places = [text.index(window) for window in windows]
        assert places == sorted(places)
        assert all(
            b <= a + len(w) + 2 for a, b, w in zip(places, places[1:], windows, strict=False)
        )
    assert split("One word. Or two?", [8, 32]) == ["One word. Or two?", "Or two?"]
    assert split(" \n ", [8]) == []
