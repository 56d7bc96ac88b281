"""What a reply of an endpoint says: its text, in any of the shapes that endpoints write.

Guarantees: thoughts, tool calls and images are no text, nor is what is said before a tool call;
thoughts beside a text are kept; a refusal is named as one; what a reasoning parser took for
thoughts is text only where it is the JSON that was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tsqa.plain_json import RepeatedKey, parse_json
from tsqa.teachers import Completion, Request, failed
from tsqa.teachers.failures import PassingError, one_line
from tsqa.teachers.replies.fields import as_text
from tsqa.text.refusals import REFUSAL

TOOL_CALLS = "tool_calls"
_THOUGHTS = ("reasoning", "reasoning_content", "thinking", "thought")
_OPEN = "<think>"
_UNSAID = "thinking|reasoning|tool|function|image|audio|video|file|input_|redacted|summary"
_CUT = re.compile("length|max|limit|truncat|incomplete")
"""`model_length`, `MAX_TOKENS`, `max_output_tokens` ..."""
_FILTERED = re.compile("filter|safety|blocklist|prohibited|recitation|sensitive|spii")
_BROKEN_OFF = re.compile(
    "abort|error|cancel|timeout|timed.out|interrupt|insufficient|fail|unavailable"
)
"""DeepSeek's `insufficient_system_resource`, `cancelled` ...: a part of an answer, whatever text
came before, which another try may give whole."""
_FAILED = re.compile(r"^(?:abort|error)$|malformed|repetition")
"""Of the model's own making (Gemini's `MALFORMED_FUNCTION_CALL` ...): another try ends alike."""
_MAX_DEPTH = 20
_MOST_TOKENS = 10**9


def read_reply(request: Request, body: str) -> Completion:
    """The completion that a body holds; PassingError if it cannot be read."""
    try:
        reply: Any = parse_json(body)
        choice = reply["choices"][0]
        message = choice["message"] if request.messages else {"content": _completed(choice["text"])}
        text, end = read_message(message)
        reason = end or choice.get("finish_reason")
        usage = reply.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        told = reply.get("error") or choice.get("error")  # a router's, beside what came before it
        prompt_tokens = _tokens(usage.get("prompt_tokens") or usage.get("input_tokens"))
        output_tokens = _tokens(usage.get("completion_tokens") or usage.get("output_tokens"))
        # Some endpoints leave thoughts out of the completion's tokens, but charge for them.
        output_tokens = max(output_tokens, _tokens(usage.get("total_tokens")) - prompt_tokens)
        thoughts = read_thoughts(message) if text.strip() and not end else ""
        is_hidden = not text.strip() and _thought_tokens(usage) > 0
    except RepeatedKey as error:
        raise PassingError(f"unreadable answer, {error}: {one_line(body)}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise PassingError(f"unreadable answer: {one_line(body)}") from error
    if _FAILED.search(str(reason).casefold()):
        lost = failed(request.id, str(reason))
        return replace(lost, prompt_tokens=prompt_tokens, output_tokens=output_tokens)
    if told or _BROKEN_OFF.search(str(reason).casefold()):
        raise PassingError(f"broken off, {reason}: {one_line(body)}")
    if reason in (None, "") and output_tokens >= request.max_tokens:
        reason = "length"
    end = end or _end_of(reason)
    if is_hidden and end == "length":
        text = _OPEN  # OpenAI shows no thoughts, but counts them
    return Completion(request.id, text, prompt_tokens, output_tokens, end, thoughts)


def _end_of(reason: object) -> str:
    """`length`, `content_filter`, a refusal or `stop`, whatever an endpoint calls it."""
    named = str(reason).casefold()
    if named == REFUSAL:
        return REFUSAL
    for end, pattern in (("length", _CUT), ("content_filter", _FILTERED)):
        if pattern.search(named):
            return end
    return "stop"


def read_message(message: Mapping[str, object]) -> tuple[str, str]:
    """(text, the end that the message tells: `refusal`, `tool_calls` or none).

    TypeError where the content is a number or a truth value, which no endpoint means as text.
    """
    content = message.get("content")
    if isinstance(content, int | float):
        raise TypeError(f"content: {type(content).__name__}")
    if _is_call(message):
        return "", TOOL_CALLS
    text = _said(content)
    if text.strip():
        return text, ""
    refusal = message.get("refusal") or _refusal_in(content)
    if refusal:
        return as_text(refusal), REFUSAL
    if _has_call(content):
        return "", TOOL_CALLS
    thoughts = _field(message)
    bare = thoughts.removeprefix("```json").strip("` \n")
    if bare.startswith(("{", "[{")) and bare.endswith(("}", "}]")):
        return thoughts, ""
    thoughts = thoughts or _parts(message)
    return thoughts if not thoughts or "</think>" in thoughts else f"{_OPEN}{thoughts}", ""


def read_thoughts(message: Mapping[str, object]) -> str:
    """The thoughts beside a text: in a field of their own, or in parts of it or of the content."""
    if not _said(message.get("content")).strip():
        return ""  # then they are all that there is, see `read_message`
    return _field(message) or _parts(message)


def _field(message: Mapping[str, object]) -> str:
    return next((said for key in _THOUGHTS if (said := _said(message.get(key)).strip())), "")


def _parts(message: Mapping[str, object]) -> str:
    """The thoughts in parts: of the content, or of `reasoning_details` (OpenRouter, Snowflake)."""
    lists = [message.get("content"), message.get("reasoning_details")]
    parts = [part for parts in lists if isinstance(parts, list) for part in parts]
    inner = [
        _said(part.get(key)).strip()
        for part in parts
        if isinstance(part, Mapping) and _is_thought(part)
        for key in (*_THOUGHTS, "text", "summary")
    ]
    return "\n".join(filter(None, inner))


def _is_call(message: Mapping[str, object]) -> bool:
    """Whether it calls a tool; Snowflake writes a call without a name where there is none."""
    called = message.get("function_call")
    is_named = bool(called.get("name")) if isinstance(called, Mapping) else bool(called)
    return bool(message.get("tool_calls")) or is_named


def _is_thought(part: Mapping[str, object]) -> bool:
    """Of a part: its type says so, or Google's flag."""
    kind = str(part.get("type")).casefold()
    return kind.startswith(("thinking", "reasoning")) or part.get("thought") is True


def _completed(text: object) -> str:
    """The text of a completion, which has no parts; TypeError for anything but a string or null."""
    if not isinstance(text, str | None):
        raise TypeError(f"text: {type(text).__name__}")
    return text or ""


def _tokens(value: object) -> int:
    """A count of the endpoint's; 0 for anything that is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 <= value <= _MOST_TOKENS else 0  # nan is not


def _thought_tokens(usage: Mapping[str, object]) -> int:
    details = usage.get("completion_tokens_details")
    return _tokens(details.get("reasoning_tokens")) if isinstance(details, Mapping) else 0


def _said(content: object, depth: int = 0) -> str:
    """The text of a content: a string, a part, or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and depth < _MAX_DEPTH:
        return "".join(_said(part, depth + 1) for part in content)
    if not isinstance(content, Mapping) or depth >= _MAX_DEPTH:
        return ""
    kind = str(content.get("type", "text")).casefold()
    if content.get("thought") is True:
        return ""
    if kind.startswith(tuple(_UNSAID.split("|"))) or kind == "refusal":
        return ""
    keys = ("text", "output_text", "value", "content", "parts", "output")
    return next((said for key in keys if (said := _said(content.get(key), depth + 1))), "")


def _refusal_in(content: object) -> object:
    parts = content if isinstance(content, list) else [content]
    found = [part for part in parts if isinstance(part, Mapping) and part.get("refusal")]
    return found[0]["refusal"] if found else None


def _has_call(content: object) -> bool:
    parts = content if isinstance(content, list) else []
    kinds = [str(part.get("type")) for part in parts if isinstance(part, Mapping)]
    return any(kind.startswith(("tool", "function")) for kind in kinds)
