"""kubectl and sky themselves, where they are installed: what we type is what they take."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.kubernetes_server import kubernetes_server
from tsqa.errors import EngineError
from tsqa.recipe.sections.launch import LaunchSection
from tsqa.schedulers.kubernetes import Kubernetes
from tsqa.schedulers.scheduler import Submission, UnreachableError
from tsqa.shipped import K8S_JOB, SKY_TASK


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kubectl_submits_finds_and_deletes_a_job_and_reads_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # its cache of what a server has
    template = tmp_path / "job.yaml"
    template.write_text(K8S_JOB.read_text().replace("IMAGE", "registry/tsqa:1"))
    with kubernetes_server(tmp_path) as server:
        launch = LaunchSection(
            kind="k8s",
            template=str(template),
            machines=2,
            options=[f"--kubeconfig={server.kubeconfig}"],
        )
        log = tmp_path / "log"
        scheduler = Kubernetes(Submission("tsqa-1", ["RECIPE", "--arm", "a"], 8, log, launch))
        scheduler.check()
        assert scheduler.active_job() is None
        job = scheduler.submit()
        assert server.objects["services"]["tsqa"]["spec"]["clusterIP"] == "None"
        with pytest.raises(UnreachableError, match="AlreadyExists"):
            scheduler._kubectl("create", "-f", "-", given=scheduler.manifest())
        with pytest.raises(EngineError, match="doesn't have a resource type"):
            scheduler._kubectl("get", "nonsense")
        server.objects["jobs"]["tsqa-1"]["status"] = {"ready": 2}
        running = scheduler.active_job()
        assert running and (running.number, running.phase) == (job.number, "runs")
        ended = {"terminated": {"exitCode": 3, "reason": "Error"}}
        server.objects["pods"]["pod-0"] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "pod-0", "namespace": "default"},
            "spec": {"containers": [{"name": "train"}]},
            "status": {"containerStatuses": [{"name": "train", "state": ended}]},
        }
        scheduler.save_log(running)
        assert log.read_text() == "words of pod-0\n"
        assert scheduler.end(running) and server.objects["jobs"] == {}
        assert scheduler.ended_job(job).state == ""
    with pytest.raises(UnreachableError, match="refused"):
        scheduler.active_job()


@pytest.mark.skipif(shutil.which("sky") is None, reason="needs sky")
def test_sky_reads_the_task_and_our_options(tmp_path: Path) -> None:
    named = ["--num-nodes=2", "--env", "ARGUMENTS=RECIPE --arm 'a'", "--env", "TSQA_PROCESSES=8"]
    done = subprocess.run(
        ["sky", "launch", "--dryrun", "--yes", *named, str(SKY_TASK)],
        env={**os.environ, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"},
        cwd=SKY_TASK.parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    # As far as somebody's volume, or a cloud that has such machines.
    assert not done.returncode or "Volume tsqa-runs not found" in done.stderr, done.stderr
