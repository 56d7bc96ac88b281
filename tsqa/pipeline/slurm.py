"""Slurm by its commands: submit a job, find it again, learn how it ended.

Guarantees: what the controller refuses is told from a controller that does not answer; a job is
known by its name, also to a command that did not submit it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tsqa.errors import EngineError

_SECONDS = 60.0
"""How long one of its commands may take."""
_SILENT = re.compile(
    r"unable to (contact|establish)|timed out|zero bytes|connection (refused|reset|failure)"
    r"|not responding|temporarily|try again|socket|communication|in standby|invalid protocol",
    re.IGNORECASE,
)
"""In the words of sbatch where the controller did not answer; all else is its answer."""
_ENDED = {
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL"),
    *("DEADLINE", "OUT_OF_MEMORY", "LAUNCH_FAILED", "REVOKED"),
}


class UnreachableError(Exception):
    """The controller did not answer, in the words of the command."""


@dataclass(frozen=True)
class SlurmJob:
    """A job as Slurm describes it."""

    number: str
    state: str
    """Such as RUNNING."""
    reason: str = ""
    """Why it waits."""
    code: int | None = None
    """Of an ended one: its exit code, 128 + N where signal N ended it; None: not known."""

    @property
    def is_active(self) -> bool:
        """Whether it runs or may still run."""
        return bool(self.state) and self.state not in _ENDED

    @property
    def is_held(self) -> bool:
        """Whether it waits until somebody releases it."""
        return self.state in ("REQUEUE_HOLD", "SPECIAL_EXIT") or "held" in self.reason.lower()


def active_job(name: str) -> SlurmJob | None:
    """The job of that name that runs or waits, the first of several."""
    said = _ask("squeue", "--noheader", f"--name={name}", "--format=%i|%T|%r")
    for line in said.splitlines():
        number, _, rest = line.strip().partition("|")
        state, _, reason = rest.partition("|")
        job = SlurmJob(number, state, "" if reason == "None" else reason)
        if job.is_active:
            return job
    return None


def submit(arguments: Sequence[str], environment: dict[str, str]) -> str:
    """Submit a job; its number. EngineError where it is refused."""
    # What is left of a job that this command runs in would describe the new one.
    kept = {k: v for k, v in environment.items() if not re.match(r"SLURM_(?!CONF$)", k)}
    done = _run(["sbatch", "--parsable", *arguments], kept)
    if done.returncode:
        if _SILENT.search(done.stderr):
            raise UnreachableError(done.stderr.strip())
        raise EngineError(
            f"sbatch refuses the job: {done.stderr.strip() or f'code {done.returncode}'}",
            "correct launch.options, launch.machines or train.processes",
        )
    return done.stdout.strip().partition(";")[0]


def find_job(number: str) -> SlurmJob:
    """A job that is not in the queue, as the controller or the accounting has it.

    Its state is empty where neither knows it any more.
    """
    shown = _run(["scontrol", "show", "job", number, "--oneliner"])
    if not shown.returncode:
        fields = dict(re.findall(r"(\w+)=(\S+)", shown.stdout))
        return _ended(number, fields.get("JobState", ""), fields.get("ExitCode", ""))
    if "invalid job id" not in shown.stderr.lower():
        raise UnreachableError(f"scontrol: {shown.stderr.strip()}")
    told = _run(["sacct", "--jobs", number, "-X", "-n", "-P", "--format=State,ExitCode"])
    lines = [line for line in told.stdout.splitlines() if line.strip()]
    if told.returncode or not lines:
        return SlurmJob(number, "")
    state, _, code = lines[-1].partition("|")
    return _ended(number, state.split()[0].rstrip("+"), code)  # `CANCELLED by 1000`


def end_job(job: SlurmJob) -> bool:
    """Have a running job save and end, and not be queued again; whether it was told."""
    _run(["scontrol", "update", f"JobId={job.number}", "Requeue=0"])
    signalled = _run(["scancel", "--signal=TERM", job.number])  # to the ranks, not the script
    return not signalled.returncode


def _ended(number: str, state: str, exit_code: str) -> SlurmJob:
    code, _, signal = exit_code.partition(":")
    known = int(code) if code.isdigit() else None
    if signal.isdigit() and int(signal) and not known:
        known = 128 + int(signal)
    return SlurmJob(number, state, code=known)


def _ask(*command: str) -> str:
    done = _run(list(command))
    if done.returncode:
        said = done.stderr.strip() or f"code {done.returncode}"
        raise UnreachableError(f"{command[0]}: {said}")
    return done.stdout


def _run(
    command: list[str], environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends our wait, not a submission half way
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]} timed out")
    except FileNotFoundError as error:
        raise EngineError(
            f"{command[0]}: no such command here",
            "run where Slurm's commands are, or set launch.kind to local",
        ) from error
