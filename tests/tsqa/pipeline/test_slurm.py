"""Training on Slurm itself, one controller and one node on this machine; a stand-in trains.

Skipped where Slurm is not installed (`apt-get install slurmctld slurmd slurm-client`) or this is
not root.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tsqa.pipeline.submitted_job as module
from tests.support.paths import REPOSITORY
from tsqa.errors import EngineError, PreemptedError
from tsqa.pipeline.graph import build_graph
from tsqa.pipeline.submitted_job import SubmittedJob
from tsqa.pipeline.training_job import TrainingJob
from tsqa.recipe import load_recipe
from tsqa.schedulers.scheduler import ScheduledJob
from tsqa.schedulers.slurm import Slurm

RECIPE = REPOSITORY / "recipes" / "smoke" / "base.yaml"
DAEMONS = ("slurmctld", "slurmd")
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(shutil.which(name) for name in DAEMONS),
    reason="needs root, slurmctld and slurmd",
)
CONFIG = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
TRAINER = """#!/bin/bash
# In the place of Python: turn N of the job does what line N of the plan says.
F={folder}; turn=$(wc -l < $F/turns); echo "$*" >> $F/turns
what=$(sed -n "$((turn + 1))p" $F/plan); echo "turn $turn: $what"
case $what in
made) touch $F/made;;
waits) trap 'echo saves; exit 75' TERM; touch $F/ready; while :; do sleep 0.1; done;;
*) exit $what;;
esac
"""


class Cluster:
    """Slurm in a folder, and what its jobs do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = []
        for _ in DAEMONS:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                ports.append(free.getsockname()[1])
        for name in ("state", "spool"):
            (folder / name).mkdir()
        host = socket.gethostname().partition(".")[0]
        self.config = folder / "slurm.conf"
        self.config.write_text(CONFIG.format(host=host, ports=ports, folder=folder))
        self.trainer = folder / "trainer"
        self.trainer.write_text(TRAINER.format(folder=folder))
        self.trainer.chmod(0o755)

    def start(self, name: str) -> None:
        subprocess.run([name, "-f", str(self.config)], check=True, timeout=60)

    def stop(self, name: str) -> None:
        file = self.folder / f"{name}.pid"
        pid = int(file.read_text()) if file.exists() else 0
        if pid:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not Path(f"/proc/{pid}").exists())

    def plan(self, *turns: str) -> None:
        for name in ("made", "ready"):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / "turns").write_text("")
        (self.folder / "plan").write_text("".join(f"{turn}\n" for turn in turns))

    @property
    def turns(self) -> int:
        return len((self.folder / "turns").read_text().splitlines())

    def ask(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    def hurry(self) -> None:
        """Start what is queued again at once: Slurm has it wait for two minutes."""
        for line in self.ask("squeue", "-h", "--format=%i %r").splitlines():
            number, reason = line.split(maxsplit=1)
            if reason == "BeginTime":
                self.ask("scontrol", "update", f"JobId={number}", "StartTime=now")

    def is_ready(self) -> bool:
        return (self.folder / "ready").exists()


def wait_until(found: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("slurm"))
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(made.config)
    try:
        for name in DAEMONS:
            made.start(name)
        wait_until(lambda: "idle" in made.ask("sinfo", "-h"))
        yield made
    finally:
        for name in reversed(DAEMONS):
            made.stop(name)
        os.environ.pop("SLURM_CONF") if before is None else os.environ.update(SLURM_CONF=before)


@pytest.fixture
def cluster(running: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(Slurm, "look_seconds", 0.2)
    monkeypatch.setattr(module, "_SEE_SECONDS", 1.0)
    monkeypatch.setattr(sys, "executable", str(running.trainer))
    pause = SubmittedJob._pause

    def hurry(job: SubmittedJob, found: ScheduledJob | None = None) -> None:
        running.hurry()
        pause(job, found)

    monkeypatch.setattr(SubmittedJob, "_pause", hurry)
    return running


def submitted(cluster: Cluster, folder: Path, *options: str) -> SubmittedJob:
    listed = ",".join(["--gpus-per-node=0", *options])
    given = [f"runs={folder / 'runs'}", "launch.kind=slurm", f"launch.options=[{listed}]"]
    [node] = [n for n in build_graph(load_recipe(RECIPE, given), RECIPE) if n.stage == "train"]
    job = TrainingJob(
        node,
        overrides=[],
        log=folder / "logs" / "train.log",
        metrics=folder / "metrics.jsonl",
        title="train",
        is_done=lambda: (cluster.folder / "made").exists(),
    )
    return SubmittedJob(job)


def test_a_job_that_saves_is_queued_again_by_its_script(cluster: Cluster, tmp_path: Path) -> None:
    cluster.plan("75", "made")
    submitted(cluster, tmp_path).run()
    assert cluster.turns == 2
    log = (tmp_path / "logs" / "train.log").read_text()
    assert "turn 0: 75" in log and "turn 1: made" in log
    words = (cluster.folder / "turns").read_text().splitlines()[0].split()
    assert words[-3:] == [str(RECIPE), "--arm", "main"]
    assert words[words.index("--num_processes") + 1] == "1"


def test_a_job_that_fails_is_not_and_its_log_is_shown(cluster: Cluster, tmp_path: Path) -> None:
    cluster.plan("3")
    with pytest.raises(EngineError, match=r"ended FAILED with code 3; (.|\n)*turn 0: 3"):
        submitted(cluster, tmp_path).run()
    assert cluster.turns == 1


def test_what_it_refuses_is_said_in_its_words(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="invalid partition specified: nowhere"):
        submitted(cluster, tmp_path, "--partition=nowhere").run()


def test_a_command_that_ends_finds_its_job_again_and_scancel_is_an_error(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.plan("waits")

    def ask() -> None:
        wait_until(cluster.is_ready)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    with pytest.raises(PreemptedError, match="goes on"):
        submitted(cluster, tmp_path).run()
    job = submitted(cluster, tmp_path)
    name = job.scheduler.submission.name
    number = cluster.ask("squeue", "-h", f"--name={name}", "--format=%i").strip()
    threading.Timer(1.0, lambda: cluster.ask("scancel", number)).start()
    with pytest.raises(EngineError, match=f"job {number} ended CANCELLED"):
        job.run()
    assert cluster.turns == 1


def test_a_controller_that_is_away_for_a_while_is_waited_for(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.plan("waits", "made")

    def restart() -> None:
        wait_until(cluster.is_ready)
        cluster.stop("slurmctld")
        time.sleep(1)
        cluster.start("slurmctld")
        job = cluster.ask("squeue", "-h", "--format=%i").strip()
        cluster.ask("scancel", "--signal=TERM", job)

    thread = threading.Thread(target=restart)
    thread.start()
    submitted(cluster, tmp_path).run()
    thread.join()
    assert cluster.turns == 2


def test_a_job_that_is_ended_for_its_price_saves_once(cluster: Cluster, tmp_path: Path) -> None:
    cluster.plan("waits", "made")
    job = submitted(cluster, tmp_path)
    found = job._find_or_submit()
    assert found is not None
    wait_until(cluster.is_ready)
    running = job.scheduler.active_job()
    assert running is not None and running.phase == "runs"
    job.scheduler.end(running)
    wait_until(lambda: job.scheduler.active_job() is None)
    ended = job.scheduler.ended_job(found)
    assert (ended.state, ended.code, cluster.turns) == ("FAILED", 75, 1)
