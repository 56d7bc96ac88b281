"""Teachers: engines that answer requests, in whatever order they finish.

Guarantees: a request that cannot be served ends as a completion with its reason, never as an
exception; a dead engine raises EngineError with the tail of its log and a likely fix, and one that
will answer nobody RefusedError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
    """Of thoughts and text together."""
    stop: tuple[str, ...]
    messages: tuple[Mapping[str, str], ...] = ()
    """Chat form: role and content of each turn."""
    schema: Mapping[str, Any] | None = None
    """JSON schema that guides decoding."""
    thinking_tokens: int | None = None
    """Of thoughts alone."""
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    @property
    def more_sampling(self) -> dict[str, int | float]:
        """What is not in OpenAI's protocol and is set, as vLLM names it."""
        named = {
            "thinking_token_budget": self.thinking_tokens,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
        }
        return {name: value for name, value in named.items() if value is not None}

    def content(self) -> dict[str, object]:
        """All that decides the completion; what came later and is not set is left out."""
        later = ("thinking_tokens", "top_k", "min_p", "repetition_penalty")
        values = asdict(self)
        return {k: v for k, v in values.items() if k not in later or v is not None}


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
    thoughts: str = ""
    """What the engine gave apart from the text."""
    served: str = ""
    """The model that an endpoint says it is, where that is another than was asked for."""

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
