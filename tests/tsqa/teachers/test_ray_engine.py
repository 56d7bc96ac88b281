"""Promises of replicas on a Ray cluster: a death costs what was held, and changes no byte."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from pydantic import ValidationError

from tests.support.generation import artifact, generate_section, make_context, make_seed
from tests.support.paths import REPOSITORY
from tests.support.ray_nodes import Nodes, ray_nodes, stand_in_host
from tests.support.tiny_teacher import vllm_section
from tsqa.errors import EngineError, RecipeError
from tsqa.generate import stage as generate
from tsqa.parallel import open_workers
from tsqa.pipeline.model_uses import refuse_missing_ray
from tsqa.recipe import FilterSection, TeacherSection
from tsqa.store.jsonl import read_jsonl, write_jsonl
from tsqa.teachers import Completion, RefusedError, Request, ray_engine
from tsqa.teachers.failures import Unanswered
from tsqa.teachers.ray_engine import RayEngine
from tsqa.teachers.scheduler import Window

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install tsqa[ray]"
)
SEEDS = [make_seed(number) for number in range(40)]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch, ray_nodes(patch) as found:
        patch.setattr(ray_engine, "_Host", stand_in_host())
        yield found


@pytest.fixture(scope="module")
def undisturbed(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The candidates of one replica."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return candidates(folder, replicas=1)


def candidates(folder: Path, replicas: int) -> bytes:
    """The stage `generate` with replicas on the cluster; a log in `folder` is continued."""
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "seeds").mkdir(exist_ok=True)
    write_jsonl(folder / "seeds" / "seeds.jsonl", (asdict(seed) for seed in SEEDS))
    teacher = vllm_section(
        str(folder / "model"), cluster="ray", replicas=replicas, form="completion", max_num_seqs=8
    )
    inputs = {"seeds": artifact(folder / "seeds")}
    context = make_context(folder / "out", inputs, generate=generate_section(teacher=teacher))
    generate.run(context)
    return (folder / "out" / "candidates.jsonl").read_bytes()


def once_after(
    monkeypatch: pytest.MonkeyPatch, answers: int, act: Callable[[RayEngine], None]
) -> None:
    """Do something when so many requests are answered."""
    receive, seen = RayEngine._receive, 0

    def counted(self: RayEngine, replica: Any, done: list[Completion]) -> None:
        nonlocal seen
        receive(self, replica, done)
        if seen < answers <= seen + len(done):
            act(self)
        seen += len(done)

    monkeypatch.setattr(RayEngine, "_receive", counted)


def ids_of(folder: Path) -> list[str]:
    return [row["id"] for row in read_jsonl(folder / "out" / "teacher-completions.jsonl")]


@needs_ray
def test_an_actor_that_is_killed_costs_what_it_held(
    nodes: Nodes, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[list[str]] = []

    def kill_the_last(engine: RayEngine) -> None:
        places.append(engine.places)
        os.kill(pid_of(engine.places[-1]), signal.SIGKILL)

    monkeypatch.setattr(RayEngine, "__exit__", noting(places))
    nodes.make_two()
    wait_for_both(monkeypatch)
    once_after(monkeypatch, 60, kill_the_last)
    assert candidates(tmp_path, replicas=2) == undisturbed
    asked = ids_of(tmp_path)
    assert len(asked) == len(set(asked)) > 200
    before, after = places
    assert len(before) == 2 and before[0] in after and before[1] not in after
    wait_until(lambda: not any(map(psutil.pid_exists, map(pid_of, [*before, *after]))), 30)
    assert "replica" in (tmp_path / "out" / "teacher-engine.log").read_text()


@needs_ray
def test_a_raylet_that_is_killed_costs_what_its_replica_held(
    nodes: Nodes, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.make_two()
    wait_for_both(monkeypatch)
    once_after(monkeypatch, 60, lambda _: nodes.kill_other())
    assert candidates(tmp_path, replicas=2) == undisturbed
    asked = ids_of(tmp_path)
    assert len(asked) == len(set(asked))


_DRIVER = """
import sys
from pathlib import Path
from tests.support.ray_nodes import stand_in_host
from tests.tsqa.teachers.test_ray_engine import candidates
from tsqa.teachers import ray_engine

ray_engine._Host = stand_in_host()
candidates(Path(sys.argv[1]), replicas=2)
"""


@needs_ray
def test_a_command_that_is_killed_leaves_no_process_and_is_continued_elsewhere(
    nodes: Nodes, undisturbed: bytes, tmp_path: Path
) -> None:
    log = tmp_path / "out" / "teacher-completions.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    driver = subprocess.Popen(
        [sys.executable, "-c", _DRIVER, str(tmp_path)], env=environment, cwd=REPOSITORY
    )
    try:
        wait_until(lambda: log.is_file() and len(log.read_bytes().splitlines()) > 50)
    finally:
        driver.kill()
        driver.wait()
    kept = log.read_bytes().splitlines()
    noted = (tmp_path / "out" / "teacher-engine.log").read_text().split("serves on ")[1:]
    assert noted
    wait_until(lambda: not any(psutil.pid_exists(pid_of(text.split("\n")[0])) for text in noted))
    assert candidates(tmp_path, replicas=1) == undisturbed
    again = log.read_bytes().splitlines()
    assert again[: len(kept) - 1] == kept[:-1] and len(set(ids_of(tmp_path))) == len(again)


@needs_ray
def test_without_a_place_for_any_replica_it_ends_and_says_what_there_is(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "resources", lambda: (2, {"GPU": 8.0}))
    monkeypatch.setattr(ray_engine, "_PLACE_SECONDS", 0.5)
    said = r"none of 2 replicas found a place: each needs 1 GPUs.*CPUs, 0 GPUs(.|\n)*replicas"
    with pytest.raises(EngineError, match=said):
        candidates(tmp_path, replicas=2)


def slow_double(number: int) -> int:
    time.sleep(0.05)
    return 2 * number


@needs_ray
def test_tasks_of_a_raylet_that_is_killed_are_done_by_others(nodes: Nodes, tmp_path: Path) -> None:
    nodes.make_two()
    with open_workers(None, 99, "filter.processes", tmp_path, "filter.cluster") as workers:
        results = workers.map_ordered(slow_double, range(60))
        found = [next(results) for _ in range(10)]
        nodes.kill_other()
        found += results
    assert found == [2 * number for number in range(60)]
    assert [*tmp_path.iterdir()] == []


def test_the_cluster_is_of_vllm_alone_and_decides_no_text() -> None:
    assert vllm_section("m", cluster="ray").data_config() == vllm_section("m").data_config()
    server = {"engine": "openai", "model": {"path": "m"}, "urls": ["http://x/v1"], "cluster": "ray"}
    with pytest.raises(ValidationError, match=r"`cluster` needs `engine: vllm`"):
        TeacherSection.model_validate(server)


def test_a_stage_that_needs_ray_is_refused_before_work_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    teacher = vllm_section("m", cluster="ray")
    generating = make_context(Path("out"), {}, generate=generate_section(teacher=teacher)).recipe
    filtering = make_context(
        Path("out"), {}, generate=generate_section(), filter=FilterSection(cluster="ray")
    ).recipe
    mixture = SimpleNamespace(tokenize_cluster="ray")
    tokenizing = SimpleNamespace(generate=None, filter=None, mixture=mixture)
    for stage, recipe, key in (
        ("generate", generating, "generate.teacher.cluster"),
        ("filter", filtering, "filter.cluster"),
        ("tokenize", tokenizing, "mixture.tokenize_cluster"),
    ):
        with pytest.raises(RecipeError, match=rf"{key}=ray.*\n.*tsqa\[ray\]"):
            refuse_missing_ray(SimpleNamespace(stage=stage, recipe=recipe))
        refuse_missing_ray(SimpleNamespace(stage="train", recipe=recipe))


def pid_of(place: str) -> int:
    return int(place.rsplit(" ", 1)[-1])


def noting(places: list[list[str]]) -> Callable[..., None]:
    leave = RayEngine.__exit__

    def noted(self: RayEngine, *raised: object) -> None:
        places.append(self.places)
        leave(self, *raised)

    return noted


def wait_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin when both replicas serve, so that both hold something."""
    enter = RayEngine.__enter__

    def entered(self: RayEngine) -> RayEngine:
        enter(self)
        wait_until(lambda: self._look() or len(self.places) == 2)
        return self

    monkeypatch.setattr(RayEngine, "__enter__", entered)


def wait_until(condition: Callable[[], object], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


class LostError(Exception):
    """As Ray tells of a dead actor."""


class Call:
    def __init__(self, act: Callable[..., Any]) -> None:
        self.remote = act


class Actor:
    """In this process: dies on a request that it is told to die on."""

    def __init__(self, poison: set[str], is_broken: bool) -> None:
        self.poison, self.is_broken = poison, is_broken
        self.held: list[Request] = []
        self.asked: list[list[str]] = []
        self.submit, self.wait, self.end = Call(self.take), Call(lambda: self.finish), Call(list)

    def take(self, requests: Sequence[Request]) -> None:
        self.held += requests
        self.asked.append([request.id for request in requests])

    def finish(self) -> list[Completion]:
        if self.poison & {request.id for request in self.held}:
            raise LostError("killed by signal 9")
        done, self.held = self.held, []
        return [Completion(request.id, "text", 1, 1, "stop") for request in done]

    def begin(self) -> tuple[str, int]:
        if self.is_broken:
            raise LostError("out of memory")
        return "host", 1


class Local(RayEngine):
    """Without Ray: actors of this process."""

    def __init__(self, folder: Path, replicas: int, poison: str = "", broken: int = 0) -> None:
        section = vllm_section("m", replicas=replicas, cluster="ray")
        super().__init__(section, "m", folder / "engine.log", 0)
        self.poison, self.broken = {poison} - {""}, broken
        self.actors: list[Actor] = []

    def _reserve(self) -> None:
        for number in range(self._section.replicas):
            group = SimpleNamespace(wait=lambda seconds: True)
            self._replicas.append(ray_engine._Replica(number, group))
            self._start(self._replicas[-1])

    def _start(self, replica: ray_engine._Replica) -> None:
        self.actors.append(Actor(self.poison, replica.number < self.broken))
        replica.actor, replica.task = self.actors[-1], self.actors[-1].begin


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    class TaskError(Exception):
        cause: Exception

    order = deque([0])

    def wait(tasks: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        order.rotate()
        return tasks[-num_returns:], []

    fake = SimpleNamespace(
        wait=wait,
        get=lambda task: task(),
        kill=lambda actor: None,
        exceptions=SimpleNamespace(RayTaskError=TaskError, RayError=LostError),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    group = SimpleNamespace(remove_placement_group=lambda group: None)
    monkeypatch.setitem(sys.modules, "ray.util.placement_group", group)
    monkeypatch.setattr(ray_engine, "ray_cluster", lambda setting: nullcontext())
    monkeypatch.setattr(ray_engine, "describe", lambda: "2 nodes")


def requests(*names: str) -> list[Request]:
    return [Request(name, "prompt", 0, 1.0, 1.0, 8, ()) for name in names]


def ask(engine: RayEngine, *groups: Sequence[Request]) -> dict[str, str]:
    for group in groups:
        engine.submit(group)
    done: list[Completion] = []
    while len(done) < sum(map(len, groups)):
        done += engine.collect()
    assert len({completion.id for completion in done}) == len(done)
    return {completion.id: completion.finish_reason for completion in done}


def test_a_request_that_kills_its_replica_is_an_error_and_the_others_are_answered(
    tmp_path: Path, fake_ray: None
) -> None:
    with Local(tmp_path, replicas=2, poison="bad") as engine:
        found = ask(engine, requests("a", "bad", "b"), requests("c", "d"))
        assert found.pop("bad") == "error: the engine died on it"
        assert set(found.values()) == {"stop"} and len(found) == 4
        assert ask(engine, requests("e")) == {"e": "stop"}
        assert engine.capacity == 64
    assert [actor.asked.count(["bad"]) for actor in engine.actors].count(1) == 1, "asked alone"
    said = (tmp_path / "engine.log").read_text()
    assert said.count("LostError: killed by signal 9") == 3


def test_a_replica_that_never_lives_is_given_up_and_the_others_go_on(
    tmp_path: Path, fake_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with Local(tmp_path, replicas=2, broken=1) as engine:
        names = [f"r{number}" for number in range(20)]
        assert ask(engine, *(requests(name) for name in names)) == dict.fromkeys(names, "stop")
        while len(engine._replicas) == 2:
            engine._look()
        assert engine.capacity == 32
    assert "replica 0 died: LostError: out of memory" in " ".join(capsys.readouterr().err.split())


def test_the_run_ends_when_no_replica_can_live(tmp_path: Path, fake_ray: None) -> None:
    said = r"no replica can live on the cluster; the last one: LostError: out of memory"
    with pytest.raises(RefusedError, match=said), Local(tmp_path, replicas=2, broken=2):
        pass


def test_a_log_says_each_answer_once(tmp_path: Path, fake_ray: None) -> None:
    """Through the window, as a stage asks."""

    def job(number: int) -> Any:
        (done,) = yield requests("bad" if number == 7 else f"r{number}")
        return done.finish_reason

    log = tmp_path / "log.jsonl"
    engine = Local(tmp_path, replicas=2, poison="bad")
    with Window(lambda: engine, log, unanswered=Unanswered(0.1)) as window:
        reasons = list(window.run(map(job, range(40))))
    assert reasons[7] == "error: the engine died on it" and reasons.count("stop") == 39
    kept = [json.loads(line)["id"] for line in log.read_text().splitlines()]
    assert sorted(kept) == sorted(f"r{n}" for n in range(40) if n != 7)
