"""Promises of `map_ordered` on Ray: as on processes, and the cluster is this command's alone."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.filter_records import record
from tests.support.token_context import token_context
from tests.tsqa.filters import test_stage as filters
from tests.tsqa.parallel.test_local import fail_at_two, fail_strangely, wait_and_double
from train.data import sources
from train.tokens import shard_work, tokenize
from tsqa.errors import DataError, EngineError, RecipeError
from tsqa.filters import stage
from tsqa.parallel import Workers, open_workers, own_cores, ray_cluster, ray_tasks
from tsqa.parallel.ray_tasks import RayWorkers
from tsqa.recipe import FilterSection, needed
from tsqa.records import candidate_lines
from tsqa.store.jsonl import write_jsonl
from tsqa.store.process import installed

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install tsqa[ray]"
)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayWorkers]:
    """Of a cluster of our own, which starts once."""
    folder = tmp_path_factory.mktemp("folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with RayWorkers(2, "filter.processes", "filter.cluster", folder) as found:
            yield found
    assert [*folder.iterdir()] == []


inputs = filters.inputs  # a fixture


def environment(_: int) -> tuple[str, str, int]:
    return os.environ["OMP_NUM_THREADS"], os.environ["TOKENIZERS_PARALLELISM"], own_cores()


def die_once(path: Path) -> str:
    """The first time it is called with this path."""
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@needs_ray
def test_results_come_in_order_and_few_chunks_are_ahead(workers: RayWorkers) -> None:
    taken = []

    def chunks() -> Iterator[int]:
        for number in range(40):
            taken.append(number)
            yield number

    found = []
    for result in workers.map_ordered(wait_and_double, chunks()):
        found.append(result)
        assert len(taken) <= len(found) + 8
    assert [value for value, _ in found] == [2 * number for number in range(40)]
    assert os.getpid() not in {pid for _, pid in found}
    assert set(workers.map_ordered(environment, range(4))) == {("1", "false", 1)}


@needs_ray
def test_the_cluster_is_on_loopback_asks_for_a_token_and_leaves_the_command_as_it_was(
    workers: RayWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    list(workers.map_ordered(environment, range(1)))
    assert signal.getsignal(signal.SIGTERM) is before
    assert not {name for name in os.environ if name.startswith("RAY_AUTH")}
    me = psutil.Process()
    family = [me, *me.children(recursive=True)]
    assert any("raylet" in process.name() for process in family)
    addresses = {
        connection.laddr.ip
        for process in family
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"} and addresses
    settings = [p.environ() for p in family if p.name() in ("raylet", "gcs_server")]
    assert len(settings) == 2
    for setting in settings:
        assert setting["RAY_AUTH_MODE"] == "token" and len(setting["RAY_AUTH_TOKEN"]) == 64
        assert setting["RAY_USAGE_STATS_ENABLED"] == "0"


@needs_ray
def test_an_error_of_a_task_is_raised_as_it_is(workers: RayWorkers) -> None:
    with pytest.raises(DataError, match=r"web\.jsonl:3: not JSON\n  fix: mend it"):
        list(workers.map_ordered(fail_at_two, range(6)))
    with pytest.raises(RuntimeError, match=r"StrangeError: bad page \(3\)"):
        list(workers.map_ordered(fail_strangely, range(3)))


@needs_ray
def test_a_worker_that_dies_costs_its_chunk_and_one_that_always_does_ends_it(
    workers: RayWorkers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    paths = [tmp_path / str(number) for number in range(3)]
    for path in paths[1:]:
        path.touch()
    assert list(workers.map_ordered(die_once, paths)) == ["0", "1", "2"]
    monkeypatch.setattr(ray_tasks, "_RETRIES", 1)
    said = r"filter\.cluster: a chunk was given up after 2 tries: WorkerCrashedError(.|\n)*lower"
    with pytest.raises(EngineError, match=said):
        list(workers.map_ordered(die, range(1)))
    time.sleep(0.5)
    assert capfd.readouterr().out == "", "Ray's account of it does not mix with what we print"


def files_of(folder: Path) -> dict[Path, bytes]:
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@needs_ray
def test_filters_and_tokens_made_on_a_cluster_are_those_made_here(
    workers: RayWorkers, inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_lines, "_CHUNK_BYTES", 20_000)
    monkeypatch.setattr(stage, "_BYTES_PER_PROCESS", 1000)
    for module in (sources, shard_work):
        monkeypatch.setattr(module, "SHARD_BYTES", 20_000)
    lines = filters.items(150)
    lines += [record(f"copy{n}", line["question"].upper()) for n, line in enumerate(lines[:30])]
    corpus = tmp_path / "web.jsonl"
    write_jsonl(corpus, ({"text": line["question"] * 9} for line in lines))
    got: list[object] = []
    wait = RayWorkers._wait_for
    monkeypatch.setattr(RayWorkers, "_wait_for", lambda self, b: got.append(b) or wait(self, b))
    for name, cluster in (("here", None), ("there", "ray")):
        section = FilterSection(processes=1, cluster=cluster)
        filters.filter_candidates(tmp_path, inputs, lines, section, f"filter/{name}")
        context = token_context(tmp_path / name, {"web": {"path": str(corpus)}}, train_on=corpus)
        changes = {"tokenize_cluster": cluster}
        mixture = needed(context.recipe.mixture, "mixture").model_copy(update=changes)
        recipe = context.recipe.model_copy(update={"mixture": mixture})
        tokenize.run(replace(context, recipe=recipe))
        assert (len(got) > 10) == bool(cluster)
    assert files_of(tmp_path / "filter" / "here") == files_of(tmp_path / "filter" / "there")
    assert files_of(tmp_path / "here" / "out") == files_of(tmp_path / "there" / "out")


def test_an_address_where_no_cluster_can_be_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(EngineError, match=r"Ray's client cannot hold replicas(.|\n)*HOST:PORT"):
        ray_cluster._begin("filter.cluster")
    for address, said in {"127.0.0.1:9": "ConnectionRefused", "head": "expected HOST:PORT"}.items():
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(EngineError, match=f"RAY_ADDRESS={address}: {said}"):
            ray_cluster._begin("filter.cluster")


def test_nodes_with_other_code_or_without_the_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = installed(("numpy",))
    ray_cluster.refuse_strangers(here, ("numpy",))
    with pytest.raises(EngineError, match=r"other packages or code.*numpy: '0\.1' -> '"):
        ray_cluster.refuse_strangers({**here, "numpy": "0.1"}, ("numpy",))
    monkeypatch.setattr(ray_tasks, "_SEE_SECONDS", 0.0)
    with pytest.raises(EngineError, match=r"does not see .*\n  fix: give `runs` a folder"):
        ray_tasks._look_for(tmp_path / "missing")


def test_folders_of_killed_commands_are_removed_and_no_others(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = [f"tsqa-ray-{pid}-x" for pid in (gone.pid, os.getpid())] + ["tsqa-ray-mine", "other"]
    for name in names:
        (tmp_path / name).mkdir()
    ray_cluster._sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


def test_without_ray_the_recipe_is_wrong_and_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"filter\.cluster=ray.*\n.*pip install tsqa\[ray\]"):
        ray_cluster.require_ray("filter.cluster")


def test_little_work_is_done_by_this_process(tmp_path: Path) -> None:
    with open_workers(None, 1, "filter.processes", tmp_path, "filter.cluster") as workers:
        assert type(workers) is Workers
        assert list(workers.map_ordered(abs, [-1])) == [1]


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ("InvalidAuthToken: Authentication token is missing", r"set RAY_AUTH_MODE=token"),
        ("Version mismatch: Ray 2.59 and 2.60", r"install the same versions of Ray and Python"),
        ("no route to host", r"start the cluster.*correct RAY_ADDRESS"),
    ],
)
def test_what_keeps_from_joining_is_named(words: str, fix: str) -> None:
    error = ConnectionError("Failed to connect to Ray cluster")
    error.__cause__ = RuntimeError(words)
    found = ray_cluster._unreachable("head:6379", error)
    assert str(found).startswith("RAY_ADDRESS=head:6379: ConnectionError: Failed to connect")
    assert re.search(fix, found.fix)
