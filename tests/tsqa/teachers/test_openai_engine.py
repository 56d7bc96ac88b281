"""Promises of the endpoint teacher: what may pass is tried again, what cannot is explained, one bad
request stops nothing, a dead endpoint loses nothing, and no secret leaves."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.tiny_teacher import make_tiny_teacher
from tsqa.errors import EngineError
from tsqa.recipe import TeacherSection
from tsqa.teachers import Completion, Engine, RefusedError, Request, connection, roster
from tsqa.teachers import openai_engine as endpoint
from tsqa.teachers.client import open_engine
from tsqa.teachers.failures import Unanswered, retry_after
from tsqa.teachers.scheduler import Job, Window

Reply = tuple[int, dict[str, str], str]


def ok(text: str | None, reason: str = "stop", usage: bool = True) -> Reply:
    choice = {"message": {"content": text}, "text": text, "finish_reason": reason}
    reply: dict[str, Any] = {"choices": [choice]}
    if usage:
        reply["usage"] = {"prompt_tokens": 7, "completion_tokens": 3}
    return 200, {}, json.dumps(reply)


def error(status: int, message: str, **headers: str) -> Reply:
    return status, headers, json.dumps({"error": {"message": message}})


class FakeServer(ThreadingHTTPServer):
    """Answers by a function of the request's body and of how often its prompt was seen."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, answer: Callable[[dict[str, Any], int], Reply], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = answer
        self.lock = threading.Lock()
        self.tries: Counter[str] = Counter()
        self.times: list[float] = []
        self.paths: list[str] = []
        self.keys: set[str | None] = set()
        self.in_flight, self.most_in_flight = 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client went away: that is what the tests of silence do."""


class _Handler(BaseHTTPRequestHandler):
    server: FakeServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send((200, {}, '{"object": "list", "data": []}'))

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        with server.lock:
            server.tries[name] += 1
            attempt = server.tries[name]
            server.times.append(time.monotonic())
            server.paths.append(self.path)
            server.keys.add(self.headers.get("Authorization"))
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            reply = server.answer({**body, "name": name}, attempt)
        finally:
            with server.lock:
                server.in_flight -= 1
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        status, headers, body = reply
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(answer: Callable[[dict[str, Any], int], Reply]) -> Iterator[FakeServer]:
    server = FakeServer(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def section(*urls: str, **changes: object) -> TeacherSection:
    values: dict[str, object] = {
        "engine": "openai",
        "model": {"path": "some-model"},
        "urls": list(urls),
        "max_num_seqs": 16,
        "retries": 2,
        "timeout_seconds": 5,
        "api_key_env": "TSQA_TEST_KEY",
        "outage_minutes": 0,
    }
    return TeacherSection.model_validate(values | changes)


def chat(name: str, **changes: Any) -> Request:
    turns = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": name})
    return Request(name, "", 5, 0.7, 0.9, 64, ("END",), messages=turns, **changes)


def ask(engine: Engine, requests: Sequence[Request]) -> dict[str, Completion]:
    engine.submit(requests)
    done: dict[str, Completion] = {}
    while len(done) < len(requests):
        done |= {completion.id: completion for completion in engine.collect()}
    return done


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 0.02)
    monkeypatch.setattr(roster, "_FIRST_WAIT", 0.02)
    monkeypatch.delenv("TSQA_TEST_KEY", raising=False)


def test_chat_and_completion_requests_carry_all_that_decides_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSQA_TEST_KEY", "secret")
    bodies: dict[str, dict[str, Any]] = {}

    def answer(body: dict[str, Any], attempt: int) -> Reply:
        bodies[body.pop("name")] = body
        return ok("fine", "length" if "prompt" in body else "stop", usage="prompt" in body)

    schema = {"type": "object"}
    requests = [chat("a", schema=schema), Request("b", "b", 6, 0.0, 1.0, 8, ())]
    with (
        served(answer) as server,
        open_engine(section(server.url), "some-model", tmp_path / "log", 0) as engine,
    ):
        assert engine.capacity == 16
        done = ask(engine, requests)
    assert done["a"] == Completion("a", "fine", 0, 0, "stop")
    assert done["b"] == Completion("b", "fine", 7, 3, "length")
    common = {"model": "some-model", "temperature": 0.7, "top_p": 0.9, "max_tokens": 64}
    form = {"type": "json_schema", "json_schema": {"name": "item", "schema": schema}}
    turns = list(requests[0].messages)
    assert bodies["a"] == {
        **common, "messages": turns, "seed": 5, "stop": ["END"], "response_format": form
    }  # fmt: skip
    assert bodies["b"] == {
        "model": "some-model", "prompt": "b", "temperature": 0.0, "top_p": 1.0,
        "max_tokens": 8, "seed": 6,
    }  # fmt: skip
    assert sorted(server.paths) == ["/v1/chat/completions", "/v1/completions"]
    assert server.keys == {"Bearer secret"}


def test_an_endpoint_that_answers_as_another_model_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = iter(["some-model", "org/some-model-2024-08", "other-model", "other-model"])

    def answer(body: dict[str, Any], attempt: int) -> Reply:
        status, headers, text = ok('a text with "model": "quoted"')
        return status, headers, json.dumps({**json.loads(text), "model": next(names)})

    with (
        served(answer) as server,
        open_engine(section(server.url), "some-model", tmp_path / "log", 0) as engine,
    ):
        served_by = [ask(engine, [chat(name)])[name].served for name in "abcd"]
    assert served_by == ["", "", "other-model", "other-model"]
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("answers as the model other-model, not as some-model") == 1
    assert told.count("answers as the model") == 1


PASSING: dict[str, Reply] = {
    "429": error(429, "slow down"),
    "500": error(500, "oops"),
    "503 without json": (503, {}, "<html>down</html>"),
    "not json": (200, {}, "garbage"),
    "no choices": (200, {}, '{"error": {"message": "overloaded"}}'),
    "empty choices": (200, {}, '{"choices": []}'),
    "wrong shape": (200, {}, '{"choices": [{"message": "text"}]}'),
    "text, not json": (200, {"Content-Type": "text/html"}, "<html>"),
}


def test_what_may_pass_is_tried_again_and_then_given_up_alone(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], attempt: int) -> Reply:
        name, _, fate = body["name"].partition("|")
        if fate == "passes" and attempt > 1:
            return ok("at last")
        return PASSING[name] if name in PASSING else ok("fine")

    names = [f"{name}|{fate}" for name in PASSING for fate in ("passes", "stays")]
    good = [f"good {n}" for n in range(20)]
    with (
        served(answer) as server,
        open_engine(section(server.url), "m", tmp_path / "engine.log", 0) as engine,
    ):
        done = ask(engine, [chat(name) for name in [*good[:10], *names, *good[10:]]])
    for name in good:
        assert done[name].text == "fine"
    for name in PASSING:
        assert done[f"{name}|passes"] == Completion(f"{name}|passes", "at last", 7, 3, "stop")
        assert server.tries[f"{name}|passes"] == 2
        lost = done[f"{name}|stays"]
        assert (lost.text, lost.finish_reason[:7]) == ("", "error: ")
        assert server.tries[f"{name}|stays"] == 3
    assert done["500|stays"].finish_reason == "error: 500 oops"
    assert done["not json|stays"].finish_reason == "error: unreadable answer: garbage"
    assert "overloaded" in done["no choices|stays"].finish_reason
    assert "429|stays, try 3: 429 slow down" in (tmp_path / "engine.log").read_text()


def test_silence_ends_in_time_and_holds_up_nobody(tmp_path: Path) -> None:
    release = threading.Event()

    def answer(body: dict[str, Any], attempt: int) -> Reply:
        if body["name"] == "never":
            release.wait(60)
        return ok("fine")

    with served(answer) as server:
        quick = section(server.url, timeout_seconds=0.3, retries=1)
        with open_engine(quick, "m", tmp_path / "log", 0) as engine:
            begin = time.monotonic()
            done = ask(engine, [chat("never"), *(chat(f"good {n}") for n in range(20))])
            assert time.monotonic() - begin < 40
        release.set()
    assert done["never"].finish_reason == (
        "error: no answer in 0.3 s (generate.teacher.timeout_seconds)"
    )
    assert {done[f"good {n}"].text for n in range(20)} == {"fine"}


def test_empty_and_filtered_texts_are_answers_not_faults(tmp_path: Path) -> None:
    replies = {"empty": ok(""), "null": ok(None), "filtered": ok("x", "content_filter")}
    with (
        served(lambda body, attempt: replies[body["name"]]) as server,
        open_engine(section(server.url), "m", tmp_path / "log", 0) as engine,
    ):
        done = ask(engine, [chat(name) for name in replies])
    assert [done[name].text for name in ("empty", "null")] == ["", ""]
    assert [done[name].finish_reason for name in ("empty", "null")] == ["stop", "stop"]
    assert done["filtered"].finish_reason == "content_filter"
    assert set(server.tries.values()) == {1}


def test_a_bad_request_is_not_tried_again(tmp_path: Path) -> None:
    replies = {
        "long": error(400, "This model's maximum context length is 256 tokens."),
        "bad": error(400, "unknown field"),
        "good": ok("fine"),
    }
    with (
        served(lambda body, attempt: replies[body["name"]]) as server,
        open_engine(section(server.url), "m", tmp_path / "log", 0) as engine,
    ):
        done = ask(engine, [chat(name) for name in [*replies, "half a pair \ud800"]])
    assert "surrogates not allowed" in done["half a pair \ud800"].finish_reason
    assert done["long"].finish_reason == "prompt_too_long"
    assert done["bad"].finish_reason == "error: 400 unknown field"
    assert set(server.tries.values()) == {1}


def test_retry_after_pauses_the_endpoint(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], attempt: int) -> Reply:
        if body["name"] == "first" and attempt == 1:
            return error(429, "slow down", Retry_After="0.6")
        return ok("fine")

    with (
        served(answer) as server,
        open_engine(section(server.url, max_num_seqs=1), "m", tmp_path / "log", 0) as engine,
    ):
        done = ask(engine, [chat("first"), chat("second")])
    assert {completion.text for completion in done.values()} == {"fine"}
    assert len(server.times) == 3
    assert server.times[1] - server.times[0] >= 0.6


def test_retry_after_is_read_as_seconds_or_date() -> None:
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    assert 55 < retry_after({"retry-after": later}) <= 60
    read = [retry_after({"retry-after": v}) for v in ("2.5", "-1", "soon", "", "nan")]
    assert read == [2.5, 0, 0, 0, 0]
    assert retry_after({}) == 0


def test_a_waiting_retry_takes_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 0.3)
    order: list[str] = []

    def answer(body: dict[str, Any], attempt: int) -> Reply:
        order.append(body["name"])
        return error(500, "oops") if body["name"] == "bad" and attempt == 1 else ok("fine")

    with (
        served(answer) as server,
        open_engine(section(server.url, max_num_seqs=1), "m", tmp_path / "log", 0) as engine,
    ):
        ask(engine, [chat("bad"), *(chat(f"good {n}") for n in range(5))])
    assert order[:2] == ["bad", "good 0"]
    assert server.most_in_flight == 1


def test_requests_per_minute_is_kept(tmp_path: Path) -> None:
    with served(lambda body, attempt: ok("fine")) as server:
        limited = section(server.url, requests_per_minute=600)
        with open_engine(limited, "m", tmp_path / "log", 0) as engine:
            ask(engine, [chat(f"r{n}") for n in range(8)])
    assert server.times[-1] - server.times[0] >= 0.65
    assert server.most_in_flight < 8


def test_256_in_flight(tmp_path: Path) -> None:
    everyone = threading.Barrier(256, timeout=20)

    def answer(body: dict[str, Any], attempt: int) -> Reply:
        everyone.wait()
        return ok(body["name"])

    with (
        served(answer) as server,
        open_engine(
            section(server.url, max_num_seqs=256, timeout_seconds=30), "m", tmp_path / "log", 0
        ) as engine,
    ):
        done = ask(engine, [chat(f"r{n}") for n in range(512)])
    assert all(completion.text == name for name, completion in done.items())
    assert server.most_in_flight == 256


def test_urls_share_the_load_and_a_dead_one_is_avoided(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], attempt: int) -> Reply:
        time.sleep(0.01)
        return ok("fine")

    with served(answer) as a, served(answer) as b:
        both = section(a.url, b.url)
        with open_engine(both, "m", tmp_path / "log", 0) as engine:
            assert engine.capacity == 32
            for start in range(0, 40, 4):
                engine.submit([chat(f"r{n}") for n in range(start, start + 4)])
            done: list[Completion] = []
            while len(done) < 40:
                done += engine.collect()
            assert (len(a.tries), len(b.tries)) == (20, 20)
            groups = [{int(name[1:]) // 4 for name in server.tries} for server in (a, b)]
            assert groups[0].isdisjoint(groups[1])
            b.shutdown()
            b.server_close()
            more = ask(engine, [chat(f"more {n}") for n in range(40)])
    assert {completion.text for completion in more.values()} == {"fine"}


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, r"TSQA_TEST_KEY is not set(.|\n)*teacher\.api_key_env"),
        (403, r"TSQA_TEST_KEY is not set(.|\n)*teacher\.api_key_env"),
        (404, r"model m(.|\n)*generate\.teacher\.model\.path or generate\.teacher\.urls"),
    ],
)
def test_a_refusal_stops_at_once(tmp_path: Path, status: int, message: str) -> None:
    with (
        served(lambda body, attempt: error(status, "no")) as server,
        open_engine(section(server.url), "m", tmp_path / "log", 0) as engine,
        pytest.raises(EngineError, match=message),
    ):
        ask(engine, [chat("a")])
    assert server.tries["a"] == 1


def test_an_endpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with (
            pytest.raises(EngineError, match=rf"{url}: no answer(.|\n)*generate\.teacher\.urls"),
            open_engine(section(url), "m", tmp_path / "log", 0),
        ):
            pass


def test_a_failure_with_nothing_beside_it_is_the_requests_own(tmp_path: Path) -> None:
    with (
        served(lambda body, attempt: error(500, "oops")) as server,
        open_engine(section(server.url, retries=0), "m", tmp_path / "log", 0) as engine,
    ):
        done = ask(engine, [chat("a"), chat("b")])
    assert [done[name].finish_reason for name in "ab"] == ["error: 500 oops"] * 2


def run_jobs(folder: Path, settings: TeacherSection, count: int, allowed: float = 0.0) -> int:
    """Questions, then three votes each, as the stages ask; how many requests were answered."""

    def job(number: int) -> Job[int]:
        question = yield [chat(f"q{number}")]
        votes = yield [chat(f"q{number}.a{vote}") for vote in range(3)]
        return sum(completion.is_answer for completion in (*question, *votes))

    def opener() -> AbstractContextManager[Engine]:
        return open_engine(settings, "m", folder / "engine.log", 0)

    unanswered = Unanswered(allowed)
    with Window(opener, folder / "log.jsonl", unanswered=unanswered) as window:
        return sum(window.run(job(number) for number in range(count)))


REFUSALS = {
    "unsupported parameter: 'max_tokens'. use 'max_completion_tokens' instead.": "token_limit",
    "'temperature' does not support 0.7 with this model": "omit to [temperature]",
    "`temperature` and `top_p` are not supported": "omit to [temperature, top_p]",
    "Unrecognized request argument supplied: seed": "omit to [seed]",
    "Unsupported parameter: 'stop' is not supported": "omit to [stop]",
    "System role not supported": "request.system to merge",
    "enable_thinking must be set to false for non-streaming calls": "enable_thinking: false",
    "response_format json_schema is not available": "structured to false",
    "As of transformers v4.44 a chat template must be given": "form to completion",
    "max_tokens is too large: 4096": "lower max_tokens",
    "something else": "generate.teacher.request",
}


@pytest.mark.parametrize("message", REFUSALS)
def test_an_endpoint_that_refuses_everything_is_left_after_twenty(
    tmp_path: Path, message: str
) -> None:
    settings = {"max_num_seqs": 256, "request": {"system": "send"}}
    with (
        served(lambda body, attempt: error(400, message)) as server,
        pytest.raises(RefusedError, match="20 requests in a row failed") as caught,
    ):
        run_jobs(tmp_path, section(server.url, **settings), 600)
    assert sum(server.tries.values()) == 20
    assert f"none was answered between them: 20 x 400 {message}" in str(caught.value)
    assert REFUSALS[message] in caught.value.fix


QUOTA = {
    "openai": error(429, "You exceeded your current quota, please check your plan"),
    "code": (429, {}, '{"error": {"code": "insufficient_quota", "message": "no"}}'),
    "paid": (402, {}, "Payment Required"),
    "deepseek": (402, {}, '{"error": {"message": "Insufficient Balance"}}'),
    "anthropic": error(400, "Your credit balance is too low to access the API."),
    "billing": (429, {}, '{"error": {"code": "billing_hard_limit_reached", "message": "no"}}'),
    "inactive": error(429, "Your account is not active, please check your billing details"),
    "forbidden": error(403, "insufficient_quota"),
    "openrouter": error(402, "This request requires more credits"),
    "with 200": (200, {}, '{"error": {"message": "insufficient credits", "code": 402}}'),
}


@pytest.mark.parametrize("name", QUOTA)
def test_an_empty_account_ends_the_stage_and_the_next_run_asks_for_the_rest(
    tmp_path: Path, name: str
) -> None:
    answered = 0

    def answer(body: dict[str, Any], attempt: int) -> Reply:
        nonlocal answered
        answered += 1
        return ok("fine") if answered <= 50 else QUOTA[name]

    with served(answer) as server, pytest.raises(RefusedError, match="quota of the account"):
        run_jobs(tmp_path, section(server.url), 60)
    kept = (tmp_path / "log.jsonl").read_text().count("\n")
    assert 0 < kept <= 50
    with served(lambda body, attempt: ok("fine")) as server:
        assert run_jobs(tmp_path, section(server.url), 60) == 240
    assert sum(server.tries.values()) == 240 - kept


def test_a_rate_limit_is_not_taken_for_an_empty_account(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], attempt: int) -> Reply:
        slow = "You exceeded your current quota, per minute; please retry in 0.1s"
        return ok("fine") if attempt > 1 else error(429, slow)

    with served(answer) as server:
        assert run_jobs(tmp_path, section(server.url), 5) == 20


def test_an_outage_is_waited_for_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connection, "_SAID_AFTER_SECONDS", 0.1)
    asked: list[float] = []

    def answer(body: dict[str, Any], attempt: int) -> Reply:
        asked.append(time.monotonic())
        return ok("fine") if asked[-1] - asked[0] > 1 else error(503, "down")

    with served(answer) as server:
        settings = section(server.url, retries=0, outage_minutes=0.5)
        assert run_jobs(tmp_path, settings, 20) == 80
    told = capfd.readouterr().err
    assert "503 down: no answer since" in told and "generate.teacher.outage_minutes" in told
    assert told.count("answers again") == 1


def test_an_outage_without_an_end_ends_the_stage(tmp_path: Path) -> None:
    begin = time.monotonic()
    with served(lambda body, attempt: error(503, "down")) as server:
        settings = section(server.url, retries=0, outage_minutes=0.01)
        with pytest.raises(RefusedError, match=r"in a row failed(.|\n)*503 down"):
            run_jobs(tmp_path, settings, 600)
    assert time.monotonic() - begin < 60


def test_a_share_without_answers_is_an_error_unless_it_is_allowed(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], attempt: int) -> Reply:
        return error(400, "bad") if body["name"] in ("q7.a1", "q9.a0") else ok("fine")

    with served(answer) as server:
        with pytest.raises(RefusedError, match=r"2 of 200 requests have no answer \(1\.00%"):
            run_jobs(tmp_path, section(server.url), 50)
        assert sum(server.tries.values()) == 200
        assert run_jobs(tmp_path, section(server.url), 50, allowed=0.01) == 198
    assert sum(server.tries.values()) == 202


def test_how_requests_are_put(tmp_path: Path) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(body: dict[str, Any], attempt: int) -> Reply:
        bodies.append(body)
        return ok("fine")

    how = {
        "token_limit": "max_completion_tokens",
        "omit": ["temperature", "top_p", "seed"],
        "chat_template_kwargs": {"enable_thinking": False},
        "extra_body": {"reasoning_effort": "low"},
    }
    with (
        served(answer) as server,
        open_engine(section(server.url, request=how), "m", tmp_path / "log", 0) as engine,
    ):
        ask(engine, [chat("a")])
    assert bodies == [
        {
            "model": "m", "messages": list(chat("a").messages), "max_completion_tokens": 64,
            "stop": ["END"], "chat_template_kwargs": {"enable_thinking": False},
            "reasoning_effort": "low", "name": "a",
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "message",
    [
        "System role not supported",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Developer instruction is not enabled for models/gemma-3-4b-it",
        "invalid role: system",
        "This model does not support system messages",
        "Only user and assistant roles are supported!",
    ],
)
def test_a_refused_system_turn_begins_the_users(tmp_path: Path, message: str) -> None:
    def answer(body: dict[str, Any], attempt: int) -> Reply:
        has_system = any(turn["role"] == "system" for turn in body["messages"])
        return error(400, message) if has_system else ok(body["messages"][0]["content"])

    with (
        served(answer) as server,
        open_engine(section(server.url), "m", tmp_path / "log", 0) as engine,
    ):
        done = ask(engine, [chat("a"), *(chat(f"r{n}") for n in range(5))])
        more = ask(engine, [chat("later")])
    assert done["a"].text == "Be brief.\n\na"
    assert more["later"].text == "Be brief.\n\nlater"
    assert server.tries["Be brief.\n\nlater"] == 1 and "later" not in server.tries


FILTERED = [
    error(400, "The response was filtered due to Azure OpenAI's content management policy"),
    (400, {}, '{"error": {"code": "content_filter", "message": "no"}}'),
    error(403, "Your input was flagged"),
]


@pytest.mark.parametrize("reply", FILTERED)
def test_a_filtered_prompt_is_the_requests_own(tmp_path: Path, reply: Reply) -> None:
    with (
        served(lambda body, attempt: reply) as server,
        open_engine(section(server.url), "m", tmp_path / "log", 0) as engine,
    ):
        assert ask(engine, [chat("a")])["a"].finish_reason == "content_filter"


BODIES = {
    "surrogate": (r'{"choices":[{"message":{"content":"a\ud800b"}}]}', "a\ufffdb"),
    "infinite": ('{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":1e999}}', "x"),
    "negative": ('{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":-4}}', "x"),
    "huge": ('{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":1e30}}', "x"),
    "nan": ('{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":NaN}}', "x"),
    "true": ('{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":true}}', "x"),
    "text": ('{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":"4"}}', "x"),
    "list": ('{"choices":[{"message":{"content":"x"}}],"usage":[1]}', "x"),
    "reason": ('{"choices":[{"message":{"content":"x"},"finish_reason":["a"]}]}', "x"),
    "deep": ('{"choices":' + "[" * 100_000 + "]" * 100_000 + "}", None),
    "deep error": ('{"error":' + "[" * 100_000 + "]" * 100_000 + "}", None),
    "null": ("null", None),
    "number": ("7", None),
    "empty": ("", None),
    "markup": ("[/INST] <html>[/bold]", None),
    "no message": ('{"choices":[{"message":null}]}', None),
    "surrogate error": (r'{"error":{"message":"\ud800"}}', None),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_no_body_is_a_traceback(tmp_path: Path, name: str, status: int) -> None:
    body, text = BODIES[name]
    with served(lambda *_: (status, {}, body)) as server:
        settings = section(server.url, retries=0)
        if text is None or status != 200:
            with pytest.raises(RefusedError, match="1 of 1 requests have no answer"):
                list(one_request(settings, tmp_path))
        else:
            assert [c.text for c in one_request(settings, tmp_path)] == [text]
            assert [c.prompt_tokens for c in one_request(settings, tmp_path)] == [0]


def one_request(settings: TeacherSection, folder: Path) -> Iterator[Completion]:
    def job() -> Job[Completion]:
        (completion,) = yield [chat("a")]
        return completion

    opener = partial(open_engine, settings, "m", folder / "engine.log", 0)
    with Window(opener, folder / "log.jsonl") as window:
        yield from window.run([job()])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(tmp_path: Path, status: int) -> None:
    with served(lambda body, attempt: ok("stolen")) as other:
        there = (status, {"Location": f"{other.url}/chat/completions?key=abcdefgh1"}, "")
        with (
            served(lambda body, attempt: there) as server,
            open_engine(section(server.url), "m", tmp_path / "log", 0) as engine,
            pytest.raises(RefusedError, match=f"redirects to {other.url}/chat") as caught,
        ):
            ask(engine, [chat("a")])
    assert not other.tries
    assert "abcdefgh1" not in str(caught.value)


SECRET = "sk-planted/+0123456789"


@pytest.mark.parametrize("spelled", [SECRET + "\n", f"  {SECRET}", SECRET + "\r\n", f"\t{SECRET} "])
def test_white_space_around_a_key_is_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    monkeypatch.setenv("TSQA_TEST_KEY", spelled)
    with (
        served(lambda body, attempt: ok("fine")) as server,
        open_engine(section(server.url), "m", tmp_path / "log", 0) as engine,
    ):
        ask(engine, [chat("a")])
    assert server.keys == {f"Bearer {SECRET}"}


@pytest.mark.parametrize("broken", ["schl\u00fcssel-012345", "sk-01\n2345", "sk\x1b-012345"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setenv("TSQA_TEST_KEY", broken)
    with pytest.raises(RefusedError, match="TSQA_TEST_KEY") as caught:
        open_engine(section("http://127.0.0.1:9/v1"), "m", tmp_path / "log", 0)
    assert broken not in str(caught.value) and "2345" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
def test_a_key_that_a_server_repeats_stays_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("TSQA_TEST_KEY", SECRET)
    shown = f"your header was Bearer {SECRET}"
    with served(lambda *_: ok(shown) if status == 200 else error(status, shown)) as server:
        told = ""
        try:
            told += "".join(c.text for c in one_request(section(server.url, retries=0), tmp_path))
        except EngineError as raised:
            told += str(raised)
    told += "".join(path.read_text() for path in tmp_path.iterdir())
    assert SECRET not in told and "your header was Bearer ***" in told


def test_a_login_and_parameters_of_a_url_are_sent_and_not_shown(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], attempt: int) -> Reply:
        return error(400, f"at {server.paths[-1]}")

    with served(answer) as server:
        url = server.url.replace("//", "//user:pass-word-1@") + "?api_key=qwertz123456"
        with pytest.raises(RefusedError) as caught:
            list(one_request(section(url), tmp_path))
    assert server.keys == {"Basic dXNlcjpwYXNzLXdvcmQtMQ=="}
    assert server.paths == ["/v1/chat/completions?api_key=qwertz123456"]
    told = str(caught.value) + "".join(path.read_text() for path in tmp_path.iterdir())
    assert "qwertz" not in told and "pass-word" not in told


def test_what_ends_the_thread_of_connections_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    settings = section("http://127.0.0.1:9/v1")
    for target, name in (
        (asyncio, "run"),
        (roster, "Connection"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, refuse)
            engine = open_engine(settings, "m", tmp_path / "log", 0)
            with pytest.raises(EngineError, match=r"Too many open files(.|\n)*ulimit"), engine:
                pass


def test_a_thread_that_ends_midway_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_LOOK_SECONDS", 0.05)
    release = threading.Event()

    def answer(body: dict[str, Any], attempt: int) -> Reply:
        release.wait(5)
        return ok("fine")

    with (
        served(answer) as server,
        open_engine(section(server.url), "m", tmp_path / "log", 0) as engine,
        pytest.raises(EngineError, match="its thread ended"),
    ):
        engine.submit([chat("a")])
        engine._loop.call_soon_threadsafe(engine._stop.set)  # type: ignore[attr-defined]
        engine.collect()
    release.set()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"request": {"extra_body": {"stream": True}}}, "may not hold stream"),
        ({"request": {"extra_body": {"n": 2, "model": "x"}}}, "may not hold model, n"),
        ({"request": {"extra_body": {"headers": {"api_key": "x"}}}}, "holds a secret"),
        ({"request": {"chat_template_kwargs": {"tokenize": True}}}, "may not hold tokenize"),
        ({"request": {"extra_body": {"x": float("nan")}}}, "not plain JSON"),
        ({"request": {"omit": ["model"]}}, "temperature"),
        ({"form": "completion", "request": {"token_limit": "max_completion_tokens"}}, "chat form"),
        ({"api_key_env": "sk-proj-abc"}, "not its value"),
        ({"urls": ["localhost:8000/v1"]}, "base URLs"),
        ({"urls": ["ftp://x/v1"]}, "base URLs"),
        ({"urls": ["http://[::1/v1"]}, "not a URL"),
    ],
)
def test_what_a_section_may_not_say(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        section("http://x/v1", **changes)
    if "extra_body" in changes.get("request", {}):
        with pytest.raises(ValidationError):
            TeacherSection.model_validate({"model": {"path": "m"}, **changes})


@pytest.mark.engine
def test_a_real_vllm_serve(tmp_path: Path) -> None:
    model = make_tiny_teacher(tmp_path / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model,
        "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port),
        "--dtype", "float32", "--max-model-len", "256", "--max-num-seqs", "32",
        "--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096",
    ]  # fmt: skip
    schema = {
        "type": "object",
        "properties": {"answer": {"enum": ["red", "blue"]}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    with (tmp_path / "serve.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=_serve_environment())
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server)
        settings = section(f"http://127.0.0.1:{port}/v1", timeout_seconds=60)
        with open_engine(settings, "tiny", tmp_path / "log", 0) as engine:
            requests = [
                *(Request(f"r{n}", f"Q: {n % 4}?", n, 1.0, 0.9, 8, ("\n",)) for n in range(24)),
                chat("chat"),
                Request("guided", "", 1, 1.0, 1.0, 150, (), chat("x").messages, schema),
                Request("long", "x" * 400, 0, 1.0, 1.0, 8, ()),
                Request("bad", "x", 0, 1.0, 7.0, 8, ()),
            ]
            done = ask(engine, requests)
            again = ask(engine, requests[:24])
        with (
            open_engine(settings, "other", tmp_path / "log", 0) as engine,
            pytest.raises(EngineError, match=r"correct generate\.teacher\.model\.path"),
        ):
            ask(engine, [chat("a")])
    finally:
        server.terminate()
        server.wait(30)
    assert {c.id: c.text for c in again.values()} == {
        f"r{n}": done[f"r{n}"].text for n in range(24)
    }
    assert done["r0"].prompt_tokens == len("Q: 0?")
    assert len({done[f"r{n}"].text for n in range(24)}) > 12
    assert done["chat"].prompt_tokens > 0
    assert json.loads(done["guided"].text)["answer"] in ("red", "blue")
    assert done["long"].finish_reason == "prompt_too_long"
    assert done["bad"].finish_reason.startswith("error: 400")


def _serve_environment() -> dict[str, str]:
    import os

    return os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert server.poll() is None, "vllm serve ended"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError("vllm serve did not start")


def test_a_clock_that_is_set_forward_ends_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    outage = connection.Outage(1, "generate.teacher.outage_minutes", lambda line: None)
    first = time.monotonic()
    outage.note("http://127.0.0.1:9/v1", "503")
    clock = time.time()
    monkeypatch.setattr(time, "time", lambda: clock + 3600)
    assert 50 < outage.seconds_left(first) <= 60
