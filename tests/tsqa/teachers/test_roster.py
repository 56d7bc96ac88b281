"""Promises of the roster: replicas come and go, each costs only what it held, and all that
are asked serve one model."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import ValidationError

from tests.support.replicas import Replica, fine, replicas
from tests.tsqa.teachers.test_openai_engine import ask, chat, run_jobs, section
from tsqa.errors import DataError, EngineError
from tsqa.recipe import TeacherSection
from tsqa.spending import Spending
from tsqa.teachers import Engine, RefusedError, openai_engine, roster
from tsqa.teachers.client import open_engine
from tsqa.teachers.config import count_engines
from tsqa.teachers.http import url_file
from tsqa.teachers.http.url_file import read_urls
from tsqa.teachers.scheduler import Job, Meter, Window


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_engine, "_FIRST_WAIT", 0.02)
    monkeypatch.setattr(roster, "_FIRST_WAIT", 0.02)
    monkeypatch.setattr(roster, "_LONGEST_WAIT", 0.05)
    monkeypatch.setattr(url_file, "_LOOK_SECONDS", 0.01)
    monkeypatch.delenv("TSQA_TEST_KEY", raising=False)


def wait_until(holds: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never holds"
        time.sleep(0.005)


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def listing(folder: Path, *replicas: Replica) -> Path:
    path = folder / "replicas.txt"
    path.write_text("# ours\n" + "".join(f"{replica.url}\n" for replica in replicas))
    return path


def by_file(path: Path, **changes: object) -> TeacherSection:
    """Nothing is tried again, so that what a replica costs is seen."""
    strict = {"urls": str(path), "retries": 0}
    return section("http://unused", **{**strict, **changes})


NAMES = [f"r{n}" for n in range(40)]


def texts(engine: Engine, names: list[str] = NAMES) -> set[str]:
    return {c.text or c.finish_reason for c in ask(engine, [*map(chat, names)]).values()}


def test_the_stage_begins_when_one_answers_and_the_others_join(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with replicas(3) as (a, b, c):
        a.start()
        with open_engine(section(a.url, b.url, c.url), "m", tmp_path / "log", 0) as engine:
            assert engine.capacity == 16
            assert texts(engine) == {"fine"}
            said = told(capsys)
            assert f"{b.url}: no answer (Connection refused): it is asked again" in said
            assert f"{c.url}: no answer" in said and f"{a.url}:" not in said
            b.start()
            wait_until(lambda: engine.capacity == 32)
            for name in NAMES:
                engine.submit([chat(name)])
            while sum(b.tries.values()) + sum(a.tries.values()) < 80:
                engine.collect()
            assert b.tries and f"{b.url} answers (2 of 3 serve)" in told(capsys)


def test_no_replica_that_answers_is_an_error_that_names_them(tmp_path: Path) -> None:
    with (
        replicas(2) as (a, b),
        pytest.raises(EngineError, match=r"no answer.*; .*no answer") as caught,
        open_engine(section(a.url, b.url), "m", tmp_path / "log", 0),
    ):
        pass
    assert a.url in str(caught.value) and b.url in str(caught.value)
    assert caught.value.fix == "start the endpoint, or correct generate.teacher.urls"


def test_a_death_costs_what_it_held_and_a_return_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def hold(name: str, attempt: int) -> web.Response:
        await asyncio.sleep(60)
        return fine()

    with replicas(2) as (a, b):
        a.start()
        b.start().answer = hold
        settings = section(a.url, b.url, retries=1)
        with open_engine(settings, "m", tmp_path / "log", 0) as engine:
            for name in NAMES:
                engine.submit([chat(name)])
            wait_until(lambda: b.in_flight == 16)
            held = set(b.tries)
            b.kill()
            done: set[str] = set()
            while len(done) < 40:
                done |= {c.id for c in engine.collect() if c.text == "fine"}
            assert set(a.tries) == done and set(a.tries.values()) == {1}
            assert set(b.tries) == held
            assert engine.capacity == 16
            b.answer = a.answer
            b.start()
            wait_until(lambda: engine.capacity == 32)
    said = told(capsys)
    assert said.count(f"{b.url}: connection lost") == said.count(f"{b.url} answers") == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_replica_that_asks_for_a_rest_is_not_waited_for(tmp_path: Path, status: int) -> None:
    async def rest(name: str, attempt: int) -> web.Response:
        return web.json_response(
            {"error": {"message": "no"}}, status=status, headers={"Retry-After": "60"}
        )

    with replicas(2) as (a, b):
        a.start()
        b.start().answer = rest
        with open_engine(section(a.url, b.url, max_num_seqs=2), "m", tmp_path / "log", 0) as engine:
            engine.submit([chat(f"a{n}") for n in range(20)])
            engine.submit([chat(f"b{n}") for n in range(20)])
            done: set[str] = set()
            end = time.monotonic() + 30
            while len(done) < 40 and time.monotonic() < end:
                done |= {c.id for c in engine.collect()}
            assert len(done) == 40, "nor by those that it sent away"
            assert sum(b.tries.values()) <= 2, "its queue goes to the other"
            assert engine.capacity == 4, "who is busy is not down"


@pytest.mark.parametrize("body", ["garbage", '{"choices": []}', '{"error": {"message": "dead"}}'])
@pytest.mark.parametrize("status", [200, 500])
def test_a_replica_that_fails_at_everything_draws_no_load(
    tmp_path: Path, body: str, status: int
) -> None:
    async def broken(name: str, attempt: int) -> web.Response:
        return web.Response(text=body, status=status)

    with replicas(2) as (a, b):
        a.start()
        b.start().answer = broken
        settings = section(a.url, b.url, retries=6)
        assert run_jobs(tmp_path, settings, 20) == 80
        assert sum(b.tries.values()) < 60


def test_the_slower_replica_gets_less(tmp_path: Path) -> None:
    async def slow(name: str, attempt: int) -> web.Response:
        await asyncio.sleep(0.05)
        return fine()

    with replicas(2) as (a, b):
        a.start()
        b.start().answer = slow
        settings = section(a.url, b.url, max_num_seqs=2)
        assert run_jobs(tmp_path, settings, 20) == 80
        assert sum(a.tries.values()) > sum(b.tries.values()) > 0


def test_replicas_join_and_leave_by_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = asyncio.Event()

    async def hold(name: str, attempt: int) -> web.Response:
        await release.wait()
        return fine()

    with replicas(2) as (a, b):
        a.start().answer = hold
        path = listing(tmp_path, a)
        with open_engine(by_file(path), "m", tmp_path / "log", 0) as engine:
            assert engine.capacity == 16
            engine.submit([*map(chat, NAMES)])
            wait_until(lambda: a.in_flight == 16)
            b.start()
            listing(tmp_path, a, b)
            wait_until(lambda: engine.capacity == 32)
            listing(tmp_path, b)  # what `a` holds and what waits for it goes to `b`
            done: set[str] = set()
            while len(done) < 40:
                done |= {c.id for c in engine.collect() if c.text == "fine"}
            assert set(b.tries) == set(NAMES) and set(b.tries.values()) == {1}
            assert engine.capacity == 16
            assert texts(engine, ["more"]) == {"fine"}
            assert "more" not in a.tries
    said = told(capsys)
    assert "replicas.txt: 1 join, 0 leave" in said and "replicas.txt: 0 join, 1 leave" in said


def test_a_replica_that_is_listed_before_it_serves_joins_when_it_does(tmp_path: Path) -> None:
    with replicas(2) as (a, b):
        a.start()
        path = listing(tmp_path, a)
        with open_engine(by_file(path), "m", tmp_path / "log", 0) as engine:
            listing(tmp_path, a, b)
            assert texts(engine) == {"fine"} and engine.capacity == 16
            b.start()
            wait_until(lambda: engine.capacity == 32)


BROKEN = {
    "gone": None,
    "empty": b"",
    "cut": b"http://127.0.0.1:1/v1\nhttp:",
    "no url": b"http://user:hunter-22@\n127.0.0.1/v1\n",
    "not text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_file_that_is_broken_changes_nothing_and_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    content = BROKEN[how]
    with replicas(1) as (a,):
        a.start()
        path = listing(tmp_path, a)
        with open_engine(by_file(path), "m", tmp_path / "log", 0) as engine:
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
            log = tmp_path / "log"
            wait_until(lambda: log.exists() and "from before counts on" in log.read_text())
            time.sleep(0.05)
            assert texts(engine) == {"fine"} and engine.capacity == 16
    said = told(capsys)
    assert said.count("the list from before counts on") == 1
    assert "hunter" not in said + log.read_text()
    with pytest.raises(DataError):
        read_urls(path)


def test_a_list_counts_only_when_it_was_seen_twice(tmp_path: Path) -> None:
    path = tmp_path / "replicas.txt"
    taken: list[tuple[str, ...]] = []
    seen = [f"http://h:{n}/v1" for n in range(5)]

    async def write() -> None:
        watch = asyncio.create_task(
            url_file.watch_urls(path, ("http://old/v1",), taken.append, pytest.fail)
        )
        for count in range(1, 6):
            found: list[tuple[str, ...] | str] = []
            urls = tuple(seen[:count])
            look = lambda _, urls=urls, found=found: found.append(urls) or urls  # noqa: E731
            url_file._look = look
            while not found:
                await asyncio.sleep(0.001)
        while not taken:
            await asyncio.sleep(0.001)
        watch.cancel()

    original = url_file._look
    try:
        asyncio.run(write())
    finally:
        url_file._look = original
    assert taken[-1] == tuple(seen)


def test_a_url_twice_is_one_replica(tmp_path: Path) -> None:
    with replicas(1) as (a,):
        a.start()
        path = listing(tmp_path, a, a)
        path.write_text(path.read_text() + f"  {a.url}/ \r\n\n")
        assert read_urls(path) == (a.url,)
        assert count_engines(by_file(path)) == 1
        with open_engine(by_file(path), "m", tmp_path / "log", 0) as engine:
            assert engine.capacity == 16
    with pytest.raises(ValidationError, match="comes twice"):
        section("http://h/v1", "http://h/v1/")
    with pytest.raises(ValidationError, match="expected a list"):
        section(urls="http://h/v1")


def test_who_serves_another_model_is_never_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with replicas(3) as (a, b, c):
        for replica, models in ((a, ["other"]), (b, ["m", "more"]), (c, ["org/x"])):
            replica.models = models
            replica.start()
        path = listing(tmp_path, a, b)
        with open_engine(by_file(path), "m", tmp_path / "log", 0) as engine:
            assert engine.capacity == 16
            listing(tmp_path, a, b, c)
            log = tmp_path / "log"
            wait_until(lambda: "serves org/x" in log.read_text())
            assert texts(engine) == {"fine"} and engine.capacity == 16
    assert not a.tries and not c.tries
    said = told(capsys)
    for replica, served in ((a, "other"), (c, "org/x")):
        assert said.count(f"{replica.url} serves {served}, but {b.url} m: it is left out") == 1


@pytest.mark.parametrize("stays_listed", [True, False])
def test_another_model_does_not_take_over_from_replicas_that_are_gone(
    tmp_path: Path, stays_listed: bool
) -> None:
    with replicas(2) as (a, b):
        a.start()
        b.models = ["other"]
        b.start()
        path, log = listing(tmp_path, a), tmp_path / "log"
        with open_engine(by_file(path, outage_minutes=1), "m", log, 0) as engine:
            assert texts(engine) == {"fine"}
            a.kill()
            listing(tmp_path, *([a, b] if stays_listed else [b]))
            if stays_listed:
                engine.submit([chat("later")])
                shown = f"{b.url} serves other, but {a.url} m"
                wait_until(lambda: log.exists() and shown in log.read_text())
                a.start()
                assert [c.text for c in engine.collect()] == ["fine"]
            else:
                with pytest.raises(RefusedError, match=f"{b.url} serves other, but {a.url} m"):
                    engine.collect()
    assert not b.tries


def test_replicas_of_two_unnamed_models_are_not_mixed(tmp_path: Path) -> None:
    with replicas(3) as (a, b, c):
        for replica, name in ((a, "/models/x.gguf"), (b, "/models/y.gguf"), (c, "/models/x.gguf")):
            replica.models = [name]
            replica.start()
        with open_engine(section(a.url, b.url, c.url), "m", tmp_path / "log", 0) as engine:
            assert engine.capacity == 32
            assert texts(engine) == {"fine"}
    assert not b.tries


@pytest.mark.parametrize("status", [302, 401, 403, 404])
def test_a_refusal_of_one_is_its_own_and_of_all_the_stages(tmp_path: Path, status: int) -> None:
    async def refuse(name: str, attempt: int) -> web.Response:
        return web.json_response({"error": {"message": "not here"}}, status=status)

    async def when_the_other_is_asked(name: str, attempt: int) -> web.Response:
        while not b.tries:
            await asyncio.sleep(0.005)
        return fine()

    with replicas(2) as (a, b):
        a.start().answer = when_the_other_is_asked
        b.start().answer = refuse
        settings = section(a.url, b.url, retries=0)
        with open_engine(settings, "m", tmp_path / "log", 0) as engine:
            engine.submit([chat("a1")])
            engine.submit([chat("b1"), chat("b2")])
            done: set[str] = set()
            while len(done) < 3:
                done |= {c.id for c in engine.collect() if c.text == "fine"}
            assert engine.capacity == 16
            a.answer = refuse
            with pytest.raises(RefusedError, match=f"{a.url}.*({status})"):
                ask(engine, [chat("last")])


def test_keys_refused_by_every_list_end_the_start(tmp_path: Path) -> None:
    with replicas(2) as (a, b):
        for replica in (a, b):
            replica.models = 401
            replica.start()
        with (
            pytest.raises(RefusedError, match="TSQA_TEST_KEY is not set"),
            open_engine(section(a.url, b.url), "m", tmp_path / "log", 0),
        ):
            pass
    assert a.keys == b.keys == {None}, "no key is sent where there is none"


def test_one_dead_one_killed_and_one_added_answer_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replicas(4) as (dead, killed, stays, added):
        path = listing(tmp_path, dead, killed, stays)
        asked = iter(range(10**6))
        deaths: list[asyncio.Future[None]] = []

        async def count(name: str, attempt: int) -> web.Response:
            number = next(asked)
            if number == 400:
                deaths.append(asyncio.ensure_future(killed._stop()))
            if number == 600:
                await added._start(None)
                listing(tmp_path, dead, killed, stays, added)
            await asyncio.sleep(0.01)
            return fine()

        for replica in (killed, stays, added):
            replica.answer = count
        killed.start()
        stays.start()
        settings = by_file(path, retries=6, outage_minutes=1)
        assert run_jobs(tmp_path, settings, 300) == 1200
        log = (tmp_path / "log.jsonl").read_text()
        assert log.count("\n") == 1200 and added.tries and not dead.tries
        repeated = sum(killed.tries.values()) + sum(stays.tries.values()) - 1200
        assert repeated + sum(added.tries.values()) <= 16, "only what the dead one held"


def test_a_file_of_replicas_costs_what_serves(tmp_path: Path) -> None:
    with replicas(3) as (a, b, c):
        a.start()
        b.start()
        settings = by_file(listing(tmp_path, a, b, c), dollars_per_hour=3600.0)
        alone = section(a.url, dollars_per_hour=3600.0)
        paid = []
        for name, each in (("two", settings), ("one", alone)):
            folder = tmp_path / name
            folder.mkdir()
            opener = partial(open_engine, each, "m", folder / "log", 0)

            def job() -> Job[bool]:
                (completion,) = yield [chat("a")]
                return completion.is_answer

            for _ in range(2):  # the second finds what the first paid
                meter = Meter(each, Spending(), "teacher")
                with Window(opener, folder / "log.jsonl", meter=meter) as window:
                    assert list(window.run([job()])) == [True]
                    seconds = window.usage.seconds
                    paid.append(window.dollars(each) / seconds)
        # What was paid stays, wherever the servers are said to be afterwards.
        later = (
            ("two", section(a.url, b.url, c.url, dollars_per_hour=3600.0)), ("one", settings),
        )  # fmt: skip
        for name, each in later:
            log = tmp_path / name / "log.jsonl"
            with Window(opener, log, meter=Meter(each, Spending(), "teacher")) as window:
                assert list(window.run([job()])) == [True]
                paid.append(window.dollars(each) / window.usage.seconds)
    assert paid == pytest.approx([2, 2, 1, 1, 2, 1])
    assert count_engines(settings) == 3 and count_engines(alone) == 1
    assert count_engines(by_file(tmp_path / "none")) == 1


def test_a_list_that_is_not_there_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"no such file(.|\n)*one base URL a line"),
        open_engine(by_file(tmp_path / "none.txt"), "m", tmp_path / "log", 0),
    ):
        pass


def test_a_proxy_of_the_environment_is_used_and_its_login_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with replicas(2) as (proxy, a):
        proxy.start()
        monkeypatch.setenv("HTTP_PROXY", f"http://me:hunter-22@127.0.0.1:{proxy.port}")
        elsewhere = section("http://far.example/v1", retries=0)
        with open_engine(elsewhere, "m", tmp_path / "log", 0) as engine:
            assert texts(engine, ["x"]) == {"fine"}
        assert proxy.tries["x"] == 1
        proxy.kill()
        with (
            pytest.raises(EngineError) as caught,
            open_engine(elsewhere, "m", tmp_path / "log", 0),
        ):
            pass
        assert "hunter" not in str(caught.value)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with open_engine(section(a.start().url), "m", tmp_path / "log", 0) as engine:
            assert texts(engine, ["x"]) == {"fine"}
        monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1")
        with (
            pytest.raises(EngineError, match="socks5"),
            open_engine(elsewhere, "m", tmp_path / "log", 0),
        ):
            pass


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with replicas(1) as (a,):
        a.start(tls)
        settings = section(a.url.replace("http:", "https:"))
        with (
            pytest.raises(EngineError, match=r"(?i)certificate verify failed"),
            open_engine(settings, "m", tmp_path / "log", 0),
        ):
            pass
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        with open_engine(settings, "m", tmp_path / "log", 0) as engine:
            assert texts(engine, ["x"]) == {"fine"}


def test_urls_decide_nothing_about_the_data(tmp_path: Path) -> None:
    listed = by_file(tmp_path / "replicas.txt").data_config()
    assert listed == section("http://a/v1", "http://b/v1").data_config()
    assert "urls" not in listed
