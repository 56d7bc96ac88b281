"""Teachers: engines that continue prompts. An engine gets a block of requests, gives their texts.

Promise: the same block in the same engine gives the same texts, whatever came before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tsqa.recipe import TeacherSection


@dataclass(frozen=True)
class Request:
    """A prompt to continue, with everything that decides the continuation."""

    id: str
    prompt: str
    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...]


@dataclass(frozen=True)
class Completion:
    id: str
    text: str
    prompt_tokens: int
    output_tokens: int
    finish_reason: str


class Engine(Protocol):
    def complete(self, block: Sequence[Request]) -> list[Completion]:
        """Continue every prompt of a block; completions come in the block's order."""
        ...


def open_engine(
    section: TeacherSection, model: str, log: Path, seed: int
) -> AbstractContextManager[Engine]:
    """Start the engine a recipe names; leaving the context ends it."""
    from tsqa.teachers.vllm import VllmEngine

    return VllmEngine(section, model, log, seed)
