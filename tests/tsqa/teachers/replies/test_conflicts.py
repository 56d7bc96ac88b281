"""Replies that say two things: an answer that is taken back, steps beside a result, programs."""

from __future__ import annotations

import json

import pytest

from tsqa.recipe import AnswerKind
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.teachers.replies.question_reply import parse_question

METALS = ["iron", "copper", "tin"]
BACK = "takes its answer back"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("choice", "Answer: A\nWait, no. Answer: B"),
        ("choice", '{"answer": "A"}\n\nWait, that\'s wrong. The answer is B.'),
        ("choice", '{"answer": "A", "reasoning": "It is A. Wait, actually B is right."}'),
        ("choice", "<answer>A</answer>\n\nHold on, B conducts better."),
        ("choice", "A\n\nI made a mistake: it is B."),
        ("choice", "\u7b54\u6848: A\n\u7b49\u7b49, \u5e94\u8be5\u662fB."),
        ("number", "Answer: 18\n\nWait, that's wrong. It's 20."),
        ("number", "\\boxed{18}\n\nLet me double-check: 10 + 10 = 20."),
        ("number", "Answer: 18\nReasoning: 9 + 9 = 18. Wait, it is 10 + 10 = 20."),
        ("short_text", "Answer: tin\nActually, lead."),
        ("boolean", "No\n\nWait, actually yes."),
    ],
)
def test_an_answer_that_is_taken_back_is_none(kind: AnswerKind, text: str) -> None:
    parsed = parse_answer(text, "stop", kind, METALS if kind == "choice" else [])
    assert (parsed.answer, parsed.error) == (None, BACK)


@pytest.mark.parametrize(
    ("kind", "text", "answer"),
    [
        ("number", "Reasoning: 9 + 9. Wait, it is 10 + 10.\nAnswer: 20", "20"),
        ("number", '{"reasoning": "9 + 9. Wait, it is 10 + 10.", "answer": 20}', "20"),
        ("short_text", "Answer: tin\nExplanation: They wait. Actually, tin is soft.", "tin"),
        ("choice", "B\nActually, copper conducts best of all.", "copper"),
    ],
)  # fmt: skip
def test_a_correction_before_the_answer_takes_nothing_back(
    kind: AnswerKind, text: str, answer: str
) -> None:
    parsed = parse_answer(text, "stop", kind, METALS if kind == "choice" else [])
    assert (parsed.answer, parsed.error) == (answer, "")


@pytest.mark.parametrize(
    ("kind", "text", "answer"),
    [
        (
            "choice",
            "Answer: B\nReasoning: Option A says tin. That is incorrect: tin is soft.",
            "copper",
        ),
        ("choice", '{"answer": "B", "distractors": ["Wait in line does not help."]}', "copper"),
        ("choice", '{"answer": "B", "knowledge": "Sorry, Wrong Number is a film."}', "copper"),
        ("choice", "Reasoning: so cool~~~ copper.\nAnswer: B", "copper"),
        ("choice", "B. A and C are wrong.", "copper"),
        ("choice", "A tempting answer is A. The correct answer is B.", "copper"),
        ("number", "Answer: 12\nReasoning: Wait times were 3, 4 and 5 minutes.", "12"),
        ("number", "Answer: 12\nReasoning: I made a table of wrong values.", "12"),
        ("number", "#### 18\n\nLet me double-check: 9*2=18. Yes.", "18"),
        ("number", "x = 18\nShe sells 9 eggs.", "18"),
        ("number", "Total = 18\n\nThis uses 9 eggs.", "18"),
        ("boolean", "Answer: False\nExplanation: That is incorrect. Paris lies in France.", "no"),
        ("boolean", "Yes, it is.\nNo other city is larger.", "yes"),
        ("boolean", "No, whales are mammals.\nThis is true of all whales.", "no"),
        ("boolean", "No. People might assume the answer is yes.", "no"),
    ],
)
def test_what_only_sounds_like_another_answer_is_none(
    kind: AnswerKind, text: str, answer: str
) -> None:
    parsed = parse_answer(text, "stop", kind, METALS if kind == "choice" else [])
    assert parsed.error == ""
    assert (parsed.answer or "").lower().replace("true", "yes").replace("false", "no") == answer


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ('print("~~~ Menu ~~~")\nprint(1)', 'print("~~~ Menu ~~~")\nprint(1)'),
        (
            'B = "~~~~~~"\n\ndef f(n):\n    return B * n',
            'B = "~~~~~~"\n\ndef f(n):\n    return B * n',
        ),
        (
            "```python\ndef f(n):\n    return n\n```\nSo:\n```\ndef f(n):\n    ...\n```",
            "def f(n):\n    return n",
        ),
        (
            "1.  ```python\n    def f(n):\n        return n\n    ```\n\n2. It works.",
            "def f(n):\n    return n",
        ),
        (
            "```\nimport os,\t\n```\n```\ndef f(n):\n    return n\n```",
            "def f(n):\n    return n",
        ),
        (
            "```\nimport numpy as np  # arrays\n```\n```\ndef f(n):\n    return np.ones(n)\n```",
            "import numpy as np  # arrays\n\ndef f(n):\n    return np.ones(n)",
        ),
    ],
)
def test_a_program_is_neither_cut_nor_replaced_by_a_part_of_it(text: str, program: str) -> None:
    parsed = parse_answer(text, "stop", "code", [])
    assert (parsed.answer, parsed.error) == (program, "")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("3 + 4 = 7\n7 * 2 = 14", "14"),
        ("Step 1: 3 + 4 = 7\nStep 2: 7 * 2 = 14", "14"),
        ("She has 3 + 4 = 7 apples.\nShe sells them for 7 * 2 = 14 dollars.", "14 dollars"),
        ("Speed = 60\nTime = 2\nDistance = 120", "120"),
        ("3 + 4 = 7\n14", "14"),
        ("14\n3 + 4 = 7\n7 * 2 = 14", "14"),
        ("The farm had 20 eggs.\n18", "18"),
        ("18\n\nThe farm had 20 eggs.", "18"),
        ("18000\n18,000", "18000"),
        ("18\n20", None),
        ("18\n9 + 11 = 20", None),
        ("The farm had 20 eggs.\nShe sells 18 eggs.", None),
        ("2 * 7 = 14\nCheck: 14 / 2 = 7", None),
        ("3 + 4 = 7\n7 * 2 = 14\nHope this helps!", None),
    ],
)
def test_of_steps_the_last_one_is_the_result_and_what_is_unclear_is_none(
    text: str, answer: str | None
) -> None:
    assert parse_answer(text, "stop", "number", []).answer == answer


@pytest.mark.parametrize(
    "text", ['{"answer": "A", "final_answer": "B"}', "Answer: A\nFinal answer: B"]
)
def test_an_answer_and_another_final_one_contradict_each_other(text: str) -> None:
    assert parse_answer(text, "stop", "choice", METALS).error == "answers contradict each other"
    same = text.replace("B", "A) iron")
    assert parse_answer(same, "stop", "choice", METALS).answer == "iron"


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("choice", "The answer is A.\nThe answer is B.\nThe answer is A.", "stop"),
        ("choice", "A: It is so.\nB: It is so.\nC: It is so.\nThe answer", "length"),
        ("number", "A possible answer is: 3\nA possible answer is: 35\nSo", "stop"),
        ("number", "The wrong answer is 5.", "stop"),
        ("short_text", "The incorrect answer is tin.", "stop"),
    ],
)
def test_several_answers_and_options_said_again_are_none(
    kind: AnswerKind, text: str, reason: str
) -> None:
    choices = METALS if kind == "choice" else []
    assert parse_answer(text, reason, kind, choices).answer is None
    supposed = "If the answer is whole, it can be checked: \\boxed{5}"
    assert parse_answer(supposed, "stop", "number", []).answer == "5"
    corrected = "The answer is A.\nWait, tin is soft.\nThe answer is B."
    assert parse_answer(corrected, "stop", "choice", METALS).answer == "copper"


def test_the_answer_to_the_next_question_is_another_ones() -> None:
    for text in ("B\n\nNext question:\nAnswer: A", "Answer: B\nNext problem: Which?\nAnswer: A"):
        assert parse_answer(text, "stop", "choice", METALS).answer == "copper"


@pytest.mark.parametrize(
    ("text", "answer"),
    [("Yes\nNo", None), ("No doubt it is true", None), ("Yes\nNo metal rusts less.", "yes")],
)
def test_a_yes_beside_a_no_is_neither(text: str, answer: str | None) -> None:
    assert parse_answer(text, "stop", "boolean", []).answer == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        *[(text, None) for text in ("[answer]", "{your answer}", "TBD", "The answer is:")],
        ("answer", "answer"),  # the opposite of a question
        ("```\ntin\n```", "tin"),
    ],
)
def test_a_place_for_an_answer_is_none(text: str, answer: str | None) -> None:
    assert parse_answer(text, "stop", "short_text", []).answer == answer
    if answer is None:
        assert parse_answer(json.dumps({"answer": text}), "stop", "short_text", []).answer is None


DOCSTRING = 'def f():\n    """\n    ```\n    f(1)\n    ```\n    """\n    return 1'


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (DOCSTRING, DOCSTRING),
        (f"```python\n{DOCSTRING}\n```", DOCSTRING),
        (json.dumps({"answer": DOCSTRING}), DOCSTRING),
        ('```\ndef f():\n    """```x```"""\n```', 'def f():\n    """```x```"""'),
        ("~~~python\ndef f(): pass\n~~~", "def f(): pass"),
        ("````python\ndef f(): pass\n````", "def f(): pass"),
        ("1. So:\n   ```\n   def f():\n       pass\n   ```", "def f():\n    pass"),
        ("```\ndef f(): pass\n```\nUsage:\n```\nf()\nf()\nf()\nf()\n```", "def f(): pass"),
        ("```\ndef f(): return 1 + 1\n```\nBetter:\n```\ndef f(): return 2\n```",
            "def f(): return 2"),
        ("```\nimport math\n```\nThen\n```\ndef f(): return math.pi\n```",
            "import math\n\ndef f(): return math.pi"),
        ("```\ndef g(): return 2\n```\nThen\n```\ndef f(): return g() + g()\n```",
            "def g(): return 2\n\ndef f(): return g() + g()"),
    ],
)  # fmt: skip
def test_a_program_is_whole_whatever_its_fences(text: str, program: str) -> None:
    assert parse_answer(text, "stop", "code", []).answer == program


@pytest.mark.parametrize(
    ("kind", "text", "question", "error"),
    [
        ("number", "Q: How many legs have 3 cows?\nA: 12", "How many legs have 3 cows?", ""),
        ("choice", "Q: Which?\nA: tin\nB: iron", "Which?", ""),
        ("number", "How many? The answer is 12.", None, "states its answer"),
        ("number", '{"question": "How many?\\nAnswer: 12"}', None, "runs into the next field"),
        ("boolean", "Is tin a metal? The answer is yes.", None, "states its answer"),
        ("boolean", "Is tin a metal? Answer yes or no.", "Is tin a metal? Answer yes or no.", ""),
    ],
)
def test_a_question_does_not_hold_its_answer(
    kind: AnswerKind, text: str, question: str | None, error: str
) -> None:
    parsed = parse_question(text, "stop", kind, "chat", has_context=False)
    assert parsed.error == error
    assert question is None or parsed.question == question


@pytest.mark.parametrize(
    ("reply", "kind", "answer"),
    [
        ("Answer: x = 5\nSubstituting: 2*5 = 10.", "number", "5"),
        ("Answer: 7 - 2 = 5\nThe total was 3 + 4 = 7.", "number", "5"),
        ("Answer: 9 * 2 = 18\n18 / 2 = 9", "number", "18"),
        ("Answer: 5! = 120\n5! = 5*4*3*2*1", "number", "120"),
        ("Answer: 3 + 4 = 7\nThen 7 - 2 = 5", "number", "5"),
        ("Answer: 42. Check: 42 / 2 = 21", "number", "42"),
        ("- A: 3 * 4 = 12\n- B: 2 * 5 = 10\n\n12 + 10 = 22\n\nJim reads 22.", "number", "22"),
        ("- A: 3 * 4 = 12\n- B: 2 * 5 = 10\n\nJim reads 22 altogether.", "number", "22"),
        ("1. Let x be the number.\n2. Then 2x = 84.\n\nx = 42", "number", "42"),
        ("Yes. It is wrong to steal, according to the passage.", "boolean", "yes"),
        ("Answer: Yes. Divisible by 2? No. Divisible by 3? No.", "boolean", "yes"),
        ("Yes, it is incorrect.", "boolean", None),
        ("True, False", "boolean", None),
        ("He apologised, sorry for it", "short_text", "He apologised, sorry for it"),
        ("Paris, sorry, Lyon", "short_text", None),
    ],
)
def test_what_explains_an_answer_does_not_replace_it(
    reply: str, kind: AnswerKind, answer: str | None
) -> None:
    assert parse_answer(reply, "stop", kind, []).answer == answer
