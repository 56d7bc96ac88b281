"""Replies that give the prompt back: its instructions, or its worked example, as content.

Small models do so, and a JSON schema makes it fit the form: `{"answer": "the answer alone, in as
few words as it takes."}` can be read, and every vote agrees.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from tsqa.teachers.replies.answer_reply import EXTRAS, ParsedAnswer
from tsqa.teachers.replies.question_reply import ParsedQuestion
from tsqa.text.normalise import words

ECHO = "repeats the prompt"
_SHORTEST = 20
"""Letters of a sentence, in words, that nobody writes by chance as a prompt has it."""
_END = re.compile(r"(?<=[.!?:;])\s+|\n+")


def without_echo(parsed: ParsedAnswer, prompt: str, is_code: bool) -> ParsedAnswer:
    """The answer, where it is not the prompt's; without the explanations that are.

    `prompt`: the words of the prompt, whatever it is filled with (`Prompt.own_words`).
    """
    if parsed.error or parsed.answer is None:
        return parsed
    # A line of a program may be the worked example's by right.
    pieces = [parsed.answer] if is_code else _END.split(parsed.answer)
    if parsed.index is None and _any_echo(pieces, prompt):
        return ParsedAnswer(error=ECHO)
    for name in EXTRAS:
        if _mostly_echo(getattr(parsed, name), prompt):
            without: dict[str, Any] = {name: "", "dropped": (*parsed.dropped, name)}
            parsed = replace(parsed, **without)
    return parsed


def question_without_echo(parsed: ParsedQuestion, prompt: str) -> ParsedQuestion:
    """The question, in error where a sentence or an option of it is the prompt's."""
    texts = (parsed.question, parsed.context, *parsed.choices)
    is_bad = not parsed.error and any(is_echo(text, prompt) for text in texts)
    return replace(parsed, error=ECHO) if is_bad else parsed


def is_echo(text: str, prompt: str) -> bool:
    """Whether a sentence of the text is the prompt's."""
    return _any_echo(_END.split(text), prompt)


def _mostly_echo(text: str, prompt: str) -> bool:
    """Whether half of it is; work may begin as the prompt bids, "Let's think step by step."."""
    pieces = _END.split(text)
    echoed = sum(len(piece) for piece in pieces if _any_echo([piece], prompt))
    return 2 * echoed >= sum(map(len, pieces)) > 0


def _any_echo(pieces: list[str], prompt: str) -> bool:
    said = (" ".join(words(piece)) for piece in pieces if len(piece) >= _SHORTEST)
    return any(len(piece) >= _SHORTEST and f" {piece} " in prompt for piece in said)
