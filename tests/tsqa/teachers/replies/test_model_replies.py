"""Promise of reading: of replies in the manner of many models, none is read wrongly.

`tests/data/model_replies.jsonl` holds replies written by hand after the habits of models of 2026
(boxes, bold results, steps and lists, JSON, channels, second thoughts, caveats, many languages),
with the answer that a person reads in them, null where they give none. `task` names what was asked
for where that is no answer: a question (its fields), grades (`judge`) or whether two questions are
the same. `missed`: right ones that are known not to be read.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.paths import DATA
from tsqa.records.votes import same_answer
from tsqa.store.jsonl import read_jsonl
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.teachers.replies.judgement_reply import parse_judgement, parse_sameness, read_verdict
from tsqa.teachers.replies.question_reply import parse_question

METALS = ["iron", "copper", "tin", "lead"]
REPLIES = list(read_jsonl(DATA / "model_replies.jsonl"))


def read(reply: dict[str, Any]) -> Any:
    """What is read in a reply; of a question the fields that the reply's record names."""
    said = reply["text"], reply.get("finish_reason", "stop")
    match reply.get("task", "answer"):
        case "question":
            found = parse_question(*said, reply["kind"], "chat", "has_context" in reply)
            wanted = reply["answer"] or {"question"}
            return None if found.error else {name: getattr(found, name) for name in wanted}
        case "judge":
            return parse_judgement(*said)
        case "same":
            return parse_sameness(*said)
    choices = reply.get("choices", METALS) if reply["kind"] == "choice" else []
    return parse_answer(*said, reply["kind"], choices).answer


def outcome(reply: dict[str, Any]) -> str:
    found, answer = read(reply), reply["answer"]
    if found is None or answer is None:
        return "none" if found is answer else "missed" if found is None else "wrong"
    is_exact = "task" in reply or reply["kind"] in ("choice", "code")
    is_right = found == answer if is_exact else same_answer(found, answer, reply["kind"])
    return "right" if is_right else "wrong"


def test_no_reply_is_read_wrongly_and_what_is_missed_is_known() -> None:
    outcomes = [outcome(reply) for reply in REPLIES]
    pairs = list(zip(REPLIES, outcomes, strict=True))
    assert [reply["text"] for reply, found in pairs if found == "wrong"] == []
    missed = [reply["text"] for reply, found in pairs if found == "missed"]
    assert missed == [reply["text"] for reply in REPLIES if reply.get("missed")]
    assert outcomes.count("right") > 8 * len(missed)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Yes/no: no", False),
        ("yes or no? Yes.", True),
        ("**No**", False),
        ("Actually, yes.", True),
        ("It is not true.", False),
        ("It is not true that dogs purr.", False),
        ("It is not the case that it is false.", None),
        ("It's not true that dogs don't bark.", None),
        ("Nein.", False),
        ("\u662f\u7684\u3002", True),
        ("No, actually.", False),
        ("yes/no", None),
        ("Yes or no", None),
        ("No doubt it is.", None),
        ("Yes? No.", None),
        ("Yes. Actually, no.", None),
        ("No \u2014 I mean yes.", None),
        ("Yes. Wait, let me think.", None),
        ("Yes, that is wrong.", None),
        ("\u662f\u5426\u6b63\u786e", None),
        ("So no metal floats.", None),
    ],
)
def test_a_verdict_is_one_or_none(text: str, verdict: bool | None) -> None:
    assert read_verdict(text)[0] is verdict


@pytest.mark.parametrize(
    ("reply", "is_same"),
    [
        ("Yes/no: no", False),
        (" yes/no: yes\n", True),
        ("Same (yes/no): no", False),
        ('{"notes": "", "same": "yes/no"}', None),
        ('{"notes": "", "same": "Yes. Actually, no."}', None),
        ("Same: yes or no? No", False),
        ("Same: no. Or rather, yes.", None),
    ],
)
def test_a_judge_that_says_the_choice_again_is_not_read_as_its_first_word(
    reply: str, is_same: bool | None
) -> None:
    assert parse_sameness(reply, "stop") is is_same
