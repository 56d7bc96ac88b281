"""Promise of every reader of texts: its time grows with the length of the text, not faster."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from functools import cache

import pytest

from tsqa.recipe import AnswerKind
from tsqa.records.votes import classify_answers
from tsqa.seeds import prompt_fields as frames
from tsqa.teachers.replies.answer import tidy
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.teachers.replies.fields import MAX_CHARACTERS
from tsqa.teachers.replies.judgement_reply import parse_judgement, parse_sameness
from tsqa.teachers.replies.option_letters import name_options
from tsqa.teachers.replies.question_reply import parse_question
from tsqa.text.forbidden import find_unfit
from tsqa.text.normalise import words
from tsqa.text.refusals import asks_nothing, explains_refusal

CITIES = ["Paris", "Lyon", "Nice"]
PIECES = [
    *(
        "\n",
        " ",
        "\t",
        "a ",
        "a",
        "1,",
        ".",
        "= ",
        "- ",
        "--- \n",
        "#",
        "**",
        "`",
        "```\n",
        '"',
        "{",
    ),
    *(
        "[",
        "(A",
        "\\",
        "\\(",
        "$",
        "\\boxed{",
        "\\text{",
        "\\n",
        '{"a":',
        '{"answer":',
        "A. ",
        "A) ",
    ),
    *("\nA. x", "Answer: A\n", "####", "the answer is ", "<", "<think>", "</think>", "<answer>"),
    *(
        "<|im_end|>",
        "<|channel|>final<|message|>",
        "assistantfinal",
        "I'm sorry ",
        "x = ",
        "\u3000",
    ),
    *("\u7b54\u6848", "\n \n", "^{", "Passage: ", "<<", "or "),
    *("```\n'''\n```x\n", "```\nA = 1\n```\n", "1. 2 = 2\n", "- 2\n"),
    *("yes or no: ", "Actually, ", "! wait, no", "a\n, sorry x\n"),
]
"""What runaways are made of."""
READERS: dict[str, Callable[[str], object]] = {
    "parse_question choice": lambda text: parse_question(text, "stop", "choice", "chat", False),
    "parse_question reading": lambda t: parse_question(t, "stop", "short_text", "completion", True),
    "parse_question cut": lambda text: parse_question(text, "length", "code", "chat", False),
    "parse_answer choice": lambda text: parse_answer(text, "stop", "choice", CITIES),
    "parse_answer boolean": lambda text: parse_answer(text, "stop", "boolean", []),
    "parse_answer number": lambda text: parse_answer(text, "stop", "number", []),
    "parse_answer short_text": lambda text: parse_answer(text, "stop", "short_text", []),
    "parse_answer long_text": lambda text: parse_answer(text, "length", "long_text", []),
    "parse_answer code": lambda text: parse_answer(text, "stop", "code", []),
    "parse_judgement": lambda text: parse_judgement(text, "stop"),
    "parse_sameness": lambda text: parse_sameness(text, "stop"),
    "find_unfit": find_unfit,
    "explains_refusal": explains_refusal,
    "asks_nothing": asks_nothing,
    "name_options": lambda text: name_options(text, CITIES, ""),
    "tidy": tidy,
    "words": words,
    "classify number": lambda text: classify_answers([text, text + "1"], "number"),
    "classify text": lambda text: classify_answers([text, text + "1"], "short_text"),
    "frames.tidy": frames.tidy,
    "frames.split_prompt": lambda text: frames.split_prompt(text, {"question": "What is it?"}),
    "frames.split_options": frames.split_options,
    "frames.split_answer": frames.split_answer,
}
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
LENGTH, SECONDS = 6_000, 1.0
"""Linear readers take some hundredths of a second for it, quadratic ones several seconds."""
SHORT, SUSPECT = LENGTH // 4, SECONDS / 4**3
"""What takes `SECONDS` for the whole length takes at least this for a quarter of it, unless it
grows faster than with the third power; then it is slow for the longest replies below."""
LONG_SECONDS = 5.0


def _seconds(read: Callable[[str], object], text: str) -> float:
    """Of this process: other work on the machine does not count."""
    begin = time.process_time()
    with contextlib.suppress(ValueError):  # seeds that cannot be read say so
        read(text)
    return time.process_time() - begin


@cache
def _shapes(piece: str, length: int) -> tuple[str, ...]:
    """A row of a piece: alone, in words, in JSON, and behind noise that hides the repetition."""
    row = (piece * length)[:length]
    noise = "".join(random.Random(1).choices(LETTERS, k=length // 3))
    half = f"{noise}{row[len(noise) :]}"
    return row, f'{{"answer": "{row[:-14]}"}}', half, f"A. {half[:-5]} x"


@pytest.mark.parametrize("name", READERS)
def test_no_reader_is_slow_on_runaways(name: str) -> None:
    read = READERS[name]
    read("warm up")
    slow = {}
    for piece in PIECES:
        for number, (short, text) in enumerate(
            zip(_shapes(piece, SHORT), _shapes(piece, LENGTH), strict=True)
        ):
            if _seconds(read, short) < SUSPECT:
                continue
            seconds = _seconds(read, text)
            if seconds > SECONDS:  # the first text of its kind may import a parser
                seconds = _seconds(read, text)
            if seconds > SECONDS:
                slow[f"{piece!r} {number}"] = round(seconds, 2)
    assert not slow


@pytest.mark.parametrize("piece", ["\n", "= ", "\\(", '"', '{"a":'])
def test_the_longest_replies_are_read_in_seconds(piece: str) -> None:
    for text in _shapes(piece, MAX_CHARACTERS):
        for name in ("parse_question choice", "parse_answer short_text"):
            assert _seconds(READERS[name], text) < LONG_SECONDS, name


@pytest.mark.parametrize("name", [name for name in READERS if name.startswith("parse")])
def test_mixtures_are_read_in_seconds(name: str) -> None:
    """Mixed pieces and signs, which zlib does not tell as a repetition."""
    draw = random.Random(name)
    for some in (*(draw.sample(PIECES, 8) for _ in range(2)), "?:\n!.,;-"):
        mixed = "".join(draw.choice(some) for _ in range(MAX_CHARACTERS))[:MAX_CHARACTERS]
        for text in (mixed, f"What is it {mixed[:-20]} now?"):
            assert _seconds(READERS[name], text) < LONG_SECONDS


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": ' + "[" * 100_000 + "]" * 80_000,
        '{"answer": ' + "[" * 900 + "1" + "]" * 900 + "}",
        '{"answer": ' + '{"a": ' * 600 + "1" + "}" * 601,
        '{"a":' * 30_000,
        '{"answer": ' + "9" * 100_000 + "}",
        '{"answer": 1e999}',
        '{"answer": 1e999,}',
        '{"answer": -1e999999999, }',
        '{"answer": NaN}',
        '{"answer": [NaN, Infinity, -Infinity]}',
        '{"answer": ' + "9" * 5_000 + ",}",
        '{"answer": "B", "answer_index": "' + "9" * 5_000 + '"}',
        '{"reasoning": "so x = ' + "9" * 5_000 + '.", "answer": "6"}',
        '{"reasoning": "2^9 = 1e99999999", "answer": "6"}',
        '{"answer": "a", "answer": "a"}' * 5_000,
        '{"question": {"question": ' * 300,
        '{"answer": "\\ud800\\udc00\\ud800", "x": "\x00"}',
    ],
)
@pytest.mark.parametrize("kind", ["number", "short_text", "choice", "code"])
def test_values_without_end_are_read_or_refused(text: str, kind: AnswerKind) -> None:
    begin = time.process_time()
    answer = parse_answer(text, "stop", kind, CITIES if kind == "choice" else []).answer
    parse_question(text, "length", kind, "chat", True)
    parse_judgement(text, "stop")
    assert answer is None or kind == "code" or not {"inf", "-inf"} & {answer}
    assert time.process_time() - begin < LONG_SECONDS
