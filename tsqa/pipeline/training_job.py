"""Training as a job: `accelerate launch -m train`, its log, and a bar while it runs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from tsqa.console import console, progress_bar
from tsqa.errors import PREEMPTED, TERMINATED, EngineError, PreemptedError
from tsqa.pipeline.node import Node
from tsqa.recipe import Recipe, needed
from tsqa.shipped import LAUNCH_CONFIG
from tsqa.spending import Spending, SpentError
from tsqa.store.artifact import Artifact
from tsqa.store.process import die_with_parent, on_sigterm
from tsqa.store.roles import Role, SourceRole

_TAIL = 25
_LOOK_SECONDS = 0.3
_PIECE = re.compile(
    r"""(?<!\S)\#[^\n]* | '[^']*' | "(?:\\.|[^"\\])*" | \\. | \{(?:training|arguments|log)\}""",
    re.DOTALL | re.VERBOSE,
)
"""Of a shell's command: a comment, text in quotes, an escaped character, a placeholder."""
_ESCAPES: Mapping[str, Callable[[str], str]] = {
    "'": lambda text: text.replace("'", "'\\''"),
    '"': lambda text: re.sub(r'([\\"$`])', r"\\\1", text),
}
"""Quote around it -> text such that a shell reads it as it was."""


@dataclass(frozen=True)
class TrainingJob:
    """One arm's training, in processes of its own."""

    node: Node
    overrides: Sequence[str]
    log: Path
    metrics: Path
    """Written by the job as it goes on."""
    title: str
    """Of the bar."""
    spending: Spending = field(default_factory=Spending)
    dollars_per_hour: float = 0.0
    """Of all its processes."""
    is_done: Callable[[], bool] = lambda: False
    """Whether the artifact is there; of jobs that end where this command does not see it."""

    @property
    def arguments(self) -> list[str]:
        """What follows `-m train`."""
        return [str(self.node.origin), *self.overrides, "--arm", str(self.node.arm)]

    @property
    def trained_tokens(self) -> float:
        """As far as the job has come."""
        last = last_metrics(self.metrics)
        return last["train/tokens"] if last else 0.0

    def run(self) -> None:
        """Run the job to its end; EngineError with the last lines of its log where it fails.

        SpentError where another second would pass the limit of dollars, and PreemptedError on
        SIGTERM; a checkpoint is saved then, if there was anything to save. Your own command is
        run again where its job was ended elsewhere, and had come further.
        """
        while True:
            before = self.trained_tokens
            try:
                return self._run_once()
            except _SavedElsewhereError as error:
                if self.node.recipe.launch.kind == "local" or self.trained_tokens <= before:
                    raise
                console.print(f"{error.args[0]}: it is started again", style="yellow", markup=False)

    def _run_once(self) -> None:
        launch = self.node.recipe.launch
        processes = needed(self.node.recipe.train, "train").processes
        training = [
            *(sys.executable, "-m", "train.launch"),
            *("--config_file", str(LAUNCH_CONFIG)),
            *("--num_processes", str(processes)),
            *("-m", "train", *self.arguments),
        ]
        own = launch.command
        command = ["bash", "-c", self._filled(own, training)] if own else training
        self.log.parent.mkdir(parents=True, exist_ok=True)
        threads = str(max(1, (os.cpu_count() or 1) // processes))
        with self.log.open("ab") as log:  # another command may be training it: theirs stays whole
            begins = log.tell()
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ} if own else {"OMP_NUM_THREADS": threads, **os.environ},
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
            end = partial(_end_running, process) if own else process.terminate
            with on_sigterm(end) as asked:
                is_spent = self._follow(process, end)
                code = process.wait()
        if code and is_spent:
            raise SpentError(self.spending, f"going on with {self.title}")
        self._check_end(code, bool(asked), "your launch.command" if own else "", begins)

    def _filled(self, template: str, training: Sequence[str]) -> str:
        """Your own command, its placeholders as words of a shell, within its quotes as well."""
        words = {"training": training, "arguments": self.arguments, "log": [str(self.log)]}
        told = {name: shlex.join(values) for name, values in words.items()}
        return _PIECE.sub(partial(_fill, told), template)

    def _check_end(self, code: int, is_asked: bool, what: str, begins: int) -> None:
        ends = {PREEMPTED: "a checkpoint is saved"}
        if is_asked:
            early = "it had not begun to train"
            ends |= {0: "it is trained", TERMINATED: early, -signal.SIGTERM: early}
        if code in ends:
            kind = PreemptedError if is_asked else _SavedElsewhereError
            raise kind(
                f"{self.node.label}: asked to end by SIGTERM; {ends[code]}",
                f"run the same command again to continue (exit code {PREEMPTED})",
            )
        if code:
            shown = "\n    ".join(tail_of(self.log, begins))
            raise EngineError(
                f"{self.node.label}: {what or '`accelerate launch -m train`'} ended with code "
                f"{code}; last lines of {self.log}:\n    {shown}",
                "see these lines; a rerun continues from the last checkpoint",
            )

    def _follow(self, process: subprocess.Popen[bytes], end: Callable[[], object]) -> bool:
        """Show a bar from the metrics that the job writes, until it ends; whether it was stopped
        because of its price."""
        before, is_spent, begun = self.spending.dollars, False, time.monotonic()
        total = needed(self.node.recipe.mixture, "mixture").tokens
        with progress_bar() as bar:
            task = bar.add_task(f"  {self.title} tokens", total=total, note="starting")
            while process.poll() is None:
                time.sleep(_LOOK_SECONDS)
                hours = (time.monotonic() - begun) / 3600
                self.spending.dollars = before + hours * self.dollars_per_hour
                bar.update(task, dollars=self.spending.dollars - before)
                next_look = _LOOK_SECONDS / 3600 * self.dollars_per_hour
                if not is_spent and not self.spending.affords(next_look):
                    is_spent = True
                    end()  # the ranks save
                last = last_metrics(self.metrics)
                if last:
                    note = f"loss {last['train/loss']:.3f}"
                    bar.update(task, completed=last["train/tokens"], note=note)
        return is_spent


def print_mixture_plan(recipe: Recipe, inputs: Mapping[Role, Artifact]) -> None:
    """Print what a training run will draw; too little data is refused before it starts."""
    from train.data.mixture import check_repeats, chosen_twice, plan_table
    from train.data.token_files import read_token_sources, token_folders

    sources = read_token_sources(token_folders(inputs))["sources"]
    plan = check_repeats(recipe, {name: source["rows"] for name, source in sources.items()})
    padding = {name: source["padding"] for name, source in sources.items()}
    console.print(plan_table(plan, padding))
    for name, others in chosen_twice(recipe).items():
        count = inputs[SourceRole(name)].summary["sources"][name]["documents"]
        told = f"its {count:,} documents were chosen from text that is also drawn as"
        console.print(f"  {name}: {told} {', '.join(others)}", markup=False)


class _SavedElsewhereError(PreemptedError):
    """The job was asked to end, and not by this command."""


def _end_running(shell: subprocess.Popen[bytes]) -> None:
    """SIGTERM to what a shell runs, not to the shell, which would end and leave that alone."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(shell.pid)
        for running in process.children() or [process]:  # for its last command it becomes that
            running.terminate()


def _fill(told: Mapping[str, str], piece: re.Match[str]) -> str:
    """The piece of a shell's command with the placeholders in it filled."""
    begin = piece[0][0]
    if begin in "#\\":
        return piece[0]
    escape = _ESCAPES.get(begin, str)
    return re.sub(rf"\{{({'|'.join(told)})\}}", lambda name: escape(told[name[1]]), piece[0])


def tail_of(log: Path, begin: int = 0) -> list[str]:
    """The job's own last lines: what torchrun adds about its failed child says nothing new.

    `begin`: bytes of the log that are of earlier jobs, unless yours began a new one (`> {log}`).
    """
    try:
        written = log.read_bytes()
        text = written[begin if begin <= len(written) else 0 :].decode("utf-8", "replace")
    except OSError as error:
        return [f"(it cannot be read: {error.strerror})"]
    lines = text.splitlines()
    ends = [number for number, line in enumerate(lines) if "multiprocessing/api.py" in line]
    return (lines[: ends[0]] if ends else lines)[-_TAIL:]


def last_metrics(path: Path) -> dict[str, float] | None:
    """The last whole line of a growing JSONL file."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - 4096))
            lines = handle.read().split(b"\n")[:-1]
        record: dict[str, float] = json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return None
    return record
