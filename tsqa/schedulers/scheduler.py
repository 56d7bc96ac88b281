"""What `tsqa run` asks of a scheduler: take a job, find it again, say how it ended.

Guarantees: what a scheduler refuses is told from one that does not answer; a job is known by its
name, also to a command that did not submit it; a state that is not known here is refused.
"""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tsqa.errors import PREEMPTED, TERMINATED, EngineError
from tsqa.recipe.sections.launch import LaunchSection

Phase = Literal["waits", "runs", "leaves", "ended"]
"""leaves: somebody ended it, and it saves."""
SAVED = (PREEMPTED, TERMINATED)
"""Exit codes of a training that was asked to end."""
_SECONDS = 60.0
"""How long a command of a scheduler may take."""
_LONGEST_SAID = 2000


class UnreachableError(Exception):
    """The scheduler did not answer, in the words of its command."""


@dataclass(frozen=True)
class Submission:
    """What a scheduler is to run."""

    name: str
    """The same for whoever wants the same artifact in the same folder, and for nobody else."""
    arguments: Sequence[str]
    """What follows `-m train`."""
    processes: int
    """On each machine."""
    log: Path
    launch: LaunchSection


@dataclass(frozen=True)
class ScheduledJob:
    """A job as its scheduler describes it."""

    number: str
    state: str
    """In the scheduler's word, such as RUNNING; empty where nobody knows it any more."""
    phase: Phase
    reason: str = ""
    """Why it waits, or ended."""
    code: int | None = None
    """Of an ended one: its exit code, 128 + N where signal N ended it; None: not known."""
    is_early: bool = False
    """Whether it was ended before its time, and is to be submitted again."""
    stuck: str = ""
    """What somebody has to do before it can run."""


class Scheduler(ABC):
    """One submission's scheduler."""

    title: ClassVar[str]
    look_seconds: ClassVar[float] = 10.0
    """Between two looks at a job."""
    fixes: ClassVar[Mapping[str, str]]
    """State of an ended job -> what to do."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission

    def check(self) -> None:  # noqa: B027 - some refuse by themselves, at once
        """Refuse, before any work, what could not be submitted; RecipeError."""

    @abstractmethod
    def active_job(self) -> ScheduledJob | None:
        """The job of the submission's name that has not ended."""

    @abstractmethod
    def submit(self) -> ScheduledJob:
        """Submit it. EngineError where it is refused."""

    @abstractmethod
    def ended_job(self, job: ScheduledJob) -> ScheduledJob:
        """How a job that is no longer active ended."""

    @abstractmethod
    def end(self, job: ScheduledJob) -> bool:
        """Have a running job end for good; whether that was taken."""

    def save_log(self, job: ScheduledJob) -> None:  # noqa: B027 - some jobs write there themselves
        """Append what an ended job wrote to the log."""

    @abstractmethod
    def follow(self, job: ScheduledJob) -> str:
        """The file of a job's log, or the command that shows it."""

    @abstractmethod
    def end_command(self, job: ScheduledJob) -> str:
        """What to type to end a job."""


def phase_of(state: str, phases: Mapping[Phase, Collection[str]], title: str) -> Phase:
    """The phase of a state; EngineError where it is none of those that are known."""
    for phase, states in phases.items():
        if state in states:
            return phase
    raise EngineError(
        f"{title} says that the job is {state!r}, a state that is not known here",
        "look at the job yourself: it goes on; and report the version of your client",
    )


def ask_client(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    seconds: float = _SECONDS,
    given: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a scheduler's command, with `given` as its input; one that hangs ends with code 1."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=environment,
            input=given or "",
            start_new_session=True,  # Ctrl-C ends our wait, not a submission half way
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]} timed out")
    except FileNotFoundError as error:
        raise EngineError(
            f"{command[0]}: no such command here",
            f"run where {command[0]} is, or set launch.kind to local",
        ) from error
    said = done.stderr.strip()[-_LONGEST_SAID:] or f"code {done.returncode}"
    return subprocess.CompletedProcess(command, done.returncode, done.stdout, said)
