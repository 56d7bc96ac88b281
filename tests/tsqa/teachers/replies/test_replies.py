"""Promises of parsing: hand-written teacher outputs are read; no text breaks it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.benchmarks.parsing import count_questions
from tests.support.paths import DATA
from tsqa.prompts import CRITERIA, load_prompts
from tsqa.recipe import AnswerKind
from tsqa.teachers.replies.answer import Reading, read_answer
from tsqa.teachers.replies.answer_reply import ParsedAnswer, parse_answer
from tsqa.teachers.replies.judgement_reply import parse_judgement, parse_sameness
from tsqa.teachers.replies.question_reply import ParsedQuestion, parse_question

OUTPUTS = yaml.safe_load((DATA / "teacher_outputs.yaml").read_text(encoding="utf-8"))
CITIES = ["Paris", "Lyon", "Nice"]
KINDS: tuple[AnswerKind, ...] = ("choice", "number", "short_text", "long_text", "code", "boolean")
FINISHES = ["stop", "length", "prompt_too_long", "error: 503"]
FRAGMENTS = [
    *("Question:", "**Answer:**", "### Options\n", "Passage: ", "Reasoning:", "Because:", "Tests:"),
    *("A. ", "(b) ", "C) ", "\n", "\n\n", "```", "```json\n", "<think>", "</think>", "#### "),
    *(
        '{"question": "',
        '{"answer": "',
        '", "options": ["',
        '"]}',
        '"}',
        "{",
        "}",
        "\\",
        "\\boxed{",
    ),
    *("The answer is ", "Paris", "Lyon", "18", "yes", "$", "**", "- ", "\ud800", "\x00", "1e999"),
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=6), max_size=14).map("".join)
WORDS = ["red", "fox", "runs", "over", "dry", "moss", "at", "dusk"]
PHRASES = st.lists(st.sampled_from(WORDS), min_size=2, max_size=6).map(" ".join)
QUESTIONS = load_prompts("similar", "question", "generate.prompts.question")
ANSWERS = load_prompts("enrich", "answer", "generate.prompts.answer")
NAMES = ["lemon", "granite", "violin", "harbour", "walnut", "copper"]


def named(cases: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in cases])


@named(OUTPUTS["questions"])
def test_questions_of_strong_teachers_are_read(case: dict[str, Any]) -> None:
    found = parse_question(
        case["text"],
        case.get("finish", "stop"),
        case["kind"],
        case["form"],
        case.get("has_context", False),
    )
    assert asdict(found) == asdict(ParsedQuestion("", "", [], "", "")) | case["expect"]


@named(OUTPUTS["answers"])
def test_answers_of_strong_teachers_are_read(case: dict[str, Any]) -> None:
    choices = CITIES if case["kind"] == "choice" else []
    found = parse_answer(case["text"], case.get("finish", "stop"), case["kind"], choices)
    read = asdict(found) | {"dropped": list(found.dropped)}
    assert read == asdict(ParsedAnswer()) | {"dropped": []} | case["expect"]


@named(OUTPUTS["judgements"])
def test_judgements_of_strong_teachers_are_read(case: dict[str, Any]) -> None:
    assert parse_judgement(case["text"], "stop") == case["expect"]


@pytest.mark.parametrize(
    ("text", "reason", "error"),
    [
        (" Why?", "stop", ""),
        (" ", "stop", "empty"),
        (" Why is", "length", "cut off at max_tokens"),
        (" Why? Answer: so", "stop", "runs into the next field"),
        ("", "prompt_too_long", "prompt longer than max_model_len"),
        ("", "error: 429", "error: 429"),
        (" why" * 200, "stop", "repeats itself"),
        (" Why?" + "x" * 300_000, "stop", "longer than 200,000 characters"),
    ],
)
def test_plain_questions_that_cannot_be_used_say_why(text: str, reason: str, error: str) -> None:
    assert parse_question(text, reason, "short_text", "completion", False).error == error


@pytest.mark.parametrize(
    ("text", "reason", "answer", "reasoning"),
    [
        (" May\nBecause: After April comes May.", "stop", "May", "After April comes May."),
        (" May\nAfter April comes May.", "stop", "May", "After April comes May."),
        (" May", "stop", "May", ""),
        (" Ma", "length", None, ""),
        (" May\nBecause: After", "length", "May", ""),
        (" May\nQuestion: What is", "length", "May", ""),
        ("\n\n", "stop", None, ""),
        (" 2 + 2 = 4 #### 4", "stop", "4", "2 + 2 = 4"),
    ],
)
def test_plain_votes_are_read(text: str, reason: str, answer: str | None, reasoning: str) -> None:
    vote = parse_answer(text, reason, "short_text", [])
    assert (vote.answer, vote.reasoning) == (answer, reasoning)


@pytest.mark.parametrize(
    ("text", "choices", "index"),
    [
        ("-5", ["5", "-5", "50"], 1),
        ("\u22125", ["5", "10", "20"], None),
        ("5.5", ["5", "6", "7"], None),
        ("5 because 2 + 3 = 5", ["5", "5 or 6", "7"], 0),
        ("1000", ["1,000", "100", "10"], 0),
        ("C++", ["C", "Java", "Python"], None),
        ("x > y", ["x < y", "x = y"], None),
        ("well-known", ["well known", "unknown"], 0),
        ("New York City", ["New York", "New York City", "York"], 1),
        ("A dog", ["a cat", "a dog"], 1),
        ("B. y", ["x", "y"], 1),
        ("b", ["b", "a"], None),  # the letter says `a`, the word says `b`
    ],
)
def test_an_option_is_named_exactly_or_not_at_all(
    text: str, choices: list[str], index: int | None
) -> None:
    found = parse_answer(f"Answer: {text}", "stop", "choice", choices)
    assert found.index == index
    assert found.answer == (None if index is None else choices[index])


@settings(max_examples=400, deadline=None)
@given(
    TEXTS,
    st.sampled_from(FINISHES),
    st.sampled_from(KINDS),
    st.sampled_from(["chat", "completion"]),
    st.booleans(),
)
@example('{"question": ' + "[" * 50_000, "length", "number", "chat", False)
@example('{"a":' * 30_000, "stop", "choice", "chat", False)
@example('{a:"' * 40_000, "stop", "choice", "chat", False)
@example("*" * 150_000, "stop", "choice", "completion", True)
@example("<think>" * 20_000, "stop", "code", "chat", False)
def test_any_text_gives_a_usable_question_or_a_reason(
    text: str, reason: str, kind: AnswerKind, form: str, has_context: bool
) -> None:
    found = parse_question(text, reason, kind, form, has_context)
    if not found.error:
        assert found.question.strip() == found.question != ""
        assert (2 <= len(set(found.choices)) == len(found.choices) <= 10) == (kind == "choice")
        assert bool(found.tests) == (kind == "code")
        assert found.context or not has_context


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.sampled_from(FINISHES), st.sampled_from(KINDS), st.sampled_from([[], CITIES]))
@example('{"answer": ' + "[" * 50_000, "length", "number", [])
@example("\\boxed{" * 20_000, "stop", "choice", CITIES)
def test_any_text_gives_an_answer_or_a_reason(
    text: str, reason: str, kind: AnswerKind, choices: list[str]
) -> None:
    found = parse_answer(text, reason, kind, choices)
    assert (found.answer is None) == bool(found.error)
    if kind == "choice" and choices and not found.error:
        assert found.index is not None
        assert choices[found.index] == found.answer
    else:
        assert found.index is None
    parse_judgement(text, reason)


@st.composite
def items(draw: st.DrawFn) -> dict[str, Any]:
    """A seed of any kind, with and without a passage."""
    kind = draw(st.sampled_from(KINDS))
    choices = draw(st.permutations(NAMES))[: draw(st.integers(2, 6))] if kind == "choice" else []
    index = draw(st.integers(0, len(choices) - 1)) if choices else None
    answers = {
        "choice": st.just(choices[index]) if index is not None else st.nothing(),
        "number": st.integers(-(10**6), 10**6).map(str),
        "short_text": PHRASES,
        "long_text": st.lists(PHRASES, min_size=1, max_size=3).map("\n\n".join),
        "code": PHRASES.map(lambda words: f"def f():\n    return {words!r}"),
        "boolean": st.sampled_from(["yes", "no"]),
    }
    is_read = kind != "code" and draw(st.booleans())
    return {
        "kind": kind,
        "question": draw(PHRASES) + "?",
        "context": draw(st.lists(PHRASES, min_size=1).map("\n".join)) if is_read else "",
        "choices": choices,
        "answer_index": index,
        "answer": draw(answers[kind]),
        "explanation": draw(PHRASES),
        "tests": "answer: str = f()\nassert answer" if kind == "code" else "",
    }


@settings(max_examples=150, deadline=None)
@given(items())
def test_questions_shaped_like_the_shots_are_read_back(item: dict[str, Any]) -> None:
    kind, has_context = item["kind"], bool(item["context"])
    prompt = QUESTIONS.of(kind, has_context)
    shown = prompt.completion(shots=[item], kind=kind)
    first = shown.rpartition("\n")[2]
    text = shown.split(f"\n{first}", 1)[1]
    for stop in prompt.stop:
        text = text.split(stop)[0]
    found = parse_question(text, "stop", kind, "completion", has_context)
    wanted = [item[name] for name in ("question", "context", "choices", "tests")]
    assert asdict(found) == asdict(ParsedQuestion(*wanted, error=""))


@settings(max_examples=150, deadline=None)
@given(items())
def test_answers_shaped_like_the_shots_are_read_back(item: dict[str, Any]) -> None:
    kind = item["kind"]
    prompt = ANSWERS.of(kind, bool(item["context"]))
    shown = prompt.completion(shots=[item], enrichment=["reasoning"], **item)
    text = shown.split("Solution:")[2]
    for stop in prompt.stop:
        text = text.split(stop)[0]
    found = parse_answer(text, "stop", kind, item["choices"])
    wanted = ParsedAnswer(item["answer"], item["answer_index"], item["explanation"])
    assert found == wanted


@pytest.mark.parametrize(
    ("text", "kind", "answer"),
    [
        ("Reasoning: 9 * 2 = 18. The answer is 18.", "number", "18"),
        ("Reasoning: It is in France. So the answer is Nice.", "choice", "Nice"),
        ("Reasoning: It is the whale. So the answer is the whale.", "short_text", "the whale"),
        ("Reasoning: Eggs.\nThe answer is 18.\n\nProblem: Pens.\nSolution: 5", "number", "18"),
        ("Reasoning: No number fits, so the answer is not possible.", "number", None),
        ("Reasoning: The answer is not obvious. We look again.", "short_text", None),
        ("Reasoning: So the answer is unknown.", "short_text", None),
        ("Answer:\n1. red\n2. blue", "short_text", "red, blue"),
        ("Answer:\n- red\n- blue\n\nBoth are bright.", "short_text", "red, blue"),
        ("- 10\n- 8\n\nTotal: 18", "number", "18"),
        ("1. Add 10.\n2. Add 8.\n3. The result is 18.", "number", "18"),
        ("Answer: ???", "short_text", None),
    ],
)
def test_conclusions_and_lists_are_read_whole_or_not_at_all(
    text: str, kind: AnswerKind, answer: str | None
) -> None:
    assert parse_answer(text, "stop", kind, CITIES if kind == "choice" else []).answer == answer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_context", [False, True])
def test_the_worked_example_of_a_prompt_is_read_back(kind: AnswerKind, has_context: bool) -> None:
    enrichment = ["reasoning", "knowledge", "context", "distractors"]
    prompt = ANSWERS.of(kind, has_context)
    shown = prompt.completion(
        shots=[], enrichment=enrichment, question="?", context="x", choices=["x"], kind=kind
    )
    text = shown.split("Solution:")[1].split("\n\n")[0]
    choices = [line[3:] for line in shown.split("Solution:")[0].splitlines() if line[1:3] == ". "]
    found = parse_answer(text, "stop", "short_text" if prompt.kind == "reading" else kind, choices)
    assert not found.error
    for name in enrichment:
        assert getattr(found, name) or (name == "distractors" and not choices)


@settings(max_examples=150, deadline=None)
@given(
    items(), st.sampled_from(["{}", "```json\n{}\n```", "Sure:\n{}\nDone.", "<think>a</think>{}"])
)
def test_json_is_read_back_whatever_surrounds_it(item: dict[str, Any], frame: str) -> None:
    kind, choices = item["kind"], item["choices"]
    question = {
        "passage": item["context"],
        "question": item["question"],
        "options": choices,
        "tests": item["tests"],
    }
    if kind != "code":
        text = frame.replace("{}", json.dumps(question, indent=1))
        found = parse_question(text, "stop", kind, "chat", bool(item["context"]))
        wanted = [item[name] for name in ("question", "context", "choices")]
        assert asdict(found) == asdict(ParsedQuestion(*wanted, tests="", error=""))
    reply = {"knowledge": "k", "reasoning": item["explanation"], "answer": item["answer"]}
    text = frame.replace("{}", json.dumps(reply))
    if kind != "code" or frame.startswith(("{", "`", "<")):
        trace = "a" if "<think>" in frame else ""
        answer = ParsedAnswer(item["answer"], item["answer_index"], item["explanation"], "k")
        answer = replace(answer, trace=trace)
        assert parse_answer(text, "stop", kind, choices) == answer


OPTIONS = ["iron", "wood", "salt"]


@pytest.mark.parametrize(
    ("text", "kind", "answer"),
    [
        ("Solution: 18", "number", "18"),
        ("Solution:\n18 apples", "number", "18 apples"),
        ("Reasoning: 9 + 9\nSolution: 18", "number", "18"),
        ("We add 9 and 9.\nSolution: 18", "number", "18"),
        ("Solution: B", "choice", "wood"),
        ("Solution: wood", "choice", "wood"),
        ("Ans: C", "choice", "salt"),
        ("It burns.\nAns: B", "choice", "wood"),
        ("Ans: 18", "number", "18"),
        ("There are 9 cows.\nSolution: 18", "number", None),
        ("C\nSolution: B", "choice", None),
        ("Solution: We add 9 and 9.", "number", None),
        ("Solution: A cat burns.", "choice", None),
        ("Solution: Eggs.\n\nExercise: Pens.\nSolution: 5", "number", None),
        ("Solution: Eggs.\n\nProblem: Pens.\nSolution: 5", "number", None),
    ],
)
def test_a_working_that_is_only_the_answer_is_read_as_it(
    text: str, kind: AnswerKind, answer: str | None
) -> None:
    assert parse_answer(text, "stop", kind, OPTIONS if kind == "choice" else []).answer == answer


@pytest.mark.parametrize("text", ["N/A", "n/a", "N / A", "The answer is N/A."])
def test_not_available_is_no_formula(text: str) -> None:
    assert read_answer(text, "number", []) == Reading(error="not a number")


@given(st.integers(0, 200))
def test_a_cut_reply_loses_only_what_the_cut_went_through(end: int) -> None:
    reply = {"reasoning": "one, two", "answer": "Paris", "knowledge": "It is a city."}
    text = json.dumps(reply)[:end]
    found = parse_answer(text, "length", "short_text", [])
    assert found.answer in (None, "Paris")
    assert found.reasoning in ("", "one, two")
    assert found.knowledge in ("", "It is a city.")
    assert (found.answer == "Paris") == (end >= text.find('"Paris"') + 7 > 7)


@given(st.fixed_dictionaries({name: st.integers(1, 5) for name in CRITERIA}))
def test_grades_are_read_back(grades: dict[str, int]) -> None:
    lines = "\n".join(f"{name.capitalize()}: {grade}" for name, grade in grades.items())
    for text in (json.dumps({"notes": "n"} | grades), lines):
        assert parse_judgement(text, "stop") == grades
    first = next(iter(grades))
    other = json.dumps(grades | {first: grades[first] % 5 + 1})
    assert parse_judgement(f"{json.dumps(grades)}\n{other}", "stop") is None, "which of two holds?"


def test_half_a_surrogate_pair_can_be_written_to_disk() -> None:
    parsed = parse_question(
        r'{"question": "What \ud83d is it?"}', "stop", "short_text", "chat", False
    )
    assert parsed.question.encode("utf-8").decode() == "What \ufffd is it?"
    assert parsed.error == "broken unicode"
    whole = parse_question(r'{"question": "A \ud83d\ude00?"}', "stop", "short_text", "chat", False)
    assert whole.question == "A \N{GRINNING FACE}?"


def test_a_small_model_is_read_far_more_often_in_the_completion_form() -> None:
    counts = count_questions()
    readable = {
        key: (outcomes["read"], outcomes.total()) for key, outcomes in sorted(counts.items())
    }
    assert readable == {
        ("choice", "chat"): (1, 61),
        ("choice", "completion"): (25, 51),
        ("number", "chat"): (14, 33),
        ("number", "completion"): (27, 28),
    }
    assert counts["choice", "chat"]["no options"] == 43
    # Repetition, which no parser can mend.
    assert counts["choice", "completion"]["two options are equal"] == 21


@pytest.mark.parametrize(
    ("reply", "is_same"),
    [
        ('{"notes": "both ask for honey", "same": true}', True),
        ('{"notes": "same subject, yes", "same": false}', False),
        ('<think>yes</think>{"notes": "", "same": "No"}', False),
        (" yes\n", True),
        (" No, another fact.\n", False),
        ("Same: yes", True),
        ("Both ask the same.", None),
        ('{"same": true, "Same": false}', None),
        ('{"notes": "yes"}', None),
        ("", None),
    ],
)
def test_whether_two_questions_are_the_same_is_read_or_nothing_is(
    reply: str, is_same: bool | None
) -> None:
    assert parse_sameness(reply, "stop") is is_same
    assert parse_sameness(reply, "error: 503") is None


def test_a_rule_below_a_long_answer_is_no_part_of_it() -> None:
    read = parse_answer("Ice floats.\n\n---\n\nIt is light.\n\n---\n", "stop", "long_text", [])
    assert read.answer == "Ice floats.\n\n---\n\nIt is light."
