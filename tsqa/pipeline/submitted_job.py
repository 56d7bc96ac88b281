"""Training as a job of a scheduler: submitted once, found again, waited for.

Guarantees: a command that is killed and run again finds its job and submits no second one; a
scheduler out of reach is waited for; a job that was ended before its time is submitted again, as
long as it gets further; how a job ended is said in its own last words.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event

from tsqa.console import console, progress_bar
from tsqa.errors import PREEMPTED, EngineError, PreemptedError
from tsqa.locks import try_lock
from tsqa.pipeline.node import Node
from tsqa.pipeline.training_job import TrainingJob, last_metrics, tail_of
from tsqa.recipe import needed
from tsqa.schedulers.kubernetes import Kubernetes
from tsqa.schedulers.scheduler import ScheduledJob, Scheduler, Submission, UnreachableError
from tsqa.schedulers.sky import Sky
from tsqa.schedulers.slurm import Slurm
from tsqa.spending import SpentError
from tsqa.store.process import on_sigterm

_SCHEDULERS: Mapping[str, type[Scheduler]] = {"slurm": Slurm, "sky": Sky, "k8s": Kubernetes}
_SEE_SECONDS = 60.0
"""How long another machine's files may take to appear: file systems remember what is not there."""
_MOST_IN_VAIN = 3
"""Times that a job may be ended before its time without having come further."""
_SUCCEEDED = ("COMPLETED", "SUCCEEDED", "Complete")
_FIXES = {
    **dict.fromkeys(
        _SUCCEEDED,
        "see that all machines have the same `runs`, and that the recipe was not edited while the "
        "job waited; then run the same command again",
    ),
    "": "see its log; the same command submits it again, from the last checkpoint",
}


def scheduler_of(node: Node, arguments: Sequence[str] = (), log: Path = Path()) -> Scheduler:
    """The scheduler of a training, with what it is to run."""
    launch, train = node.recipe.launch, needed(node.recipe.train, "train")
    place = node.store.path_of(node.stage, node.fingerprint).resolve()
    name = f"tsqa-{hashlib.sha256(str(place).encode()).hexdigest()[:20]}"
    submission = Submission(name, arguments, train.processes // launch.machines, log, launch)
    return _SCHEDULERS[launch.kind](submission)


class SubmittedJob:
    """A training on a scheduler, from its submission to its end."""

    def __init__(self, job: TrainingJob) -> None:
        self._job, self._launch = job, job.node.recipe.launch
        self.scheduler = scheduler_of(job.node, job.arguments, job.log)
        self._asked = Event()
        self._log_begins = 0
        self._silent_since: float | None = None
        self._is_spent = self._is_ending = False

    def run(self) -> None:
        """See that the artifact gets made; EngineError, SpentError or PreemptedError else.

        The job goes on where this command is asked to end, and the same command finds it again.
        """
        in_vain, scheduled = 0, None
        try:
            with on_sigterm(self._asked.set):
                while True:
                    before = self._job.trained_tokens
                    scheduled = self._find_or_submit()
                    if scheduled is None:
                        return
                    scheduled = self._wait(scheduled)
                    self._save_log(scheduled)
                    if self._is_made(scheduled):
                        return
                    in_vain = 0 if self._job.trained_tokens > before else in_vain + 1
                    self._refuse_end(scheduled, in_vain)
                    said = f"job {scheduled.number} ended {scheduled.state}"
                    console.print(f"  {said}, and is submitted again")
        except KeyboardInterrupt:
            if scheduled is not None:
                console.print(self._goes_on(scheduled), style="yellow", markup=False)
            raise

    def _find_or_submit(self) -> ScheduledJob | None:
        """The job that makes the artifact; None where it is made meanwhile."""
        log = self._job.log
        log.parent.mkdir(parents=True, exist_ok=True)
        while (lock := try_lock(log.with_suffix(".submit.lock"))) is None:
            self._pause()  # the same command, elsewhere
        with lock:
            while not self._job.is_done():
                try:
                    found, said = self.scheduler.active_job(), "is there already"
                    if found and found.phase == "leaves":
                        self._pause(said=f"job {found.number} is being ended")
                        continue
                    if found is None:
                        self._log_begins = log.stat().st_size if log.exists() else 0
                        found, said = self.scheduler.submit(), "submitted"
                except UnreachableError as error:  # perhaps it took the job: look for it first
                    self._bear(error)
                    self._pause()
                    continue
                self._silent_since = None
                shown = self.scheduler.follow(found)
                console.print(f"  job {found.number} {said}; its log: {shown}", markup=False)
                return found
        return None

    def _wait(self, job: ScheduledJob) -> ScheduledJob:
        """Show how it goes on until it is no longer in the queue; how it ended."""
        total = needed(self._job.node.recipe.mixture, "mixture").tokens
        shown, at = job, time.monotonic()
        with progress_bar() as bar:
            title = f"  {self._job.title} tokens"
            task = bar.add_task(title, total=total, note=f"job {job.number} waits")
            while True:
                try:
                    found = self.scheduler.active_job() or self.scheduler.ended_job(shown)
                    self._silent_since = None
                except UnreachableError as error:
                    self._bear(error)
                    found = shown
                now = time.monotonic()
                if found.phase == "runs":
                    self._count((now - at) / 3600, found)
                else:
                    self._is_ending = False  # queued again, it is asked again
                at = now
                _say_change(shown, found)
                if found.phase == "ended":
                    return found
                shown = found
                note = f"job {found.number} waits {found.reason}"
                if found.phase == "runs":
                    last = last_metrics(self._job.metrics)
                    note = f"loss {last['train/loss']:.3f}" if last else "running"
                bar.update(task, completed=self._job.trained_tokens, note=note)
                self._pause(found)

    def _count(self, hours: float, job: ScheduledJob) -> None:
        spending, price = self._job.spending, self._job.dollars_per_hour
        spending.add(hours * price)
        next_look = self.scheduler.look_seconds / 3600 * price
        if self._is_spent or not spending.affords(next_look):
            self._is_spent = True
            self._is_ending = self._is_ending or self.scheduler.end(job)

    def _is_made(self, ended: ScheduledJob) -> bool:
        """Whether the artifact is there; of a job that seems to have succeeded, wait to see it."""
        patience = _SEE_SECONDS if ended.state in (*_SUCCEEDED, "") else 0.0
        deadline = time.monotonic() + patience
        while not self._job.is_done():
            if time.monotonic() >= deadline:
                return False
            time.sleep(min(1.0, _SEE_SECONDS / 10))
        return True

    def _refuse_end(self, job: ScheduledJob, in_vain: int) -> None:
        """Raise, unless it is to be submitted again."""
        if self._is_spent:
            raise SpentError(self._job.spending, f"going on with {self._job.title}")
        label = self._job.node.label
        if job.is_early:
            if in_vain < _MOST_IN_VAIN:
                return
            raise EngineError(
                f"{label}: job {job.number} ended {job.state}, as the {in_vain - 1} before it, "
                f"none of which came further; last lines of {self._job.log}:\n"
                f"    {self._tail()}",
                "give it more time or other machines (launch.options)",
            )
        how = f"ended {job.state}" if job.state else "is gone, and nobody knows how it ended"
        code = f" with code {job.code}" if job.code else ""
        code += f" ({job.reason})" if job.reason else ""
        missing = " without its artifact" if job.state in _SUCCEEDED else ""
        raise EngineError(
            f"{label}: job {job.number} {how}{code}{missing}; last lines of {self._job.log}:\n"
            f"    {self._tail()}",
            {**_FIXES, **self.scheduler.fixes}.get(
                job.state, "see these lines; a rerun continues from the last checkpoint"
            ),
        )

    def _tail(self) -> str:
        deadline = time.monotonic() + _SEE_SECONDS
        while not self._job.log.exists() and time.monotonic() < deadline:
            time.sleep(min(1.0, _SEE_SECONDS / 10))
        return "\n    ".join(tail_of(self._job.log, self._log_begins))

    def _save_log(self, job: ScheduledJob) -> None:
        try:
            self.scheduler.save_log(job)
        except (UnreachableError, EngineError) as error:
            said = f"the log of job {job.number} cannot be had ({error})"
            console.print(f"  {said}", style="yellow", markup=False)

    def _bear(self, error: UnreachableError) -> None:
        """Say once that nobody answers; EngineError where that lasts too long."""
        now, minutes = time.monotonic(), self._launch.patience_minutes
        title = self.scheduler.title
        if self._silent_since is None:
            self._silent_since = now
            said = f"{title} does not answer ({error}); it is asked again for {minutes:g} minutes"
            console.print(f"  {said}", style="yellow", markup=False)
        elif now - self._silent_since > 60 * minutes:
            raise EngineError(
                f"{self._job.node.label}: {title} did not answer for {minutes:g} minutes: {error}",
                "run the same command again when it does: it finds the job, if there is one",
            )

    def _pause(self, job: ScheduledJob | None = None, said: str = "no job was submitted") -> None:
        if self._asked.wait(self.scheduler.look_seconds):
            raise PreemptedError(
                f"{self._job.node.label}: asked to end by SIGTERM; "
                f"{self._goes_on(job) if job else said}",
                f"run the same command again to go on waiting (exit code {PREEMPTED})",
            )

    def _goes_on(self, job: ScheduledJob) -> str:
        return f"job {job.number} goes on; `{self.scheduler.end_command(job)}` would end it"


def _say_change(before: ScheduledJob, now: ScheduledJob) -> None:
    """Say what a bar would hide."""
    if now.stuck and now.stuck != before.stuck:
        said = f"job {now.number} {now.stuck}"
    elif before.phase == "runs" and now.phase == "waits":
        said = f"job {now.number} was ended before its time, and is queued again"
    else:
        return
    console.print(f"  {said}", style="yellow", markup=False)
