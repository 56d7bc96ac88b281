"""Training as a job on Slurm: submitted once, found again, waited for.

Guarantees: a command that is killed and run again finds its job and submits no second one; a
controller out of reach is waited for; a job that Slurm ended before its time is submitted again, as
long as it gets further; how a job ended is said in its own last words.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from threading import Event

from tsqa.console import console, progress_bar
from tsqa.errors import PREEMPTED, TERMINATED, EngineError, PreemptedError
from tsqa.locks import try_lock
from tsqa.pipeline.slurm import (
    SlurmJob,
    UnreachableError,
    active_job,
    end_job,
    find_job,
    submit,
)
from tsqa.pipeline.training_job import TrainingJob, last_metrics, tail_of
from tsqa.recipe import needed
from tsqa.shipped import MULTI_CONFIG, SLURM_SCRIPT
from tsqa.spending import SpentError
from tsqa.store.process import on_sigterm

_POLL_SECONDS = 10.0
_SEE_SECONDS = 60.0
"""How long another machine's files may take to appear: file systems remember what is not there."""
_MOST_IN_VAIN = 3
"""Times that a job may be ended before its time without having come further."""
_BEFORE_ITS_TIME = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT")
_FIXES = {
    "CANCELLED": "the same command submits it again, from the last checkpoint",
    "OUT_OF_MEMORY": "lower train.micro_batch_size, or give --mem in launch.options",
    "DEADLINE": "give it more time in launch.options; the same command continues",
    "COMPLETED": "see that all machines have the same `runs`, and that the recipe was not edited "
    "while the job waited; then run the same command again",
    "": "see its log; the same command submits it again, from the last checkpoint",
}


class SubmittedJob:
    """A training on Slurm, from its submission to its end."""

    def __init__(self, job: TrainingJob) -> None:
        self._job, self._launch = job, job.node.recipe.launch
        node = job.node
        place = node.store.path_of(node.stage, node.fingerprint).resolve()
        self.name = f"tsqa-{hashlib.sha256(str(place).encode()).hexdigest()[:20]}"
        """The same for whoever wants the same artifact in the same folder, and for nobody else."""
        self._asked = Event()
        self._log_begins = 0
        self._silent_since: float | None = None
        self._is_spent = self._is_ending = False

    def run(self) -> None:
        """See that the artifact gets made; EngineError, SpentError or PreemptedError else.

        The job goes on where this command is asked to end, and the same command finds it again.
        """
        in_vain, slurm_job = 0, None
        try:
            with on_sigterm(self._asked.set):
                while True:
                    before = self._job.trained_tokens
                    slurm_job = self._find_or_submit()
                    if slurm_job is None:
                        return
                    slurm_job = self._wait(slurm_job)
                    if self._is_made(slurm_job):
                        return
                    in_vain = 0 if self._job.trained_tokens > before else in_vain + 1
                    self._refuse_end(slurm_job, in_vain)
                    said = f"job {slurm_job.number} ended {slurm_job.state}"
                    console.print(f"  {said}, and is submitted again")
        except KeyboardInterrupt:
            if slurm_job is not None:
                console.print(_goes_on(slurm_job), style="yellow", markup=False)
            raise

    def arguments(self) -> list[str]:
        """Of sbatch."""
        processes = needed(self._job.node.recipe.train, "train").processes
        log = str(self._job.log.resolve()).replace("%", "%%")
        return [
            f"--nodes={self._launch.machines}",
            f"--gpus-per-node={processes // self._launch.machines}",
            *self._launch.options,
            *(f"--job-name={self.name}", f"--output={log}", "--open-mode=append", "--export=ALL"),
            *(str(SLURM_SCRIPT), *self._job.arguments),
        ]

    def _find_or_submit(self) -> SlurmJob | None:
        """The job that makes the artifact; None where it is made meanwhile."""
        log = self._job.log
        log.parent.mkdir(parents=True, exist_ok=True)
        while (lock := try_lock(log.with_suffix(".submit.lock"))) is None:
            self._pause()  # the same command, elsewhere
        with lock:
            while not self._job.is_done():
                try:
                    if found := active_job(self.name):
                        said = f"job {found.number} is there already ({found.state})"
                        console.print(f"  {said}; its log: {log}", markup=False)
                        return found
                    self._log_begins = log.stat().st_size if log.exists() else 0
                    number = submit(self.arguments(), self._environment())
                except UnreachableError as error:  # perhaps it took the job: look for it first
                    self._bear(error)
                    self._pause()
                    continue
                self._silent_since = None
                console.print(f"  job {number} submitted; its log: {log}", markup=False)
                return SlurmJob(number, "PENDING")
        return None

    def _environment(self) -> dict[str, str]:
        train = needed(self._job.node.recipe.train, "train")
        # An ablation's worker has threads for its share of this machine's cores.
        kept = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        return {
            **kept,
            "TSQA_PROCESSES": str(train.processes // self._launch.machines),
            "TSQA_CONFIG": str(MULTI_CONFIG.resolve()),
            "TSQA_PYTHON": sys.executable,
        }

    def _wait(self, job: SlurmJob) -> SlurmJob:
        """Show how it goes on until it is no longer in the queue; how it ended."""
        total = needed(self._job.node.recipe.mixture, "mixture").tokens
        number, shown, at = job.number, job, time.monotonic()
        with progress_bar() as bar:
            title = f"  {self._job.title} tokens"
            task = bar.add_task(title, total=total, note=f"job {number} waits")
            while True:
                try:
                    found = active_job(self.name) or find_job(number)
                    self._silent_since = None
                except UnreachableError as error:
                    self._bear(error)
                    found = shown
                now = time.monotonic()
                if found.state == "RUNNING":
                    self._count((now - at) / 3600, found)
                else:
                    self._is_ending = False  # queued again, it is asked again
                at = now
                _say_change(shown, found)
                if not found.is_active:
                    return found
                number, shown = found.number, found
                note = f"job {number} waits {found.reason}"
                if found.state == "RUNNING":
                    last = last_metrics(self._job.metrics)
                    note = f"loss {last['train/loss']:.3f}" if last else "running"
                bar.update(task, completed=self._job.trained_tokens, note=note)
                self._pause(found)

    def _count(self, hours: float, job: SlurmJob) -> None:
        spending, price = self._job.spending, self._job.dollars_per_hour
        spending.add(hours * price)
        if self._is_spent or not spending.affords(_POLL_SECONDS / 3600 * price):
            self._is_spent = True
            self._is_ending = self._is_ending or end_job(job)  # it saves

    def _is_made(self, ended: SlurmJob) -> bool:
        """Whether the artifact is there; of a job that seems to have succeeded, wait to see it."""
        patience = _SEE_SECONDS if ended.state in ("COMPLETED", "") else 0.0
        deadline = time.monotonic() + patience
        while not self._job.is_done():
            if time.monotonic() >= deadline:
                return False
            time.sleep(min(1.0, _POLL_SECONDS))
        return True

    def _refuse_end(self, job: SlurmJob, in_vain: int) -> None:
        """Raise, unless it is to be submitted again."""
        if self._is_spent:
            raise SpentError(self._job.spending, f"going on with {self._job.title}")
        label = self._job.node.label
        is_asked = job.state == "FAILED" and job.code in (PREEMPTED, TERMINATED)
        if job.state in _BEFORE_ITS_TIME or is_asked:
            if in_vain < _MOST_IN_VAIN:
                return
            raise EngineError(
                f"{label}: job {job.number} ended {job.state}, as the {in_vain - 1} before it, "
                f"none of which came further; last lines of {self._job.log}:\n"
                f"    {self._tail()}",
                "give it more time (--time in launch.options) or other machines",
            )
        how = f"ended {job.state}" if job.state else "is gone, and nobody knows how it ended"
        code = f" with code {job.code}" if job.code else ""
        missing = " without its artifact" if job.state == "COMPLETED" else ""
        raise EngineError(
            f"{label}: job {job.number} {how}{code}{missing}; last lines of {self._job.log}:\n"
            f"    {self._tail()}",
            _FIXES.get(job.state, "see these lines; a rerun continues from the last checkpoint"),
        )

    def _tail(self) -> str:
        deadline = time.monotonic() + _SEE_SECONDS
        while not self._job.log.exists() and time.monotonic() < deadline:
            time.sleep(min(1.0, _POLL_SECONDS))
        return "\n    ".join(tail_of(self._job.log, self._log_begins))

    def _bear(self, error: UnreachableError) -> None:
        """Say once that Slurm does not answer; EngineError where that lasts too long."""
        now, minutes = time.monotonic(), self._launch.patience_minutes
        if self._silent_since is None:
            self._silent_since = now
            said = f"Slurm does not answer ({error}); it is asked again for {minutes:g} minutes"
            console.print(f"  {said}", style="yellow", markup=False)
        elif now - self._silent_since > 60 * minutes:
            raise EngineError(
                f"{self._job.node.label}: Slurm did not answer for {minutes:g} minutes: {error}",
                "run the same command again when it does: it finds the job, if there is one",
            )

    def _pause(self, job: SlurmJob | None = None) -> None:
        if self._asked.wait(_POLL_SECONDS):
            said = _goes_on(job) if job else "no job was submitted"
            raise PreemptedError(
                f"{self._job.node.label}: asked to end by SIGTERM; {said}",
                f"run the same command again to go on waiting (exit code {PREEMPTED})",
            )


def _goes_on(job: SlurmJob) -> str:
    return f"job {job.number} goes on; `scancel {job.number}` would end it"


def _say_change(before: SlurmJob, now: SlurmJob) -> None:
    """Say what a bar would hide."""
    if now.is_held and not before.is_held:
        said = f"job {now.number} is held ({now.reason}): `scontrol release {now.number}`"
    elif before.state == "RUNNING" and now.is_active and now.state == "PENDING":
        said = f"job {now.number} was ended before its time, and is queued again"
    else:
        return
    console.print(f"  {said}", style="yellow", markup=False)
