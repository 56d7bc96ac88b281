"""Promises of the window: order, bounds, resume by ids, deaths survived, the killer named."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsqa.errors import EngineError
from tsqa.prompts import load_prompts
from tsqa.recipe import SamplingSection, TeacherSection
from tsqa.spending import Spending
from tsqa.teachers import Completion, RefusedError, Request
from tsqa.teachers.client import Asker
from tsqa.teachers.failures import Unanswered
from tsqa.teachers.scheduler import OVERFILL, CompletionLog, Job, KnownCompletion, Meter, Window


class FakeEngine:
    """Finishes in random order; dies when told to, or when it meets a poisoned request."""

    def __init__(self, capacity: int = 4, seed: int = 0, poison: str = "", deaths: int = 0) -> None:
        self.capacity, self.poison, self.deaths = capacity, poison, deaths
        self.rng = random.Random(seed)
        self.waiting: list[Request] = []
        self.most, self.starts = 0, 0
        self.asked: list[str] = []

    @contextmanager
    def open(self) -> Iterator[FakeEngine]:
        self.waiting, self.starts = [], self.starts + 1
        yield self

    def submit(self, requests: Sequence[Request]) -> None:
        self.waiting += requests
        self.asked += [request.id for request in requests]
        self.most = max(self.most, len(self.waiting))

    def collect(self) -> list[Completion]:
        assert self.waiting, "collect without work would wait forever"
        if self.deaths and self.rng.random() < 0.5:
            self.deaths -= 1
            raise EngineError("died")
        count = self.rng.randint(1, len(self.waiting))
        chosen = self.rng.sample(self.waiting, count)
        if any(self.poison == request.id for request in chosen):
            raise EngineError("poisoned")
        self.waiting = [request for request in self.waiting if request not in chosen]
        return [Completion(r.id, f"text of {r.id}", 3, 2, "stop") for r in chosen]


def request(name: str) -> Request:
    return Request(name, "prompt", 0, 1.0, 1.0, 8, ())


def two_rounds(number: int) -> Job[tuple[int, list[str]]]:
    """One request, then as many votes as its number says."""
    first = yield [request(f"{number}.q")]
    votes = yield [request(f"{number}.a{vote}") for vote in range(1 + number % 4)]
    return number, [completion.text for completion in (*first, *votes)]


def expected(jobs: int) -> list[tuple[int, list[str]]]:
    names = [(n, [f"{n}.q", *(f"{n}.a{v}" for v in range(1 + n % 4))]) for n in range(jobs)]
    return [(n, [f"text of {name}" for name in found]) for n, found in names]


def run(engine: FakeEngine, log: Path, jobs: int = 30) -> list[tuple[int, list[str]]]:
    with Window(engine.open, log, unanswered=Unanswered(1)) as window:
        return list(window.run(two_rounds(number) for number in range(jobs)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), capacity=st.integers(1, 12), jobs=st.integers(0, 40))
def test_results_come_in_order_and_the_window_is_bounded(
    tmp_path_factory: pytest.TempPathFactory, seed: int, capacity: int, jobs: int
) -> None:
    engine = FakeEngine(capacity, seed)
    log = tmp_path_factory.mktemp("window") / "log.jsonl"
    assert run(engine, log, jobs) == expected(jobs)
    assert engine.most <= max(-(-capacity * OVERFILL // 1), 4)  # a batch of 4 goes alone


def test_the_window_is_kept_full(tmp_path: Path) -> None:
    engine = FakeEngine(capacity=10)
    run(engine, tmp_path / "log.jsonl")
    assert engine.most == 11


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_log_cut_at_any_byte_asks_only_for_what_is_missing(
    tmp_path_factory: pytest.TempPathFactory, cut: float, seed: int
) -> None:
    log = tmp_path_factory.mktemp("cut") / "log.jsonl"
    run(FakeEngine(seed=seed), log)
    data = log.read_bytes()
    log.write_bytes(data[: int(cut * len(data))])
    whole_lines = log.read_bytes().count(b"\n")
    engine = FakeEngine(seed=seed + 1)
    assert run(engine, log) == expected(30)
    assert len(engine.asked) == data.count(b"\n") - whole_lines
    assert engine.starts == (1 if engine.asked else 0)


def test_usage_counts_earlier_attempts_too(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    for _ in range(2):
        with Window(FakeEngine().open, log) as window:
            list(window.run(two_rounds(number) for number in range(9)))
            usage = window.usage
    requests = sum(2 + n % 4 for n in range(9))
    assert (usage.requests, usage.prompt_tokens, usage.output_tokens) == (
        requests,
        3 * requests,
        2 * requests,
    )
    assert usage.seconds > 0


@pytest.mark.parametrize("seed", range(5))
def test_two_deaths_lose_nothing(tmp_path: Path, seed: int) -> None:
    engine = FakeEngine(seed=seed, deaths=2)
    assert run(engine, tmp_path / "log.jsonl") == expected(30)
    assert engine.starts == 3 - engine.deaths


def test_three_deaths_in_a_row_stop_the_run(tmp_path: Path) -> None:
    class Dead(FakeEngine):
        def collect(self) -> list[Completion]:
            raise EngineError("died", "see the log")

    engine = Dead()
    with pytest.raises(EngineError, match="died"):
        run(engine, tmp_path / "log.jsonl")
    assert engine.starts <= 4


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("poison", ["0.q", "13.a1", "29.a0"])
def test_a_request_that_kills_the_engine_becomes_an_error(
    tmp_path: Path, poison: str, seed: int
) -> None:
    engine = FakeEngine(seed=seed, poison=poison)
    found = run(engine, tmp_path / "log.jsonl")
    texts = {text for _, answers in found for text in answers}
    assert len(found) == 30
    assert f"text of {poison}" not in texts
    assert texts == {t for _, answers in expected(30) for t in answers} - {f"text of {poison}"} | {
        ""
    }


def test_errors_are_asked_again_by_the_next_run(tmp_path: Path) -> None:
    class Flaky(FakeEngine):
        def collect(self) -> list[Completion]:
            done = super().collect()
            return [Completion(c.id, "", 0, 0, "error: 500") for c in done]

    log = tmp_path / "log.jsonl"
    run(Flaky(), log, 3)
    assert run(FakeEngine(), log, 3) == expected(3)


def test_a_dead_engine_is_recognised_behind_requests_that_fail(tmp_path: Path) -> None:
    """It dies on some requests, and refuses the others: that is no sign of life."""

    class Dying(FakeEngine):
        def collect(self) -> list[Completion]:
            if len(self.waiting) > 1 or self.starts % 2:
                raise EngineError("died")
            (only,), self.waiting = self.waiting, []
            return [Completion(only.id, "", 0, 0, "error: no")]

    engine = Dying()
    with (
        pytest.raises(EngineError, match=r"died|in a row"),
        Window(engine.open, tmp_path / "log.jsonl") as window,
    ):
        list(window.run(two_rounds(number) for number in range(200)))
    assert len(engine.asked) < 60 and engine.starts <= 8


class Failing(FakeEngine):
    """Answers only what `answers` says."""

    def __init__(self, answers: Callable[[str], bool], capacity: int) -> None:
        super().__init__(capacity)
        self.answers = answers

    def collect(self) -> list[Completion]:
        done = super().collect()
        fails = "error: [/INST] refused"
        return [c if self.answers(c.id) else Completion(c.id, "", 0, 0, fails) for c in done]


@pytest.mark.parametrize("capacity", [1, 4, 16, 256])
def test_an_engine_that_answers_nobody_is_asked_twenty_times(tmp_path: Path, capacity: int) -> None:
    engine = Failing(lambda name: False, capacity=capacity)
    with (
        pytest.raises(RefusedError, match=r"x \[/INST\] refused"),
        Window(engine.open, tmp_path / "log.jsonl") as window,
    ):
        list(window.run(two_rounds(number) for number in range(600)))
    assert 20 <= len(engine.asked) <= 23 and engine.starts == 1  # votes go together


def test_an_engine_that_stops_answering_is_left_with_what_is_in_flight(tmp_path: Path) -> None:
    engine = Failing(lambda name: int(name.split(".")[0]) < 100, capacity=32)
    with (
        pytest.raises(RefusedError, match="in a row failed"),
        Window(engine.open, tmp_path / "log.jsonl") as window,
    ):
        list(window.run(two_rounds(number) for number in range(600)))
    kept = (tmp_path / "log.jsonl").read_text().count("\n")
    assert kept == sum(len(names) for _, names in expected(100))
    assert len(engine.asked) < kept + 200


def test_failures_that_are_allowed_stop_nothing_even_when_only_they_are_left(
    tmp_path: Path,
) -> None:
    def is_good(name: str) -> bool:
        return not name.endswith("7.q")

    log = tmp_path / "log.jsonl"
    for allowed in (0.0, 0.05):
        engine = Failing(is_good, capacity=8)
        unanswered = Unanswered(allowed)
        with Window(engine.open, log, unanswered=unanswered) as window:
            if not allowed:
                with pytest.raises(RefusedError, match=r"30 of 1,050 requests have no answer"):
                    list(window.run(two_rounds(number) for number in range(300)))
                continue
            list(window.run(two_rounds(number) for number in range(300)))
    assert unanswered.reasons.total() == 30
    assert all(name.endswith("7.q") or ".a" in name for name in engine.asked)


def test_a_refusal_is_no_death(tmp_path: Path) -> None:
    class Refusing(FakeEngine):
        def collect(self) -> list[Completion]:
            raise RefusedError("no quota")

    engine = Refusing()
    with (
        pytest.raises(RefusedError, match="no quota"),
        Window(engine.open, tmp_path / "log.jsonl") as window,
    ):
        list(window.run(two_rounds(number) for number in range(9)))
    assert engine.starts == 1


@pytest.mark.parametrize("other", ["one.partial", "one"])
def test_what_another_artifact_of_the_stage_asked_is_taken(tmp_path: Path, other: str) -> None:
    logs = [tmp_path / name / "log.jsonl" for name in (other, "two.partial")]
    for log in logs:
        log.parent.mkdir()
    run(FakeEngine(), logs[0])
    with logs[0].open("ab") as handle:
        handle.write(b'\n{"id": 5}\n{"id": "29.q", "text": null}\n{"torn')
    engine = FakeEngine()
    assert run(engine, logs[1]) == expected(30)
    assert not engine.asked
    shutil.rmtree(logs[0].parent)
    assert run(engine, logs[1]) == expected(30)
    assert not engine.asked


def test_another_number_format_or_engine_is_asked_anew_and_another_batch_size_is_not(
    tmp_path: Path,
) -> None:
    """Logs of unfinished artifacts are shared: a reply in bfloat16 is not one in float32."""
    prompt = load_prompts("plain", "answer", "key").of("short_text", False)
    variables = {"shots": [], "question": "Who?", "context": "", "choices": [], "enrichment": []}

    def asked(**changes: Any) -> str:
        section = TeacherSection.model_validate({"model": {"path": "m"}, **changes})
        asker = Asker("teacher", section, "m", "abc", "completion", 0, tmp_path)
        kind = {"kind": "short_text", **variables}
        return asker.request("s.q0", prompt, kind, SamplingSection(), None).id

    assert asked() == asked(max_num_seqs=7, replicas=2, kv_cache_gib=9)
    assert asked() != asked(dtype="bfloat16")
    assert asked() == asked(max_model_len=4096) != asked(max_model_len=8192)
    assert asked() != asked(engine="openai", urls=["http://localhost:1/v1"])


def test_halves_of_surrogate_pairs_are_readable_on_disk(tmp_path: Path) -> None:
    class Broken(FakeEngine):
        def collect(self) -> list[Completion]:
            return [replace(done, text="a\ud800\U0001f600") for done in super().collect()]

    for _ in range(2):
        [(_, texts)] = run(Broken(), tmp_path / "log.jsonl", 1)
        assert texts == ["a\ufffd\U0001f600"] * 2


def test_a_log_keeps_ids_apart_and_survives_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = CompletionLog(path)
    for number in range(50):
        log.append(Completion(str(number), "é" * number, 1, 1, "stop"), 0.5)
    log.close()
    with path.open("ab") as handle:
        handle.write(b'{"id": "50", "te')
    log = CompletionLog(path)
    for number in range(50):
        wanted = Completion(str(number), "é" * number, 1, 1, "stop")
        assert log.find(str(number)) == KnownCompletion(wanted, 0.5, False)
    assert log.find("50") is None
    log.close()


DAMAGE = {
    "torn": lambda line: line[: len(line) // 2],
    "another text": lambda line: line.replace(b"text 3", b"text 4"),
    "another id": lambda line: line.replace(b'"id": "3"', b'"id": "7"'),
    "a field less": lambda line: line.replace(b'"prompt_tokens": 1, ', b""),
    "no check": lambda line: line[: line.index(b', "check"')] + b"}",
    "no object": lambda line: b"[]",
    "empty": lambda line: b"",
    "not text": lambda line: b"\xff\xfe" + line,
    "deep": lambda line: b"[" * 50_000,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_line_is_asked_again_and_shifts_nothing(
    tmp_path: Path, damage: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.jsonl"
    log = CompletionLog(path)
    for number in range(6):
        log.append(Completion(str(number), f"text {number}", 1, 1, "stop"), 0.5)
    log.close()
    lines = path.read_bytes().splitlines()
    changed = damage(lines[3])
    assert changed != lines[3]
    path.write_bytes(b"\n".join([*lines[:3], changed, *lines[4:], b""]))
    log = CompletionLog(path)
    found = {str(n): log.find(str(n)) for n in range(8)}
    assert {n for n, record in found.items() if record} == {"0", "1", "2", "4", "5"}
    assert all(known.completion.text == f"text {n}" for n, known in found.items() if known)
    assert "1 damaged lines" in capsys.readouterr().err
    log.append(Completion("3", "text 3", 1, 1, "stop"), 0.5)
    log.close()
    log = CompletionLog(path)
    again = log.find("3")
    assert again == KnownCompletion(Completion("3", "text 3", 1, 1, "stop"), 0.5, False)
    log.close()


@pytest.mark.parametrize("prompt_tokens", [0, 7])  # one that counts prompts alone counts too little
def test_an_endpoint_without_counts_cannot_keep_to_a_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prompt_tokens: int
) -> None:
    priced = TeacherSection.model_validate(
        {"model": {"path": "m"}, "dollars_per_million_output_tokens": 1}
    )

    class Uncounted(FakeEngine):
        def collect(self) -> list[Completion]:
            counts = {"prompt_tokens": prompt_tokens, "output_tokens": 0}
            return [replace(done, **counts) for done in super().collect()]

    def answers(limit: float | None) -> int:
        meter = Meter(priced, Spending(limit), "teacher")
        with Window(Uncounted().open, tmp_path / f"{limit}.jsonl", meter=meter) as window:
            return len(list(window.run(two_rounds(number) for number in range(5))))

    assert answers(None) == 5
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("the endpoint of the teacher states no token counts") == 1
    with pytest.raises(RefusedError, match="states no token counts, so that --max-dollars"):
        answers(5.0)


def test_what_another_artifact_paid_for_is_not_paid_again(tmp_path: Path) -> None:
    priced = TeacherSection.model_validate(
        {"model": {"path": "m"}, "dollars_per_million_output_tokens": 1e6}
    )
    for name, count in (("a.partial", 3), ("b.partial", 5), ("b.partial", 5)):
        folder = tmp_path / "generate" / name
        folder.mkdir(parents=True, exist_ok=True)
        with Window(FakeEngine().open, folder / "teacher-completions.jsonl") as window:
            list(window.run(two_rounds(number) for number in range(count)))
            usage, reused = window.usage, window.reused
            assert window.dollars(priced) == pytest.approx(2 * (usage.requests - reused.requests))
            requests = {3: 3 + 1 + 2 + 3, 5: 5 + 1 + 2 + 3 + 4 + 1}
            assert usage.requests == requests[count]
            assert reused.requests == (requests[3] if count == 5 else 0), "after a kill too"


def test_a_log_of_a_run_that_finishes_meanwhile_is_read_where_it_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.partial", "b.partial"):
        (tmp_path / name).mkdir()
    name = "teacher-completions.jsonl"
    with Window(FakeEngine().open, tmp_path / "a.partial" / name) as window:
        list(window.run(two_rounds(number) for number in range(3)))
    found = [tmp_path / "a.partial" / name, tmp_path / "gone.partial" / name]
    monkeypatch.setattr(Path, "glob", lambda *_: found)
    (tmp_path / "a.partial").rename(tmp_path / "a")
    with Window(FakeEngine().open, tmp_path / "b.partial" / name) as window:
        list(window.run(two_rounds(number) for number in range(3)))
        assert window.reused.requests == window.usage.requests > 0
