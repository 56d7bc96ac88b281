"""Teachers: engines that answer requests, in whatever order they finish.

Promises: a request that cannot be served ends as a completion with its reason, never as an
exception; a dead engine raises EngineError with the tail of its log and a likely fix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tsqa.recipe import TeacherSection


@dataclass(frozen=True)
class Request:
    """One text to write, with everything that decides it."""

    id: str
    prompt: str
    """Completion form; empty where `messages` are given."""
    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...]
    messages: tuple[Mapping[str, str], ...] = ()
    """Chat form: role and content of each turn."""
    schema: Mapping[str, Any] | None = None
    """JSON schema that guides decoding."""


@dataclass(frozen=True)
class Completion:
    """What came back. `finish_reason`: stop, length, prompt_too_long, or `error: ...`."""

    id: str
    text: str
    prompt_tokens: int
    output_tokens: int
    finish_reason: str


class Engine(Protocol):
    @property
    def capacity(self) -> int:
        """Requests that it serves at once (max_num_seqs over all replicas)."""
        ...

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests; those submitted together share what they can of their prompts."""
        ...

    def collect(self) -> list[Completion]:
        """Wait until at least one request is done; return all that are."""
        ...


def open_engine(
    section: TeacherSection, model: str, log: Path, seed: int
) -> AbstractContextManager[Engine]:
    """Start the engine a recipe names; leaving the context ends it."""
    if section.engine == "openai":
        from tsqa.teachers.endpoint import EndpointEngine

        return EndpointEngine(section, model, log)
    from tsqa.teachers.vllm import VllmEngine

    return VllmEngine(section, model, log, seed)
