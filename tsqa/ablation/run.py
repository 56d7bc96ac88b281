"""`tsqa ablate`: what the arms share once, then each arm by itself, several at a time.

Guarantees: only what is missing runs; an arm that fails stops no other, and is named at the end
with the last lines of its log; the comparison covers the arms that finished; a kill at any moment
loses the work in flight, and the same command continues.

Arms run on the cores of this machine, each in a separate process with an equal share of them. On a
CPU another number of threads rounds otherwise: the manifest says how many (`execution.threads`).
GPUs are not divided: with more than one arm at a time, all see the same devices.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace

from rich.text import Text

from tsqa.ablation.plan import ArmWork, arm_works, own_nodes
from tsqa.ablation.worker import ArmWorker
from tsqa.console import console, progress_bar
from tsqa.errors import TsqaError
from tsqa.pipeline.node import forget_identities, guards_of, reached_from
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import arms_of, control_of, needed
from tsqa.store.artifact import Artifact
from tsqa.store.roles import BASE, ArmRole


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
        outcome.failed |= _run_arms(pipeline, waiting, parallel)
        pipeline.ran |= {key for key, node in left.items() if pipeline.find(node)}
    _finish(pipeline, outcome)
    for arm, reason in outcome.failed.items():
        console.print(Text.assemble(("failed", "red"), f" {arm}: {reason}"))
    return outcome


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
        except (TsqaError, OSError) as error:
            broken[id(node)] = f"{pipeline.label(node)}: {error}"
            console.print(Text.assemble(("failed", "red"), f" {broken[id(node)]}"))
    return broken


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
            with closing(ArmWorker(pipeline, number, threads)) as worker:
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


def _next(waiting: queue.SimpleQueue[str]) -> str | None:
    try:
        return waiting.get_nowait()
    except queue.Empty:
        return None


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
        partial = node if len(found) == len(node.inputs) else replace(node, inputs=found)
        outcome.compared = pipeline.ensure(partial)
        nodes.append(partial)
    pipeline.nodes = nodes
    pipeline.record(nodes)
    if outcome.compared is not None:
        page = write_report(pipeline, outcome.failed)
        log_ablation(pipeline, outcome.compared, page, outcome.failed)
