"""OpenAI-compatible endpoints as a teacher: `vllm serve` or any other, one URL or several.

Guarantees: 429, 5xx, timeouts, lost connections and unreadable answers are tried again, those that
tell of an outage for a while and not without a word, and a request that waits for its next try
takes no place among those in flight; a request that fails for good is a completion with its
reason; a wrong key, model or URL, an empty account and a redirect raise RefusedError. Tries are
noted in `<role>-engine.log`. Whatever ends the thread that holds the connections is raised, not
waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import re
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Self

import openai
from rich.text import Text

from tsqa.console import console
from tsqa.errors import EngineError
from tsqa.recipe import TeacherSection
from tsqa.secrets import redact_data, split_url
from tsqa.teachers import TEACHER_KEY, Completion, Request, failed
from tsqa.teachers.connection import Connection, Outage, ReplyTooLongError, read_key
from tsqa.teachers.content import read_reply
from tsqa.teachers.endpoint_errors import (
    PassingError,
    Refusals,
    cause_of,
    named,
    retry_after,
    said_by,
    status_line,
    system_errno,
)
from tsqa.teachers.failures import (
    is_filtered,
    is_out_of_quota,
    is_too_long,
    one_line,
    refuses_system,
)

_MODEL = re.compile(r'"model"\s*:\s*"([^"\\]{1,200})"')
"""In a body; the text of an answer has its quotes escaped."""
_START_SECONDS = 30.0
_LOOK_SECONDS = 2.0
"""How often the thread is looked at, while nothing comes."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0
_PASSING = (408, 409, 425, 429)
_OUTAGE = (429, 502, 503, 504, 529)
"""Of no request in particular."""


class EndpointEngine:
    """A context manager; an event loop in its own thread holds the connections."""

    def __init__(
        self, section: TeacherSection, model: str, log: Path, key: str = TEACHER_KEY
    ) -> None:
        self._section, self._model, self._log, self._key = section, model, log, key
        self._secret = read_key(section, key)
        self._refusals = Refusals(section, model, key, bool(self._secret))
        self._interval = 60 / section.requests_per_minute if section.requests_per_minute else 0.0
        self._next_start = 0.0
        self._served: set[str] = set()
        self._results: SimpleQueue[Completion | EngineError] = SimpleQueue()
        self._outage = Outage(section.outage_minutes, f"{key}.outage_minutes", self._note)

    def __enter__(self) -> Self:
        ready: Future[None] = Future()
        self._thread = Thread(target=self._run, args=(ready,), daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise self._explain_end(error) from error
        try:
            ready.result(2 * _START_SECONDS)
        except TimeoutError as error:
            raise self._explain_end(error) from error
        except BaseException:
            self._thread.join(_START_SECONDS)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_SECONDS)

    @property
    def capacity(self) -> int:
        return self._section.max_num_seqs * len(self._section.urls)

    def submit(self, requests: Sequence[Request]) -> None:
        """To the least loaded endpoint, all to one: they share what they can of their prompts."""
        try:
            self._loop.call_soon_threadsafe(self._accept, requests)
        except RuntimeError as error:
            raise self._explain_end(error) from error

    def collect(self) -> list[Completion]:
        done: list[Completion] = []
        while not (done and self._results.empty()):
            result = self._next_result()
            if isinstance(result, Completion):
                done.append(result)
                continue
            self._results.put(result)
            if done:
                break  # raised by the next call, so that what is done is not lost
            raise result
        return done

    def _next_result(self) -> Completion | EngineError:
        while True:
            try:
                return self._results.get(timeout=_LOOK_SECONDS)
            except Empty:
                if not self._thread.is_alive() and self._results.empty():
                    raise self._explain_end(None) from None

    def _run(self, ready: Future[None]) -> None:
        """The thread: whatever ends it is raised in the caller's."""
        serving = self._serve(ready)
        try:
            asyncio.run(serving)
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            serving.close()
            explained = error if isinstance(error, EngineError) else self._explain_end(error)
            if not ready.done():
                ready.set_exception(explained)
            self._results.put(explained)

    def _explain_end(self, error: BaseException | None) -> EngineError:
        urls = ", ".join(split_url(url).url for url in self._section.urls)
        cause = named(error) if error is not None else "its thread ended"
        if isinstance(error, (OSError, MemoryError, RuntimeError)):
            fix = f"raise the limits of this process (ulimit -a), or lower {self._key}.max_num_seqs"
        else:
            fix = f"run the same command again to continue; the tries are in {self._log}"
        return EngineError(f"{urls}: the connections could not be kept: {cause}", fix)

    async def _serve(self, ready: Future[None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        urls = self._section.urls
        self._endpoints = [Connection(url, self._section, self._secret) for url in urls]
        await asyncio.gather(*map(self._check_start, self._endpoints))
        ready.set_result(None)
        await self._stop.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for endpoint in self._endpoints:
            await endpoint.client.close()

    async def _check_start(self, endpoint: Connection) -> None:
        client = endpoint.client.with_options(timeout=_START_SECONDS)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await client.models.with_raw_response.list()
        except (openai.APIConnectionError, TimeoutError) as error:
            cause = cause_of(error) if str(error) else f"in {_START_SECONDS:g} s"
            raise EngineError(
                f"{endpoint.url}: no answer ({cause})",
                f"start the endpoint, or correct {self._key}.urls",
            ) from error
        except openai.APIStatusError as error:
            # Not every endpoint lists its models.
            if error.status_code in (401, 403):
                raise self._refusals.access(endpoint.url, error) from error

    def _accept(self, requests: Sequence[Request]) -> None:
        try:
            endpoint = self._choose()
            endpoint.load += len(requests)
            for request in requests:
                task = asyncio.create_task(self._answer(request, endpoint))
                self._tasks.add(task)
                task.add_done_callback(self._finish)
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            self._results.put(self._explain_end(error))

    def _choose(self) -> Connection:
        now = time.monotonic()
        return min(self._endpoints, key=lambda e: (e.rests_until > now, e.load))

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            explained = error if isinstance(error, EngineError) else self._explain_end(error)
            self._results.put(explained)

    async def _answer(self, request: Request, endpoint: Connection) -> None:
        tries, first = 0, None
        while True:
            try:
                completion = await self._try(request, endpoint)
                if completion.is_answer:
                    self._outage.end()
                self._results.put(completion)
                return
            except PassingError as error:
                failure = error
            finally:
                endpoint.load -= 1
            tries += 1
            now = time.monotonic()
            first = now if first is None else first
            if failure.is_outage:
                self._outage.note(endpoint.url, str(failure))
            self._note(f"{endpoint.url}: {request.id}, try {tries}: {failure}")
            wait = max(failure.retry_after, _backoff(request.id, tries - 1))
            left = self._outage.seconds_left(first) if failure.is_outage else 0.0
            if tries > self._section.retries:
                if left <= 0:
                    break
                wait = min(wait, left)
            await asyncio.sleep(wait)
            endpoint = self._choose()
            endpoint.load += 1
        self._results.put(failed(request.id, str(failure)))

    async def _try(self, request: Request, endpoint: Connection) -> Completion:
        """One try; PassingError where another may succeed, RefusedError where none can."""
        try:
            async with endpoint.slots:
                await self._wait_for_turn(endpoint)
                sends_system = endpoint.sends_system(request)
                async with asyncio.timeout(self._section.timeout_seconds):
                    body = await endpoint.post(self._model, request)
        except openai.APIStatusError as error:
            if sends_system and refuses_system(said_by(error)):
                endpoint.merges_system = True
                self._note(f"{endpoint.url}: takes no system turn: it begins the user's from now")
                return await self._try(request, endpoint)
            return self._judge_status(request, endpoint, error)
        except (openai.APITimeoutError, TimeoutError) as error:
            seconds = self._section.timeout_seconds
            raise PassingError(
                f"no answer in {seconds:g} s ({self._key}.timeout_seconds)"
            ) from error
        except openai.OpenAIError as error:
            if system_errno(error) in (errno.EMFILE, errno.ENFILE):
                raise self._explain_end(OSError(cause_of(error))) from error
            if isinstance(error.__cause__, ReplyTooLongError):
                raise PassingError(str(error.__cause__)) from error
            endpoint.rest(_FIRST_WAIT)
            raise PassingError(f"connection lost: {cause_of(error)}", is_outage=True) from error
        except Exception as error:  # noqa: BLE001 - text that cannot be sent stops only itself
            return failed(request.id, named(error))
        self._notice_model(endpoint, body)
        try:
            return read_reply(request, redact_data(body))
        except PassingError:
            if is_out_of_quota(200, body):
                raise self._refusals.quota(endpoint.url, one_line(body)) from None
            raise

    def _notice_model(self, endpoint: Connection, body: str) -> None:
        """Say once where an endpoint answers with another model than the one that was asked for."""
        found = _MODEL.search(body)
        if found is None or found[1] in self._served or _is_same_model(found[1], self._model):
            return
        self._served.add(found[1])
        named = redact_data(found[1])
        line = f"{endpoint.url} answers as the model {named}, not as {self._model}"
        self._note(line)
        console.print(Text.assemble((f"  {line}", "yellow"), ": the lineage names the latter"))

    def _judge_status(
        self, request: Request, endpoint: Connection, error: openai.APIStatusError
    ) -> Completion:
        status, said, headers = error.status_code, said_by(error), error.response.headers
        message = status_line(error)
        if is_out_of_quota(status, said, "retry-after" in headers):
            raise self._refusals.quota(endpoint.url, message) from error
        if 300 <= status < 400:
            raise self._refusals.redirect(endpoint.url, error) from error
        if status in (400, 403) and is_filtered(said):
            return Completion(request.id, "", 0, 0, "content_filter")
        if status in (401, 403, 404):
            raise self._refusals.access(endpoint.url, error) from error
        if status in _PASSING or status >= 500:
            pause = min(retry_after(headers), self._section.timeout_seconds)
            endpoint.rest(pause)
            raise PassingError(message, pause, status in _OUTAGE) from error
        if is_too_long(said):
            return Completion(request.id, "", 0, 0, "prompt_too_long")
        return failed(request.id, message)

    async def _wait_for_turn(self, endpoint: Connection) -> None:
        while (pause := endpoint.rests_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        if self._interval:
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + self._interval
            await asyncio.sleep(start - now)

    def _note(self, line: str) -> None:
        with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")


def _is_same_model(served: str, asked: str) -> bool:
    """Whether one name is the other with an owner, a folder or a version."""
    names = (name.rstrip("/").rsplit("/", 1)[-1].casefold() for name in (served, asked))
    short, long = sorted(names, key=len)
    return bool(re.fullmatch(rf"{re.escape(short)}([-@:_.](\d[\w.-]*|latest|free))?", long))


def _backoff(request_id: str, attempt: int) -> float:
    """Seconds before the next try: doubling, spread over half of the span by the request's id."""
    span = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**attempt)
    return span * random.Random(f"{request_id}:{attempt}").uniform(0.5, 1.0)
