"""Promises of the filter stage: nothing is lost, the funnel adds up, reruns are identical."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.embedding import BagOfWords
from tests.support.filter_records import record, vote
from tests.support.generation import (
    FakeEngine,
    artifact,
    data_section,
    eval_section,
    generate_section,
    make_context,
    seeds_section,
    with_benchmarks,
)
from tsqa.curated.files import read_curated, read_rejected
from tsqa.curated.render import Renderer
from tsqa.errors import DataError, RecipeError, TsqaError
from tsqa.filters import stage
from tsqa.filters.asking import Meaning
from tsqa.filters.funnel import Survivors
from tsqa.filters.stage import run
from tsqa.filters.statistics import DistinctNgrams, Measures
from tsqa.prompts import CRITERIA
from tsqa.recipe import DifficultySection, FilterSection, ModelSection, TeacherSection
from tsqa.records import candidate_lines
from tsqa.records.candidate import Candidate
from tsqa.records.candidate_lines import chunks_of, read_candidates
from tsqa.seeds import stage as seeds
from tsqa.store.jsonl import read_jsonl, write_jsonl
from tsqa.tasks import toy as miniature
from tsqa.tasks import toy_families
from tsqa.tasks.oracle import read_oracle
from tsqa.teachers import Completion, Request
from tsqa.teachers import client as asker

ALL_STEPS = [
    *("refusal", "format", "length", "language", "agreement", "copy", "code"),
    *("triviality", "judge", "dedup", "decontamination"),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The artifacts `data` and `seeds`, with a folder for `generate`."""
    folder = tmp_path_factory.mktemp("inputs")
    partial = folder / "data.partial"
    miniature.run(make_context(partial, {}, data=data_section(train_per_family=20)))
    partial.rename(folder / "data")
    data = {"data": artifact(folder / "data")}
    found = with_benchmarks(folder / "benchmarks", data, eval_section())
    seeds.run(make_context(folder / "seeds", found, seeds=seeds_section(), eval=eval_section()))
    return found | {"seeds": artifact(folder / "seeds")}


def filter_candidates(
    folder: Path,
    inputs: dict[str, Any],
    lines: Sequence[dict[str, Any] | str],
    section: FilterSection | None = None,
    out: str = "out",
) -> dict[str, Any]:
    generated = folder / "generate"
    generated.mkdir(exist_ok=True)
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (generated / "candidates.jsonl").write_text(text, encoding="utf-8")
    context = make_context(
        folder / out,
        inputs | {"generate": artifact(generated)},
        filter=section or FilterSection(),
        seeds=seeds_section(),
        eval=eval_section(),
        generate=generate_section(
            teacher=TeacherSection(model=ModelSection(path="m"), form="completion"),
            prompts={"answer": str(folder / "answer.jinja")},
        ),
    )
    return run(context)


def items(count: int, family: str = "day", revision: str = "") -> list[dict[str, Any]]:
    rng = random.Random(3)
    drawn = [toy_families.draw_item(toy_families.FAMILIES[family], rng) for _ in range(count)]
    return [
        record(f"c{n}", item.question, [item.answer] * 3, revision=revision)
        for n, item in enumerate(drawn)
    ]


def split(inputs: dict[str, Any], name: str) -> dict[str, Any]:
    path = inputs["data"].path / "tasks" / "data" / f"mini_day.{name}.jsonl"
    return next(read_jsonl(path))


def test_every_candidate_ends_in_exactly_one_place_and_reruns_are_identical(
    tmp_path: Path, inputs: dict[str, Any]
) -> None:
    revision = read_oracle(inputs["data"].path).revisions["mini_day"]
    lines: list[Any] = items(60, revision=revision)
    question = lines[0]["question"]
    leak, copy = split(inputs, "test"), split(inputs, "train")
    lines += [
        record("tie", "Is this a tie or is it none?", ["a", "b"]),
        record("again", question.upper(), ["Someday"] * 3),
        record("leak", leak["question"], [leak["answer"]] * 3),
        record("copy", copy["question"], [copy["answer"]] * 3),
        record("long", "Why? " * 500),
        record("code", "Write a function that adds.", ["def add(): pass"] * 3, kind="code"),
        record("cut", "Why", [], parse_error="cut off at max_tokens"),
        '{"id": "torn", "task": "mini_day", "ques',
        record("typed", "Is this one fine?") | {"votes": "none"},
        record("broken", "A lone \ud800 surrogate?"),
        '["no object"]',
        "[" * 100_000,
    ]
    summary = filter_candidates(tmp_path, inputs, lines)
    again = filter_candidates(tmp_path, inputs, lines, out="two")
    assert summary == again

    kept = [row.id for row in read_curated(tmp_path / "out")]
    gone = {row.id: row for row in read_rejected(tmp_path / "out")}
    steps = {name: row.step for name, row in gone.items()}
    assert summary["candidates"] == summary["curated"] + summary["rejected"] == 72
    assert len(kept) == summary["curated"] > 50 and len(gone) == summary["rejected"]
    assert (
        steps
        | {
            "tie": "agreement",
            "again": "dedup",
            "leak": "decontamination",
            "copy": "copy",
            "long": "length",
            "code": "code",
            "cut": "format",
        }
        == steps
    )
    unreadable = [row for row in gone.values() if row.reason == "unreadable record"]
    assert [row.id for row in unreadable] == [f"line-{n}" for n in (68, 69, 70, 71, 72)]
    assert json.loads(unreadable[0].record)["line"] == lines[67]
    assert unreadable[1].task == "mini_day" and unreadable[0].task == ""
    assert json.loads(gone["tie"].record) == lines[60]
    assert summary["truth_by_task"]["mini_day"]["true"] >= len(kept) - 1

    for earlier, later in zip(summary["funnel"], summary["funnel"][1:], strict=False):
        assert earlier["left"] == earlier["entered"] - earlier["rejected"] == later["entered"]
    assert [row["step"] for row in summary["funnel"]] == [
        step for step in ALL_STEPS if step not in ("language", "triviality", "judge")
    ]
    for folder in ("dataset/data", "rejected"):
        one = sorted((tmp_path / "out" / folder).iterdir())
        two = sorted((tmp_path / "two" / folder).iterdir())
        assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert not (tmp_path / "out" / "scratch").exists()


def test_a_row_carries_its_text_its_measures_and_its_lineage(
    tmp_path: Path, inputs: dict[str, Any]
) -> None:
    line = items(1)[0]
    filter_candidates(tmp_path, inputs, [line])
    (row,) = read_curated(tmp_path / "out")
    assert row.text.startswith(f"Question: {line['question']}\nAnswer: {row.answer}")
    assert row.rendering == "qa" and row.agreement == 1.0
    assert 0 <= json.loads(row.scores)["seed_similarity"] < 0.9
    lineage = json.loads(row.lineage)
    assert lineage["votes"] == [f"c0.a{n}" for n in range(3)]
    assert lineage["winning_vote"] == "c0.a0"
    for key in ("seed_ids", "prompts", "teacher", "sampling", "form"):
        assert lineage[key] == line[key]


def test_thoughts_are_in_a_document_only_where_a_rendering_shows_them(
    tmp_path: Path, inputs: dict[str, Any]
) -> None:
    lines = items(4)
    leak = split(inputs, "test")
    thought = "Let me go through the days one after the other, slowly. " * 20
    for line, trace in zip(lines, (thought, "It follows."), strict=False):
        line["votes"][0]["trace"] = trace
    lines[2]["votes"][0]["trace"] = f"I know this one: {leak['question']} {leak['answer']}"
    shown = FilterSection(renderings=["trace"], max_words=400)
    assert filter_candidates(tmp_path, inputs, lines, shown)["traces"] == 2
    texts = {row.id: row.text for row in read_curated(tmp_path / "out")}
    assert thought in texts["c0"] and "\nIt follows.\n" in texts["c1"]
    assert "because of c3.a0" in texts["c3"]  # its reasoning, since it has no thoughts
    assert {row.id: row.step for row in read_rejected(tmp_path / "out")} == {
        "c2": "decontamination"
    }
    card = (tmp_path / "out" / "dataset" / "README.md").read_text()
    assert "2 of the items come with the thoughts" in card

    short = FilterSection(renderings=["trace"], max_words=100)
    filter_candidates(tmp_path, inputs, lines, short, "short")
    assert {row.id: row.step for row in read_rejected(tmp_path / "short")}["c0"] == "length"

    hidden = FilterSection(max_words=100)
    summary = filter_candidates(tmp_path, inputs, lines, hidden, "hidden")
    assert summary["curated"] == 4 and "traces" not in summary
    assert not [row for row in read_curated(tmp_path / "hidden") if "slowly" in row.text]
    with pytest.raises(TsqaError, match="none of the 1 items has any"):
        filter_candidates(tmp_path, inputs, lines[3:], shown, "none")


class Reviewer(FakeEngine):
    """Judges every third item badly; as the teacher it knows `Monday` whatever it is asked."""

    def complete(self, request: Request) -> Completion:
        if "\nP: " in request.prompt:
            return Completion(request.id, " Monday\n", 5, 1, "stop")
        grade = 2 if request.seed % 3 == 0 else 5
        text = json.dumps({criterion: grade for criterion in CRITERIA})
        return Completion(request.id, text, 5, 9, "stop")


JUDGE = """---
id: judge
version: 1
kind: any
---
{{ question }} {{ context }} {{ choices }} {{ answer }} {{ reasoning }}
"""
ANSWER = """---
id: answer
version: 1
kind: any
---
{{ shots | length }} {{ kind }} {{ enrichment }} {{ choices }} {{ context }}
P: {{ question }}
"""


def test_steps_that_ask_a_model_run_in_order_and_their_cost_is_told(
    tmp_path: Path, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Reviewer()
    monkeypatch.setattr(asker, "open_engine", lambda *_: nullcontext(engine))
    for name, text in (("judge", JUDGE), ("answer", ANSWER)):
        (tmp_path / f"{name}.jinja").write_text(text, encoding="utf-8")
    lines = items(30)
    for line in lines[:10]:
        line["context"] = f"A note about the week says it all {line['id']}."
    teacher = {"model": {"path": "m"}, "form": "completion"}
    section = FilterSection.model_validate(
        {
            "languages": ["en"],
            "triviality": {"tries": 2},
            "judge": {"teacher": teacher, "prompt": str(tmp_path / "judge.jinja")},
        }
    )
    summary = filter_candidates(tmp_path, inputs, lines, section)
    assert [row["step"] for row in summary["funnel"]] == ALL_STEPS
    rejected = {row["step"]: row["rejected"] for row in summary["funnel"]}
    assert rejected["judge"] > 0
    assert [row["teacher"] for row in summary["ledger"]] == ["teacher", "judge"]
    assert summary["ledger"][0]["requests"] == 20
    judged = summary["ledger"][1]
    assert judged["output_tokens"] == 9 * judged["requests"] > 0
    for row in read_curated(tmp_path / "out"):
        assert json.loads(row.scores)["judge"]["correct"] == 5


class Paraphrases(BagOfWords):
    """Knows what one word stands for."""

    def __init__(self, meaning: str) -> None:
        super().__init__(512)
        self.meaning = meaning

    def encode(self, texts: list[str], *, normalize_embeddings: bool) -> NDArray[np.float32]:
        told = [text.replace("zebra", self.meaning) for text in texts]
        return super().encode(told, normalize_embeddings=normalize_embeddings)


@pytest.mark.parametrize("key", ["decontaminate", "dedup"])
def test_an_embedding_model_finds_an_evaluated_question_in_other_words(
    tmp_path: Path, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    model = Paraphrases(split(inputs, "test")["question"])
    loaded: list[tuple[str, str]] = []

    def load(name: str, key: str) -> Paraphrases:
        loaded.append((name, key))
        return model

    for room in ("decontaminate.semantic", "filters.stage", "dedup.minhash"):
        monkeypatch.setattr(f"tsqa.{room}.load_model", load)
    monkeypatch.setattr("tsqa.decontaminate.semantic._CEILING", 1.0)  # toy tasks are templates
    lines = [record("told", "zebra"), record("other", "Why do rivers never flow uphill?")]
    section = FilterSection.model_validate({key: {"semantic": {"model": "org/embedding"}}})
    summary = filter_candidates(tmp_path, inputs, lines, section)
    [rejected] = read_rejected(tmp_path / "out")
    assert (rejected.id, rejected.step, rejected.reason) == ("told", "meaning", "semantic")
    assert rejected.score == 1.0 and rejected.match.startswith("mini_day")
    assert summary["planted_leak_recall"]["verbatim"] == 1.0
    tasks = {one["task"]: one for one in summary["semantic_leaks"]}
    assert tasks["mini_day"]["documents"] == 6
    assert ("org/embedding", f"filter.{key}.semantic") in loaded


class Examiner(FakeEngine):
    """Says that what speaks of rivers is the same, but not whether what speaks of tides is."""

    def complete(self, request: Request) -> Completion:
        own = request.prompt.rsplit("Second:", 1)[1]
        said = " yes\n" if "river" in own else " who knows\n" if "tides" in own else " no\n"
        self.shown = request.prompt
        return Completion(request.id, said, 5, 1, "stop")


def test_a_judge_decides_on_what_is_just_below_the_threshold(
    tmp_path: Path, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = split(inputs, "test")["question"]
    engine = Examiner()
    monkeypatch.setattr(asker, "open_engine", lambda *_: nullcontext(engine))
    model = Paraphrases(known)
    monkeypatch.setattr("tsqa.decontaminate.semantic.load_model", lambda *_: model)
    monkeypatch.setattr("tsqa.decontaminate.semantic._CEILING", 1.0)
    lines = [
        record("told", "zebra"),
        record("same", f"zebra {' river' * 4}"),
        record("unlike", f"zebra {' mountain' * 4}"),
        record("unread", f"zebra {' tides' * 4}"),
        record("far", "Why do rivers never flow uphill?"),
    ]
    judge = {"teacher": {"model": {"path": "m"}, "form": "completion"}, "band": 0.5}
    semantic = {"model": "org/embedding", "judge": judge}
    section = FilterSection.model_validate({"decontaminate": {"semantic": semantic}})
    summary = filter_candidates(tmp_path, inputs, lines, section)
    gone = {row.id: (row.step, row.reason) for row in read_rejected(tmp_path / "out")}
    assert gone == {
        "told": ("meaning", "semantic"),
        "same": ("leak_judge", "the same question"),
        "unread": ("leak_judge", "no verdict"),
    }
    [asked] = [row for row in summary["funnel"] if row["step"] == "leak_judge"]
    assert (asked["entered"], asked["rejected"]) == (4, 2)
    said = summary["judged_leaks"]
    assert said["same"] >= 1 and said["other"] >= 1 and said["unread"] >= 1
    assert sum(said.values()) == engine.asked == summary["ledger"][0]["requests"] <= 9
    assert summary["ledger"][0]["teacher"] == "leak_judge"
    kept = {row.id: json.loads(row.scores) for row in read_curated(tmp_path / "out")}
    assert 0.4 < max(kept["unlike"]["leak_judge"].values()) < 1 and "leak_judge" not in kept["far"]
    assert "A judge compared" in (tmp_path / "out" / "dataset" / "README.md").read_text()
    again = filter_candidates(tmp_path, inputs, lines, section)
    assert again["judged_leaks"] == said and engine.asked == sum(said.values())


def test_a_seed_that_the_guard_takes_for_an_evaluated_document_sets_no_threshold(
    tmp_path: Path, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = [line["id"] for line in read_jsonl(inputs["seeds"].path / "seeds.jsonl")]
    guard = tmp_path / "guard"
    guard.mkdir()
    write_jsonl(guard / "dropped.jsonl", [{"id": seeds[0], "match": "mini_day-0"}])
    monkeypatch.setattr("tsqa.filters.asking.open_embedder", lambda *_: None)
    monkeypatch.setattr("tsqa.filters.asking.SemanticDocuments", lambda *given: given)
    section = FilterSection.model_validate({"decontaminate": {"semantic": {"model": "m"}}})
    context = make_context(tmp_path, inputs | {"guard": artifact(guard)}, filter=section)
    given: Any = Meaning(context, section, []).documents
    assert [one.id for one in given[2]] == seeds[1:]


def test_the_card_names_the_leaks_that_only_the_guard_knows(
    tmp_path: Path, inputs: dict[str, Any]
) -> None:
    guard = tmp_path / "guard"
    guard.mkdir()
    write_jsonl(guard / "dropped.jsonl", [])
    found = artifact(guard)
    leak = {"task": "own", "reason": "3 of its documents are evaluated", "evaluated": ["mini_day"]}
    found.summary["allowed_leaks"] = [leak]
    filter_candidates(tmp_path, inputs | {"guard": found}, items(1))
    card = (tmp_path / "out" / "dataset" / "README.md").read_text()
    assert "WARNING" in card and "own (3 of its documents are evaluated)" in card


def test_nothing_left_says_the_most_frequent_reason_with_an_example(
    tmp_path: Path, inputs: dict[str, Any]
) -> None:
    with pytest.raises(
        TsqaError, match=r"1 x agreement: tie; an example: c .*\n.*filter\.agreement"
    ):
        filter_candidates(tmp_path, inputs, [record("c", "Why not?", ["a", "b"])])
    assert len(list(read_rejected(tmp_path / "out"))) == 1


def test_no_candidates_at_all_is_an_error(tmp_path: Path, inputs: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="no candidates"):
        filter_candidates(tmp_path, inputs, [])


@pytest.mark.parametrize("languages", [[], ["english"]])
def test_unknown_languages_are_refused_before_work(
    tmp_path: Path, inputs: dict[str, Any], languages: list[str]
) -> None:
    section = FilterSection(languages=languages)
    with pytest.raises(RecipeError, match=r"filter\.languages"):
        filter_candidates(tmp_path, inputs, items(1), section)


def test_each_item_takes_one_rendering_by_its_id(tmp_path: Path) -> None:
    other = tmp_path / "other.jinja"
    other.write_text(
        "---\nid: other\nversion: 1\nkind: any\n---\n{{ question }} It is {{ answer }}.\n",
        encoding="utf-8",
    )
    renderer = Renderer(["qa", str(other)])
    found = [
        renderer.render(candidate)
        for candidate in _candidates(tmp_path, [record(f"c{n}", "Why?") for n in range(40)])
    ]
    assert {name for name, _ in found} == {"qa", "other"}
    assert {text for name, text in found if name == "other"} == {"Why? It is x."}
    assert 8 < sum(name == "qa" for name, _ in found) < 32


def _candidates(folder: Path, records: list[dict[str, Any]]) -> list[Any]:
    write_jsonl(folder / "some.jsonl", records)
    return read_all(folder / "some.jsonl")


def read_all(path: Path) -> list[Candidate]:
    return [one for chunk in chunks_of(path) for one in read_candidates(chunk)]


@pytest.mark.parametrize("difficulty", [None, DifficultySection(easy=0.7, medium=0.3, hard=0)])
def test_the_number_of_processes_changes_no_byte(
    tmp_path: Path,
    inputs: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    difficulty: DifficultySection | None,
) -> None:
    monkeypatch.setattr(candidate_lines, "_CHUNK_BYTES", 20_000)
    monkeypatch.setattr(stage, "_BYTES_PER_PROCESS", 1000)
    lines: list[Any] = items(150, revision=read_oracle(inputs["data"].path).revisions["mini_day"])
    for number, line in enumerate(lines[:40]):
        question = f"{line['question']} And who has {number} red hats?"
        lines.append(record(f"v{number}", question, "xxxyy" if number % 2 else "xxx"))
    lines += [record(f"copy{n}", line["question"].upper()) for n, line in enumerate(lines[:30])]
    lines += [
        record("leak", split(inputs, "test")["question"]),
        "torn",
        record("tie", "Why?", "ab"),
    ]
    summaries = []
    for processes in (1, 2):
        section = FilterSection(processes=processes, difficulty=difficulty)
        out = f"out{processes}"
        summaries.append(filter_candidates(tmp_path, inputs, lines, section, out))
    files = [
        {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in (tmp_path / "out1", tmp_path / "out2")
    ]
    assert files[0] == files[1] and summaries[0] == summaries[1]
    assert summaries[0]["curated"] and {row["step"] for row in summaries[0]["funnel"]} >= {"dedup"}


def test_an_own_task_named_like_a_toy_task_is_not_measured(
    tmp_path: Path, inputs: dict[str, Any]
) -> None:
    own = filter_candidates(tmp_path, inputs, items(20, revision="0123456789ab"))
    assert own["curated"] and own["truth_by_task"] == {}
    revision = read_oracle(inputs["data"].path).revisions["mini_day"]
    toy = filter_candidates(tmp_path, inputs, items(20, revision=revision), out="two")
    assert toy["truth_by_task"]["mini_day"]["curated"] == toy["curated"] == own["curated"]


def test_survivors_come_back_as_they_were(tmp_path: Path) -> None:
    votes = [vote("a0", "b\u2028", ["a", "b\u2028"], text="\u2028")]
    rows = [
        record("c", "Q\u00e9?", [], choices=["a", "b\u2028"], votes=votes, context="P"),
        record("d", "Why?"),
    ]
    (tmp_path / "some.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = read_all(tmp_path / "some.jsonl")
    survivors = Survivors.of(tmp_path / "survivors.jsonl", found)
    assert list(survivors) == list(survivors) == found
    assert survivors.count == 2


def test_memory_does_not_grow_with_the_number_of_candidates(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        lines = (json.dumps(record(f"c{n}", f"Why is it {n}?")) for n in range(count))
        (tmp_path / "many.jsonl").write_text("\n".join(lines), encoding="utf-8")
        measures = Measures()
        tracemalloc.start()
        found_in = map(read_candidates, chunks_of(tmp_path / "many.jsonl"))
        survivors = Survivors.of(tmp_path / "s.jsonl", chain.from_iterable(found_in))
        for candidate in survivors:
            measures.enter(candidate)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    # The JSON reader caches up to 16,384 short strings; 2000 candidates are 10 MB.
    assert peak(2000) < peak(200) + 2_000_000


def test_distinct_ngrams_are_counted_up_to_the_bound() -> None:
    ngrams = DistinctNgrams()
    for _ in range(4):
        ngrams.add(["a", "b", "a", "b"])
    assert ngrams.shares() == {"1": 0.125, "2": 0.1667, "3": 0.25}
