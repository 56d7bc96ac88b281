"""Promises of an endpoint's message: its text is read, whatever shape it has; nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsqa.teachers import Completion, Request
from tsqa.teachers.content import read_message, read_reply
from tsqa.teachers.failures import PassingError
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.teachers.replies.question_reply import parse_question

SAID = '{"answer": "Lyon"}'
SHAPES: list[dict[str, Any]] = [
    {"content": SAID},
    {"content": [{"type": "text", "text": SAID}]},
    {"content": [{"type": "output_text", "text": SAID, "annotations": []}]},
    {"content": {"type": "text", "text": SAID}},
    {"content": [SAID]},
    {"content": [{"text": SAID}]},
    {"content": [{"type": "text", "text": {"value": SAID, "annotations": []}}]},
    {"content": [{"type": "text", "text": '{"answer": '}, {"type": "text", "text": '"Lyon"}'}]},
    {"content": [{"type": "thinking", "thinking": "Paris?"}, {"type": "text", "text": SAID}]},
    {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": '{"answer": "Paris"}'}]},
            {"type": "text", "text": SAID},
        ]
    },
    {"content": [{"type": "reasoning", "text": "Paris?"}, {"type": "text", "text": SAID}]},
    {"content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": SAID}]},
    {"content": [{"type": "message", "content": [{"type": "output_text", "text": SAID}]}]},
    {"content": {"parts": [{"text": SAID}], "role": "model"}},
    {"content": [{"type": "image_url", "image_url": {}}, {"type": "text", "text": SAID}]},
    {"content": [{"type": "tool_use", "input": {"a": 1}}, {"type": "text", "text": SAID}]},
    {"content": SAID, "reasoning_content": "Is it Paris?"},
    {"content": SAID, "tool_calls": [], "refusal": None},
    {"content": None, "reasoning_content": SAID},
    {"content": "", "reasoning": f"```json\n{SAID}\n```"},
    {"content": None, "reasoning": f"Is it Paris?</think>{SAID}"},
    {"content": [], "reasoning": SAID},
]
NONE: list[tuple[dict[str, Any], str, str]] = [
    ({"content": None}, "stop", "empty"),
    ({}, "stop", "empty"),
    ({"content": []}, "stop", "empty"),
    ({"content": None, "reasoning": "Is it Paris? Or"}, "stop", "thoughts without an end"),
    ({"content": None, "reasoning": "Is it Paris? Or"}, "length", "cut off while thinking"),
    ({"content": None, "reasoning_content": 'x {"answer": "Paris"}'}, "stop", "thoughts without"),
    ({"content": [{"type": "thinking", "thinking": "Paris"}]}, "stop", "thoughts without an end"),
    ({"content": [{"type": "thinking", "thinking": "{}"}]}, "length", "cut off while thinking"),
    ({"content": None, "refusal": "I can't help with that."}, "stop", "refusal"),
    ({"content": [{"type": "refusal", "refusal": "No."}]}, "stop", "refusal"),
    ({"content": None, "tool_calls": [{"function": {"name": "f"}}]}, "stop", "a tool call"),
    ({"content": [{"type": "tool_use", "input": {}}]}, "stop", "a tool call"),
    ({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "stop", "a tool call"),
    # DeepSeek, Mistral, Claude through OpenRouter (in pydantic-ai and ruby_llm): no last word.
    ({"content": "Lyon, I guess.", "tool_calls": [{"function": {}}]}, "stop", "a tool call"),
    # Claude through Snowflake (in pydantic-ai) names no function where it calls none.
    ({"content": "", "function_call": {"name": "", "arguments": ""}}, "", "empty"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "thinking", "refusal", "parts"])
            | st.text(),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("message", SHAPES)
def test_the_text_of_a_message_is_read(message: dict[str, Any]) -> None:
    text, end = read_message(message)
    assert end == ""
    assert parse_answer(text, "stop", "short_text", []).answer == "Lyon"


@pytest.mark.parametrize(("message", "finish", "error"), NONE)
def test_a_message_without_text_says_why(message: dict[str, Any], finish: str, error: str) -> None:
    text, end = read_message(message)
    found = parse_answer(text, end or finish, "short_text", [])
    assert found.answer is None and found.error.startswith(error)
    asked = parse_question(text, end or finish, "short_text", "chat", False)
    assert asked.error.startswith(error)


@given(st.dictionaries(st.sampled_from(["content", "reasoning", "refusal", "tool_calls"]), JSON))
def test_any_message_is_a_text_or_none_at_all(message: dict[str, Any]) -> None:
    if isinstance(message.get("content"), int | float):
        with pytest.raises(TypeError, match="content"):
            read_message(message)
        return
    text, end = read_message(message)
    assert isinstance(text, str) and end in ("", "refusal", "tool_calls")


def test_parts_within_parts_without_end_are_no_text() -> None:
    content: Any = "Lyon"
    for _ in range(500):
        content = [content]
    assert read_message({"content": content}) == ("", "")


@pytest.mark.parametrize(
    ("named", "end"),
    [
        *((name, "length") for name in ("length", "MAX_TOKENS", "model_length", "incomplete")),
        *((name, "content_filter") for name in ("SAFETY", "content_filter", "PROHIBITED_CONTENT")),
        *((name, "stop") for name in ("stop", "eos", "end_turn", "STOP", "eos_token", None, "")),
        ("refusal", "refusal"),
    ],
)
def test_an_end_is_read_whatever_it_is_called(named: str | None, end: str) -> None:
    def reply(tokens: int) -> Completion:
        choice = {"text": " an answer", "finish_reason": named}
        body = json.dumps({"choices": [choice], "usage": {"completion_tokens": tokens}})
        return read_reply(Request("r", "prompt", 0, 1.0, 1.0, 8, ()), body)

    assert reply(3).finish_reason == end
    assert reply(8).finish_reason == (end if named else "length")


@pytest.mark.parametrize("end", ["repetition", "MALFORMED_FUNCTION_CALL", "error"])
def test_what_would_end_so_again_is_no_answer_and_is_paid_for(end: str) -> None:
    request = Request("1", "", 0, 1.0, 1.0, 64, (), messages=({"role": "user", "content": "x"},))
    choice = {"message": {"content": "Lyon is the"}, "finish_reason": end}
    usage = {"prompt_tokens": None, "input_tokens": 900, "output_tokens": 100}
    lost = read_reply(request, json.dumps({"choices": [choice], "usage": usage}))
    assert (lost.text, lost.prompt_tokens, lost.output_tokens) == ("", 900, 100)
    assert lost.finish_reason.startswith("error")


@pytest.mark.parametrize(
    "change",
    [
        *[{"finish_reason": end} for end in ("cancelled", "timeout")],
        {"finish_reason": "insufficient_system_resource"},
        {"error": {"code": 502, "message": "upstream died"}},
    ],
)
def test_a_part_of_an_answer_is_none(change: dict[str, Any]) -> None:
    """DeepSeek, Gemini and routers tell so beside the text that came before."""
    request = Request("1", "", 0, 1.0, 1.0, 64, (), messages=({"role": "user", "content": "x"},))
    choice = {"message": {"content": "Lyon is the"}, "finish_reason": "stop", **change}
    with pytest.raises(PassingError, match="broken off"):
        read_reply(request, json.dumps({"choices": [choice]}))
    whole = {"choices": [choice | {"finish_reason": "stop", "error": None}], "error": None}
    assert read_reply(request, json.dumps(whole)).finish_reason == "stop"
    with pytest.raises(PassingError, match="broken off"):
        read_reply(request, json.dumps(whole | {"error": {"message": "partial"}}))


@pytest.mark.parametrize(
    "names", [("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")]
)
def test_tokens_are_counted_by_either_name(names: tuple[str, str]) -> None:
    request = Request("1", "", 0, 1.0, 1.0, 64, (), messages=({"role": "user", "content": "x"},))
    choice = {"message": {"content": "Lyon"}, "finish_reason": "stop"}
    body = {"choices": [choice], "usage": dict(zip(names, (7, 3), strict=True))}
    read = read_reply(request, json.dumps(body))
    assert (read.prompt_tokens, read.output_tokens) == (7, 3)
