"""Promises of the filters: nothing is lost, leaks are caught, templates are not leaks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sdg_helpers import (
    artifact,
    data_section,
    eval_section,
    filter_section,
    make_context,
    make_seed,
    seeds_section,
)
from tsqa import miniature
from tsqa.artifact import read_jsonl, write_jsonl
from tsqa.errors import TsqaError
from tsqa.filters.candidate import Candidate, Rejection, read_candidate
from tsqa.filters.checks import check_agreement, check_copy, check_format, check_length
from tsqa.filters.decontaminate import EvaluatedIndex, common_weight, measure_recall, plant_leak
from tsqa.filters.dedup import find_duplicates
from tsqa.filters.stage import run
from tsqa.filters.text import normalise, normalise_answer
from tsqa.recipe import DecontaminateSection, DedupSection

EVALUATED = [
    make_seed(0, "Which planet of the solar system has the most moons today?", "Saturn", "exam"),
    make_seed(1, "Is ice cold?", "yes", "exam"),
    make_seed(2, "A farmer has 17 sheep and buys 24 more; how many has the farmer?", "41", "exam"),
    make_seed(3, "The sun is responsible for", "plants sprouting and wilting", "exam"),
    *[make_seed(n, f"What did person {n} put in box {n}?", str(n), "exam") for n in range(4, 40)],
]
SECTION = DecontaminateSection()


def record(name: str, question: str, answers: Sequence[str | None], **more: Any) -> dict[str, Any]:
    votes = [
        {"id": f"{name}.a{n}", "text": str(a), "answer": a, "explanation": f"why {n}"}
        for n, a in enumerate(answers)
    ]
    return {
        "id": name,
        "task": "mini_day",
        "family": "mini_day",
        "kind": "choice",
        "seed_id": "s",
        "seed_ids": ["s"],
        "question": question,
        "parse_error": "",
        "votes": votes,
        "prompt_hashes": {},
        "teacher": {},
        "sampling": {},
    } | more


def candidate(question: str, *answers: str | None, name: str = "c") -> Candidate:
    return read_candidate(record(name, question, answers or ("x", "x", "x")))


def leak(question: str, answer: str = "x") -> Rejection | None:
    return EvaluatedIndex(EVALUATED, SECTION).find_leaks([candidate(question, answer)]).get("c")


def test_the_winner_speaks_in_the_words_of_its_first_vote() -> None:
    found = candidate("Why?", "no", "1,200", "$1200.0", None)
    assert (found.answer, found.explanation, found.winning_vote) == ("1,200", "why 1", "c.a1")
    assert found.agreement == 0.5
    assert found.text == "Question: Why?\nAnswer: 1,200\nBecause: why 1"


def test_a_tie_is_rejected_even_when_the_share_suffices() -> None:
    tied = candidate("Why?", "a", "b", "a", "b")
    assert check_agreement(tied, 0.5) == Rejection("tie", 0.5)
    assert check_agreement(candidate("Why?", "a", "a", "a", "b", "c"), 0.6) is None
    assert check_agreement(candidate("Why?", "a", "a", "b", None, None), 0.6) is not None


def test_format_and_length_name_their_reason() -> None:
    broken = read_candidate(record("c", "Why", [], parse_error="cut off at max_tokens"))
    assert check_format(broken) == Rejection("cut off at max_tokens")
    assert check_format(candidate("Why?", None, None)) == Rejection("no readable answer")
    assert check_format(candidate("Why?", "?!")) == Rejection("answer without words")
    assert check_length(candidate("word " * 50), 40) is not None
    assert check_length(candidate("word " * 30), 40) is None


def test_a_copy_of_any_training_question_is_rejected() -> None:
    seeds = {normalise("Why is the sky blue?"): "toy-7"}
    rejection = check_copy(candidate("why is the SKY blue"), seeds)
    assert rejection is not None and rejection.match == "toy-7"
    assert check_copy(candidate("Why is the sea blue?"), seeds) is None


@settings(deadline=None)
@given(st.text(max_size=40))
def test_normalisation_is_idempotent(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
    assert normalise_answer(normalise_answer(text)) == normalise_answer(text)


def test_equal_numbers_meet_and_unequal_ones_do_not() -> None:
    same = {normalise_answer(text) for text in ("18", "18.0", "$18", "18.", " 18 ")}
    assert same == {"18"}
    assert normalise_answer("-5") != normalise_answer("5")
    assert normalise_answer("1.5") != normalise_answer("15")


@settings(deadline=None)
@given(st.randoms())
def test_dedup_keeps_the_first_by_id_in_any_order(rng: random.Random) -> None:
    long = "the quick brown fox jumps over the lazy dog and then runs home to sleep in its den"
    pool = [
        candidate(f"{long} again", name="b"),
        candidate(long, name="a"),
        candidate(long.upper(), name="c"),
        candidate("Something else altogether is asked here", name="d"),
    ]
    rng.shuffle(pool)
    found = find_duplicates(pool, DedupSection(threshold=0.8))
    assert {name: r.reason for name, r in found.items()} == {
        "b": "near duplicate",
        "c": "exact duplicate",
    }


@pytest.mark.parametrize("kind", ["verbatim", "case_and_punctuation", "embedded"])
def test_every_planted_leak_is_caught(kind: str) -> None:
    planted = [plant_leak(document, kind) for document in EVALUATED]
    assert len(EvaluatedIndex(EVALUATED, SECTION).find_leaks(planted)) == len(EVALUATED)


def test_recall_is_measured_per_disguise() -> None:
    recall = measure_recall(EVALUATED, SECTION)
    assert recall["verbatim"] == recall["embedded"] == recall["case_and_punctuation"] == 1.0


@pytest.mark.parametrize(
    ("question", "rule"),
    [
        ("IS ICE, COLD", "question"),
        ("Today we ask: is ice cold? Yes, and", "ngram"),
        ("A farmer has 18 sheep and buys 25 more; how many has the farmer?", "similarity"),
        ("So the sun is mostly responsible for what?", "similarity"),
    ],
)
def test_each_rule_catches_what_it_is_for(question: str, rule: str) -> None:
    rejection = leak(question)
    assert rejection is not None and rejection.reason == rule
    assert rejection.match.startswith("exam-")


@pytest.mark.parametrize(
    "question",
    [
        "What did person 93 put in box 77?",
        "Which planet is red?",
        "A baker has 3 loaves; how many are left after lunch?",
    ],
)
def test_a_shared_template_is_not_a_leak(question: str) -> None:
    assert leak(question) is None


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_common_weight_is_symmetric_and_bounded(left: list[str], right: list[str]) -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 0.5}
    common = common_weight(left, right, weights)
    assert common == common_weight(right, left, weights)
    assert common <= min(sum(weights[w] for w in side) for side in (left, right))
    assert common_weight(left, left, weights) == sum(weights[w] for w in left)


def build_inputs(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    partial = folder / "data.partial"
    miniature.run(make_context(partial, {}, data=data_section(train_per_family=20)))
    partial.rename(folder / "data")
    (folder / "generate").mkdir()
    write_jsonl(folder / "generate" / "candidates.jsonl", rows)
    return {name: artifact(folder / name) for name in ("data", "generate")}


def stage_context(folder: Path, inputs: dict[str, Any], out: str) -> Any:
    sections = {"filter": filter_section(), "seeds": seeds_section(), "eval": eval_section()}
    return make_context(folder / out, inputs, **sections)


def test_every_candidate_ends_in_exactly_one_file_and_reruns_are_identical(tmp_path: Path) -> None:
    rng = random.Random(3)
    items = [miniature.draw_item(miniature.FAMILIES["day"], rng) for _ in range(60)]
    rows = [record(f"c{n}", i.question, [i.answer] * 3) for n, i in enumerate(items)]
    rows.append(record("tie", "Is this a tie?", ["a", "b"]))
    rows.append(record("false", items[0].question + " x", ["Someday"] * 3))
    inputs = build_inputs(tmp_path, rows)
    tests = list(read_jsonl(tmp_path / "data" / "tasks" / "data" / "mini_day.test.jsonl"))
    trains = list(read_jsonl(tmp_path / "data" / "tasks" / "data" / "mini_day.train.jsonl"))
    rows.append(record("leak", tests[0]["question"], [tests[0]["answer"]] * 3))
    rows.append(record("copy", trains[0]["question"], [trains[0]["answer"]] * 3))
    write_jsonl(tmp_path / "generate" / "candidates.jsonl", rows)

    summary = run(stage_context(tmp_path, inputs, "one"))
    again = run(stage_context(tmp_path, inputs, "two"))
    assert summary == again
    kept = {row["id"] for row in read_jsonl(tmp_path / "one" / "curated.jsonl")}
    gone = {row["id"]: row["step"] for row in read_jsonl(tmp_path / "one" / "rejected.jsonl")}
    assert kept | set(gone) == {row["id"] for row in rows} and not kept & set(gone)
    assert summary["candidates"] == summary["curated"] + summary["rejected"] == 64
    assert gone["tie"] == "agreement"
    assert gone["leak"] == "decontamination"
    assert gone["copy"] == "copy"
    assert len(kept) > 50
    for earlier, later in zip(summary["funnel"], summary["funnel"][1:], strict=False):
        assert earlier["left"] == earlier["entered"] - earlier["rejected"] == later["entered"]
    truth = summary["truth_by_task"]["mini_day"]
    assert truth["true"] >= len(kept) - 1
    for name in ("curated.jsonl", "rejected.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_nothing_left_says_which_step_took_most(tmp_path: Path) -> None:
    inputs = build_inputs(tmp_path, [record("c", "Why?", ["a", "b"])])
    with pytest.raises(TsqaError, match="`agreement` rejected 1 of 1"):
        run(stage_context(tmp_path, inputs, "out"))
    assert len(list(read_jsonl(tmp_path / "out" / "rejected.jsonl"))) == 1
