"""SkyPilot's managed jobs by its command `sky` (0.14), which has an environment of its own."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tsqa.errors import EngineError, RecipeError
from tsqa.plain_yaml import read_yaml
from tsqa.schedulers.scheduler import (
    Phase,
    ScheduledJob,
    Scheduler,
    Submission,
    UnreachableError,
    ask_client,
    phase_of,
)
from tsqa.shipped import SKY_TASK

_SILENT = re.compile(
    r"could not connect|failed to connect|cannot connect|connection (refused|reset|error)"
    r"|timed? ?out|temporarily|ConnectionError|unavailable|bad gateway|HTTP 50[234]",
    re.IGNORECASE,
)
"""In the words of `sky jobs launch` where its server did not answer; all else is its answer."""
_SUBMITTED = re.compile(r"Job submitted, ID: (\d+)")
_NO_JOBS = "no in-progress managed jobs"
"""Said, as an error, where there is no controller yet, or it stopped for want of jobs."""
_PHASES: dict[Phase, set[str]] = {
    "waits": {"PENDING", "SUBMITTED", "STARTING", "RECOVERING"},
    "runs": {"RUNNING", "WINDING_DOWN"},
    "leaves": {"CANCELLING"},
    "ended": {
        *("SUCCEEDED", "CANCELLED", "FAILED", "FAILED_SETUP", "FAILED_PRECHECKS"),
        *("FAILED_NO_RESOURCE", "FAILED_CONTROLLER"),
    },
}
_LAUNCH_SECONDS = 1800.0
"""The first job starts the machine of the controller, and the clone is copied."""
_LOG_SECONDS = 300.0


class Sky(Scheduler):
    """A training as a managed job: SkyPilot finds machines, and others for lost ones."""

    title = "SkyPilot"
    look_seconds: ClassVar[float] = 30.0  # each look takes `sky` seconds
    fixes: ClassVar[Mapping[str, str]] = {
        "CANCELLED": "the same command submits it again, from the last checkpoint",
        "FAILED_SETUP": "correct `setup` of the task: `sky jobs logs JOB` shows what it said",
        "FAILED_PRECHECKS": "`sky check`, then correct launch.options or the task's `resources`",
        "FAILED_NO_RESOURCE": "name other machines or places in launch.options or the task's "
        "`resources`; the same command continues",
        "FAILED_CONTROLLER": "see that `sky status` shows no machines of it any more; the same "
        "command continues",
    }

    def __init__(self, submission: Submission) -> None:
        super().__init__(submission)
        self._task = Path(submission.launch.template or SKY_TASK)

    def check(self) -> None:
        task = read_yaml(self._task).values
        if "ARGUMENTS" not in str(task.get("run")):
            raise RecipeError(
                f"{self._task}: run does not use ARGUMENTS, so that it would not train this arm",
                f"begin with a copy of {SKY_TASK}",
            )
        given = [
            o.partition("=")[2] for o in self.submission.launch.options if o.startswith("--gpus")
        ]
        counts = {_count(gpu) for gpu in given or _accelerators(task.get("resources"))}
        each = self.submission.processes
        if wrong := counts - {each}:
            raise RecipeError(
                f"{self._task}: {sorted(wrong)[0]} GPUs for {each} processes on each machine",
                "give --gpus=NAME:COUNT in launch.options, or correct train.processes (of all "
                "launch.machines together)",
            )

    def active_job(self) -> ScheduledJob | None:
        return next((job for job in self._jobs("--skip-finished") if job.phase != "ended"), None)

    def submit(self) -> ScheduledJob:
        asked = self.submission
        command = [
            *("sky", "jobs", "launch", "--yes", "--detach-run", f"--name={asked.name}"),
            f"--num-nodes={asked.launch.machines}",
            *("--env", f"ARGUMENTS={shlex.join(asked.arguments)}"),
            *("--env", f"TSQA_PROCESSES={asked.processes}"),
            *asked.launch.options,
            str(self._task),
        ]
        done = ask_client(command, seconds=_LAUNCH_SECONDS)
        if done.returncode:
            if _SILENT.search(done.stderr):
                raise UnreachableError(f"sky jobs launch: {_said(done.stderr)}")
            raise EngineError(
                f"sky refuses the job: {_said(done.stderr)}",
                f"correct launch.options, or {self._task}",
            )
        if said := _SUBMITTED.search(done.stdout + done.stderr):
            return ScheduledJob(said[1], "PENDING", "waits")
        if (found := self.active_job()) is None:
            raise UnreachableError("sky jobs queue does not list the job that it took")
        return found

    def ended_job(self, job: ScheduledJob) -> ScheduledJob:
        for found in self._jobs():
            if found.number == job.number:
                return found
        return ScheduledJob(job.number, "", "ended")

    def end(self, job: ScheduledJob) -> bool:
        """Take its machines away: what it did since its last checkpoint is lost."""
        return not ask_client(["sky", "jobs", "cancel", "--yes", job.number]).returncode

    def save_log(self, job: ScheduledJob) -> None:
        # Where no machine ever ran it, the controller says why.
        source = ["--controller"] if job.state in ("FAILED_PRECHECKS", "FAILED_NO_RESOURCE") else []
        command = ["sky", "jobs", "logs", "--no-follow", "--tail=0", *source, job.number]
        done = ask_client(command, seconds=_LOG_SECONDS)
        with self.submission.log.open("a", encoding="utf-8") as log:
            log.write(done.stdout or f"({' '.join(command)}: {done.stderr})\n")

    def follow(self, job: ScheduledJob) -> str:
        return f"`sky jobs logs {job.number}`"

    def end_command(self, job: ScheduledJob) -> str:
        return f"sky jobs cancel {job.number}"

    def _jobs(self, *options: str) -> list[ScheduledJob]:
        """The jobs of that name, the latest first."""
        done = ask_client(["sky", "jobs", "queue", "--output=json", "-v", "--all", *options])
        if done.returncode:
            if _NO_JOBS in done.stderr.lower():
                return []
            raise UnreachableError(f"sky jobs queue: {_said(done.stderr)}")
        begin = re.search(r"^\[", done.stdout, re.MULTILINE)  # what starts its server says so first
        try:
            told = json.loads(done.stdout[begin.start() :] if begin else "")
            rows = [row for row in told if row["job_name"] == self.submission.name]
            latest = sorted(rows, key=lambda row: int(row["job_id"]), reverse=True)
            return [_job(row) for row in latest]
        except (ValueError, KeyError, TypeError) as error:
            raise EngineError(
                f"sky jobs queue: its answer is not what 0.14 says ({error!r})",
                "install skypilot 0.14",
            ) from error


def _said(stderr: str) -> str:
    """Its words without the traceback before them."""
    return stderr[max(0, stderr.rfind("sky.exceptions.")) :]


def _job(row: Mapping[str, Any]) -> ScheduledJob:
    state = row["status"]
    reason = row.get("failure_reason") or row.get("details") or ""
    return ScheduledJob(str(row["job_id"]), state, phase_of(state, _PHASES, "sky"), reason)


def _accelerators(resources: object) -> list[str]:
    """All that the section `resources` of a task would take, as NAME:COUNT."""
    if not isinstance(resources, dict):
        return []
    resources = dict(resources)
    choices = [*(resources.pop("any_of", 0) or []), *(resources.pop("ordered", 0) or [])]
    if choices:
        return [gpu for one in choices for gpu in _accelerators({**resources, **one})]
    named = resources.get("accelerators") or []
    if isinstance(named, dict):
        return [f"{name}:{count}" for name, count in named.items()]
    return [named] if isinstance(named, str) else list(named)


def _count(gpu: str) -> int:
    count = gpu.partition(":")[2]
    return int(count) if count.isdigit() else 1
