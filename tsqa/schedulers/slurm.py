"""Slurm by its commands."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import ClassVar

from tsqa.errors import EngineError
from tsqa.schedulers.scheduler import (
    SAVED,
    Phase,
    ScheduledJob,
    Scheduler,
    UnreachableError,
    ask_client,
    phase_of,
)
from tsqa.shipped import MULTI_CONFIG, SLURM_SCRIPT

_SILENT = re.compile(
    r"unable to (contact|establish)|timed out|zero bytes|connection (refused|reset|failure)"
    r"|not responding|temporarily|try again|socket|communication|in standby|invalid protocol",
    re.IGNORECASE,
)
"""In the words of sbatch where the controller did not answer; all else is its answer."""
_PHASES: dict[Phase, set[str]] = {
    "runs": {"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING"},
    "waits": {
        *("PENDING", "CONFIGURING", "SUSPENDED", "STOPPED", "REQUEUED", "REQUEUE_FED"),
        *("REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"),
    },
    "ended": {
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL"),
        *("DEADLINE", "OUT_OF_MEMORY", "LAUNCH_FAILED", "REVOKED", ""),
    },
}
_BEFORE_ITS_TIME = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT")


class Slurm(Scheduler):
    """A training as `launch/slurm/train.sbatch`."""

    title = "Slurm"
    fixes: ClassVar[Mapping[str, str]] = {
        "CANCELLED": "the same command submits it again, from the last checkpoint",
        "OUT_OF_MEMORY": "lower train.micro_batch_size, or give --mem in launch.options",
        "DEADLINE": "give it more time in launch.options; the same command continues",
    }

    def active_job(self) -> ScheduledJob | None:
        """The first of that name that runs or waits."""
        command = ["squeue", "--noheader", f"--name={self.submission.name}", "--format=%i|%T|%r"]
        done = ask_client(command)
        if done.returncode:
            raise UnreachableError(f"squeue: {done.stderr}")
        for line in done.stdout.splitlines():
            number, _, rest = line.strip().partition("|")
            state, _, reason = rest.partition("|")
            phase = phase_of(state, _PHASES, "squeue")
            if phase != "ended":
                return ScheduledJob(
                    number,
                    state,
                    phase,
                    "" if reason == "None" else reason,
                    stuck=_stuck(number, state, reason),
                )
        return None

    def submit(self) -> ScheduledJob:
        # What is left of a job that this command runs in would describe the new one, and an
        # ablation's worker has threads for its share of this machine's cores.
        foreign = re.compile(r"SLURM_(?!CONF$)|OMP_NUM_THREADS$")
        kept = {k: v for k, v in os.environ.items() if not foreign.match(k)}
        kept |= {
            "TSQA_PROCESSES": str(self.submission.processes),
            "TSQA_CONFIG": str(MULTI_CONFIG.resolve()),
            "TSQA_PYTHON": sys.executable,
        }
        done = ask_client(["sbatch", "--parsable", *self._arguments()], kept)
        if not done.returncode:
            return ScheduledJob(done.stdout.strip().partition(";")[0], "PENDING", "waits")
        if _SILENT.search(done.stderr):
            raise UnreachableError(done.stderr)
        raise EngineError(
            f"sbatch refuses the job: {done.stderr}",
            "correct launch.options, launch.machines or train.processes",
        )

    def _arguments(self) -> list[str]:
        asked = self.submission
        log = str(asked.log.resolve()).replace("%", "%%")
        return [
            f"--nodes={asked.launch.machines}",
            f"--gpus-per-node={asked.processes}",
            *asked.launch.options,
            *(f"--job-name={asked.name}", f"--output={log}", "--open-mode=append", "--export=ALL"),
            *(str(SLURM_SCRIPT), *asked.arguments),
        ]

    def ended_job(self, job: ScheduledJob) -> ScheduledJob:
        """As the controller or the accounting has it."""
        number = job.number
        shown = ask_client(["scontrol", "show", "job", number, "--oneliner"])
        if not shown.returncode:
            fields = dict(re.findall(r"(\w+)=(\S+)", shown.stdout))
            return _ended(number, fields.get("JobState", ""), fields.get("ExitCode", ""))
        if "invalid job id" not in shown.stderr.lower():
            raise UnreachableError(f"scontrol: {shown.stderr}")
        told = ask_client(["sacct", "--jobs", number, "-X", "-n", "-P", "--format=State,ExitCode"])
        lines = [line for line in told.stdout.splitlines() if line.strip()]
        if told.returncode or not lines:
            return ScheduledJob(number, "", "ended")
        state, _, code = lines[-1].partition("|")
        return _ended(number, state.split()[0].rstrip("+"), code)  # `CANCELLED by 1000`

    def end(self, job: ScheduledJob) -> bool:
        """Have it save, and not be queued again."""
        ask_client(["scontrol", "update", f"JobId={job.number}", "Requeue=0"])
        signalled = ask_client(
            ["scancel", "--signal=TERM", job.number]
        )  # the ranks, not the script
        return not signalled.returncode

    def follow(self, job: ScheduledJob) -> str:
        return str(self.submission.log)

    def end_command(self, job: ScheduledJob) -> str:
        return f"scancel {job.number}"


def _stuck(number: str, state: str, reason: str) -> str:
    is_held = state in ("REQUEUE_HOLD", "SPECIAL_EXIT") or "held" in reason.lower()
    return f"is held ({reason}): `scontrol release {number}`" if is_held else ""


def _ended(number: str, state: str, exit_code: str) -> ScheduledJob:
    code, _, signal = exit_code.partition(":")
    known = int(code) if code.isdigit() else None
    if signal.isdigit() and int(signal) and not known:
        known = 128 + int(signal)
    is_early = state in _BEFORE_ITS_TIME or (state == "FAILED" and known in SAVED)
    phase = phase_of(state, _PHASES, "Slurm")
    return ScheduledJob(number, state, phase, code=known, is_early=is_early)
