"""Promises of the vote and of the checks of one candidate: equal answers meet, reasons tell."""

from __future__ import annotations

import dataclasses
import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.filter_records import candidate, read, record, vote
from tests.support.generation import make_seed
from tests.support.paths import SHARED
from tsqa.dedup.copies import CopyCheck
from tsqa.filters.checks import check_agreement, check_format, check_length
from tsqa.filters.language import check_language
from tsqa.records.candidate import Rejection
from tsqa.records.seed import SeedIndex
from tsqa.records.votes import (
    as_most_say,
    classify_answers,
    count_votes,
    is_number,
    same_answer,
)
from tsqa.seeds.leaks import training_keys
from tsqa.store.jsonl import write_jsonl
from tsqa.text.normalise import normalise, words
from tsqa.text.sameness import answer_key

LONG = "Anna has twelve apples and gives five of them to her brother, how many are left"


def test_the_winner_speaks_in_the_words_of_its_first_vote() -> None:
    found = candidate("Why?", "no", "1,200", "$1200.0", None, kind="number")
    assert (found.answer, found.reasoning) == ("1,200", "because of c.a1")
    assert (found.winning_vote, found.agreement) == ("c.a1", 0.5)


def test_a_choice_is_voted_by_option_and_not_by_its_words() -> None:
    found = candidate("Which?", "-5", "5", "5", choices=["5", "-5", "a"], kind="choice")
    assert (found.answer, found.answer_index, found.agreement) == ("5", 0, 2 / 3)


def test_the_votes_of_a_cascade_alone_decide() -> None:
    votes = [vote(f"a{n}", "no") for n in range(5)]
    votes += [vote(f"c{n}", answer, teacher="cascade") for n, answer in enumerate(("yes", "yes"))]
    found = read(record("c", "Why?", votes=votes))
    assert (found.answer, found.agreement, found.winning_vote) == ("yes", 1.0, "c0")


@pytest.mark.parametrize(
    ("kind", "equal"),
    [
        ("number", ["0.5", "1/2", r"\frac{1}{2}", r"$\frac12$", "50%", r"50\%", ".5"]),
        ("number", ["18", "18.0", "$18", "18.", " 18 ", "18 dollars", r"\$18", "$18$"]),
        ("number", ["-5", "\u22125", "-5.0", "-$5"]),
        ("number", ["1,250", "1250", "1250.00"]),
        ("number", ["25", "5\u00b2", "5^2"]),
        ("number", ["30 minutes", "30", "30 minute"]),
        ("number", ["0", "-0", "0.0"]),
        ("short_text", [r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"]),
        ("short_text", ["Paris", "paris.", " PARIS "]),
        ("short_text", ["x = 3", "3"]),
        ("boolean", ["Yes", "true", "TRUE."]),
    ],
)
def test_answers_that_say_the_same_meet(kind: Any, equal: list[str]) -> None:
    assert len(set(classify_answers(equal, kind))) == 1


@pytest.mark.parametrize(
    ("kind", "different"),
    [
        ("number", ["5", "-5", "52", "5\u00b2"]),
        ("number", ["0.5", "50"]),
        ("number", ["18 dollars", "18 cents", "18"]),
        ("number", ["1" * 40, "1" * 39 + "2"]),
        ("number", ["9^{9^{9^9}}", "9^{9^{9^8}}"]),
        ("number", ["1.5", "15"]),
        ("short_text", ["3-2", "2-1", "3+2"]),
        ("short_text", ["1990-1995", "1985-1990"]),
        ("short_text", ["3/4", "6/8"]),
        ("short_text", ["(1,2)", "[1,2]"]),
        ("short_text", ["3 apples", "3 pears", "3"]),
        ("boolean", ["yes", "no"]),
        ("code", ["def f(x):\n  return x", "def f(x): return x"]),
    ],
)
def test_answers_that_differ_do_not_meet(kind: Any, different: list[str]) -> None:
    assert len(set(classify_answers(different, kind))) == len(different)


def test_a_percentage_is_the_share_or_the_number_but_never_joins_the_two() -> None:
    assert same_answer("50%", "50", "number") and same_answer("50%", "0.5", "number")
    half, percent, fifty = classify_answers(["0.5", "50%", "50"], "number")
    assert half == percent != fifty


@pytest.mark.parametrize(
    ("answers", "weights", "said"),
    [
        (["10%", "10", "10"], None, "10"),
        (["10", "10%", "10%"], None, "10%"),
        (["10", "10%", "10%"], [3, 1, 1], "10"),
        (["10", "10%"], None, "10"),
        (["7", "10%", "10.0%"], None, "10%"),
        ([None, "18", "18 dollars"], None, "18"),
    ],
)
def test_the_unit_that_most_votes_give_is_the_one_that_is_kept(
    answers: list[str | None], weights: list[float] | None, said: str
) -> None:
    classes = classify_answers(answers, "number")
    winner = count_votes(classes, weights).winner
    assert winner is not None
    assert answers[as_most_say(answers, classes, winner, weights)] == said


ANSWERS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["1/2", "0.5", "50%", "50", r"\frac{1}{2}", "$3", "3 cm", "3 m", "3", "x^2"]),
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.none() | ANSWERS, max_size=6),
    st.randoms(),
    st.sampled_from(["number", "short_text"]),
)
def test_the_vote_does_not_depend_on_order_and_never_raises(
    answers: list[str | None], rng: random.Random, kind: Any
) -> None:
    classes = dict(zip(answers, classify_answers(answers, kind), strict=True))
    outcome = count_votes(classify_answers(answers, kind))
    shuffled = answers.copy()
    rng.shuffle(shuffled)
    again = classify_answers(shuffled, kind)
    assert dict(zip(shuffled, again, strict=True)) == classes
    moved = count_votes(again)
    assert (moved.agreement, moved.is_tie) == (outcome.agreement, outcome.is_tie)
    if outcome.winner is not None and moved.winner is not None:
        assert classes[answers[outcome.winner]] == classes[shuffled[moved.winner]]
    assert 0 <= outcome.agreement <= 1


@pytest.mark.parametrize("text", ["18", "$3.50", r"\frac{1}{2}", r"2\pi", "12 apples", "-4", "50%"])
def test_numbers_are_told_from_words(text: str) -> None:
    assert is_number(text)
    assert not is_number("many " + text) and not is_number("a few")


def test_a_record_of_another_shape_is_named() -> None:
    for broken in (
        {"votes": None},
        {"question": 3},
        {"kind": "essay"},
        {"question": "lone \ud800 surrogate"},
        {"choices": ["a", "b"], "votes": [vote("a0", "c", ["c"])]},
        {"choices": ["a", "b"], "votes": [vote("a0", "b", ["a", "b"], index=7)]},
    ):
        with pytest.raises(ValueError):
            read(record("c", "Why?") | broken)
    whole = record("c", "Why?")
    for key in ("id", "votes", "seed_ids", "kind"):
        with pytest.raises(ValueError, match=key):
            read({k: v for k, v in whole.items() if k != key})


def test_the_full_text_holds_all_that_the_student_may_read() -> None:
    votes = [
        vote("a0", "b", ["a", "b"], knowledge="KNOW", context="BACK", distractors="WRONG")
        | {"reasoning": "WHY"}
    ]
    found = read(
        record("c", "Q?", [], choices=["a", "b"], votes=votes, context="PASSAGE", tests="TESTS")
    )
    parts = ["PASSAGE", "Q?", "a", "b", "b", "WHY", "KNOW", "BACK", "WRONG", "TESTS"]
    assert found.full_text.split("\n") == parts


def test_format_names_its_reason() -> None:
    broken = candidate("Why", parse_error="cut off at max_tokens")
    assert check_format(broken) == Rejection("cut off at max_tokens")
    assert check_format(candidate("?!")) == Rejection("empty question")
    assert check_format(candidate("Why?", None, None)) == Rejection("no readable answer")
    assert check_format(candidate("Why?", "?!")) == Rejection("answer without words")
    assert check_format(candidate("Why?", "unknown", kind="number")) == Rejection(
        "answer is not a number"
    )
    assert check_format(candidate("Why?", "12 apples", kind="number")) is None


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        (["x"], "fewer than two options"),
        (["x", " "], "empty option"),
        (["x", "x "], "options repeat"),
    ],
)
def test_options_must_be_two_or_more_and_distinct(choices: list[str], reason: str) -> None:
    found = check_format(candidate("Which?", "x", choices=choices, kind="choice"))
    assert found is not None and found.reason == reason
    genotypes = ["only SS", "only Ss"]
    assert check_format(candidate("Which?", "only Ss", choices=genotypes, kind="choice")) is None


def test_the_options_of_real_questions_stay_apart() -> None:
    folder = SHARED / "data" / "tasks" / "arc_easy"
    if not folder.is_dir():
        pytest.skip("../shared/data is absent")
    with (folder / "train.jsonl").open(encoding="utf-8") as handle:
        items = [json.loads(next(handle))["choices"]["text"] for _ in range(400)]
    merged = [item for item in items if len(set(classify_answers(item, "short_text"))) < len(item)]
    assert not merged


def test_length_counts_all_that_the_item_carries() -> None:
    long = candidate("word " * 30, context="word " * 20)
    assert check_length(long, 1, 54) == Rejection("too long", 55.0)
    assert check_length(long, 1, 55) is None
    assert check_length(candidate("Why?", "x"), 60, 400) == Rejection("too short", 6.0)


def test_a_tie_is_rejected_even_when_the_share_suffices() -> None:
    tied = candidate("Why?", "a", "b", "a", "b")
    assert check_agreement(tied, 0.5) == Rejection("tie", 0.5)
    assert check_agreement(candidate("Why?", "a", "a", "a", "b", "c"), 0.6) is None
    assert check_agreement(candidate("Why?", "a", "a", "b", None, None), 0.6) == Rejection(
        "no majority", 0.4
    )


def test_code_is_left_to_its_tests() -> None:
    assert check_agreement(candidate("Write f.", "a = 1", "a=1", kind="code"), 0.9) is None


def test_a_foreign_item_or_explanation_is_rejected_with_its_language() -> None:
    german = "Wie viele Kilometer liegen zwischen Berlin und Hamburg?"
    found = check_language(candidate(german, "289"), ["en"])
    assert found is not None
    assert (found.reason, found.match) == ("question in another language", "de")
    assert check_language(candidate(german, "289"), ["en", "de"]) is None
    drifted = dataclasses.replace(
        candidate(LONG, "7"), reasoning="因为十二减五等于七 所以答案是七个苹果"
    )
    found = check_language(drifted, ["en"])
    assert found is not None and found.reason == "explanation in another language"


@pytest.mark.parametrize("question", ["12 + 5 = ?", "Ice?", "Which planet is the red one?", LONG])
def test_english_and_what_is_too_short_to_tell_pass(question: str) -> None:
    found = dataclasses.replace(candidate(question, "17"), reasoning="")
    assert check_language(found, ["en"]) is None


def test_real_questions_pass_the_language_check() -> None:
    folder = SHARED / "data" / "tasks" / "openbookqa"
    if not folder.is_dir():
        pytest.skip("../shared/data is absent")
    with (folder / "train.jsonl").open(encoding="utf-8") as handle:
        rows = [json.loads(next(handle)) for _ in range(300)]
    items = [
        candidate(row["question_stem"], row["choices"]["text"][0], choices=row["choices"]["text"])
        for row in rows
    ]
    assert not [item.question for item in items if check_language(item, ["en"])]


def copy_check(folder: Path, similarity: float = 0.9) -> CopyCheck:
    seeds = [make_seed(0, LONG), make_seed(1, "Why is the sky blue?")]
    write_jsonl(folder / "seeds.jsonl", (asdict(seed) for seed in seeds))
    unused = dataclasses.replace(make_seed(7, "Is ice cold?"), choices=["yes", "no"])
    return CopyCheck(
        map(training_keys, [*seeds, unused]), SeedIndex(folder / "seeds.jsonl"), similarity
    )


def test_other_signs_are_no_copy(tmp_path: Path) -> None:
    tail = "when you do it on the board before the whole class, step by step and line by line"
    seeds = [
        make_seed(0, "What is 5 + 2?"),
        make_seed(1, f"What is 5 + 2 {tail}?"),
        make_seed(2, "Which is a symbol: Co?"),
    ]
    write_jsonl(tmp_path / "seeds.jsonl", (asdict(seed) for seed in seeds))
    check = CopyCheck(map(training_keys, seeds), SeedIndex(tmp_path / "seeds.jsonl"), 0.8).check
    shown = [seed.id for seed in seeds]
    for question, reason in (
        ("What is 5 - 2?", None),
        (f"What is 5 - 2 {tail}?", None),
        ("Which is a symbol: CO?", None),
        ("what is 5+2", "copy of a seed"),
        ("WHICH IS A SYMBOL: CO?", "copy of a seed"),
        (f"What is 5 + 2 {tail}, please?", "near copy of a seed"),
    ):
        _, rejection = check(candidate(question, seed_ids=shown))
        assert (rejection and rejection.reason) == reason, question


def test_a_copy_of_any_training_question_is_rejected(tmp_path: Path) -> None:
    check = copy_check(tmp_path).check
    _, rejection = check(candidate("why is the SKY blue", seed_ids=["toy-0"]))
    assert rejection == Rejection("copy of a seed", 1.0, "toy-1")
    # Open, though the training document has options.
    _, rejection = check(candidate("Is ice cold", seed_ids=["toy-0"]))
    assert rejection == Rejection("copy of a seed", 1.0, "toy-7")
    other = candidate("Is ice cold", "tea", choices=["tea", "sea"], seed_ids=["toy-0"])
    assert check(other)[1] is None


def test_a_question_close_to_its_shots_is_rejected(tmp_path: Path) -> None:
    near = candidate(LONG + " over", seed_ids=["toy-1", "toy-0"])
    scored, rejection = copy_check(tmp_path).check(near)
    assert rejection is not None and (rejection.reason, rejection.match) == (
        "near copy of a seed",
        "toy-0",
    )
    assert 0.9 <= scored.scores["seed_similarity"] == round(rejection.score or 0, 4) < 1
    assert copy_check(tmp_path, 0.99).check(near)[1] is None
    far, rejection = copy_check(tmp_path).check(candidate("Who?", seed_ids=["toy-1", "gone"]))
    assert rejection is None and far.scores["seed_similarity"] == 0


def test_seeds_are_found_by_id_on_disk(tmp_path: Path) -> None:
    seeds = [make_seed(number) for number in range(50)]
    write_jsonl(tmp_path / "seeds.jsonl", (asdict(seed) for seed in seeds))
    with SeedIndex(tmp_path / "seeds.jsonl") as index:
        assert [index.find(seed.id) for seed in reversed(seeds)] == seeds[::-1]
        assert index.find("toy-50") is None


@settings(deadline=None)
@given(st.text(max_size=40))
def test_normalisation_is_idempotent(text: str) -> None:
    assume("x" not in words(text))  # between numbers it is a sign, which two punctuations hide
    assert normalise(normalise(text)) == normalise(text)
    assert answer_key(answer_key(text)) == answer_key(text)


def test_words_of_scripts_without_spaces_and_with_marks() -> None:
    assert words("北京 ABC, 12") == ["北", "京", "abc", "12"]
    assert words("कौन सा ग्रह है।") == ["कौन", "सा", "ग्रह", "है"]
    assert normalise("का") != normalise("की")


def test_equal_numbers_meet_and_unequal_ones_do_not() -> None:
    same = {answer_key(text) for text in ("18", "18.0", "$18", "18.", " 18 ")}
    assert same == {"18"}
    assert answer_key("-5") != answer_key("5")
    assert answer_key("1.5") != answer_key("15")
