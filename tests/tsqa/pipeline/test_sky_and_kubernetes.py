"""Training by SkyPilot and on Kubernetes, by stand-ins for `sky` and `kubectl`.

What both have in common with Slurm is tested in `test_submitted_job.py`, with Slurm's states.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import tsqa.pipeline.submitted_job as module
from tests.support.fake_schedulers import FakeKubernetes, FakeScheduler, FakeSky
from tests.support.paths import REPOSITORY
from tsqa.errors import EngineError, PreemptedError, RecipeError
from tsqa.pipeline.graph import build_graph
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.pipeline.submitted_job import SubmittedJob, scheduler_of
from tsqa.pipeline.training_job import TrainingJob
from tsqa.recipe import load_recipe
from tsqa.schedulers.kubernetes import Kubernetes
from tsqa.schedulers.sky import Sky
from tsqa.shipped import K8S_JOB, SKY_TASK
from tsqa.spending import Spending, SpentError

RECIPE = REPOSITORY / "recipes" / "smoke" / "base.yaml"
KINDS = ("sky", "k8s")
FINE = {
    "sky": ("PENDING", "STARTING", "RUNNING", "end SUCCEEDED made"),
    "k8s": ("Pending", "Running", "end Complete made"),
}
RUNS = {"sky": "RUNNING", "k8s": "Running"}


class Setting:
    """A kind of launch, its stand-in, and the folder of a test."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        made = FakeSky if kind == "sky" else FakeKubernetes
        self.fake: FakeScheduler = made(folder / "fake", FINE[kind])
        self.template = folder / "template.yaml"
        task = yaml.safe_load((SKY_TASK if kind == "sky" else K8S_JOB).read_text())
        if kind == "sky":
            task["resources"].pop("accelerators")
        else:
            [container] = task["spec"]["template"]["spec"]["containers"]
            container |= {"image": "registry/tsqa:1", "resources": None}
        self.write(task)

    def write(self, template: Any) -> None:
        self.template.write_text(json.dumps(template))

    def read(self) -> Any:
        return json.loads(self.template.read_text())

    def node(self, *overrides: str) -> Node:
        given = [f"runs={self.folder / 'runs'}", f"launch.kind={self.kind}"]
        given += [f"launch.template={self.template}", *overrides]
        nodes = build_graph(load_recipe(RECIPE, given), RECIPE)
        return next(node for node in nodes if node.stage == "train")

    def job(self, *overrides: str, spending: Spending | None = None) -> TrainingJob:
        return TrainingJob(
            self.node(*overrides),
            overrides=["train.lr=1e-3"],
            log=self.folder / "logs" / "train.log",
            metrics=self.folder / "metrics.jsonl",
            title="train",
            spending=spending or Spending(),
            dollars_per_hour=3600 if spending else 0,
            is_done=self.fake.has_made,
        )

    def submit(self, *overrides: str) -> None:
        SubmittedJob(self.job(*overrides)).run()

    @property
    def submitted(self) -> int:
        return len(self.fake.lines("submitted"))

    def plan_end(self, sky: str, k8s: str) -> None:
        self.fake.plan(RUNS[self.kind], f"end {sky if self.kind == 'sky' else k8s}")

    def pods(self, *ends: dict[str, Any]) -> None:
        """Of kubectl: the pods that ended so (`terminated` of their container)."""
        items = [
            {
                "metadata": {
                    "name": f"pod-{number}",
                    "creationTimestamp": f"2026-01-0{number + 1}",
                },
                "status": {
                    "conditions": end.pop("conditions", []),
                    "containerStatuses": [{"state": {"terminated": end}}] if end else [],
                },
            }
            for number, end in enumerate(ends)
        ]
        (self.fake.folder / "pods").write_text(json.dumps({"items": items}))


@pytest.fixture
def setting(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Setting:
    made = Setting(request.param, tmp_path)
    monkeypatch.setenv("PATH", made.fake.path)
    for scheduler in (Sky, Kubernetes):
        monkeypatch.setattr(scheduler, "look_seconds", 0.01)
    monkeypatch.setattr(module, "_SEE_SECONDS", 0.2)
    return made


both = pytest.mark.parametrize("setting", KINDS, indirect=True)
sky = pytest.mark.parametrize("setting", ["sky"], indirect=True)
k8s = pytest.mark.parametrize("setting", ["k8s"], indirect=True)


@both
def test_a_job_is_submitted_waited_for_and_its_log_kept(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    setting.submit()
    assert setting.submitted == 1
    shown = {"sky": "`sky jobs logs 100`", "k8s": "`kubectl logs -f job/tsqa-"}[setting.kind]
    assert f"submitted; its log: {shown}" in capsys.readouterr().err
    if setting.kind == "sky":
        assert (setting.folder / "logs" / "train.log").read_text() == "last words of job 100\n"


@both
def test_a_command_that_starts_again_finds_its_job_and_submits_none(setting: Setting) -> None:
    name = scheduler_of(setting.node()).submission.name
    (setting.fake.folder / "job").write_text(f"41 {name} RUNNING\n")
    setting.submit()
    assert setting.submitted == 0


@both
def test_what_is_refused_is_said_in_the_words_of_the_client(setting: Setting) -> None:
    said = {
        "sky": "Traceback (most recent call last):\n  a\nsky.exceptions.AnError: no quota left",
        "k8s": "Error from server (Forbidden): no quota left",
    }
    (setting.fake.folder / "refuses").write_text(said[setting.kind])
    with pytest.raises(EngineError, match=r"no quota left\n  fix: correct launch") as raised:
        setting.submit()
    assert "Traceback" not in str(raised.value)


@both
@pytest.mark.parametrize("how", ["down", "lost"])
def test_a_submission_without_an_answer_is_made_once(setting: Setting, how: str) -> None:
    (setting.fake.folder / how).touch()
    setting.submit()
    assert setting.submitted == 1


@both
def test_what_does_not_answer_is_waited_for_but_not_without_end(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = RUNS[setting.kind]
    setting.fake.plan(runs, *["silent"] * 3, runs, FINE[setting.kind][-1])
    setting.submit()
    assert capsys.readouterr().err.count("does not answer") == 1
    (setting.fake.folder / "made").unlink()
    for name in ("job", "is_over", "status"):
        (setting.fake.folder / name).unlink(missing_ok=True)
    setting.fake.plan(runs, "silent")
    with pytest.raises(EngineError, match=r"did not answer for 0\.002 minutes: (sky|kubectl)"):
        setting.submit("launch.patience_minutes=0.002")


@both
def test_a_job_that_fails_is_judged_by_its_state_and_last_words(setting: Setting) -> None:
    setting.plan_end("FAILED", "PodFailurePolicy")
    setting.pods({"exitCode": 0}, {"exitCode": 3, "reason": "Error"})
    said = {
        "sky": r"ended FAILED; last lines of (.|\n)*last words of job 100",
        "k8s": r"ended PodFailurePolicy with code 3; last lines of (.|\n)*last words of pod pod-1",
    }
    with pytest.raises(EngineError, match=said[setting.kind]):
        setting.submit()
    assert setting.submitted == 1


@both
def test_sigterm_ends_the_wait_and_not_the_job(setting: Setting) -> None:
    setting.fake.plan(RUNS[setting.kind])

    def ask() -> None:
        while not setting.submitted:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    with pytest.raises(PreemptedError, match=r"goes on; `(sky jobs cancel 100|kubectl delete job)"):
        setting.submit()
    ended = [said for said in setting.fake.lines("said") if "cancel" in said]
    assert ended == []


@both
def test_a_job_that_becomes_too_dear_is_ended(setting: Setting) -> None:
    runs = RUNS[setting.kind]
    end = "end CANCELLED" if setting.kind == "sky" else "end gone"
    setting.fake.plan(*[runs] * 4, end)
    with pytest.raises(SpentError, match="going on with train could pass"):
        SubmittedJob(setting.job(spending=Spending(limit=0.001))).run()
    typed = {"sky": "jobs cancel --yes 100", "k8s": "delete job tsqa-"}[setting.kind]
    assert any(said.startswith(typed) for said in setting.fake.lines("said"))
    assert setting.submitted == 1


@sky
def test_sky_is_told_the_machines_the_arm_and_the_options(setting: Setting) -> None:
    setting.submit("train.processes=2", "launch.machines=2", "launch.options=[--infra=aws]")
    words = setting.fake.lines("arguments")
    assert words[:4] == ["jobs", "launch", "--yes", "--detach-run"]
    assert "--num-nodes=2" in words and "TSQA_PROCESSES=1" in words
    assert f"ARGUMENTS={RECIPE} train.lr=1e-3 --arm main" in words
    assert words[-2:] == ["--infra=aws", str(setting.template)]


@sky
@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("CANCELLED", "the same command submits it again"),
        ("FAILED_NO_RESOURCE", "name other machines or places"),
        ("EXPLODED", "'EXPLODED', a state that is not known here"),
    ],
)
def test_states_of_sky_have_a_fix_and_an_unknown_one_is_refused(
    setting: Setting, state: str, said: str
) -> None:
    setting.fake.plan("RUNNING", f"end {state}" if state != "EXPLODED" else state)
    with pytest.raises(EngineError, match=said):
        setting.submit()


@sky
def test_a_job_that_is_being_cancelled_is_no_job_to_wait_for(setting: Setting) -> None:
    name = scheduler_of(setting.node()).submission.name
    (setting.fake.folder / "job").write_text(f"41 {name} CANCELLING\n")
    setting.fake.plan("CANCELLING", "end CANCELLED", *FINE["sky"])
    setting.submit()
    assert setting.submitted == 1


@k8s
def test_the_job_of_kubernetes_is_the_template_with_this_arm(setting: Setting) -> None:
    setting.submit("train.processes=2", "launch.machines=2", "launch.options=[--namespace=a]")
    job = json.loads((setting.fake.folder / "manifest").read_text())
    name = job["metadata"]["name"]
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (2, 2)
    assert job["spec"]["completionMode"] == "Indexed" and pod["subdomain"] == "tsqa"
    assert container["args"] == [str(RECIPE), "train.lr=1e-3", "--arm", "main"]
    assert {one["name"]: one["value"] for one in container["env"]} == {
        "TSQA_FIRST": f"{name}-0.tsqa", "TSQA_MACHINES": "2", "TSQA_PROCESSES": "1",
    }  # fmt: skip
    service = json.loads((setting.fake.folder / "service").read_text())
    assert (
        service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    )
    assert all(said.startswith("--namespace=a ") for said in setting.fake.lines("said"))


@k8s
@pytest.mark.parametrize(
    "pods",
    [
        [{"exitCode": 1}, {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}],
        [{"exitCode": 75, "reason": "Error"}],
    ],
    ids=["taken", "saved"],
)
def test_a_job_whose_node_was_taken_is_submitted_again_but_not_for_ever(
    setting: Setting, pods: list[dict[str, Any]]
) -> None:
    setting.plan_end("", "BackoffLimitExceeded")
    setting.pods(*pods)
    with pytest.raises(EngineError, match="as the 2 before it, none of which came further"):
        setting.submit()
    assert setting.submitted == 3


@k8s
def test_a_pod_without_memory_is_said(setting: Setting) -> None:
    setting.plan_end("", "PodFailurePolicy")
    setting.pods({"exitCode": 137, "reason": "OOMKilled"})
    with pytest.raises(
        EngineError, match=r"ended OOMKilled with code 137(.|\n)*raise the container"
    ):
        setting.submit()


@k8s
def test_a_pod_that_cannot_start_is_said_while_it_waits(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    status = {"containerStatuses": [{"state": {"waiting": waiting}}]}
    items = [{"metadata": {"name": "pod"}, "status": status}]
    (setting.fake.folder / "pods").write_text(json.dumps({"items": items}))
    setting.fake.plan("Pending", "Pending", *FINE["k8s"])
    setting.submit()
    said = capsys.readouterr().err
    assert said.count("waits: ImagePullBackOff: no such image") == 1


def break_template(setting: Setting, *keys: str | int, value: object) -> None:
    template = setting.read()
    inner = template
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    setting.write(template)


CONTAINER = ("spec", "template", "spec", "containers", 0)


@k8s
@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (["kind"], "Pod", "is no Job of batch/v1"),
        ([*CONTAINER, "image"], "IMAGE", "image is still IMAGE"),
        ([*CONTAINER, "command"], ["python"], "it would not train this arm"),
        ([*CONTAINER, "resources"], {"limits": {"nvidia.com/gpu": 8}}, "is 8, for 1 processes"),
        (["spec", "template", "spec", "containers"], [], "is not one container"),
    ],
)
def test_a_template_of_a_job_that_would_not_train_this_is_refused(
    setting: Setting, keys: list[str | int], value: object, said: str
) -> None:
    scheduler_of(setting.node()).check()
    break_template(setting, *keys, value=value)
    with pytest.raises(RecipeError, match=said) as raised:
        scheduler_of(setting.node()).check()
    assert str(setting.template) in str(raised.value)


@k8s
def test_it_is_refused_before_any_work(setting: Setting) -> None:
    break_template(setting, "kind", value="Pod")
    given = [f"runs={setting.folder / 'runs'}", "launch.kind=k8s"]
    given.append(f"launch.template={setting.template}")
    with pytest.raises(RecipeError, match="is no Job"):
        Pipeline(load_recipe(RECIPE, given), RECIPE, given).run()
    assert not (setting.folder / "runs" / "artifacts" / "data").exists()


@sky
@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (["run"], "python train.py", "run does not use ARGUMENTS"),
        (["resources"], {"accelerators": "H100:8"}, "8 GPUs for 1 processes"),
        (["resources"], {"any_of": [{"accelerators": {"H100": 1}}, {"accelerators": "A100:4"}]},
         "4 GPUs for 1 processes"),
    ],
)  # fmt: skip
def test_a_task_that_would_not_train_this_is_refused(
    setting: Setting, keys: list[str | int], value: object, said: str
) -> None:
    scheduler_of(setting.node()).check()
    break_template(setting, *keys, value=value)
    with pytest.raises(RecipeError, match=said):
        scheduler_of(setting.node()).check()
    if "GPUs" in said:  # options win
        scheduler_of(setting.node("launch.options=[--gpus=H100]")).check()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["launch.kind=k8s"], "kind k8s needs `template`"),
        (["launch.template=a.yaml"], "template is of kind sky or k8s, and kind is local"),
        (["launch.kind=sky", "launch.options=[--secret=A_KEY=abc]"], "write --secret=A_KEY"),
        (["launch.kind=sky", "launch.options=[--env=HF_TOKEN=abc]"], "write --secret=HF_TOKEN"),
        (["launch.kind=sky", "launch.options=[--name=x]"], "by this a job is found again"),
        (["launch.kind=sky", "launch.options=[--num-nodes=2]"], "give launch.machines instead"),
        (["launch.kind=k8s", "launch.template=a", "launch.options=[--token=abc]"], "are taken"),
    ],
)  # fmt: skip
def test_keys_that_would_not_be_read_or_hold_a_secret_are_refused(
    overrides: list[str], said: str
) -> None:
    with pytest.raises(RecipeError, match=said) as raised:
        load_recipe(RECIPE, overrides)
    assert "abc" not in str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_without_the_client_says_so(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    setting = Setting(kind, tmp_path)
    assert shutil.which("sky") is None
    with pytest.raises(EngineError, match=r"(sky|kubectl): no such command here"):
        setting.submit()
