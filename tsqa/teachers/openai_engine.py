"""OpenAI-compatible endpoints as a teacher: `vllm serve` or any other, one URL or many replicas.

Guarantees: 429, 5xx, timeouts, lost connections and unreadable answers are tried again, those that
tell of an outage for a while and not without a word, and a request that waits for its next try
takes no place among those in flight; a request that fails for good is a completion with its
reason; a wrong key, model or URL of all replicas, an empty account and a redirect raise
RefusedError. A replica that leaves hands on what it held, which counts as no try. Tries are
noted in `<role>-engine.log`. Whatever ends the thread that holds the connections is raised, not
waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Self

from rich.text import Text

from tsqa.console import console
from tsqa.errors import EngineError, TsqaError
from tsqa.recipe import TeacherSection
from tsqa.secrets import redact_data
from tsqa.teachers import TEACHER_KEY, Completion, RefusedError, Request, failed
from tsqa.teachers.connection import Connection, Outage, read_key
from tsqa.teachers.content import read_reply
from tsqa.teachers.failures import (
    PassingError,
    Refusals,
    is_filtered,
    is_out_of_quota,
    is_too_long,
    named,
    one_line,
    refuses_system,
    retry_after,
    status_line,
)
from tsqa.teachers.http.server import LostError, ReplyTooLongError, StatusError
from tsqa.teachers.roster import START_SECONDS, Roster, backoff, is_same_model

_MODEL = re.compile(r'"model"\s*:\s*"([^"\\]{1,200})"')
"""In a body; the text of an answer has its quotes escaped."""
_LOOK_SECONDS = 2.0
"""How often the thread is looked at, while nothing comes."""
_FIRST_WAIT = 0.5
_PASSING = (408, 409, 425, 429)
_OUTAGE = (429, 502, 503, 504, 529)
"""Of no request in particular."""


class _MovedError(Exception):
    """A replica will not answer what it was to answer, through no fault of the request."""


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
        self._roster = Roster(
            section, model, self._secret, self._refusals, self._note, self._raise_later
        )

    def __enter__(self) -> Self:
        ready: Future[None] = Future()
        self._thread = Thread(target=self._run, args=(ready,), daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise self._explain_end(error) from error
        try:
            ready.result(2 * START_SECONDS)
        except TimeoutError as error:
            raise self._explain_end(error) from error
        except BaseException:
            self._thread.join(START_SECONDS)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_SECONDS)

    @property
    def capacity(self) -> int:
        """Of the replicas that serve now; they come and go."""
        return self._section.max_num_seqs * max(1, self._roster.up)

    def submit(self, requests: Sequence[Request]) -> None:
        """To the least loaded replica, all to one: they share what they can of their prompts."""
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
            if not ready.done():
                is_told = isinstance(error, TsqaError)
                ready.set_exception(error if is_told else self._explain_end(error))
            self._raise_later(error)

    def _raise_later(self, error: BaseException) -> None:
        explained = error if isinstance(error, EngineError) else self._explain_end(error)
        self._results.put(explained)

    def _explain_end(self, error: BaseException | None) -> EngineError:
        cause = named(error) if error is not None else "its thread ended"
        if isinstance(error, (OSError, MemoryError, RuntimeError)):
            fix = f"raise the limits of this process (ulimit -a), or lower {self._key}.max_num_seqs"
        else:
            fix = f"run the same command again to continue; the tries are in {self._log}"
        place = self._section.place
        return EngineError(f"{place}: the connections could not be kept: {cause}", fix)

    async def _serve(self, ready: Future[None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            await self._roster.start()
            ready.set_result(None)
            await self._stop.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._roster.close()

    def _accept(self, requests: Sequence[Request]) -> None:
        try:
            replica = self._roster.choose()
            replica.load += len(requests)
            for request in requests:
                task = asyncio.create_task(self._answer(request, replica))
                self._tasks.add(task)
                task.add_done_callback(self._finish)
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            self._raise_later(error)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._raise_later(error)

    async def _answer(self, request: Request, replica: Connection) -> None:
        tries, first = 0, None
        while True:
            failure = None
            try:
                completion = await self._try(request, replica)
                if completion.is_answer:
                    self._outage.end()
                    replica.note_answer()
                self._results.put(completion)
                return
            except _MovedError:
                pass
            except PassingError as error:
                failure = error
            finally:
                replica.load -= 1
            if failure is not None:
                tries += 1
                now = time.monotonic()
                first = now if first is None else first
                left = self._note_failure(request, replica, failure, tries, first)
                wait = backoff(request.id, tries - 1, _FIRST_WAIT)
                if not self._roster.has_better(replica):
                    wait = max(failure.retry_after, wait)
                if tries > self._section.retries:
                    if left <= 0:
                        self._results.put(failed(request.id, str(failure)))
                        return
                    wait = min(wait, left)
                await asyncio.sleep(wait)
            replica = self._roster.choose()
            replica.load += 1

    def _note_failure(
        self, request: Request, replica: Connection, failure: PassingError, tries: int, first: float
    ) -> float:
        """Seconds for which it is tried again at least, as there is an outage."""
        self._note(f"{replica.url}: {request.id}, try {tries}: {failure}")
        if not failure.is_busy:
            self._roster.fail(replica, failure)
        if not failure.is_outage:
            return 0.0
        self._outage.note(replica.url, str(failure))
        return self._outage.seconds_left(first)

    async def _try(self, request: Request, replica: Connection) -> Completion:
        """One try; PassingError where another may succeed, RefusedError where none can."""
        sends_system = False
        try:
            async with replica.slots:
                await self._wait_for_turn(replica)
                sends_system = replica.sends_system(request)
                async with asyncio.timeout(self._section.timeout_seconds):
                    body = await replica.post(self._model, request)
        except StatusError as error:
            if sends_system and refuses_system(error.said):
                replica.merges_system = True
                self._note(f"{replica.url}: takes no system turn: it begins the user's from now")
                return await self._try(request, replica)
            return self._judge_status(request, replica, error)
        except TimeoutError as error:
            seconds = self._section.timeout_seconds
            raise PassingError(
                f"no answer in {seconds:g} s ({self._key}.timeout_seconds)"
            ) from error
        except LostError as error:
            raise self._judge_loss(replica, error) from error
        except ReplyTooLongError as error:
            raise PassingError(str(error)) from error
        except (_MovedError, PassingError):
            raise
        except Exception as error:  # text that cannot be sent stops only itself
            if replica.left.is_set():  # aiohttp asserts that nobody closes what it opens
                raise _MovedError from error
            return failed(request.id, named(error))
        if self._roster.is_refused(replica):
            raise _MovedError
        served = self._notice_model(replica, body)
        try:
            return replace(read_reply(request, redact_data(body)), served=served)
        except PassingError:
            if is_out_of_quota(200, body):
                raise self._refusals.quota(replica.url, one_line(body)) from None
            raise

    def _judge_loss(self, replica: Connection, error: LostError) -> Exception:
        if replica.left.is_set():
            return _MovedError()
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return self._explain_end(OSError(str(error)))
        replica.rest(_FIRST_WAIT)
        return PassingError(
            f"connection lost: {one_line(str(error))}", is_outage=True, is_refused=error.is_refused
        )

    def _notice_model(self, replica: Connection, body: str) -> str:
        """The name of another model than was asked for, which is said once; empty for that one."""
        found = _MODEL.search(body)
        if found is None or is_same_model(found[1], self._model):
            return ""
        other = redact_data(found[1])
        if other not in self._served:
            self._served.add(other)
            line = f"{replica.url} answers as the model {other}, not as {self._model}"
            self._note(line)
            told = ": the lineage names the latter, the card counts such answers"
            console.print(Text.assemble((f"  {line}", "yellow"), told))
        return other

    def _judge_status(
        self, request: Request, replica: Connection, error: StatusError
    ) -> Completion:
        status, message = error.status, status_line(error)
        if is_out_of_quota(status, error.said, "retry-after" in error.headers):
            raise self._refusals.quota(replica.url, message) from error
        if 300 <= status < 400:
            raise self._refuse(replica, self._refusals.redirect(replica.url, error)) from error
        if status in (400, 403) and is_filtered(error.said):
            return Completion(request.id, "", 0, 0, "content_filter")
        if status in (401, 403, 404):
            raise self._refuse(replica, self._refusals.access(replica.url, error)) from error
        if status in _PASSING or status >= 500:
            pause = min(retry_after(error.headers), self._section.timeout_seconds)
            replica.rest(pause)
            is_busy = status == 429 or pause > 0
            raise PassingError(message, pause, status in _OUTAGE, is_busy=is_busy) from error
        if is_too_long(error.said):
            return Completion(request.id, "", 0, 0, "prompt_too_long")
        return failed(request.id, message)

    def _refuse(self, replica: Connection, error: RefusedError) -> _MovedError:
        """Another replica answers instead, or the error is raised."""
        self._roster.refuse(replica, error)
        return _MovedError()

    async def _wait_for_turn(self, replica: Connection) -> None:
        while replica.is_resting and not self._roster.has_better(replica):
            pause = replica.rests_until - time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(replica.left.wait(), max(0.0, pause))
                break
        if replica.left.is_set() or replica.is_resting:
            raise _MovedError
        if not replica.was_up:
            raise PassingError("no answer yet", is_outage=True)
        if self._interval:
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + self._interval
            await asyncio.sleep(start - now)

    def _note(self, line: str) -> None:
        with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
