"""Tries on endpoints: what a server answers, where it sends, and the key that it is given.

An act generates from a server that is wrong, then again from one that is right: whatever happened
first, the second run must end with the dataset of an undisturbed one.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from tests.faults.table import End, Try
from tests.support.generation import artifact, generate_section, make_context, make_seed
from tests.tsqa.teachers.test_openai_engine import Reply, ok, served
from tsqa.errors import TsqaError
from tsqa.generate import stage as generate
from tsqa.recipe import ModelSection, TeacherSection
from tsqa.store.jsonl import write_jsonl
from tsqa.teachers import openai_engine as endpoint
from tsqa.teachers import roster

SEEDS = [make_seed(number) for number in range(4)]
SECRET = "sk-planted-0123456789"
KEY = "TSQA_TRIES_KEY"
Answer = Callable[[dict[str, Any], int], Reply]


def right(body: dict[str, Any], attempt: int) -> Reply:
    return ok(_text(body))


def _text(body: dict[str, Any]) -> str:
    if body["prompt"].rstrip().endswith("Question:"):
        return f" Which thing is number {body['seed']}?"
    return " thing 1\nBecause: it is so."


def generate_from(folder: Path, url: str, **changes: Any) -> dict[str, Any]:
    source = folder / "seeds"
    source.mkdir(exist_ok=True)
    write_jsonl(source / "seeds.jsonl", (asdict(seed) for seed in SEEDS))
    values: dict[str, Any] = {
        "engine": "openai",
        "model": ModelSection(path="m"),
        "urls": [url],
        "form": "completion",
        "retries": 1,
        "outage_minutes": 0,
        "timeout_seconds": 10.0,
        "api_key_env": KEY,
        "max_num_seqs": 8,
    }
    teacher = TeacherSection(**(values | changes))
    section = generate_section(teacher=teacher, per_seed=1, votes=2)
    context = make_context(folder / "out", {"seeds": artifact(source)}, generate=section)
    with (
        mock.patch.object(endpoint, "_FIRST_WAIT", 0.01),
        mock.patch.object(roster, "_FIRST_WAIT", 0.01),
        mock.patch.object(roster, "START_SECONDS", 2.0),
    ):
        return generate.run(context)


@cache
def undisturbed() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as name, served(right) as server:
        folder = Path(name)
        generate_from(folder, server.url)
        return (folder / "out" / "candidates.jsonl").read_bytes()


def _without_usage(made: bytes) -> list[Any]:
    return [{**json.loads(line), "usage": None} for line in made.splitlines()]


def attempt_and_resume(folder: Path, url: str, **changes: Any) -> int:
    """Generate from the wrong server; after an error, from a right one as well."""
    try:
        summary = generate_from(folder, url, **changes)
    except TsqaError as error:
        assert SECRET not in str(error)
        assert not any(SECRET in p.read_text() for p in folder.rglob("*.log"))
        assert not (folder / "out" / "candidates.jsonl").exists(), "partial taken for whole"
        with served(right) as server, mock.patch.dict(os.environ, {KEY: ""}):
            generate_from(folder, server.url)
        made = (folder / "out" / "candidates.jsonl").read_bytes()
        assert made == undisturbed(), "resumed to another dataset"
        raise
    made = (folder / "out" / "candidates.jsonl").read_bytes()
    assert SECRET.encode() not in made
    lines = [json.loads(line) for line in made.splitlines()]
    unread = sum(bool(line["parse_error"]) for line in lines)
    unread += sum(bool(vote["error"]) for line in lines for vote in line["votes"])
    if not unread:
        assert _without_usage(made) == _without_usage(undisturbed()), "another dataset"
    assert bool(summary["unparsable_questions"]) == any(line["parse_error"] for line in lines)
    return int(unread)


def always(reply: Reply) -> Answer:
    return lambda body, attempt: reply


def for_some(reply: Reply) -> Answer:
    """For the questions of every other seed, however often they are asked."""

    def answer(body: dict[str, Any], attempt: int) -> Reply:
        asks = body["prompt"].rstrip().endswith("Question:")
        return reply if asks and body["seed"] % 2 else right(body, attempt)

    return answer


def at_first(reply: Reply) -> Answer:
    return lambda body, attempt: reply if attempt == 1 else right(body, attempt)


def after_three(reply: Reply) -> Answer:
    count = iter(range(10**6))
    return lambda body, attempt: right(body, attempt) if next(count) < 3 else reply


def _error(status: int, message: str, **headers: str) -> Reply:
    return status, headers, json.dumps({"error": {"message": message}})


def _choice(**values: Any) -> Reply:
    return 200, {}, json.dumps({"choices": [{"text": "x", "finish_reason": "stop", **values}]})


STATUSES = (
    *(400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 413, 415, 418, 421, 422, 423, 424),
    *(425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 522, 524),
    *(525, 529, 530, 599),
)
PASSING = (408, 409, 425, 429, 500, 502, 503, 504, 520, 524, 529)
"""What another try may mend."""
BODIES: dict[str, Reply] = {
    "garbage": (200, {}, "garbage"),
    "nothing": (200, {}, ""),
    "HTML": (200, {"Content-Type": "text/html"}, "<html>down</html>"),
    "half a reply": (200, {}, ok("x")[2][:20]),
    "null": (200, {}, "null"),
    "a number": (200, {}, "7"),
    "a list": (200, {}, "[]"),
    "an empty object": (200, {}, "{}"),
    "an error with 200": (200, {}, '{"error": {"message": "overloaded"}}'),
    "no choices": (200, {}, '{"choices": []}'),
    "choices of null": (200, {}, '{"choices": null}'),
    "choices of text": (200, {}, '{"choices": "x"}'),
    "a choice of null": (200, {}, '{"choices": [null]}'),
    "a choice of text": (200, {}, '{"choices": ["x"]}'),
    "a choice of nothing": (200, {}, '{"choices": [{}]}'),
    "a text that is a number": _choice(text=7),
    "a text that is true": _choice(text=True),
    "a text that is a list": _choice(text=["a", "b"]),
    "a text that is a mapping": _choice(text={"question": "x"}),
    "deep": (200, {}, '{"choices": ' + "[" * 50_000 + "]" * 50_000 + "}"),
    "an abort": _choice(finish_reason="abort"),
    "an error as the end": _choice(finish_reason="error"),
    "no content": (204, {}, ""),
}
UNUSABLE: dict[str, Reply] = {
    "an empty text": _choice(text=""),
    "a text of null": _choice(text=None),
    "a blank text": _choice(text=" \n\n "),
    "cut off": _choice(text=" Which thing", finish_reason="length"),
    "filtered": _choice(text="", finish_reason="content_filter"),
    "a surrogate": (200, {}, '{"choices": [{"text": " Which \\ud800?", "finish_reason": "stop"}]}'),
    "too long": _error(400, "This model's maximum context length is 4096 tokens"),
}
"""Replies that are answers, of no use: counted."""
USAGE: dict[str, Any] = {
    "inf": float("inf"), "nan": float("nan"), "negative": -5, "text": "many", "null": None,
    "a list": [1], "huge": 10**400, "true": True, "a fraction": 1.5,
}  # fmt: skip


WAITS = {
    "text": "soon", "negative": "-5", "nan": "nan", "inf": "inf", "empty": "",
    "a date": "Wed, 21 Oct 2015 07:28:00 GMT",
}  # fmt: skip
KEYS = {
    "not ASCII": f"{SECRET}größe", "a line break inside": f"{SECRET}\nx",
    "a control character": f"{SECRET}\x01x",
}  # fmt: skip


def reply_tries() -> Iterator[Try]:
    for status in STATUSES:
        reply = _error(status, "no")
        for how, answer in {"always": always, "for some": for_some}.items():
            act = _serving(answer(reply))
            yield Try("endpoint", f"status {status}", how, End.STAGE, act)
    for status in PASSING:
        act = _serving(at_first(_error(status, "no")))
        yield Try("endpoint", f"status {status}", "at first", End.FINE, act)
    for name, reply in BODIES.items():
        for how, answer in {"always": always, "for some": for_some}.items():
            yield Try("endpoint", f"body: {name}", how, End.STAGE, _serving(answer(reply)))
        if name not in ("an abort", "an error as the end"):
            act = _serving(at_first(reply))
            yield Try("endpoint", f"body: {name}", "at first", End.FINE, act)
    for name, reply in UNUSABLE.items():
        act = _serving(for_some(reply))
        yield Try("endpoint", f"reply: {name}", "for some", End.REJECTED, act)
    for message in (
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "Your credit balance is too low",
    ):
        for status in (402, 429):
            reply = _error(status, message)
            for how, answer in {"always": always, "after three": after_three}.items():
                what = f"quota, {status}: {message[:20]}"
                yield Try("endpoint", what, how, End.STAGE, _serving(answer(reply)), ("quota",))
    for name, value in USAGE.items():
        usage = {"prompt_tokens": value, "completion_tokens": value}
        act = _serving(_with_usage(usage))
        yield Try("endpoint", "usage", name, End.FINE, act)
    for name, whole in {"null": None, "text": "x", "a list": [], "a number": 7}.items():
        yield Try("endpoint", "usage itself", name, End.FINE, _serving(_with_usage(whole)))
    for status in (301, 302, 303, 307, 308):
        for name, place in {
            "another host": "http://127.0.0.2:9/v1", "a file": "file:///etc/passwd", "nothing": "",
            "itself": "/v1/completions", "no url": "http://[",
        }.items():  # fmt: skip
            act = _serving(always((status, {"Location": place}, "")))
            yield Try("endpoint", f"redirect {status}", name, End.STAGE, act)
    for name, value in WAITS.items():
        act = _serving(at_first(_error(429, "no", Retry_After=value)))
        yield Try("endpoint", "Retry-After", name, End.FINE, act)


def _with_usage(usage: Any) -> Answer:
    def answer(body: dict[str, Any], attempt: int) -> Reply:
        choice = {"text": _text(body), "finish_reason": "stop"}
        reply = json.dumps({"choices": [choice], "usage": usage})
        return 200, {}, reply

    return answer


def _serving(answer: Answer) -> Callable[[Path], int]:
    def act(folder: Path) -> int:
        undisturbed()
        with served(answer) as server, mock.patch.dict(os.environ, {KEY: SECRET}):
            return attempt_and_resume(folder, server.url)

    return act


def connection_tries() -> Iterator[Try]:
    for name, speak in SPEECH.items():

        def act(folder: Path, speak: Any = speak) -> int:
            undisturbed()
            before = _memory()
            try:
                with _speaking(speak) as url:
                    return attempt_and_resume(folder, url, timeout_seconds=0.5)
            finally:
                assert _memory() - before < MEMORY, "a reply takes too much memory"

        yield Try("endpoint", "connection", name, End.STAGE, act)
    for name, url in {
        "nobody listens": "http://127.0.0.1:9/v1",
        "no such host": "http://no-such-host.invalid/v1",
        "TLS is not spoken": "https://127.0.0.1:9/v1",
        "a port that is closed": "http://127.0.0.1:1/v1",
    }.items():

        def unreached(folder: Path, url: str = url) -> int:
            undisturbed()
            return attempt_and_resume(folder, url)

        yield Try("endpoint", "url", name, End.STAGE, unreached)
    for name, key in KEYS.items():

        def with_key(folder: Path, key: str = key) -> int:
            undisturbed()
            with served(right) as server, mock.patch.dict(os.environ, {KEY: key}):
                return attempt_and_resume(folder, server.url)

        yield Try("endpoint", "key", name, End.STAGE, with_key, (KEY,))
    for name, key in {"a line break after": f"{SECRET}\n", "spaces": f"  {SECRET} "}.items():

        def with_good(folder: Path, key: str = key) -> int:
            undisturbed()
            with served(right) as server, mock.patch.dict(os.environ, {KEY: key}):
                made = attempt_and_resume(folder, server.url)
                assert server.keys == {f"Bearer {SECRET}"}
            return made

        yield Try("endpoint", "key", name, End.FINE, with_good)
    for status in (400, 401, 500):

        def echoes(folder: Path, status: int = status) -> int:
            undisturbed()
            reply = _error(status, f"bad header Authorization: Bearer {SECRET}")
            with served(always(reply)) as server, mock.patch.dict(os.environ, {KEY: SECRET}):
                return attempt_and_resume(folder, server.url)

        yield Try("endpoint", "key", f"echoed with {status}", End.STAGE, echoes)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SPEECH: dict[str, Callable[[socket.socket], None]] = {
    "closed at once": lambda s: None,
    "closed after the request": lambda s: _say(s, b""),
    "noise": lambda s: _say(s, bytes(range(256))),
    "half a head": lambda s: _say(s, HEAD),
    "half a body": lambda s: _say(s, HEAD + b'Content-Length: 1000\r\n\r\n{"choices": '),
    "a length that is none": lambda s: _say(s, HEAD + b"Content-Length: many\r\n\r\n{}"),
    "a negative length": lambda s: _say(s, HEAD + b"Content-Length: -5\r\n\r\n{}"),
    "broken chunks": lambda s: _say(s, HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
    "broken gzip": lambda s: _say(
        s, HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"
    ),
    "not UTF-8": lambda s: _say(s, HEAD + b"Content-Length: 4\r\n\r\n\xff\xfe\xfd\xfc"),
    "another protocol": lambda s: _say(s, b"SSH-2.0-OpenSSH_9.0\r\n"),
    "a head of 4 MB": lambda s: _say(s, HEAD + b"X-Pad: " + b"x" * (4 << 20) + b"\r\n\r\n{}"),
    "a length that is too short": lambda s: _say(s, HEAD + b"Content-Length: 9\r\n\r\n" + GOOD),
    "endless interim replies": lambda s: _repeat(s, b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "endless chunks": lambda s: _repeat(s, CHUNKED, b"1\r\n \r\n", 0.01),
    "chunks without a pause": lambda s: _repeat(s, CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "a reply of 200 MB": lambda s: _repeat(s, LONG, b" " * 65536),
    "an error of 200 MB": lambda s: _repeat(s, LONG.replace(b"200 OK", b"400 No"), b" " * 65536),
    "a bomb of gzip": lambda s: _say(s, ZIPPED % (b"gzip", len(_bomb(31))) + _bomb(31)),
    "a bomb of deflate": lambda s: _say(s, ZIPPED % (b"deflate", len(_bomb(15))) + _bomb(15)),
    "events, not asked for": lambda s: _say(s, HEAD + b"\r\ndata: " + GOOD + b"\n\n"),
    "events without an end": lambda s: _repeat(s, HEAD + b"\r\n", b"data: " + GOOD + b"\n\n", 0.01),
    "a drip beyond the timeout": lambda s: _repeat(s, HEAD + b"\r\n", b" ", 0.05),
    "8 MB of brackets": lambda s: _say(s, HEAD + b"\r\n" + b"[" * (8_000_000)),
    "8 MB of objects": lambda s: _say(s, HEAD + b"\r\n[" + b"{}," * 2_600_000),
    "8 MB like logins": lambda s: _say(s, HEAD + b"\r\n" + b"http://a:" * 880_000),
    "silent": lambda s: _say(s, b"", 3.0),
    "slow": lambda s: _say(s, b"H", 0.9),
}


GOOD = b'{"choices": [{"text": " Which thing?", "finish_reason": "stop"}]}'
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = HEAD + b"Content-Length: 200000000\r\n\r\n"
ZIPPED = HEAD + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
MEMORY = 300 << 20
"""Bytes by which this process may grow in a try."""


@cache
def _bomb(window: int) -> bytes:
    """200 MB of spaces, compressed a thousandfold."""
    packer = zlib.compressobj(9, zlib.DEFLATED, window)
    return b"".join([packer.compress(b" " * 1_000_000) for _ in range(200)]) + packer.flush()


def _repeat(
    connection: socket.socket, head: bytes, part: bytes, pause: float = 0.0, seconds: float = 3.0
) -> None:
    """A reply that goes on until the client has enough."""
    _say(connection, head)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection.sendall(part)
        threading.Event().wait(pause)


def odd_but_right_tries() -> Iterator[Try]:
    """What a server may do that the protocol allows."""
    headers: dict[str, dict[str, str]] = {
        "a charset that is no text": {"Content-Type": "application/json; charset=hex"},
        "a charset that does not exist": {"Content-Type": "application/json; charset=klingon"},
        "no type": {"Content-Type": ""},
        "many cookies": {f"Set-Cookie_{n}".removesuffix(f"_{n}"): "a=b" for n in range(3)},
        "events as the type": {"Content-Type": "text/event-stream"},
    }
    for name, more in headers.items():

        def with_headers(body: dict[str, Any], attempt: int, more: Any = more) -> Reply:
            status, _, text = right(body, attempt)
            return status, more, text

        yield Try("endpoint", "headers", name, End.FINE, _serving(with_headers))

    def changed(**values: Any) -> Answer:
        def answer(body: dict[str, Any], attempt: int) -> Reply:
            status, headers, text = right(body, attempt)
            return status, headers, json.dumps({**json.loads(text), **values})

        return answer

    def many(body: dict[str, Any], attempt: int) -> Reply:
        status, headers, text = right(body, attempt)
        reply = json.loads(text)
        reply["choices"] += [{"text": "another", "finish_reason": "stop"}] * 9
        return status, headers, json.dumps(reply)

    yield Try("endpoint", "reply", "one id for all", End.FINE, _serving(changed(id="same")))
    yield Try("endpoint", "reply", "ten choices", End.FINE, _serving(many))
    yield Try("endpoint", "reply", "another model", End.FINE, _serving(changed(model="other")))
    yield Try("endpoint", "reply", "an error beside", End.FINE, _serving(changed(error=None)))


def _say(connection: socket.socket, content: bytes, seconds: float = 0.0) -> None:
    connection.settimeout(2)
    connection.recv(65536)
    connection.sendall(content)
    if seconds:
        threading.Event().wait(seconds)


def _memory() -> int:
    return psutil.Process().memory_info().rss


@contextmanager
def _speaking(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that lists its models and then answers every request by `speak`."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                head = connection.recv(4096, socket.MSG_PEEK)
                if head.startswith(b"GET"):
                    connection.recv(65536)
                    body = b'{"object": "list", "data": []}'
                    length = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
                    connection.sendall(HEAD + length + body)
                else:
                    speak(connection)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def tries() -> list[Try]:
    return [*reply_tries(), *odd_but_right_tries(), *connection_tries()]
