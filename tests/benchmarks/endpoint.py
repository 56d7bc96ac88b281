"""What a request to an endpoint costs the driver: CPU and requests/s by the number of URLs.

    python -m tests.benchmarks.endpoint [--urls 1 4 16 64] [--requests 4000] [--in-flight 256]

Requests go the whole way (job, window, client, reading of the reply, log) to servers in processes
of their own, which answer at once with 512 words. The client of before, `openai` over httpx, takes
turns with ours where it is installed: only the client differs. CPU is that of this process;
medians of `--rounds`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import ssl
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import cache
from importlib.util import find_spec
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from tsqa.recipe import TeacherSection
from tsqa.teachers import Request, roster
from tsqa.teachers.client import open_engine
from tsqa.teachers.connection import Connection
from tsqa.teachers.scheduler import Job, Window

_PROCESSES = 4
_TEXT = "word " * 512
_PROMPT = "Write a new question like the following ones. " * 30


_BODY = json.dumps(
    {
        "model": "m",
        "choices": [{"message": {"content": _TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 512},
    }
).encode()
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class _Answers(asyncio.Protocol):
    """HTTP, as far as a benchmark needs it: whatever is asked, the same reply."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.pending = bytearray()

    def data_received(self, data: bytes) -> None:
        self.pending += data
        while (end := self.pending.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.pending[:end]).lower()
            _, found, rest = head.partition(b"content-length:")
            whole = end + 4 + (int(rest.split(b"\r\n", 1)[0]) if found else 0)
            if len(self.pending) < whole:
                return
            del self.pending[:whole]
            self.transport.write(_HEAD % len(_BODY) + _BODY)


def _serve(count: int, ports: Pipe) -> None:
    async def listen() -> None:
        loop = asyncio.get_running_loop()
        servers = [
            await loop.create_server(_Answers, "127.0.0.1", 0, backlog=4096) for _ in range(count)
        ]
        ports.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.Event().wait()

    asyncio.run(listen())


@contextmanager
def endpoints(count: int) -> Iterator[list[str]]:
    context = multiprocessing.get_context("spawn")
    shares = [len(range(first, count, _PROCESSES)) for first in range(min(count, _PROCESSES))]
    processes, urls = [], []
    for share in shares:
        here, there = context.Pipe()
        processes.append(context.Process(target=_serve, args=(share, there), daemon=True))
        processes[-1].start()
        urls += [f"http://127.0.0.1:{port}/v1" for port in here.recv()]
    try:
        yield urls
    finally:
        for process in processes:
            process.terminate()
            process.join()


@cache
def _context() -> ssl.SSLContext:
    """One for all, as making it takes longer than many requests."""
    return ssl.create_default_context()


class OpenAiConnection(Connection):
    """The client of before."""

    def __init__(self, url: str, section: TeacherSection, key: str) -> None:
        super().__init__(url, section, key)
        import openai

        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key="none",
            timeout=section.timeout_seconds,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False, verify=_context()),
        )

    async def post(self, model: str, request: Request) -> str:
        body: Any = dict(self._body(model, request))
        answer = await self._client.chat.completions.with_raw_response.create(**body)
        return str(answer.text)


class Measured(NamedTuple):
    """Per request: milliseconds of CPU; and requests a second."""

    cpu: float
    speed: float


def measure(urls: Sequence[str], requests: int, in_flight: int) -> Measured:
    section = TeacherSection.model_validate(
        {"engine": "openai", "model": {"path": "m"}, "urls": urls}
        | {"max_num_seqs": max(1, in_flight // len(urls))}
    )

    def job(number: int) -> Job[bool]:
        turns = ({"role": "user", "content": f"{number} {_PROMPT}"},)
        request = Request(f"r{number}", "", number, 0.7, 0.9, 64, (), messages=turns)
        (completion,) = yield [request]
        return completion.is_answer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Window(
            lambda: open_engine(section, "m", folder / "engine.log", 0), folder / "log.jsonl"
        ) as window:
            assert all(window.run(job(number) for number in range(-2 * in_flight, 0))), "warming up"
            cpu, wall = time.process_time(), time.monotonic()
            assert all(window.run(job(number) for number in range(requests)))
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    return Measured(1e3 * cpu / requests, requests / wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--urls", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--in-flight", type=int, default=256, help="over all URLs")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    clients: dict[str, type[Connection]] = {"aiohttp": Connection}
    if find_spec("openai"):
        clients["openai"] = OpenAiConnection
    print(f"{'URLs':>4}  client   CPU ms/request  requests/s")
    for count in options.urls:
        found: dict[str, list[Measured]] = {name: [] for name in clients}
        with endpoints(count) as urls, Path(os.devnull).open("w") as nothing:
            for _ in range(options.rounds):
                for name, client in clients.items():
                    with mock.patch.object(roster, "Connection", client), redirect_stderr(nothing):
                        found[name].append(measure(urls, options.requests, options.in_flight))
        medians = {
            name: [statistics.median(column) for column in zip(*rounds, strict=True)]
            for name, rounds in found.items()
        }
        for name, (cpu, speed) in medians.items():
            print(f"{count:4}  {name:7}  {cpu:14.2f}  {speed:10.0f}")
        if "openai" in medians:
            ratio = medians["openai"][0] / medians["aiohttp"][0]
            print(f"{'':6}CPU {ratio:.1f} times less")


if __name__ == "__main__":
    main()
