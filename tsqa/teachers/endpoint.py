"""OpenAI-compatible endpoints as a teacher: `vllm serve` or any other, one URL or several.

Promises: 429, 5xx, timeouts, lost connections and unreadable answers are tried again, and a
request that waits for its next try takes no place among those in flight; a request that fails for
good is a completion with its reason; a wrong key, model or URL raises EngineError, and so does an
endpoint that fails every request, before those count as answered. Tries are noted in `engine.log`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from email.utils import parsedate_to_datetime
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Self

import openai

from tsqa.errors import EngineError
from tsqa.recipe import TeacherSection
from tsqa.teachers import Completion, Request
from tsqa.teachers.content import read_message

_START_SECONDS = 30.0
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0
_FAILURES_IN_A_ROW = 20
_PASSING = (408, 409, 425, 429)
_TOO_LONG = ("context length", "context_length", "context window", "maximum model length")


class EndpointEngine:
    """A context manager; an event loop in its own thread holds the connections."""

    def __init__(self, section: TeacherSection, model: str, log: Path) -> None:
        self._section, self._model, self._log = section, model, log
        self._key = os.environ.get(section.api_key_env, "")
        self._interval = 60 / section.requests_per_minute if section.requests_per_minute else 0.0
        self._next_start = 0.0
        self._results: SimpleQueue[Completion | BaseException] = SimpleQueue()
        self._unanswered = 0
        self._held: list[Completion] = []
        """Failures since the last answer, not yet delivered."""

    def __enter__(self) -> Self:
        ready: Future[None] = Future()
        self._thread = Thread(target=asyncio.run, args=(self._serve(ready),), daemon=True)
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            self._thread.join()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def capacity(self) -> int:
        return self._section.max_num_seqs * len(self._section.urls)

    def submit(self, requests: Sequence[Request]) -> None:
        """To the least loaded endpoint, all to one: they share what they can of their prompts."""
        self._loop.call_soon_threadsafe(self._accept, requests)

    def collect(self) -> list[Completion]:
        done: list[Completion] = []
        while not (done and self._results.empty()):
            result = self._results.get()
            if isinstance(result, Completion):
                done.append(result)
                continue
            self._results.put(result)
            if done:
                break  # raised by the next call, so that what is done is not lost
            raise result
        return done

    async def _serve(self, ready: Future[None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            urls = self._section.urls
            self._endpoints = [_Endpoint(url, self._section, self._key) for url in urls]
            await asyncio.gather(*map(self._check_start, self._endpoints))
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            ready.set_exception(error)
            return
        ready.set_result(None)
        await self._stop.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for endpoint in self._endpoints:
            await endpoint.client.close()

    async def _check_start(self, endpoint: _Endpoint) -> None:
        client = endpoint.client.with_options(timeout=_START_SECONDS)
        try:
            await client.models.with_raw_response.list()
        except openai.APIConnectionError as error:
            raise EngineError(
                f"{endpoint.url}: no answer ({_cause(error)})",
                "start the endpoint, or correct teacher.urls",
            ) from error
        except openai.APIStatusError as error:
            # Not every endpoint lists its models.
            if error.status_code in (401, 403):
                raise self._explain_refusal(endpoint, error) from error

    def _accept(self, requests: Sequence[Request]) -> None:
        endpoint = self._choose()
        endpoint.load += len(requests)
        self._unanswered += len(requests)
        for request in requests:
            task = asyncio.create_task(self._answer(request, endpoint))
            self._tasks.add(task)
            task.add_done_callback(self._finish)

    def _choose(self) -> _Endpoint:
        now = time.monotonic()
        return min(self._endpoints, key=lambda e: (e.rests_until > now, e.load))

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._results.put(error)

    async def _answer(self, request: Request, endpoint: _Endpoint) -> None:
        reason, wait = "", 0.0
        for attempt in range(self._section.retries + 1):
            if attempt:
                await asyncio.sleep(wait)
                endpoint = self._choose()
                endpoint.load += 1
            try:
                self._settle(await self._try(request, endpoint), endpoint)
                return
            except _PassingError as error:
                reason, wait = str(error), max(error.retry_after, _backoff(request.id, attempt))
            finally:
                endpoint.load -= 1
            self._note(f"{endpoint.url}: {request.id}, try {attempt + 1}: {reason}")
        self._settle(Completion(request.id, "", 0, 0, f"error: {reason}"), endpoint)

    async def _try(self, request: Request, endpoint: _Endpoint) -> Completion:
        """One try; _PassingError where another may succeed, EngineError where none can."""
        try:
            async with endpoint.slots:
                await self._wait_for_turn(endpoint)
                async with asyncio.timeout(self._section.timeout_seconds):
                    body = await endpoint.post(self._model, request)
        except openai.APIStatusError as error:
            return self._judge_status(request, endpoint, error)
        except (openai.APITimeoutError, TimeoutError) as error:
            seconds = self._section.timeout_seconds
            raise _PassingError(f"no answer in {seconds:g} s (teacher.timeout_seconds)") from error
        except openai.OpenAIError as error:
            endpoint.rest(_FIRST_WAIT)
            raise _PassingError(f"connection lost: {_cause(error)}") from error
        except Exception as error:  # noqa: BLE001 - text that cannot be sent stops only itself
            return Completion(request.id, "", 0, 0, f"error: {_short(str(error))}")
        return _read_reply(request, body)

    def _judge_status(
        self, request: Request, endpoint: _Endpoint, error: openai.APIStatusError
    ) -> Completion:
        status, message = error.status_code, _status_line(error)
        if status in (401, 403, 404):
            raise self._explain_refusal(endpoint, error) from error
        if status in _PASSING or status >= 500:
            pause = min(_retry_after(error.response.headers), self._section.timeout_seconds)
            endpoint.rest(pause)
            raise _PassingError(message, pause) from error
        is_too_long = any(mark in error.message.lower() for mark in _TOO_LONG)
        reason = "prompt_too_long" if is_too_long else f"error: {message}"
        return Completion(request.id, "", 0, 0, reason)

    def _explain_refusal(self, endpoint: _Endpoint, error: openai.APIStatusError) -> EngineError:
        message = f"{endpoint.url}: {_status_line(error)}"
        if error.status_code == 404:
            return EngineError(
                f"{message} (model {self._model})", "correct teacher.model.path or teacher.urls"
            )
        variable = self._section.api_key_env
        state = "holds a key that is refused" if self._key else "is not set"
        return EngineError(
            f"{message} (the environment variable {variable} {state})",
            f"put the key into {variable}, or name another variable in teacher.api_key_env",
        )

    async def _wait_for_turn(self, endpoint: _Endpoint) -> None:
        while (pause := endpoint.rests_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        if self._interval:
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + self._interval
            await asyncio.sleep(start - now)

    def _settle(self, completion: Completion, endpoint: _Endpoint) -> None:
        """Deliver an answer; hold a failure back until it shows whose fault it is.

        Failures in a row, with no answer between them, are the endpoint's; one before an answer,
        or with nothing else under way, is the request's own.
        """
        self._held.append(completion)
        failed = completion.finish_reason.startswith("error")
        limit = max(2, min(_FAILURES_IN_A_ROW, self.capacity))
        if failed and len(self._held) >= limit:
            reason = completion.finish_reason.removeprefix("error: ")
            self._results.put(
                EngineError(
                    f"{limit} requests in a row failed; the last at {endpoint.url}: {reason}; "
                    f"all tries are in {self._log}",
                    "see to the endpoint; for 429 lower teacher.max_num_seqs or set "
                    "teacher.requests_per_minute",
                )
            )
        elif not failed or len(self._held) == self._unanswered:
            for done in self._held:
                self._results.put(done)
            self._unanswered -= len(self._held)
            self._held.clear()

    def _note(self, line: str) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")


class _Endpoint:
    """One base URL with its connections."""

    def __init__(self, url: str, section: TeacherSection, key: str) -> None:
        self.url = url
        self.client = openai.AsyncOpenAI(
            base_url=url,
            api_key=key or "none",  # the client insists on one
            timeout=section.timeout_seconds,
            max_retries=0,
        )
        self.slots = asyncio.Semaphore(section.max_num_seqs)
        self.load = 0
        self.rests_until = 0.0
        """Monotonic time; nothing is sent before it."""

    def rest(self, seconds: float) -> None:
        self.rests_until = max(self.rests_until, time.monotonic() + seconds)

    async def post(self, model: str, request: Request) -> str:
        """The body of the answer."""
        common: dict[str, Any] = {
            "model": model,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
        }
        if request.stop:
            common["stop"] = list(request.stop)
        if not request.messages:
            reply = await self.client.completions.with_raw_response.create(
                prompt=request.prompt, **common
            )
            return str(reply.text)
        if request.schema is not None:
            schema = {"name": "item", "schema": request.schema}
            common["response_format"] = {"type": "json_schema", "json_schema": schema}
        messages: Any = list(request.messages)
        answer = await self.client.chat.completions.with_raw_response.create(
            messages=messages, **common
        )
        return str(answer.text)


class _PassingError(Exception):
    """A try failed in a way that may pass; `retry_after` in seconds, as the endpoint asked."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


def _read_reply(request: Request, body: str) -> Completion:
    try:
        reply = json.loads(body)
        choice = reply["choices"][0]
        is_chat = bool(request.messages)
        text, end = read_message(choice["message"] if is_chat else {"content": choice["text"]})
        reason = end or choice.get("finish_reason")
        usage = reply.get("usage") or {}
        prompt_tokens = int(usage.get("prompt_tokens") or 0)
        output_tokens = int(usage.get("completion_tokens") or 0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _PassingError(f"unreadable answer: {_short(body)}") from error
    if reason in ("content_filter", "abort", "error"):
        reason = f"error: {reason}"
    elif reason != "length" and not end:
        reason = "stop"  # endpoints name the end in many ways
    return Completion(request.id, text, prompt_tokens, output_tokens, reason)


def _backoff(request_id: str, attempt: int) -> float:
    """Seconds before the next try: doubling, spread over half of the span by the request's id."""
    span = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**attempt)
    return span * random.Random(f"{request_id}:{attempt}").uniform(0.5, 1.0)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds, from a number or a date; 0 where the header is absent or unreadable."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return 0.0
    return max(0.0, seconds)


def _cause(error: openai.OpenAIError) -> str:
    return str(error.__cause__ or "") or str(error)


def _status_line(error: openai.APIStatusError) -> str:
    status = error.status_code
    return f"{status} {_short(error.message.removeprefix(f'Error code: {status} - '))}"


def _short(text: str) -> str:
    return " ".join(text.split())[:200]
