"""What is taken of a reply with a rephrasing."""

from __future__ import annotations

import pytest

from tsqa.rephrasings.reply import parse_rephrasing
from tsqa.text.refusals import REFUSAL

BODY = "Q: What burned in the lamp?\nA: Oil, and later gas."


@pytest.mark.parametrize(
    "reply",
    [
        BODY,
        f"Sure!\n\nHere is the rewritten passage as an FAQ:\n\n{BODY}\n",
        f"Here\u2019s a rewritten version:\n{BODY}",
        f"**Rewritten:**\n{BODY}",
        f"```markdown\n{BODY}\n```",
        f"Certainly! Here it is.\n```\n{BODY}\n```",
        f"<think>It wants an FAQ.</think>\n{BODY}",
    ],
)
def test_what_announces_or_frames_a_rephrasing_is_left_out(reply: str) -> None:
    parsed = parse_rephrasing(reply, "stop", "a passage")
    assert (parsed.text, parsed.error) == (BODY, "")


def test_a_first_line_that_is_content_stays() -> None:
    for text in ("Here lies the town:\nit is old.", "Great sharks swim.\nThey eat."):
        assert parse_rephrasing(text, "stop", "").text.endswith(text.split("\n")[1])
    for text in ("Great sharks swim.\nThey eat.", "Certainly the oldest is Orva.\nIt stands."):
        assert parse_rephrasing(text, "stop", "").text == text


@pytest.mark.parametrize(
    ("reply", "reason", "error"),
    [
        (BODY, "length", "cut off at max_tokens"),
        ('{"rephrased": "Oil burned in the lamp."}', "stop", "JSON in place of a text"),
        ('```json\n[{"q": "What burned?", "a": "Oil"}]\n```', "stop", "JSON in place of a text"),
        ("I'm sorry, but I cannot rewrite this passage.", "stop", REFUSAL),
        ("As an AI language model, I have no lamp.", "stop", REFUSAL),
        ("-- --", "stop", "empty"),
        ("The lamp burned oil. " * 12, "stop", "repeats itself"),
        (f"{BODY}<|im_start|>user go on", "stop", ""),
        ("", "error: the endpoint is gone", "error: the endpoint is gone"),
    ],
)
def test_what_cannot_be_used_says_why(reply: str, reason: str, error: str) -> None:
    assert parse_rephrasing(reply, reason, "a passage").error == error


def test_a_passage_may_hold_what_looks_like_a_refusal() -> None:
    said = "I'm sorry, but I cannot help you, said the keeper."
    assert parse_rephrasing(said, "stop", said).error == ""
