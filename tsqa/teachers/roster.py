"""The replicas of an endpoint: which are listed, which serve, which is asked next.

Guarantees: a replica serves once it answered, and no longer than it is listed; the stage begins
when one serves, and those that do not are named, and asked again; one that joins serves the model
that the others serve, or is left out; replicas that serve are asked before those that do not or
rest, the one with the fewest requests first.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from rich.text import Text

from tsqa.console import console
from tsqa.errors import EngineError, first_line
from tsqa.plain_json import parse_json
from tsqa.recipe import TeacherSection
from tsqa.teachers import RefusedError
from tsqa.teachers.connection import Connection
from tsqa.teachers.failures import PassingError, Refusals, one_line, status_line
from tsqa.teachers.http.server import LostError, ReplyTooLongError, StatusError
from tsqa.teachers.http.url_file import read_urls, watch_urls

START_SECONDS = 30.0
_GRACE_SECONDS = 5.0
"""How long those that are silent are waited for when one serves."""
_FAILURES = 3
"""Without an answer between them, after which a replica counts as down."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0


class Roster:
    """Lives in an event loop; `up` may be read from anywhere."""

    def __init__(
        self,
        section: TeacherSection,
        model: str,
        secret: str,
        refusals: Refusals,
        note: Callable[[str], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._section, self._model, self._secret = section, model, secret
        self._refusals, self._note, self._on_error = refusals, note, on_error
        self._replicas: list[Connection] = []
        self._refused: dict[str, RefusedError] = {}
        """By URL, as long as it is listed."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.up = 0

    async def start(self) -> None:
        """Until one serves; raises where none does."""
        listed = self._section.urls
        urls = read_urls(Path(listed)) if isinstance(listed, str) else tuple(listed)
        self._replicas = [self._connect(url) for url in urls]
        await self._first_look()
        if not self.up:
            raise self._explain_none()
        for replica in self._replicas:
            if not replica.is_up:
                self._say(f"{replica.url}: {replica.problem}: it is asked again")
                self._spawn(self._revive(replica))
        if isinstance(listed, str):
            self._spawn(watch_urls(Path(listed), urls, self._take, self._say))

    def choose(self) -> Connection:
        now = time.monotonic()
        return min(self._replicas, key=lambda r: (not r.is_up, r.rests_until > now, r.load))

    def has_better(self, replica: Connection) -> bool:
        """Whether another could be asked at once."""
        return any(r.is_up and not r.is_resting for r in self._replicas if r is not replica)

    def fail(self, replica: Connection, failure: PassingError) -> None:
        """Note a failure, after which a replica may count as down until it answers again."""
        replica.failures += 1
        if replica.is_up and (failure.is_refused or replica.failures >= _FAILURES):
            replica.is_up = False
            replica.deaths += 1
            self._count()
            self._say(f"{replica.url}: {failure}: it is asked again later{self._shown()}")
            self._spawn(self._revive(replica))

    def refuse(self, replica: Connection, error: RefusedError) -> None:
        """Leave a replica out that will answer nobody; raise where no other could instead."""
        if replica.left.is_set():
            return
        others = (r for r in self._replicas if r is not replica)
        if not any(r.is_up or not replica.is_up for r in others):
            raise error
        self._refused[replica.listed] = error
        self._leave(replica)
        self._say(f"{first_line(error)}: it is left out{self._shown()}")

    def is_refused(self, replica: Connection) -> bool:
        return replica.listed in self._refused

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for replica in self._replicas:
            await replica.server.close()

    def _connect(self, url: str) -> Connection:
        return Connection(url, self._section, self._secret)

    async def _first_look(self) -> None:
        looks = {asyncio.create_task(self._probe(replica)) for replica in self._replicas}
        done, pending = await asyncio.wait(looks, timeout=_GRACE_SECONDS)
        while pending and not self.up:  # each ends by itself
            more, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        for look in pending:
            look.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for look in done:
            look.result()
        if not self.up:  # not every endpoint lists its models
            for replica in self._replicas:
                replica.is_up = replica.was_up = replica.answers
            self._count()

    def _explain_none(self) -> EngineError:
        for error in self._refused.values():
            return error
        told = "; ".join(f"{replica.url}: {replica.problem}" for replica in self._replicas[:3])
        if len(self._replicas) > 3:
            told += f"; and {len(self._replicas) - 3} more"
        return EngineError(told, f"start the endpoint, or correct {self._refusals.key}.urls")

    async def _probe(self, replica: Connection) -> None:
        """Ask a replica for its models; it serves from then on if it answers as it should."""
        replica.answers = False
        replica.problem = f"no answer (in {START_SECONDS:g} s)"
        try:
            async with asyncio.timeout(START_SECONDS):
                body = await replica.server.get("/models")
        except TimeoutError:
            return
        except (LostError, ReplyTooLongError) as error:
            replica.problem = f"no answer ({one_line(str(error))})"
            return
        except StatusError as error:
            if error.status in (401, 403):
                self.refuse(replica, self._refusals.access(replica.url, error))
                return
            replica.answers = True
            replica.problem = status_line(error)
            if error.status >= 500:
                return
            body = ""
        replica.models = _listed_in(body)
        replica.is_up = replica.was_up = not replica.left.is_set()
        replica.failures = 0
        self._part_strangers()
        self._count()

    def _part_strangers(self) -> None:
        """Leave out who lists other models than the one asked for, where another lists it."""
        known = [replica for replica in self._replicas if replica.is_up and replica.models]
        right = next((r for r in known if self._lists(r)), None)
        first = right or next((r for r in known if len(r.models) == 1), None)
        for replica in known:
            if first is None or replica is first or self._lists(replica):
                continue
            if right is not None or (len(replica.models) == 1 and replica.models != first.models):
                serves = self._model if right is not None else first.models[0]
                shown = one_line(", ".join(replica.models))
                self.refuse(
                    replica,
                    RefusedError(
                        f"{replica.url} serves {shown}, but {first.url} {one_line(serves)}",
                        f"correct {self._refusals.key}.model.path or {self._refusals.key}.urls",
                    ),
                )

    def _lists(self, replica: Connection) -> bool:
        return any(is_same_model(name, self._model) for name in replica.models)

    async def _revive(self, replica: Connection) -> None:
        """Ask a replica that is down until it serves, or leaves."""
        while not (replica.is_up or replica.left.is_set()):
            wait = backoff(replica.url, replica.deaths, _FIRST_WAIT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(replica.left.wait(), wait)
                return
            replica.deaths += 1
            await self._probe(replica)
        if replica.is_up:
            self._say(f"{replica.url} answers{self._shown()}")

    async def _join(self, replica: Connection) -> None:
        await self._probe(replica)
        if not replica.is_up and not replica.left.is_set():
            self._say(f"{replica.url}: {replica.problem}: it is asked again")
        await self._revive(replica)

    def _take(self, urls: tuple[str, ...]) -> None:
        """A new list: who is not on it leaves, who is new joins once it answers."""
        listed = {replica.listed for replica in self._replicas}
        joining = [self._connect(url) for url in urls if url not in {*listed, *self._refused}]
        leaving = [replica for replica in self._replicas if replica.listed not in urls]
        self._refused = {url: error for url, error in self._refused.items() if url in urls}
        self._replicas += joining
        for replica in leaving:
            self._leave(replica)
        self._say(f"{self._section.place}: {len(joining)} join, {len(leaving)} leave")
        for replica in joining:
            self._spawn(self._join(replica))
        if not self._replicas:
            raise next(iter(self._refused.values()))

    def _leave(self, replica: Connection) -> None:
        """What it holds goes to the others."""
        self._replicas.remove(replica)
        replica.is_up = False
        replica.left.set()
        self._count()
        self._spawn(replica.server.close())

    def _count(self) -> None:
        self.up = sum(replica.is_up for replica in self._replicas)

    def _shown(self) -> str:
        return f" ({self.up} of {len(self._replicas)} serve)"

    def _say(self, line: str) -> None:
        self._note(line)
        # Of a single one, its outage is told.
        if isinstance(self._section.urls, str) or len(self._section.urls) > 1:
            console.print(Text(f"  {line}", "yellow"))

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(error)


def is_same_model(served: str, asked: str) -> bool:
    """Whether one name is the other with an owner, a folder or a version."""
    names = (name.rstrip("/").rsplit("/", 1)[-1].casefold() for name in (served, asked))
    short, long = sorted(names, key=len)
    return bool(re.fullmatch(rf"{re.escape(short)}([-@:_.](\d[\w.-]*|latest|free))?", long))


def backoff(name: str, attempt: int, first: float) -> float:
    """Seconds before the next try: doubling, spread over half of the span by a name."""
    span = min(_LONGEST_WAIT, first * 2.0 ** min(attempt, 20))
    return span * random.Random(f"{name}:{attempt}").uniform(0.5, 1.0)


def _listed_in(body: str) -> tuple[str, ...]:
    try:
        value = parse_json(body)
    except (ValueError, RecursionError):
        return ()
    data = value.get("data") if isinstance(value, dict) else None
    entries = data if isinstance(data, list) else []
    names = (entry.get("id") for entry in entries if isinstance(entry, dict))
    return tuple(name for name in names if isinstance(name, str) and name)
