"""Replies that give the prompt back: its instructions, or its worked example, as content.

Small models do so, and a JSON schema makes it fit the form: `{"answer": "the answer alone, in as
few words as it takes."}` can be read, and every vote agrees.

What a seed, the passage or the question that was shown says too is no echo: where a prompt of one's
own names the labels that answers are to have, or quotes a rule, right answers are among its words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tsqa.records.seed import Seed
from tsqa.teachers.replies.answer_reply import EXTRAS, ParsedAnswer
from tsqa.teachers.replies.question_reply import ParsedQuestion
from tsqa.text.normalise import normalise

ECHO = "repeats the prompt"
_SHORTEST = 20
"""Letters of a sentence, in words, that nobody writes by chance as a prompt has it."""
_END = re.compile(r"(?<=[.!?:;])\s+|\n+")


@dataclass(frozen=True)
class Own:
    """What a prompt says of itself."""

    words: str
    """Whatever it is filled with, between single spaces (`Prompt.own_words`)."""
    shown: str = ""
    """Of what fills it, likewise: seeds, passage, question."""

    def beside(self, seeds: Iterable[Seed], *shown: str) -> Own:
        """The same in a request that shows seeds and other texts."""
        texts = [*shown]
        for seed in seeds:
            texts += [seed.question, seed.context, seed.answer, seed.explanation, *seed.choices]
        return replace(self, shown=f" {' '.join(map(normalise, texts))} ")

    def holds(self, sentence: str) -> bool:
        """Whether a sentence is the prompt's alone."""
        said = f" {normalise(sentence)} "
        return len(said) >= _SHORTEST + 2 and said in self.words and said not in self.shown


def without_echo(parsed: ParsedAnswer, prompt: Own, is_code: bool) -> ParsedAnswer:
    """The answer, where it is not the prompt's; without the explanations that are."""
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


def question_without_echo(parsed: ParsedQuestion, prompt: Own) -> ParsedQuestion:
    """The question, in error where a sentence or an option of it is the prompt's."""
    texts = (parsed.question, parsed.context, *parsed.choices)
    is_bad = not parsed.error and any(is_echo(text, prompt) for text in texts)
    return replace(parsed, error=ECHO) if is_bad else parsed


def is_echo(text: str, prompt: Own) -> bool:
    """Whether a sentence of the text is the prompt's."""
    return _any_echo(_END.split(text), prompt)


def _mostly_echo(text: str, prompt: Own) -> bool:
    """Whether half of it is; work may begin as the prompt bids, "Let's think step by step."."""
    pieces = _END.split(text)
    echoed = sum(len(piece) for piece in pieces if _any_echo([piece], prompt))
    return 2 * echoed >= sum(map(len, pieces)) > 0


def _any_echo(pieces: list[str], prompt: Own) -> bool:
    return any(prompt.holds(piece) for piece in pieces if len(piece) >= _SHORTEST)
