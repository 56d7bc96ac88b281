"""The connection to one base URL of an endpoint: its client and load; and the endpoint's outages.

Guarantees: a URL is shown without its login and parameters, which are sent all the same; a redirect
is not followed; a key is checked before it is sent, and never shown; no reply takes more memory
than `LONGEST_REPLY` allows, however it is compressed.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Callable
from typing import Any

import openai
from rich.text import Text

from tsqa import secrets
from tsqa.console import console
from tsqa.recipe import TeacherSection
from tsqa.teachers import RefusedError, Request
from tsqa.teachers.chat_form import merge_system

LONGEST_REPLY = 8 << 20
"""Bytes of a body; a hundred times what the longest answers take."""
_SAID_AFTER_SECONDS = 3.0


class ReplyTooLongError(Exception):
    def __init__(self) -> None:
        super().__init__(f"the reply is longer than {LONGEST_REPLY >> 20} MiB")


class _Client(openai.DefaultAsyncHttpxClient):
    """Reads each body as it comes, and no more of it than is allowed."""

    async def send(self, *arguments: Any, **options: Any) -> Any:
        reply = await super().send(*arguments, **{**options, "stream": True})
        body = bytearray()
        try:
            async for part in reply.aiter_bytes():
                body += part
                if len(body) > LONGEST_REPLY:
                    raise ReplyTooLongError
        finally:
            await reply.aclose()
        # Versions of openai differ in the package that their responses come from.
        whole = type(reply)(
            reply.status_code,
            headers=[(k, v) for k, v in reply.headers.multi_items() if k != "content-encoding"],
            content=bytes(body),
            request=reply.request,
            extensions=reply.extensions,
        )
        whole.encoding = "utf-8"  # JSON always is; a server may name a charset that is no text
        return whole


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
    """A base URL with its connections, and how many requests it has."""

    def __init__(self, url: str, section: TeacherSection, key: str) -> None:
        split = secrets.split_url(url)
        secrets.register_url(url)
        self.url = split.url
        headers = {}
        if split.login is not None:
            login = base64.b64encode(":".join(split.login).encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        self.client = openai.AsyncOpenAI(
            base_url=split.url,
            api_key=key or "none",  # the client insists on one
            timeout=section.timeout_seconds,
            max_retries=0,
            default_headers=headers,
            default_query=dict(split.query),
            http_client=_Client(follow_redirects=False),
        )
        self.slots = asyncio.Semaphore(section.max_num_seqs)
        self.load = 0
        self.rests_until = 0.0
        """Monotonic time; nothing is sent before it."""
        self._how = section.request
        self.merges_system = False
        """Set when the endpoint turns out to take no system turn."""

    def rest(self, seconds: float) -> None:
        self.rests_until = max(self.rests_until, time.monotonic() + seconds)

    def sends_system(self, request: Request) -> bool:
        """Whether a request is put with a system turn that the user's could begin with instead."""
        has_system = any(turn["role"] == "system" for turn in request.messages)
        return has_system and self._how.system == "auto" and not self.merges_system

    async def post(self, model: str, request: Request) -> str:
        """The body of the answer."""
        how = self._how
        body: dict[str, Any] = {
            how.token_limit: request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
        }
        if request.stop:
            body["stop"] = list(request.stop)
        more: dict[str, Any] = dict(request.more_sampling)
        for name in how.omit:
            body.pop(name, None)
            more.pop(name, None)
        extra = {**more, **how.extra_body}
        if not request.messages:
            reply = await self.client.completions.with_raw_response.create(
                model=model, prompt=request.prompt, **body, extra_body=extra
            )
            return str(reply.text)
        if request.schema is not None:
            schema = {"name": "item", "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if how.chat_template_kwargs:
            extra["chat_template_kwargs"] = dict(how.chat_template_kwargs)
        messages: Any = list(request.messages)
        if self.merges_system:
            messages = list(merge_system(request.messages))
        answer = await self.client.chat.completions.with_raw_response.create(
            model=model, messages=messages, **body, extra_body=extra
        )
        return str(answer.text)


class Outage:
    """Begins with a failure of the endpoint, ends with the next answer to anybody."""

    def __init__(self, minutes: float, key: str, note: Callable[[str], None]) -> None:
        self.seconds = 60 * minutes
        """How long a request is tried again at least."""
        self._key, self._note = key, note
        self._since: float | None = None
        self._is_said = False

    def seconds_left(self, first: float) -> float:
        """For a request that failed first at that monotonic time."""
        begin = time.time() - (time.monotonic() - first)
        return min(begin, self._since or begin) + self.seconds - time.time()

    def note(self, url: str, reason: str) -> None:
        """Say once, when nobody is answered for a moment, until when that is waited for."""
        now = time.time()
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
        assert self._since is not None
        return self._since, self._since + self.seconds

    def _say(self, line: str) -> None:
        self._note(line)
        console.print(Text(line, "yellow"))
