"""Replicas of a model in this process: servers that can be killed, started again, and changed."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from aiohttp import web

T = TypeVar("T")
Answer = Callable[[str, int], Awaitable[web.Response]]
"""By the prompt, and how often this replica was asked it."""


def fine(text: str = "fine", **more: object) -> web.Response:
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    return web.json_response({"choices": [choice], "usage": usage, **more})


async def _fine(name: str, attempt: int) -> web.Response:
    return fine()


class Replica:
    """A server on a port of its own; down until it is started."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._runner: web.AppRunner | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.answer: Answer = _fine
        self.models: list[str] | int = ["m"]
        """That it lists, or the status with which it lists none."""
        self.tries: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.paths: set[str] = set()
        self.in_flight = 0

    def start(self, tls: ssl.SSLContext | None = None) -> Replica:
        self._run(self._start(tls))
        return self

    def kill(self) -> None:
        """As SIGKILL does: who waits for a reply loses the connection."""
        self._run(self._stop())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self, tls: ssl.SSLContext | None) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=tls).start()

    async def _stop(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            for connection in list(runner.server.connections if runner.server else ()):
                if connection.transport is not None:
                    connection.transport.abort()
            await asyncio.sleep(0)  # who waits in there is cancelled
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        self.paths.add(str(request.raw_path))
        self.keys.add(request.headers.get("Authorization"))
        if request.method == "GET":
            if isinstance(self.models, int):
                return web.Response(status=self.models)
            return web.json_response({"data": [{"id": name} for name in self.models]})
        name = json.loads(await request.read())["messages"][-1]["content"]
        self.tries[name] += 1
        self.in_flight += 1
        try:
            return await self.answer(name, self.tries[name])
        finally:
            self.in_flight -= 1


@contextmanager
def replicas(count: int) -> Iterator[list[Replica]]:
    """That many, none of which is started."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = [Replica(loop) for _ in range(count)]
    try:
        yield made
    finally:
        try:
            for replica in made:
                replica.kill()
        finally:
            loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
