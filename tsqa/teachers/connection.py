"""A replica of the model at an endpoint: how requests are put to it, its load and its state; and
the outages of the endpoint as a whole.

Guarantees: a key is checked before it is sent, and never shown.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping

from rich.text import Text

from tsqa import secrets
from tsqa.console import console
from tsqa.recipe import TeacherSection
from tsqa.teachers import RefusedError, Request
from tsqa.teachers.chat_form import merge_system
from tsqa.teachers.http.server import Server

_SAID_AFTER_SECONDS = 3.0


def read_key(section: TeacherSection, key: str) -> str:
    """The API key of the environment, without the white space that files and shells add to it."""
    value = os.environ.get(section.api_key_env, "").strip()
    secrets.register(value)
    for place, character in enumerate(value, 1):
        if not " " <= character <= "~":
            raise RefusedError(
                f"the environment variable {section.api_key_env} ({key}.api_key_env) holds a key "
                f"that no header can carry: its character {place} of {len(value)} is not ASCII, "
                "or a control character",
                "copy the key again, without quotes and line breaks",
            )
    return value


class Connection:
    """A base URL, how many requests it has, and whether it serves."""

    def __init__(self, url: str, section: TeacherSection, key: str) -> None:
        self.listed = url
        self.server = Server(url, key, section.timeout_seconds)
        self.url = self.server.url
        """Without login and parameters."""
        self.slots = asyncio.Semaphore(section.max_num_seqs)
        self.load = 0
        self.rests_until = 0.0
        """Monotonic time; nothing is sent before it."""
        self.is_up = False
        self.was_up = False
        """Whether it ever was: until then nobody knows what it serves."""
        self.left = asyncio.Event()
        """Set for good when it is to be asked no more."""
        self.failures = 0
        """Since its last answer."""
        self.deaths = 0
        """How often it went down or was looked at in vain, since its last answer."""
        self.problem = ""
        """Why it is not up."""
        self.answers = False
        """Whether the last look at it had a reply, even one that is of no use."""
        self.models: tuple[str, ...] = ()
        """That it lists; none if it lists nothing that can be read."""
        self.merges_system = False
        """Set when the endpoint turns out to take no system turn."""
        self._how = section.request

    @property
    def is_resting(self) -> bool:
        return self.rests_until > time.monotonic()

    def rest(self, seconds: float) -> None:
        self.rests_until = max(self.rests_until, time.monotonic() + seconds)

    def note_answer(self) -> None:
        self.failures = self.deaths = 0

    def sends_system(self, request: Request) -> bool:
        """Whether a request is put with a system turn that the user's could begin with instead."""
        has_system = any(turn["role"] == "system" for turn in request.messages)
        return has_system and self._how.system == "auto" and not self.merges_system

    async def post(self, model: str, request: Request) -> str:
        """The body of the answer."""
        path = "/chat/completions" if request.messages else "/completions"
        body = json.dumps(
            self._body(model, request), ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        return await self.server.post(path, body.encode())

    def _body(self, model: str, request: Request) -> Mapping[str, object]:
        how = self._how
        body: dict[str, object] = {
            how.token_limit: request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            **request.more_sampling,
        }
        if request.stop:
            body["stop"] = list(request.stop)
        for name in how.omit:
            body.pop(name, None)
        body |= how.extra_body
        body["model"] = model
        if not request.messages:
            return {**body, "prompt": request.prompt}
        if request.schema is not None:
            schema = {"name": "item", "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if how.chat_template_kwargs:
            body["chat_template_kwargs"] = dict(how.chat_template_kwargs)
        turns = merge_system(request.messages) if self.merges_system else request.messages
        return {**body, "messages": list(turns)}


class Outage:
    """Begins with a failure of the endpoint, ends with the next answer to anybody."""

    def __init__(self, minutes: float, key: str, note: Callable[[str], None]) -> None:
        self.seconds = 60 * minutes
        """How long a request is tried again at least."""
        self._key, self._note = key, note
        self._since: float | None = None
        """Monotonic: a clock that is set ends no outage."""
        self._is_said = False

    def seconds_left(self, first: float) -> float:
        """For a request that failed first at that monotonic time."""
        begin = first if self._since is None else min(first, self._since)
        return begin + self.seconds - time.monotonic()

    def note(self, url: str, reason: str) -> None:
        """Say once, when nobody is answered for a moment, until when that is waited for."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if self._is_said or now - self._since < _SAID_AFTER_SECONDS:
            return
        self._is_said = True
        begin, end = (time.strftime("%H:%M:%S", time.localtime(t)) for t in self._bounds())
        self._say(
            f"{url}: {reason}: no answer since {begin}; tried again until {end} ({self._key})"
        )

    def end(self) -> None:
        """An answer came."""
        if self._is_said:
            self._say("the endpoint answers again")
        self._since, self._is_said = None, False

    def _bounds(self) -> tuple[float, float]:
        """By the clock, to be read by people."""
        assert self._since is not None
        begin = time.time() - (time.monotonic() - self._since)
        return begin, begin + self.seconds

    def _say(self, line: str) -> None:
        self._note(line)
        console.print(Text(line, "yellow"))
