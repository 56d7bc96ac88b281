"""Kubernetes by kubectl: an indexed Job, one pod for each machine, and a Service for their names.

Guarantees: a training has one Job at a time, since the Job has its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from tsqa.errors import EngineError, RecipeError
from tsqa.plain_yaml import read_yaml
from tsqa.schedulers.scheduler import (
    SAVED,
    ScheduledJob,
    Scheduler,
    Submission,
    UnreachableError,
    ask_client,
)
from tsqa.shipped import K8S_JOB

_SILENT = re.compile(
    r"unable to connect|connection to the server|dial tcp|connection (refused|reset)|timed? ?out"
    r"|handshake|\bEOF\b|etcdserver|openapi"
    r"|\((ServiceUnavailable|TooManyRequests|InternalError|AlreadyExists)\)",
    re.IGNORECASE,
)
"""In the words of kubectl where the cluster did not answer, or has the job; else it is refused."""
_SERVICE = "tsqa"
_OURS = {"app.kubernetes.io/name": "tsqa"}
"""The label of our pods, by which the Service finds them."""
_COMMON = ("ContainerCreating", "PodInitializing", "")
_TAKEN = ("Evicted", "NodeLost", "NodeShutdown", "Shutdown", "Terminated", "Preempting")
"""Reasons of a pod that ended because of its node."""
_MOST_LINES = 10_000


@dataclass(frozen=True)
class _Pod:
    """What decides how a Job is, of one of its pods."""

    name: str
    begun: str
    code: int | None
    """None: it has not ended."""
    reason: str = ""
    is_taken: bool = False
    """Whether its node was taken from it."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        status, meta = told["status"], told["metadata"]
        conditions = {c["type"]: c for c in status.get("conditions", [])}
        states = [c["state"] for c in status.get("containerStatuses", [])]
        ends = [s["terminated"] for s in states if "terminated" in s]
        waits = [s["waiting"] for s in states if "waiting" in s]
        unplaced = conditions.get("PodScheduled", {})
        reason = status.get("reason", "")
        for end in ends:
            reason = end.get("reason", "") if end["exitCode"] else reason
        for wait in waits:
            if wait.get("reason", "") not in _COMMON:
                reason = f"{wait['reason']}: {wait.get('message', '')}"
        if unplaced.get("status") == "False":
            reason = f"{unplaced.get('reason', '')}: {unplaced.get('message', '')}"
        disrupted = conditions.get("DisruptionTarget", {}).get("status") == "True"
        return cls(
            meta["name"],
            meta.get("creationTimestamp", ""),
            max((end["exitCode"] for end in ends), default=None),
            reason,
            disrupted or status.get("reason") in _TAKEN,
            meta.get("labels", {}),
        )

    @property
    def has_failed(self) -> bool:
        return self.code not in (None, 0, *SAVED)


class Kubernetes(Scheduler):
    """A training as a Job made of the recipe's `launch.template`."""

    title = "Kubernetes"
    fixes: ClassVar[Mapping[str, str]] = {
        "OOMKilled": "lower train.micro_batch_size, or raise the container's memory in "
        "launch.template",
        "DeadlineExceeded": "raise activeDeadlineSeconds in launch.template; the same command "
        "continues",
    }

    def __init__(self, submission: Submission) -> None:
        super().__init__(submission)
        self._template = Path(submission.launch.template or "")

    def check(self) -> None:
        """RecipeError where the template is no Job of one container that trains."""
        job = read_yaml(self._template).values
        if (job.get("apiVersion"), job.get("kind")) != ("batch/v1", "Job"):
            raise self._wrong("is no Job of batch/v1")
        try:
            [container] = job["spec"]["template"]["spec"]["containers"]
            image = container["image"]
        except (KeyError, TypeError, ValueError):
            raise self._wrong("spec.template.spec.containers is not one container") from None
        if image == "IMAGE":
            raise self._wrong("image is still IMAGE", "write the name of your image there")
        if "$@" not in str(container.get("command")):
            raise self._wrong('command does not use "$@", so that it would not train this arm')
        limits = _inner(container, "resources", "limits")
        each = self.submission.processes
        for name, count in limits.items():
            if name.endswith("/gpu") and str(count) != str(each):
                raise self._wrong(
                    f"resources.limits {name} is {count}, for {each} processes on each machine",
                    "write the same there and in train.processes (of all launch.machines together)",
                )

    def _wrong(self, what: str, fix: str = f"begin with a copy of {K8S_JOB}") -> RecipeError:
        return RecipeError(f"{self._template} (launch.template): {what}", fix)

    def manifest(self) -> dict[str, Any]:
        """The Job: the template with what is this training's."""
        asked, job = self.submission, read_yaml(self._template).values
        machines = asked.launch.machines
        named = {
            "name": asked.name,
            "labels": {**_inner(job, "metadata", "labels"), **_OURS},
        }
        spec = {
            **job["spec"],
            **{"completionMode": "Indexed", "completions": machines, "parallelism": machines},
        }
        pod = spec["template"]["spec"]
        labels = {**_inner(spec["template"], "metadata", "labels"), **_OURS}
        [container] = pod["containers"]
        own = {
            "TSQA_FIRST": f"{asked.name}-0.{_SERVICE}" if machines > 1 else "127.0.0.1",
            "TSQA_MACHINES": str(machines),
            "TSQA_PROCESSES": str(asked.processes),
        }
        kept = [one for one in container.get("env") or [] if one["name"] not in own]
        env = [*kept, *({"name": name, "value": value} for name, value in own.items())]
        container = {**container, "args": [*asked.arguments], "env": env}
        spec["template"] = {
            "metadata": {**_inner(spec["template"], "metadata"), "labels": labels},
            "spec": {**pod, "subdomain": _SERVICE, "containers": [container]},
        }
        return {**job, "metadata": {**_inner(job, "metadata"), **named}, "spec": spec}

    def active_job(self) -> ScheduledJob | None:
        found = self._find()
        return None if found.phase == "ended" else found

    def submit(self) -> ScheduledJob:
        name = self.submission.name
        if self.submission.launch.machines > 1:
            self._kubectl("apply", "-f", "-", given=_service())
        # What is left of an earlier one has its name; its log is saved.
        gone = ("--ignore-not-found", "--cascade=foreground", "--timeout=50s")
        self._kubectl("delete", "job", name, *gone)
        self._kubectl("create", "-f", "-", given=self.manifest())
        return ScheduledJob(name, "PENDING", "waits")

    def ended_job(self, job: ScheduledJob) -> ScheduledJob:
        return self._find()

    def end(self, job: ScheduledJob) -> bool:
        """Delete it: its pods save, and it is gone when they have."""
        try:
            gone = ("--ignore-not-found", "--cascade=foreground", "--wait=false")
            self._kubectl("delete", "job", job.number, *gone)
        except UnreachableError:
            return False
        return True

    def save_log(self, job: ScheduledJob) -> None:
        pods = sorted(self._pods(), key=lambda pod: pod.begun)
        failed = [pod for pod in pods if pod.has_failed]
        index = "batch.kubernetes.io/job-completion-index"
        shown = failed or [pod for pod in pods if pod.labels.get(index) == "0"] or pods[:1]
        with self.submission.log.open("a", encoding="utf-8") as log:
            for pod in shown:
                try:
                    log.write(self._kubectl("logs", pod.name, f"--tail={_MOST_LINES}"))
                except (UnreachableError, EngineError) as error:
                    log.write(f"(the log of pod {pod.name} cannot be had: {error})\n")

    def follow(self, job: ScheduledJob) -> str:
        return f"`{self._typed('logs', '-f', f'job/{job.number}')}`"

    def end_command(self, job: ScheduledJob) -> str:
        return self._typed("delete", "job", job.number)

    def _find(self) -> ScheduledJob:
        name = self.submission.name
        told = self._kubectl("get", "job", name, "--ignore-not-found", "-o", "json").strip()
        if not told:
            return ScheduledJob(name, "", "ended")
        job = json.loads(told)
        status = job.get("status", {})
        conditions = {c["type"]: c for c in status.get("conditions", []) if c["status"] == "True"}
        if "Complete" in conditions:
            return ScheduledJob(name, "Complete", "ended")
        if "Failed" in conditions:
            return self._failed(conditions["Failed"])
        if "deletionTimestamp" in job["metadata"]:
            return ScheduledJob(name, "Deleted", "leaves")
        if job["spec"].get("suspend"):
            return ScheduledJob(
                name, "Suspended", "waits", "until its queue or somebody lets it run"
            )
        ready = status.get("ready", 0)
        if ready and ready + status.get("succeeded", 0) >= job["spec"]["completions"]:
            return ScheduledJob(name, "Running", "runs")
        reason = next((pod.reason for pod in self._pods() if pod.code is None and pod.reason), "")
        stuck = (
            f"waits: {reason.strip()}" if re.match(r"[A-Z]\w*(Err|BackOff|Invalid)", reason) else ""
        )
        return ScheduledJob(name, "Pending", "waits", reason.partition(":")[0], stuck=stuck)

    def _failed(self, condition: Mapping[str, str]) -> ScheduledJob:
        pods = [pod for pod in self._pods() if pod.code or pod.is_taken]
        worst = next((p for p in pods if p.has_failed), None) or next(iter(pods), None)
        is_early = any(pod.is_taken for pod in pods) or (
            bool(pods) and not any(pod.has_failed for pod in pods)
        )
        state = condition.get("reason", "Failed")
        if worst and worst.reason == "OOMKilled":
            state, is_early = "OOMKilled", False
        code = worst.code if worst else None
        reason = condition.get("message", "")
        return ScheduledJob(self.submission.name, state, "ended", reason, code, is_early)

    def _pods(self) -> list[_Pod]:
        label = f"job-name={self.submission.name}"
        return [
            _Pod.read(told)
            for told in json.loads(self._kubectl("get", "pods", "-l", label, "-o", "json"))["items"]
        ]

    def _typed(self, *words: str) -> str:
        return " ".join(["kubectl", *self.submission.launch.options, *words])

    def _kubectl(self, *words: str, given: Mapping[str, Any] | None = None) -> str:
        """What it says; EngineError where the cluster refuses, else UnreachableError."""
        text = None if given is None else json.dumps(given)
        done = ask_client(["kubectl", *self.submission.launch.options, *words], given=text)
        if not done.returncode:
            return done.stdout
        if _SILENT.search(done.stderr):
            raise UnreachableError(f"kubectl {words[0]}: {done.stderr}")
        raise EngineError(
            f"kubectl {words[0]}: {done.stderr}",
            f"correct launch.options, your login to the cluster, or {self._template}",
        )


def _inner(value: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """A mapping within mappings; empty where one of them is missing or empty."""
    for key in keys:
        value = value.get(key) or {}
    return value


def _service() -> dict[str, Any]:
    """By which the pods of all trainings know each other: JOB-INDEX.tsqa."""
    spec = {"clusterIP": "None", "selector": _OURS, "publishNotReadyAddresses": True}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": _SERVICE}, "spec": spec}
