"""Teachers: engines that answer requests, in whatever order they finish.

Guarantees: a request that cannot be served ends as a completion with its reason, never as an
exception; a dead engine raises EngineError with the tail of its log and a likely fix, and one that
will answer nobody RefusedError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tsqa.errors import EngineError

TEACHER_KEY = "generate.teacher"
_ERROR = "error: "


@dataclass(frozen=True)
class Request:
    """One text to write, with everything that decides it."""

    id: str
    prompt: str
    """Completion form; empty if there are `messages`."""
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
    """What came back, or why nothing did.

    `finish_reason`: stop and length end a text; prompt_too_long, content_filter, refusal and
    tool_calls are answers too, since asking again gives the same; `error: ...` is not an answer.
    """

    id: str
    text: str
    prompt_tokens: int
    output_tokens: int
    finish_reason: str

    @property
    def is_answer(self) -> bool:
        return not self.finish_reason.startswith(_ERROR)

    @property
    def failure(self) -> str:
        """Why there is no answer."""
        return self.finish_reason.removeprefix(_ERROR)


def failed(request_id: str, reason: str) -> Completion:
    """A request that has no answer."""
    return Completion(request_id, "", 0, 0, _ERROR + reason)


class RefusedError(EngineError):
    """Asking again cannot help: it stops the stage, and is never taken for a death."""


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
