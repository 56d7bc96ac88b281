"""`tsqa ablate`: what the arms share once, then each arm by itself, several at a time.

Guarantees: only what is missing runs; an arm that fails stops no other, and is named at the end
with the last lines of its log; the comparison covers the arms that finished; a kill at any moment
loses the work in flight, SIGTERM what a stage cannot save, and the same command continues; a limit
of dollars holds for all arms.

Arms run on the cores of this machine, each in a separate process with an equal share of them. On a
CPU another number of threads rounds otherwise: the manifest says how many (`execution.threads`).
GPUs are not divided: with more than one arm at a time, all see the same devices.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock

from rich.progress import Progress, TaskID
from rich.text import Text

from tsqa.ablation.plan import ArmWork, arm_works, own_nodes
from tsqa.ablation.worker import ArmOrder, ArmResult, ArmWorker
from tsqa.console import console, progress_bar
from tsqa.errors import PREEMPTED, PreemptedError, TsqaError
from tsqa.pipeline.node import forget_identities, guards_of, reached_from
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import arms_of, control_of, needed
from tsqa.spending import SpentError
from tsqa.store.artifact import Artifact
from tsqa.store.process import on_sigterm
from tsqa.store.roles import BASE, ArmRole


@dataclass
class Outcome:
    """What an ablation came to."""

    failed: dict[str, str] = field(default_factory=dict)
    """Arm -> why."""
    compared: Artifact | None = None


def ablate(pipeline: Pipeline, parallel: int) -> Outcome:
    """Run what is missing of every arm, compare those that finished, and report.

    SpentError where that could pass the pipeline's limit of dollars, and PreemptedError on SIGTERM:
    what is finished is kept, and arms in training are saved.
    """
    works = arm_works(pipeline)
    pipeline.refuse_missing_models(pipeline.nodes)
    pipeline.refuse_unlaunchable(pipeline.nodes)
    pipeline.check()
    outcome = Outcome()
    broken = _build_shared(pipeline, works)
    pipeline.record([node for node in pipeline.nodes if pipeline.find(node)])
    waiting = []
    begun: set[str] = set()
    for work in works:
        causes = [broken[id(node)] for node in work.nodes if id(node) in broken]
        if causes:
            outcome.failed[work.arm.name] = causes[0]
        elif any(not pipeline.find(n) and n.fingerprint not in begun for n in work.own):
            waiting.append(work.arm.name)  # an arm that comes out as another one is that one
            begun |= {node.fingerprint for node in work.own}
    reused = len(works) - len(waiting) - len(outcome.failed)
    console.print(f"{len(works)} arms: {reused} reused, {len(waiting)} to run")
    if waiting:
        left = {n.fingerprint: n for work in works for n in work.own if not pipeline.find(n)}
        arms = _Arms(pipeline, waiting, parallel)
        arms.run()
        outcome.failed |= arms.failed
        if arms.is_asked:
            _say_failed(outcome)
            raise PreemptedError(
                f"asked to end by SIGTERM; {arms.unfinished} of {len(waiting)} arms are left",
                f"run the same command again to continue (exit code {PREEMPTED})",
            )
        if arms.stopped:
            _say_failed(outcome)
            raise SpentError(pipeline.spending, arms.stopped[0])
        pipeline.ran |= {key for key, node in left.items() if pipeline.find(node)}
    _finish(pipeline, outcome)
    _say_failed(outcome)
    return outcome


def _say_failed(outcome: Outcome) -> None:
    for arm, reason in outcome.failed.items():
        console.print(Text.assemble(("failed", "red"), f" {arm}: {reason}"))


def _build_shared(pipeline: Pipeline, works: Sequence[ArmWork]) -> dict[int, str]:
    """Build all that comes before the arms' training; id of a node -> why it could not be."""
    own = {id(node) for work in works for node in work.own}
    broken: dict[int, str] = {}  # not by fingerprint: it may change as stages are finished
    for node in pipeline.nodes:
        if id(node) in own or node.stage == "compare":
            continue
        before = reached_from([node, *guards_of(node, pipeline.nodes)])
        upstream = [broken[id(n)] for n in before if id(n) in broken]
        if upstream:
            broken[id(node)] = upstream[0]
            continue
        try:
            pipeline.ensure(node)
        except (SpentError, PreemptedError):
            raise
        except (TsqaError, OSError) as error:
            broken[id(node)] = f"{pipeline.label(node)}: {error}"
            console.print(Text.assemble(("failed", "red"), f" {broken[id(node)]}"))
    return broken


class _Arms:
    """Builds arms, `parallel` at a time, within the pipeline's limit of dollars."""

    def __init__(self, pipeline: Pipeline, names: Sequence[str], parallel: int) -> None:
        self.failed: dict[str, str] = {}
        """Arm -> why."""
        self.stopped: list[str] = []
        """What the limit did not allow."""
        self._pipeline = pipeline
        self._waiting = [*names]
        self._running: set[str] = set()
        self._parallel = min(parallel, len(names))
        self._workers: list[ArmWorker] = []
        self._preempted = 0
        self.is_asked = False
        """By SIGTERM, to end."""
        self._lock = Lock()

    @property
    def unfinished(self) -> int:
        return len(self._waiting) + self._preempted

    def _end_all(self) -> None:
        self.is_asked = True
        for worker in self._workers:
            worker.end()

    def run(self) -> None:
        processes = needed(self._pipeline.recipe.train, "train").processes
        cores = len(os.sched_getaffinity(0))
        threads = max(1, cores // self._parallel // processes)
        started, total = time.monotonic(), len(self._waiting)
        pool = ThreadPoolExecutor(self._parallel, "arm")
        with on_sigterm(self._end_all), progress_bar() as bar, pool:
            task = bar.add_task("arms", total=total, note="")
            show = partial(self._show, bar, task)
            numbers = range(self._parallel)
            for future in [pool.submit(self._work, n, threads, show) for n in numbers]:
                future.result()
        done = total - len(self.failed) - len(self.stopped) - self.unfinished
        console.print(
            f"{done} arms run in {time.monotonic() - started:.0f} s, "
            f"{self._parallel} at a time on {threads} threads each"
        )

    def _work(self, number: int, threads: int, show: Callable[[int], None]) -> None:
        with closing(ArmWorker(self._pipeline, number, threads)) as worker:
            self._workers.append(worker)
            while (order := self._begin()) is not None:
                show(0)
                begun = time.monotonic()
                result = worker.build(order)
                self._end(order, result)
                show(1)
                state = ("failed", "red") if result.error else ("done  ", "")
                if result.stopped or result.preempted:
                    state = ("stopped", "yellow")
                seconds = time.monotonic() - begun
                console.print(Text.assemble(state, f" {order.arm} in {seconds:.0f} s"))

    def _begin(self) -> ArmOrder | None:
        """The next arm, with an equal part of the dollars that nobody has spent or may spend."""
        with self._lock:
            if not self._waiting or self.stopped or self.is_asked:
                return None
            spending = self._pipeline.spending
            idle = min(self._parallel - len(self._running), len(self._waiting))
            order = ArmOrder(self._waiting.pop(0), spending.share(idle))
            spending.add(order.dollars or 0.0)
            self._running.add(order.arm)
            return order

    def _end(self, order: ArmOrder, result: ArmResult) -> None:
        with self._lock:
            self._running.discard(order.arm)
            self._pipeline.spending.add(result.dollars - (order.dollars or 0.0))
            if result.stopped:
                self.stopped.append(result.stopped)
            elif result.preempted:
                self._preempted += 1
                self.is_asked = True  # another than this command may have asked
            elif result.error is not None:
                self.failed[order.arm] = result.error

    def _show(self, bar: Progress, task: TaskID, done: int) -> None:
        note = f"{len(self._running)} running, {len(self.failed)} failed"
        bar.update(task, advance=done, note=note)


def _finish(pipeline: Pipeline, outcome: Outcome) -> None:
    """Compare and report what is there; say so where there is nothing to compare."""
    from tsqa.ablation.wandb_summary import log_ablation
    from tsqa.pipeline.report import write_report

    forget_identities(pipeline.nodes)  # the arms were built by other processes
    control = control_of(pipeline.recipe)
    nodes = [n for n in pipeline.nodes if n.stage != "compare" and pipeline.find(n)]
    compared = [node for node in own_nodes(pipeline) if node.stage == "compare"]
    arms = arms_of(pipeline.recipe)
    for node in compared:
        found = {role: up for role, up in node.inputs.items() if pipeline.find(up)}
        conditions = {arms[role.arm].condition for role in found if isinstance(role, ArmRole)}
        if control not in conditions:
            outcome.failed.setdefault("compare", f"the control {control} has no evaluation")
            continue
        if conditions == {control} and BASE not in found:
            outcome.failed.setdefault("compare", f"only the control {control} was evaluated")
            continue
        covering = node if len(found) == len(node.inputs) else replace(node, inputs=found)
        outcome.compared = pipeline.ensure(covering)
        nodes.append(covering)
    pipeline.nodes = nodes
    pipeline.record(nodes)
    if outcome.compared is not None:
        page = write_report(pipeline, outcome.failed)
        log_ablation(pipeline, outcome.compared, page, outcome.failed)
