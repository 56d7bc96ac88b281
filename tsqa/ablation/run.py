"""`tsqa ablate`: what the arms share once, then each arm by itself, several at a time.

Promises: only what is missing runs; an arm that fails stops no other, and is named at the end with
the last lines of its log; the comparison is made over the arms that finished; a kill at any moment
loses the work in flight, and the same command continues.

Arms run on the cores of this machine, each in a process of its own that gets an equal part of them.
GPUs are not divided: with more than one arm at a time, all see the same devices.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from rich import box
from rich.table import Table
from rich.text import Text

from tsqa.console import console, make_console, progress_bar
from tsqa.errors import RecipeError, TsqaError
from tsqa.pipeline.dry_run import estimate_seconds
from tsqa.pipeline.graph import Node, upstream_of
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import Arm, arms_of, control_of, needed
from tsqa.store.artifact import Artifact
from tsqa.store.process import die_with_parent

_TAIL = 15
_WIDE = 400
"""Characters: a name of an arm is never cut."""
_BASE_ROLE = "base"


@dataclass(frozen=True)
class ArmWork:
    """The stages of one arm, in the order in which they run."""

    arm: Arm
    shared: list[Node]
    """Also of another arm, or of the base."""
    data: list[Node]
    """Of this arm alone, before its training."""
    own: list[Node]
    """Training and evaluations."""

    @property
    def nodes(self) -> list[Node]:
        return [*self.shared, *self.data, *self.own]


@dataclass
class Outcome:
    """What an ablation came to."""

    failed: dict[str, str] = field(default_factory=dict)
    """Arm -> why."""
    compared: Artifact | None = None


def ablate(pipeline: Pipeline, parallel: int) -> Outcome:
    """Run what is missing of every arm, compare those that finished, and report."""
    works = arm_works(pipeline)
    pipeline.check()
    outcome = Outcome()
    broken = _build_shared(pipeline, works)
    waiting = []
    for work in works:
        causes = [broken[node.fingerprint] for node in work.nodes if node.fingerprint in broken]
        if causes:
            outcome.failed[work.arm.name] = causes[0]
        elif not all(pipeline.find(node) for node in work.own):
            waiting.append(work.arm.name)
    reused = len(works) - len(waiting) - len(outcome.failed)
    console.print(f"{len(works)} arms: {reused} reused, {len(waiting)} to run")
    if waiting:
        left = {n.fingerprint: n for work in works for n in work.own if not pipeline.find(n)}
        outcome.failed |= _run_arms(pipeline, waiting, parallel)
        pipeline.ran |= {key for key, node in left.items() if pipeline.find(node)}
    _finish(pipeline, outcome)
    for arm, reason in outcome.failed.items():
        console.print(Text.assemble(("failed", "red"), f" {arm}: {reason}"))
    return outcome


def arm_works(pipeline: Pipeline) -> list[ArmWork]:
    """The work of each arm, in the order of the arms; RecipeError without an ablation."""
    if pipeline.recipe.ablation is None:
        raise RecipeError(
            f"{pipeline.origin}: the recipe has no section `ablation`",
            "add one, or use `tsqa run`",
        )
    arms = arms_of(pipeline.recipe)
    ends: dict[str, list[Node]] = {name: [] for name in arms}
    for node in _own_nodes(pipeline):
        name = (node.arm or "").partition("@")[0]
        if node.stage in ("train", "evaluate") and name in ends:
            ends[name].append(node)
    needs = {name: _upstream(nodes) for name, nodes in ends.items()}
    base = [n for n in _own_nodes(pipeline) if n.stage == "evaluate" and n.arm == _BASE_ROLE]
    users: dict[str, int] = dict.fromkeys(_upstream(base), 1)
    for nodes in needs.values():
        for fingerprint in nodes:
            users[fingerprint] = users.get(fingerprint, 0) + 1
    places = {node.fingerprint: place for place, node in enumerate(pipeline.nodes)}
    works = []
    for name, arm in arms.items():
        own = {node.fingerprint for node in ends[name]}
        places_before = sorted(places[key] for key in needs[name].keys() - own)
        before = [pipeline.nodes[place] for place in places_before]
        works.append(
            ArmWork(
                arm,
                [node for node in before if users[node.fingerprint] > 1],
                [node for node in before if users[node.fingerprint] == 1],
                ends[name],
            )
        )
    return works


def print_ablation(pipeline: Pipeline, parallel: int) -> None:
    """Print per arm what it shares and what is left to do, then tokens, dollars and time."""
    works = arm_works(pipeline)
    control = control_of(pipeline.recipe)
    title = f"{pipeline.recipe.name}: {len(works)} arms, control {control}"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("arm", no_wrap=True)
    for column in ("shared", "own", "cached", "to run", "tokens", "time"):
        table.add_column(column, no_wrap=True, justify="right")
    for work in works:
        cached = [node for node in work.nodes if pipeline.find(node)]
        left = [node for node in [*work.data, *work.own] if not pipeline.find(node)]
        table.add_row(
            work.arm.name,
            str(len(work.shared)),
            str(len(work.data) + len(work.own)),
            str(len(cached)),
            str(len(work.nodes) - len(cached)),
            f"{_trained_tokens(left):,}",
            _shown_time(pipeline, left),
        )
    make_console(stderr=True, width=_WIDE).print(table)
    own = {node.fingerprint for work in works for node in work.own}
    missing = [node for node in pipeline.nodes if not pipeline.find(node)]
    before = [node for node in missing if node.fingerprint not in own]
    after = [node for node in missing if node.fingerprint in own]
    console.print(
        f"{len(pipeline.nodes)} stages: {len(pipeline.nodes) - len(missing)} cached, "
        f"{len(before)} to run once, {len(after)} to run for single arms"
    )
    console.print(f"tokens to train on: {_trained_tokens(missing):,}")
    console.print(f"teachers: {_shown_cost(pipeline, missing)}")
    console.print(
        f"time: {_shown_time(pipeline, before)} once, then {_shown_time(pipeline, after)} of arms, "
        f"{parallel} at a time"
    )


def run_worker(pipeline: Pipeline, names: IO[str], answers: IO[str]) -> None:
    """In a worker process: build one arm after the other as their names arrive, one a line.

    Each is answered by a line of JSON with `arm` and `error`, which is null when it is done.
    """
    works = {work.arm.name: work for work in arm_works(pipeline)}
    for line in names:
        name, error = line.rstrip("\n"), None
        try:
            for node in works[name].own:
                pipeline.ensure(node)
        except (TsqaError, OSError) as problem:
            error = str(problem)
        except Exception as problem:  # noqa: BLE001 - an arm that fails stops no other
            error = f"{type(problem).__name__}: {problem}"
        answers.write(json.dumps({"arm": name, "error": error}) + "\n")
        answers.flush()


def worker_main(pipeline: Pipeline) -> None:
    """The worker's process: what libraries print goes to stderr, answers alone to stdout."""
    die_with_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    run_worker(pipeline, sys.stdin, answers)


def _own_nodes(pipeline: Pipeline) -> list[Node]:
    return [node for node in pipeline.nodes if node.recipe.name == pipeline.recipe.name]


def _upstream(nodes: Sequence[Node]) -> dict[str, Node]:
    return {key: node for end in nodes for key, node in upstream_of(end).items()}


def _build_shared(pipeline: Pipeline, works: Sequence[ArmWork]) -> dict[str, str]:
    """Build all that comes before the arms' training; fingerprint -> why it could not be."""
    own = {node.fingerprint for work in works for node in work.own}
    broken: dict[str, str] = {}
    for node in pipeline.nodes:
        if node.fingerprint in own or node.stage == "compare":
            continue
        upstream = [broken[key] for key in upstream_of(node) if key in broken]
        if upstream:
            broken[node.fingerprint] = upstream[0]
            continue
        try:
            pipeline.ensure(node)
        except (TsqaError, OSError) as error:
            broken[node.fingerprint] = f"{pipeline.label(node)}: {error}"
            console.print(Text.assemble(("failed", "red"), f" {broken[node.fingerprint]}"))
    return broken


class _Worker:
    """A process that builds arms, with a log of its own; a new one is started when it dies."""

    def __init__(self, pipeline: Pipeline, number: int, threads: int) -> None:
        self._log = pipeline.folder / "logs" / f"arms-{number}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._command = [
            *(sys.executable, "-m", "tsqa.cli.app", "ablate-worker", str(pipeline.origin)),
            *pipeline.overrides,
        ]
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._process: subprocess.Popen[str] | None = None

    def build(self, arm: str) -> str | None:
        """Why the arm failed, or None."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process and self._process.stdin and self._process.stdout
        begun = self._log.stat().st_size
        try:
            self._process.stdin.write(arm + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer:
            error: str | None = json.loads(answer)["error"]
            return error
        code = self._process.wait()
        tail = "\n    ".join(_last_lines(self._log, begun))
        return f"its process ended with code {code}; last lines of {self._log}:\n    {tail}"

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                text=True,
            )


def _run_arms(pipeline: Pipeline, names: Sequence[str], parallel: int) -> dict[str, str]:
    """Build the arms, `parallel` at a time; arm -> why it failed."""
    processes = needed(pipeline.recipe.train, "train").processes
    parallel = min(parallel, len(names))
    cores = len(os.sched_getaffinity(0))
    threads = max(1, cores // parallel // processes)
    failed: dict[str, str] = {}
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    running: set[str] = set()
    started = time.monotonic()

    with progress_bar() as bar:
        task = bar.add_task("arms", total=len(names), note="")

        def show(done: int = 0) -> None:
            note = f"{len(running)} running, {len(failed)} failed"
            bar.update(task, advance=done, note=note)

        def work(number: int) -> None:
            with _closing(_Worker(pipeline, number, threads)) as worker:
                while (name := _next(waiting)) is not None:
                    running.add(name)
                    show()
                    begun = time.monotonic()
                    error = worker.build(name)
                    running.discard(name)
                    if error is not None:
                        failed[name] = error
                    show(done=1)
                    state = ("done  ", "") if error is None else ("failed", "red")
                    seconds = time.monotonic() - begun
                    console.print(Text.assemble(state, f" {name} in {seconds:.0f} s"))

        with ThreadPoolExecutor(parallel, "arm") as pool:
            for future in [pool.submit(work, number) for number in range(parallel)]:
                future.result()
    console.print(
        f"{len(names) - len(failed)} arms run in {time.monotonic() - started:.0f} s, "
        f"{parallel} at a time on {threads} threads each"
    )
    return failed


@contextmanager
def _closing(worker: _Worker) -> Iterator[_Worker]:
    try:
        yield worker
    finally:
        worker.close()


def _next(waiting: queue.SimpleQueue[str]) -> str | None:
    try:
        return waiting.get_nowait()
    except queue.Empty:
        return None


def _last_lines(path: Path, begun: int) -> list[str]:
    with path.open("rb") as handle:
        handle.seek(begun)
        return handle.read().decode("utf-8", "replace").splitlines()[-_TAIL:]


def _finish(pipeline: Pipeline, outcome: Outcome) -> None:
    """Compare and report what is there; say so where there is nothing to compare."""
    from tsqa.ablation.wandb_summary import log_ablation
    from tsqa.pipeline.report import write_report

    control = control_of(pipeline.recipe)
    nodes = [n for n in pipeline.nodes if n.stage != "compare" and pipeline.find(n)]
    compared = [node for node in _own_nodes(pipeline) if node.stage == "compare"]
    arms = arms_of(pipeline.recipe)
    for node in compared:
        found = {role: up for role, up in node.inputs.items() if pipeline.find(up)}
        conditions = {arms[r[4:]].condition for r in found if r.startswith("arm:")}
        if control not in conditions:
            outcome.failed.setdefault("compare", f"the control {control} has no evaluation")
            continue
        if conditions == {control} and _BASE_ROLE not in found:
            outcome.failed.setdefault("compare", f"only the control {control} was evaluated")
            continue
        partial = node if len(found) == len(node.inputs) else replace(node, inputs=found)
        outcome.compared = pipeline.ensure(partial)
        nodes.append(partial)
    pipeline.nodes = nodes
    pipeline.record(nodes)
    if outcome.compared is not None:
        page = write_report(pipeline, outcome.failed)
        log_ablation(pipeline, outcome.compared, page, outcome.failed)


def _trained_tokens(nodes: Sequence[Node]) -> int:
    return sum(needed(n.recipe.mixture, "mixture").tokens for n in nodes if n.stage == "train")


def _shown_time(pipeline: Pipeline, nodes: Sequence[Node]) -> str:
    """The sum over stages of what the last stage of the kind took, where any did."""
    seconds = [estimate_seconds(pipeline, node) for node in nodes]
    known = sum(value for value in seconds if value is not None)
    unknown = seconds.count(None)
    if seconds and unknown == len(seconds):
        return "unknown"
    shown = f"~{known / 60:.0f} min" if known >= 120 else f"~{known:.0f} s"
    return f"{shown} + {unknown} unknown" if unknown else shown


def _shown_cost(pipeline: Pipeline, missing: Sequence[Node]) -> str:
    """Dollars of the stages that ask teachers, by what the last such stage cost."""
    asking = [node for node in missing if _asks(node)]
    if not asking:
        return "nothing to ask"
    total, unknown = 0.0, 0
    for node in asking:
        last = pipeline.latest(node.stage)
        if last is None:
            unknown += 1
        else:
            total += sum(float(row["dollars"]) for row in last.summary.get("ledger", []))
    shown = f"~${total:,.2f} by the last runs" if unknown < len(asking) else "unknown cost"
    return f"{shown}, {unknown} of {len(asking)} stages unknown" if unknown else shown


def _asks(node: Node) -> bool:
    section = node.recipe.filter
    if node.stage == "filter" and section is not None:
        return bool(section.judge or section.triviality)
    return node.stage == "generate"
